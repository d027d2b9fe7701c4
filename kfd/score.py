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
from collections.abc import Callable, Iterator, Sequence
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
from common.storage import told_when_full, write_text
from common.strict_json import parse_json, to_json
from common.terminal import printable
from common.verdicts import Reason, Verdict
from kfd.calibration.error_rates import digest_of_decision
from kfd.calibration.overall import count_faces, overall_verdict
from kfd.detection import FaceFinding
from kfd.detector import Detector, NoFaceError
from kfd.examine import Examination, examine_file
from kfd.opinions import SecondReader, agreement, second_opinions
from kfd.processes import in_processes
from kfd.video import FaceTrack
from media.decoding.sandbox import LIMITS
from media.errors import INTERNAL_ERROR, MediaError, contained
from media.files import Listing, list_files, open_file
from media.kinds import kind_of_file

SKIPPED, HIDDEN = "skipped", "hidden"
GPU_WORKERS = 4  # at most, unless told otherwise: each has the model in the memory of the GPU
SCALES = {  # fields that all lines of a file share, and what they tell
    "checkpoint": "weights",
    "decision": "thresholds or calibration",
    "opinion_checkpoints": "second opinions",
    "opinion_decisions": "thresholds of second opinions",
}


@dataclass(frozen=True)
class Task:
    """An entry. code: "", SKIPPED or HIDDEN; words: why it is passed over."""

    path: Path
    code: str = ""
    words: str = ""


@dataclass(frozen=True)
class Start:
    """What each process of a run begins with."""

    config: ScoreConfig

    def __call__(self) -> Callable[[Task], list[dict[str, object]]]:
        detector, readers = load(self.config)
        return partial(_lines_for, detector=detector, readers=readers)


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
        yield from in_processes(chain(first, tasks), len(first), start, partial(_gave_up, detector, readers))
        return
    for task in chain(first, tasks):
        yield task, _lines_for(task, detector, readers)


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


def _lines_for(task: Task, detector: Detector, readers: tuple[SecondReader, ...]) -> list[dict[str, object]]:
    if task.code:
        return [_passed_over(task.path, detector, task.code, task.words, readers)]
    return lines_of(task.path, detector, readers)


def _gave_up(detector: Detector, readers: tuple[SecondReader, ...], task: Task) -> list[dict[str, object]]:
    """The line of a file that ended two processes."""
    words = "A library that read this file ended its process, twice; the file may be damaged."
    return [_start(task.path, detector, readers) | _nothing(INTERNAL_ERROR, words)]


def lines_of(
    path: Path, detector: Detector, readers: tuple[SecondReader, ...] = ()
) -> list[dict[str, object]]:
    """The output lines of one photograph or video, at least one, never an exception for a bad file."""
    line = _start(path, detector, readers)
    try:
        with contained(str(path)), open_file(path) as file:
            try:
                found = examine_file(detector, file)
            finally:
                line["sha256"] = file.sha256
            lines = _describe_all(line, found)
            if readers and found.faces:
                opinions = second_opinions(readers, file, found)
                for told, finding, others in zip(lines, found.faces, opinions, strict=True):
                    told["opinions"] = [opinion.as_json() for opinion in others]
                    told["agreement"] = agreement(finding, others)
            return lines
    except MediaError as error:
        return [line | _nothing(error.code, str(error))]


def _start(path: Path, detector: Detector, readers: Sequence[SecondReader]) -> dict[str, object]:
    line: dict[str, object] = {"path": str(path), "sha256": None, **_scale(detector)}
    if readers:
        scales = [_scale(reader.detector) for reader in readers]
        line["opinion_checkpoints"] = [scale["checkpoint"] for scale in scales]
        line["opinion_decisions"] = [scale["decision"] for scale in scales]
    return line


def _scale(detector: Detector) -> dict[str, str]:
    """The two digests that scores and verdicts depend on."""
    return {"checkpoint": detector.digest, "decision": digest_of_decision(detector.decision)}


def _describe_all(line: dict[str, object], found: Examination) -> list[dict[str, object]]:
    """The lines of a file that was examined."""
    verdict, reasons = overall_verdict(found.faces)
    line = line | {
        "faces": count_faces(found.faces).as_json(),
        "whole": {"verdict": verdict, "reasons": list(reasons)},
    }
    warnings, video = {"warnings": list(found.warnings)}, found.video
    if video is not None:
        line = line | {
            "video": {
                "sampled": [round(seconds, 3) for seconds in video.sampled],
                "damaged": video.damaged,
                "interlaced": video.interlaced,
                "left_out": video.num_dropped_tracks,
            }
        }
    if not found.faces:
        reasons = [Reason.DAMAGED] if found.damaged else []
        nothing = _nothing(Reason.NO_FACE, str(NoFaceError()))
        return [line | nothing | {"reasons": [*nothing["reasons"], *reasons]} | warnings]
    if video is None:
        return [line | _describe(finding) | warnings for finding in found.faces]
    return [line | _describe(track.finding) | warnings | {"frames": _frames(track)} for track in video.tracks]


def _nothing(code: str, message: str) -> dict[str, object]:
    """The fields of a file that gave no face to judge."""
    fields = {"face": None, "box": None, "score": None, "log10_lr": None, "verdict": Verdict.INCONCLUSIVE}
    return {**fields, "reasons": [code], "regions": [], "warnings": [], "message": message}


def _passed_over(
    path: Path, detector: Detector, reason: str, message: str, readers: tuple[SecondReader, ...]
) -> dict[str, object]:
    """The line of what was not examined; it has no verdict, not even an inconclusive one."""
    return _start(path, detector, readers) | _nothing(reason, message) | {"verdict": None}


def outcome(lines: list[dict[str, object]]) -> str:
    """What became of a file: "scored", or the reason why nothing was."""
    return "scored" if lines[0]["face"] is not None else str(lines[0]["reasons"][0])


def account(tally: Counter[str], hidden: int) -> str:
    """A sentence on what became of every entry."""
    rest = tally.copy()
    faces, none, skipped = rest.pop("scored", 0), rest.pop(Reason.NO_FACE, 0), rest.pop(SKIPPED, 0)
    rest.pop(HIDDEN, None)
    why = f" ({', '.join(f'{reason} {count}' for reason, count in sorted(rest.items()))})" if rest else ""
    return (
        f"{faces} files with faces, {none} without a face, {rest.total()} unreadable{why}, {skipped} "
        f"skipped, {hidden} hidden and passed over"
    )


def _describe(finding: FaceFinding) -> dict[str, object]:
    return {
        "face": finding.index,
        "box": list(finding.box),
        "score": None if finding.score is None else round(finding.score, 4),
        "log10_lr": None if finding.evidence is None else round(finding.evidence.log10_lr, 2),
        "verdict": finding.verdict,
        "reasons": list(finding.reasons),
        "regions": list(finding.regions),
    }


def _frames(track: FaceTrack) -> list[list[float | None]]:
    scores = ((frame.seconds, frame.finding.score) for frame in track.frames)
    return [[round(seconds, 3), None if score is None else round(score, 4)] for seconds, score in scores]


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


def resume(out: Path, detector: Detector, readers: Sequence[SecondReader] = ()) -> dict[str, str]:
    """Paths that `out` holds completely, each with its outcome.

    What a kill may have cut short is taken out of the file. detector, readers: those that go on.
    """
    if not out.is_file():
        return {}
    lines, own = read_lines(out), _start(out, detector, readers)
    for name, what in SCALES.items():
        if any(line.get(name) != own.get(name) for line in lines):
            raise ValueError(f"{out} was made with other {what}; choose another --out")
    # The last photograph may have lost faces: a kill can fall between two of its lines.
    last = lines[-1]["path"] if lines else None
    kept = [line for line in lines if line["path"] != last]
    write_text(out, "".join(to_json(line) + "\n" for line in kept))
    return {line["path"]: outcome([line]) for line in kept}


def read_lines(out: Path) -> list[dict[str, object]]:
    """The whole lines of a file of this command; one that a kill cut short is left out.

    Raises ValueError for a file of something else.
    """
    data = out.read_bytes()
    try:
        lines = [parse_json(line, out) for line in data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]]
        for line in lines:
            path, reasons = line["path"], line["reasons"]
            is_told = line["face"] is not None or (isinstance(reasons, list) and reasons)
            if not isinstance(path, str) or not isinstance(line["checkpoint"], str) or not is_told:
                raise TypeError("a field of another type")
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{out} is no file of kfd.score; choose another --out") from None
    return lines


if __name__ == "__main__":
    main()
