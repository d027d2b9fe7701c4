"""All that is known of a face and its file, in the form that a language model is told it."""

from __future__ import annotations

from app.analysis import Analysis, case_of
from common.verdicts import Reason
from data_sim.dialogue import Case
from data_sim.dialogues.facts import Clip, ErrorRates, Facts, OtherFace
from kfd.calibration.error_rates import band_of
from kfd.detection import FaceFinding
from media.regions import REGION_NAMES


def facts_of(analysis: Analysis, face: int) -> Case:
    """All that is known of one face and its file, for a model that is told it; raises as `case_of` does.

    A plain case where the detector has no heat map: such a model cannot be told the values of the regions.
    """
    case, finding = case_of(analysis, face), analysis.faces[face]
    if case.score is not None and {name for name, _ in case.heat} != set(REGION_NAMES):
        return case
    quality = finding.quality
    losses = quality.jpeg_loss or 0.0, quality.video_loss or 0.0
    others = [other for other in range(len(analysis.faces)) if other != face]
    return Facts.of(
        case,
        face_pixels=round(quality.face_pixels),
        traces=band_of(*losses),
        blurred=Reason.BLURRED in finding.reasons,
        rates=_rates(analysis, finding),
        number=face + 1,
        place=_place(analysis, face) if others else "",
        others=tuple(
            OtherFace(other + 1, _place(analysis, other), analysis.faces[other].verdict) for other in others
        ),
        clip=_clip(analysis, face),
    )


def _rates(analysis: Analysis, finding: FaceFinding) -> ErrorRates | None:
    """Error rates of photographs like this one, as the report states them."""
    grid, side = analysis.models.robustness, finding.crop.box[2] - finding.crop.box[0]
    rate = None if grid is None or finding.detection is None else grid.rate_of(finding.quality, side)
    if rate is None:
        return None
    return ErrorRates(rate.false_alarms[0], None if rate.found is None else rate.found[0])


def _place(analysis: Analysis, face: int) -> str:
    """Where in the picture a face is, by thirds of it: "on the left", "at the top right"."""
    height, width = analysis.image_of(face).shape[:2]
    left, top, right, bottom = analysis.faces[face].box
    across = ("left", "", "right")[min(2, max(0, int(3 * (left + right) / (2 * width))))]
    down = ("top", "", "bottom")[min(2, max(0, int(3 * (top + bottom) / (2 * height))))]
    if down:
        return f"at the {down} {across}".rstrip()
    return f"on the {across}" if across else "in the middle"


def _clip(analysis: Analysis, face: int) -> Clip | None:
    """Length of a video and the stretches of frames that read as manipulated; None of a photograph."""
    if analysis.video is None:
        return None
    return Clip(analysis.video.seconds, len(analysis.video.sampled), analysis.video.tracks[face].stretches)
