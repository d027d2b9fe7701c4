"""Score photographs and videos: one JSON line per face, or per person of a video.

    python -m kfd.score photo.jpg
    python -m kfd.score album/ more/*.jpg clip.mp4 --out scores.jsonl
    python -m kfd.score album/ --workers 2

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
do not depend on how many there are. With --out, a re-run continues where the last one stopped; one run at a
time writes such a file.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import cv2
import torch
import tyro

from common.cli import parse
from common.locks import one_writer
from common.storage import told_when_full
from common.strict_json import to_json
from common.terminal import printable
from kfd.detector import Detector
from kfd.opinions import SecondReader
from kfd.scoring.lines import HIDDEN, SKIPPED, Task, gave_up, lines_for
from kfd.scoring.processes import in_processes
from kfd.scoring.results import account, outcome, resume
from media.decoding.sandbox import LIMITS
from media.files import Listing, list_files
from media.kinds import kind_of_file

GPU_WORKERS = 4  # at most, unless told otherwise: each has the model in the memory of the GPU


@dataclass(frozen=True)
class Start:
    """What each process of a run begins with."""

    config: ScoreConfig

    def __call__(self) -> Callable[[Task], list[dict[str, object]]]:
        detector, readers = load(self.config)
        return partial(lines_for, detector=detector, readers=readers)


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

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("expected photographs, videos, or folders of them")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: expected 1 or more, got {self.workers}")

    @property
    def processes(self) -> int:
        """How many of them may share the files."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or (cores if self.device == "cpu" else min(cores, GPU_WORKERS))


def load(config: ScoreConfig) -> tuple[Detector, tuple[SecondReader, ...]]:
    """The detectors, computing on one thread: sums come out the same however many processes there are."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    detector = Detector.from_pretrained(config.checkpoint, config.device, config.encoder)
    return detector, tuple(SecondReader.load(choice, config.device) for choice in config.opinion)


def main() -> None:
    """Exit status 0: every file has its line. 1: nothing could be done, and why. 2: the command is wrong."""
    config = parse(ScoreConfig, f"{__doc__}\n{LIMITS}")
    try:
        listing = list_files(config.paths, config.out)
        detector, readers = load(config)
        shared = {"workers": config.processes, "start": Start(config)}
        named = frozenset(config.paths)
        if config.out is None:
            tally: Counter[str] = Counter()
            for _, lines in scored(listing, named, detector, {}, readers, **shared):
                tally[outcome(lines)] += 1
                for line in lines:
                    print(to_json(line), flush=True)
        else:
            with one_writer(config.out):
                tally = score_into(config.out, listing, named, detector, readers, **shared)
        print(account(tally, sum(listing.hidden.values())), file=sys.stderr)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {printable(str(error))}")


def scored(
    listing: Listing,
    named: frozenset[Path],
    detector: Detector,
    done: dict[str, str],
    readers: tuple[SecondReader, ...] = (),
    workers: int = 1,
    start: Start | None = None,
) -> Iterator[tuple[Task, list[dict[str, object]]]]:
    """Every entry that is not done, with its lines. named: on the command line, so never skipped.

    workers: processes that share the work, each of which makes its own detector by `start`.
    """
    tasks = _tasks(listing, named, done)
    first = list(islice(tasks, workers))
    if len(first) > 1:
        yield from in_processes(chain(first, tasks), len(first), start, partial(gave_up, detector, readers))
        return
    for task in chain(first, tasks):
        yield task, lines_for(task, detector, readers)


def _tasks(listing: Listing, named: frozenset[Path], done: dict[str, str]) -> Iterator[Task]:
    """What is to be written, in order."""
    for path, reason in sorted([*((path, "") for path in listing.files), *listing.skipped]):
        if str(path) in done:
            continue
        if not reason and path not in named and kind_of_file(path) is None:
            reason = "neither a photograph nor a video, by its content and its name"
        yield Task(path, SKIPPED if reason else "", reason)
    for folder, count in listing.hidden.items():
        if count and str(folder) not in done:
            words = "1 hidden file or folder was" if count == 1 else f"{count} hidden files or folders were"
            yield Task(folder, HIDDEN, f"{words} passed over")


def score_into(
    out: Path,
    listing: Listing,
    named: frozenset[Path],
    detector: Detector,
    readers: tuple[SecondReader, ...] = (),
    workers: int = 1,
    start: Start | None = None,
) -> Counter[str]:
    """Append the lines of every entry that `out` does not hold yet, with progress.

    Returns how many files had which outcome, those of earlier runs included.
    Raises ValueError when `out` was made with other weights or another decision: two scales must not mix in
    one file; OSError that says so when the disk is full, then the next run goes on.
    """
    from tqdm import tqdm

    out.parent.mkdir(parents=True, exist_ok=True)
    done = resume(out, detector, readers)
    tally, total = Counter(done.values()), len(listing.files) + len(listing.skipped)
    bar = tqdm(unit="file", initial=min(len(done), total), total=total)
    with told_when_full(out), out.open("a", encoding="utf-8") as file, bar:
        for _, lines in scored(listing, named, detector, done, readers, workers, start):
            file.write("".join(to_json(line) + "\n" for line in lines))
            file.flush()
            tally[outcome(lines)] += 1
            bar.update()
    return tally


if __name__ == "__main__":
    main()
