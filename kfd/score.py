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
Files are shared by --workers processes, each with a core and a detector of its own; lines and their order
do not depend on how many there are. With --ray, the processes of a Ray cluster share them, on machines that
all see the same files and the same checkpoint; files then come in the order in which they are done. With
--out, a re-run continues where the last one stopped; one run at a time writes such a file.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
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
from kfd.scoring.lines import (
    HIDDEN,
    SKIPPED,
    Line,
    Readers,
    Start,
    Task,
    gave_up,
    lines_for,
    scale_of,
)
from kfd.scoring.processes import in_processes
from kfd.scoring.results import account, outcome, resume
from media.decoding.sandbox import LIMITS
from media.files import Listing, list_files

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
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or (cores if self.device == "cpu" else min(cores, GPU_WORKERS))


def main() -> None:
    """Exit status 0: every file has its line. 1: nothing could be done, and why. 2: the command is wrong."""
    config = parse(ScoreConfig, f"{__doc__}\n{LIMITS}")
    try:
        listing = list_files(config.paths, config.out)
        detector, readers = config.start.load()
        if config.out is None:
            tally: Counter[str] = Counter()
            for _, lines in scored(config, tasks_of(config, listing, {}), detector, readers):
                tally[outcome(lines)] += 1
                for line in lines:
                    print(to_json(line), flush=True)
        else:
            with one_writer(config.out):
                tally = score_into(config.out, config, listing, detector, readers)
        print(account(tally, sum(listing.hidden.values())), file=sys.stderr)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {printable(str(error))}")


def tasks_of(config: ScoreConfig, listing: Listing, done: dict[str, str]) -> Iterator[Task]:
    """What is to be written, in order, without what is done."""
    named = frozenset(config.paths)
    for path, reason in sorted([*((path, "") for path in listing.files), *listing.skipped]):
        if str(path) not in done:
            yield Task(path, SKIPPED if reason else "", reason, path in named)
    for folder, count in listing.hidden.items():
        if count and str(folder) not in done:
            words = "1 hidden file or folder was" if count == 1 else f"{count} hidden files or folders were"
            yield Task(folder, HIDDEN, f"{words} passed over")


def scored(
    config: ScoreConfig, tasks: Iterator[Task], detector: Detector, readers: Readers = ()
) -> Iterator[tuple[Task, list[Line]]]:
    """Every entry with its lines, by this process, by several, or by a fleet."""
    scale = scale_of(detector, readers)
    start, give_up = replace(config.start, scale=scale), partial(gave_up, scale)
    if config.ray is not None:
        from kfd.scoring.fleet import Fleet

        yield from Fleet(config.ray, config.workers, config.device).map(tasks, start, give_up)
        return
    first = list(islice(tasks, config.processes))
    if len(first) > 1:
        yield from in_processes(chain(first, tasks), len(first), start, give_up)
        return
    for task in chain(first, tasks):
        yield task, lines_for(task, detector, readers)


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
    tally, total = Counter(done.values()), len(listing.files) + len(listing.skipped)
    bar = tqdm(unit="file", initial=min(len(done), total), total=total)
    with told_when_full(out), out.open("a", encoding="utf-8") as file, bar:
        for _, lines in scored(config, tasks_of(config, listing, done), detector, readers):
            file.write("".join(to_json(line) + "\n" for line in lines))
            file.flush()
            tally[outcome(lines)] += 1
            bar.update()
    return tally


if __name__ == "__main__":
    main()
