"""Score photographs and videos: one JSON line per face, or per person of a video.

    python -m kfd.score photo.jpg
    python -m kfd.score album/ more/*.jpg clip.mp4 --out scores.jsonl
    python -m kfd.score album/ --workers 2
    python -m kfd.score archive/ --out scores.jsonl --ray auto

Files or folders, searched recursively; what a file is, its content tells. A line holds path, sha256,
checkpoint and decision (SHA-256 of the detector's weights, and of its calibration and thresholds), face, box,
score, log10_lr (log10 likelihood ratio, null where none is supported), verdict, reasons, regions and
warnings; `faces`, how many the file shows, how many were judged and why others were not; and `whole`, verdict
and reasons of the whole file, which follow from all its faces. That of a video or an animation also has
`frames`, [seconds, score] of each examined frame that shows the face, and `video`: when those examined are
shown, whether the file is damaged, how many frames are interlaced, and how many faces were left out.
With `--opinion DIR`, repeatable, a line also has `opinions`, what other systems (docs/baselines.md) say of
the same face at their own thresholds, and `agreement`, a sentence; neither changes the rest of the line. A
file without a result has one line with `score: null`, the reason and what to do about it. In a folder every
entry has its line: what is neither photograph nor video has the reason `skipped`; hidden files are passed
over, and a line with the reason `hidden` counts them. Whatever goes wrong with one file, the next is scored.
Files are shared by --workers processes, each with a core and a detector of its own; in each the next file is
decoded while faces are looked for in this one, and faces of several files are judged together. Lines and
their order do not depend on how many processes there are, nor on where an earlier run was stopped. With
--ray, the processes of a Ray cluster share them, on machines that all see the same files and the same
checkpoint; files then come in the order in which they are done. With --out, progress is shown, files a second
and the time left, and a re-run continues where the last one stopped; one run at a time writes such a file.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import parse
from common.locks import one_writer
from common.storage import told_when_full
from common.strict_json import to_json
from common.terminal import printable
from kfd.detector import Detector
from kfd.scoring.described import HIDDEN, SKIPPED, Line, Readers, scale_of
from kfd.scoring.lines import Group, Start, Task, gave_up, groups_of, lines_of_group
from kfd.scoring.processes import in_processes
from kfd.scoring.results import account, outcome, resume
from media.decoding.sandbox import LIMITS
from media.files import Listing, list_files

PROGRESS = "{percentage:3.0f} % |{bar}| {n_fmt} of {total_fmt} files, {rate_noinv_fmt}, {remaining} left"
GPU_WORKERS = 4  # at most, unless told otherwise: each has the model in the memory of the GPU


@dataclass(frozen=True)
class ScoreConfig:
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()  # photographs, videos, or folders of them
    out: Path | None = None  # JSON-lines file to write or to continue; None prints
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder lacks: file, folder, hub id
    device: str = "cpu"
    workers: int | None = None  # processes that share the files; None: one a core, on a GPU at most four
    # Folders of other systems, or FOLDER=WEIGHTS where a frozen model underneath lies elsewhere.
    opinion: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())

    # A Ray cluster that shares the files: its address, "auto", or "local" for one on this machine; --workers
    # is then how many processes it may use.
    ray: str | None = None

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("expected photographs, videos, or folders of them")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: expected 1 or more, got {self.workers}")

    @property
    def start(self) -> Start:
        """What each process begins with."""
        return Start(self.checkpoint, self.device, self.encoder, self.opinion)

    @property
    def processes(self) -> int:
        """How many of them may share the files."""
        return self.workers or (cores() if self.device == "cpu" else min(cores(), GPU_WORKERS))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Exit status 0: every file has its line. 1: nothing could be done, and why. 2: the command is wrong."""
    config = parse(ScoreConfig, f"{__doc__}\n{LIMITS}")
    try:
        listing = list_files(config.paths, config.out)
        detector, readers = config.start.load()
        if config.out is None:
            tally: Counter[str] = Counter()
            for _, lines in scored(config, groups_of(tasks_of(config, listing)), detector, readers):
                tally[outcome(lines)] += 1
                for line in lines:
                    print(to_json(line), flush=True)
        else:
            with one_writer(config.out):
                tally = score_into(config.out, config, listing, detector, readers)
        print(account(tally, sum(listing.hidden.values())), file=sys.stderr)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {printable(str(error))}")


def tasks_of(config: ScoreConfig, listing: Listing) -> Iterator[Task]:
    """What is to be written, in order."""
    named = frozenset(config.paths)
    for path, reason in sorted([*((path, "") for path in listing.files), *listing.skipped]):
        yield Task(path, SKIPPED if reason else "", reason, path in named)
    for folder, count in listing.hidden.items():
        if count:
            words = "1 hidden file or folder was" if count == 1 else f"{count} hidden files or folders were"
            yield Task(folder, HIDDEN, f"{words} passed over")


def scored(
    config: ScoreConfig, groups: Iterable[Group], detector: Detector, readers: Readers = ()
) -> Iterator[tuple[Task, list[Line]]]:
    """Every entry with its lines, by this process, by several, or by a fleet."""
    scale = scale_of(detector, readers)
    start, give_up = replace(config.start, scale=scale), partial(gave_up, scale)
    if config.ray is not None:
        from kfd.scoring.fleet import Fleet

        yield from Fleet(config.ray, config.workers, config.device).map(groups, start, give_up)
        return
    groups = iter(groups)
    first = list(islice(groups, config.processes))
    if len(first) > 1:
        yield from in_processes(chain(first, groups), len(first), start, give_up)
        return
    for group in chain(first, groups):
        yield from zip(group, lines_of_group(group, detector, readers, config.processes), strict=True)


def score_into(
    out: Path, config: ScoreConfig, listing: Listing, detector: Detector, readers: Readers = ()
) -> Counter[str]:
    """Append the lines of every entry that `out` does not hold yet, with progress.

    Returns how many files had which outcome, those of earlier runs included.
    Raises ValueError when `out` was made with other weights or another decision: two scales must not mix in
    one file; OSError that says so when the disk is full, then the next run goes on.
    """
    from tqdm import tqdm

    out.parent.mkdir(parents=True, exist_ok=True)
    done = resume(out, scale_of(detector, readers))
    tally, tasks = Counter(done.values()), list(tasks_of(config, listing))
    # A group of which a part is done is worked on whole, so that its faces meet the same others again.
    left = [group for group in groups_of(tasks) if any(str(task.path) not in done for task in group)]
    written = sum(str(task.path) in done for task in tasks)
    bar = tqdm(initial=written, total=len(tasks), unit=" files", bar_format=PROGRESS)
    with told_when_full(out), out.open("a", encoding="utf-8") as file, bar:
        for task, lines in scored(config, left, detector, readers):
            if str(task.path) in done:
                continue
            file.write("".join(to_json(line) + "\n" for line in lines))
            file.flush()
            tally[outcome(lines)] += 1
            bar.update()
    return tally


if __name__ == "__main__":
    main()
