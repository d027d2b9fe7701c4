"""What the lines of a file say."""

from __future__ import annotations

from pathlib import Path

from common.verdicts import Reason, Verdict
from kfd.calibration.error_rates import digest_of_decision
from kfd.detection import FaceFinding
from kfd.detector import Detector, NoFaceError
from kfd.examine import Examination
from kfd.scoring.opinions import SecondReader
from kfd.video import FaceTrack

SKIPPED, HIDDEN = "skipped", "hidden"
Line = dict[str, object]
Readers = tuple[SecondReader, ...]


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
        withheld = [[] if r.withheld is None else list(r.withheld.places) for r in readers]
        if any(withheld):
            scale["withheld"] = withheld
    return scale


def _digests(detector: Detector) -> Line:
    return {"checkpoint": detector.digest, "decision": digest_of_decision(detector.decision)}


def describe_all(line: Line, found: Examination) -> list[Line]:
    """The lines of a file that was examined."""
    verdict, reasons = found.whole
    line = line | {
        "faces": found.count.as_json(),
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
        empty = nothing(Reason.NO_FACE, str(NoFaceError()))
        return [line | empty | {"reasons": list(reasons)} | warnings]
    if video is None:
        return [line | _describe(finding) | warnings for finding in found.faces]
    return [line | _describe(track.finding) | warnings | {"frames": _frames(track)} for track in video.tracks]


def nothing(code: str, message: str) -> Line:
    """The fields of a file that gave no face to judge."""
    fields = {"face": None, "box": None, "score": None, "log10_lr": None, "verdict": Verdict.INCONCLUSIVE}
    return {**fields, "reasons": [code], "regions": [], "warnings": [], "message": message}


def passed_over(path: Path, scale: Line, reason: str, message: str) -> Line:
    """The line of what was not examined; it has no verdict, not even an inconclusive one."""
    return start_line(path, scale) | nothing(reason, message) | {"verdict": None}


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
