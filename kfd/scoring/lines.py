"""The lines of a file: every face of it, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import torch

from common.verdicts import Reason, Verdict
from kfd.calibration.error_rates import digest_of_decision
from kfd.calibration.overall import count_faces, overall_verdict
from kfd.detection import FaceFinding
from kfd.detector import Detector, NoFaceError
from kfd.examine import Examination, examine_file
from kfd.scoring.opinions import SecondReader, agreement, second_opinions
from kfd.video import FaceTrack
from media.errors import INTERNAL_ERROR, MediaError, contained
from media.files import open_file
from media.kinds import kind_of_file

SKIPPED, HIDDEN = "skipped", "hidden"
Line = dict[str, object]
Readers = tuple[SecondReader, ...]


@dataclass(frozen=True)
class Task:
    """An entry. code: "", SKIPPED or HIDDEN; words: why it is passed over. named: on the command line, so it
    is opened whatever it is.
    """

    path: Path
    code: str = ""
    words: str = ""
    named: bool = False


@dataclass(frozen=True)
class Start:
    """What a process begins with; see ScoreConfig. scale: what `scale_of` has to be; None: any."""

    checkpoint: Path
    device: str
    encoder: str | None
    opinion: tuple[str, ...]
    scale: Line | None = None

    def load(self) -> tuple[Detector, Readers]:
        """The detectors, computing on one thread: sums come out the same however many processes there are.

        Raises ValueError where they are others than those of `scale`, as on a machine with an older copy.
        """
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        detector = Detector.from_pretrained(self.checkpoint, self.device, self.encoder)
        readers = tuple(SecondReader.load(choice, self.device) for choice in self.opinion)
        if self.scale is not None and scale_of(detector, readers) != self.scale:
            raise ValueError(f"{self.checkpoint} holds other weights or thresholds here than where it began")
        return detector, readers

    def __call__(self) -> Callable[[Task], list[Line]]:
        detector, readers = self.load()
        return partial(lines_for, detector=detector, readers=readers)


def lines_for(task: Task, detector: Detector, readers: Readers) -> list[Line]:
    """The lines of an entry, passed over or not."""
    scale = scale_of(detector, readers)
    if task.code:
        return [_passed_over(task.path, scale, task.code, task.words)]
    if not task.named and kind_of_file(task.path) is None:
        words = "neither a photograph nor a video, by its content and its name"
        return [_passed_over(task.path, scale, SKIPPED, words)]
    return lines_of(task.path, detector, readers)


def gave_up(scale: Line, task: Task) -> list[Line]:
    """The line of a file that ended two processes."""
    words = "A library that read this file ended its process, twice; the file may be damaged."
    return [start_line(task.path, scale) | _nothing(INTERNAL_ERROR, words)]


def lines_of(path: Path, detector: Detector, readers: Readers = ()) -> list[Line]:
    """The output lines of one photograph or video, at least one, never an exception for a bad file."""
    line = start_line(path, scale_of(detector, readers))
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


def start_line(path: Path, scale: Line) -> Line:
    """What every line of a file begins with: its name, and what scores and verdicts depend on."""
    return {"path": str(path), "sha256": None, **scale}


def scale_of(detector: Detector, readers: Readers = ()) -> Line:
    """The digests that scores and verdicts depend on."""
    scale: Line = _digests(detector)
    if readers:
        others = [_digests(reader.detector) for reader in readers]
        scale["opinion_checkpoints"] = [digests["checkpoint"] for digests in others]
        scale["opinion_decisions"] = [digests["decision"] for digests in others]
    return scale


def _digests(detector: Detector) -> Line:
    return {"checkpoint": detector.digest, "decision": digest_of_decision(detector.decision)}


def _describe_all(line: Line, found: Examination) -> list[Line]:
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


def _nothing(code: str, message: str) -> Line:
    """The fields of a file that gave no face to judge."""
    fields = {"face": None, "box": None, "score": None, "log10_lr": None, "verdict": Verdict.INCONCLUSIVE}
    return {**fields, "reasons": [code], "regions": [], "warnings": [], "message": message}


def _passed_over(path: Path, scale: Line, reason: str, message: str) -> Line:
    """The line of what was not examined; it has no verdict, not even an inconclusive one."""
    return start_line(path, scale) | _nothing(reason, message) | {"verdict": None}


def _describe(finding: FaceFinding) -> Line:
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
