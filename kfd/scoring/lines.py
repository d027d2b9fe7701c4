"""The lines of a file: every face of it, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.verdicts import Reason, Verdict
from kfd.calibration.error_rates import digest_of_decision
from kfd.calibration.overall import count_faces, overall_verdict
from kfd.detection import FaceFinding
from kfd.detector import Detector, NoFaceError
from kfd.examine import Examination, examine_file
from kfd.opinions import SecondReader, agreement, second_opinions
from kfd.video import FaceTrack
from media.errors import INTERNAL_ERROR, MediaError, contained
from media.files import open_file

SKIPPED, HIDDEN = "skipped", "hidden"


@dataclass(frozen=True)
class Task:
    """An entry. code: "", SKIPPED or HIDDEN; words: why it is passed over."""

    path: Path
    code: str = ""
    words: str = ""


def lines_for(task: Task, detector: Detector, readers: tuple[SecondReader, ...]) -> list[dict[str, object]]:
    """The lines of an entry, passed over or not."""
    if task.code:
        return [_passed_over(task.path, detector, task.code, task.words, readers)]
    return lines_of(task.path, detector, readers)


def gave_up(detector: Detector, readers: tuple[SecondReader, ...], task: Task) -> list[dict[str, object]]:
    """The line of a file that ended two processes."""
    words = "A library that read this file ended its process, twice; the file may be damaged."
    return [start_line(task.path, detector, readers) | _nothing(INTERNAL_ERROR, words)]


def lines_of(
    path: Path, detector: Detector, readers: tuple[SecondReader, ...] = ()
) -> list[dict[str, object]]:
    """The output lines of one photograph or video, at least one, never an exception for a bad file."""
    line = start_line(path, detector, readers)
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


def start_line(path: Path, detector: Detector, readers: Sequence[SecondReader]) -> dict[str, object]:
    """What every line of a file begins with: its name, and the digests that scores and verdicts depend on."""
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
    return start_line(path, detector, readers) | _nothing(reason, message) | {"verdict": None}


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
