"""The words that lead: one verdict and how strong it is; the score it rests on stands further down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.wording.findings import clock, photo_sentence
from common.verdicts import Reason, Verdict
from data_sim.dialogue import join_words
from kfd.detection import FaceFinding

if TYPE_CHECKING:
    from app.analysis import Analysis

MAX_STRETCHES = 4  # that are told one by one

PARTLY = "No verdict on the whole clip"
STRENGTH = "Strength of the evidence: {word}, on a scale from weak to extremely strong."
EVEN = "The evidence supports neither side."
WITHOUT = "No strength is stated without a verdict."


def headline(finding: FaceFinding) -> str:
    """The verdict on a face, in the words that stand largest."""
    return PARTLY if Reason.FRAMES_DISAGREE in finding.reasons else finding.verdict.words


def strength_of(finding: FaceFinding) -> str:
    """The word for the strength of a verdict; "" without one, so that no verdict sounds like a weak one."""
    return "" if finding.evidence is None or finding.reasons else finding.evidence.verbal


def strength_line(finding: FaceFinding) -> str:
    """The sentence under the headline; "" where a verdict has no likelihood ratio."""
    if finding.reasons:
        return WITHOUT
    if finding.evidence is None:
        return ""
    return STRENGTH.format(word=finding.evidence.verbal) if finding.evidence.support else EVEN


def stretches_words(stretches: Sequence[tuple[float, float]]) -> str:
    """The stretches of a clip that read as manipulated, in one sentence; "" where none does.

    stretches: (first, last) seconds of each; equal where it is a single frame.
    """
    if not stretches:
        return ""
    told = [_stretch(*stretch) for stretch in stretches[:MAX_STRETCHES]]
    more = len(stretches) - len(told)
    told += [f"{more} more {'stretch' if more == 1 else 'stretches'}"] if more else []
    words = f"{join_words(told)} {'reads' if len(stretches) == 1 else 'read'} as manipulated."
    return words[:1].upper() + words[1:]


def whole_sentence(analysis: Analysis) -> str:
    """The finding about the whole file; of a clip of one person with the stretches of it."""
    when = stretches_of(analysis, 0) if len(analysis.faces) == 1 else ""
    return f"{photo_sentence(analysis)} {when}".rstrip()


def _stretch(first: float, last: float) -> str:
    return f"the frame at {clock(first)}" if first == last else f"{clock(first)} to {clock(last)}"


def stretches_of(analysis: Analysis, face: int) -> str:
    """The same about a person of a video; "" of a photograph, and of a person without signs.

    Where all frames together show no signs, single ones that read otherwise are told by the timeline alone.
    """
    if analysis.video is None or analysis.faces[face].verdict == Verdict.REAL:
        return ""
    return stretches_words(analysis.video.tracks[face].stretches)
