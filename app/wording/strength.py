"""The strength of a finding, in sentences that an accused person and a court understand.

Likelihood ratios are worded as ENFSI's guideline for evaluative reporting (2015) asks: support for one
proposition relative to the other, never the probability of a proposition.
"""

from __future__ import annotations

from typing import Any

from app.analysis import Analysis
from app.wording.findings import flaws
from app.wording.lead import strength_of
from kfd.calibration.error_rates import LARGE, ErrorRate, Robustness, band_of
from kfd.calibration.likelihood_ratio import Evidence
from kfd.detection import FaceFinding

PROPOSITIONS = {
    "fake": "that the face was manipulated, rather than that it was not",
    "real": "that the face was not manipulated, rather than that it was",
}
COMPRESSION_WORDS = (
    "hardly any traces of compression",
    "traces of compression like those of JPEG files",
    "traces like those of videos and WebP files, or of enlarging",
    "traces of compression of more than one kind",
)
RATIO_WORDS = (
    "The likelihood ratio says how much likelier a score like this is for a manipulated face than for one "
    "that is not. It is the odds of the calibrated score, cut at the strongest ratios that the calibration "
    "faces support by the ELUB rule (Vergeer et al., Science & Justice 56, 2016). Without a verdict it is "
    "told as weaker than with one, so that two findings of equal strength never differ."
)
RATIO_KEY = (  # ENFSI's words as common.enfsi.VERBAL_SCALE has them
    "log10 LR is the logarithm to base ten of that ratio: +1 where the score is ten times as likely for a "
    "manipulated face, -1 where it is ten times as likely for one that is not, 0 where neither. Words for "
    "it, as ENFSI recommends: weak from a ratio of 2, moderate from 10, moderately strong from 100, strong "
    "from 1,000."
)
OF_PHOTOGRAPHS = "Measured on single photographs like the frame shown, not on videos or clips. "
WHAT_IT_IS_NOT = (
    "This is not the probability that the face was manipulated. That depends also on all that is known "
    "besides this file, which the reader has to weigh; the ratio says by how much this one observation "
    "should change the odds held before."
)


def evidence_words(finding: FaceFinding) -> str:
    """The strength of the evidence in one sentence; why none is stated where there is none."""
    if finding.evidence is None:
        return f"No likelihood ratio is stated, because {_why_none(finding)}."
    found = finding.evidence
    if finding.reasons:
        return "The evidence is too weak for a verdict on whether the face was manipulated or not."
    if found.support is None:
        return "The evidence supports neither proposition: that the face was manipulated, or that it was not."
    return f"The evidence gives {found.verbal} support for the proposition {PROPOSITIONS[found.support]}."


def evidence_meaning(finding: FaceFinding) -> str:
    """The meaning of the likelihood ratio, and what it does not mean; empty where there is none."""
    found = finding.evidence
    if found is None:
        return ""
    where = ("was", "was not") if found.log10_lr >= 0 else ("was not", "was")
    ratio = times(found.log10_lr)
    compared = f"about {ratio} times as likely" if ratio != "1.0" else "about as likely"
    least, most = found.bounds
    limit = (
        "The faces that the detector was calibrated on support no ratio above "
        f"{times(most)} for a manipulation and none above {times(least)} against it"
    )
    limit += "; the score alone would give a higher one, which was cut there." if found.limited else "."
    return (
        f"A score like this is {compared} where the face {where[0]} manipulated as where it {where[1]}. "
        f"{WHAT_IT_IS_NOT} {limit}"
    )


def ratio_words(finding: FaceFinding) -> str:
    """The ratio as a row of facts: "log10 LR +1.23, moderate support (range: -1.54 to +2.03)"; "" without.

    Without a verdict no word stands beside it: it would sound like that of a verdict.
    """
    found = finding.evidence
    if found is None:
        return ""
    worth = "no verdict rests on it" if finding.reasons else f"{found.verbal} support"
    return f"log10 LR {signed(found.log10_lr)}, {worth} (range: {bounds_words(found)})"


def bounds_words(found: Evidence) -> str:
    """The bounds of the log10 LR: "-1.54 to +2.03"."""
    return f"{signed(found.bounds[0])} to {signed(found.bounds[1])}"


def signed(log10_lr: float) -> str:
    """Two decimals with the sign; a plain hyphen for minus, which every font of the report has."""
    return f"{round(log10_lr, 2) + 0.0:+.2f}"


def times(log10_lr: float) -> str:
    """By what factor the likelier proposition explains the observation better: "1.4", "17", "120"."""
    ratio = 10 ** abs(log10_lr)
    return f"{ratio:.1f}" if ratio < 9.95 else f"{float(f'{ratio:.2g}'):.0f}"


def error_rate_of(analysis: Analysis, finding: FaceFinding) -> ErrorRate | None:
    """The measured error rates of photographs like the present one, where there are any.

    None where the photograph forbids a verdict: such a face is called neither.
    """
    grid = analysis.models.robustness
    return None if grid is None or flaws(finding) else grid.rate_of(finding.quality, _crop_side(finding))


def error_rate_words(analysis: Analysis, finding: FaceFinding) -> str:
    """The error rate on photographs like this one, and how many were measured."""
    grid = analysis.models.robustness
    if grid is None:
        return "How often this detector errs on photographs of this kind has not been measured."
    if flaws(finding):
        return "The face got no verdict, so there is none that could be wrong."
    rate = error_rate_of(analysis, finding)
    if rate is None:
        return (
            "How often the detector errs on photographs of this kind is not known: too few of them were "
            f"measured ({_kind_words(grid.image_size, finding)})."
        )
    of_photographs = "" if analysis.video is None else OF_PHOTOGRAPHS
    fakes = ""
    if rate.found is not None:
        fakes = (
            f" Of the readings of {rate.fake} manipulated ones, {_percent(rate.found)} did; the others would "
            "have been missed or left without a verdict."
        )
    return (
        f"{of_photographs}Photographs of this kind ({_kind_words(grid.image_size, finding)}): {rate.real} "
        "genuine ones were tested, each as often as one of its copies, compressed or otherwise degraded, was "
        "of this kind. "
        f"{_percent(rate.false_alarms)} of these readings reached the score from which a face counts as "
        f"manipulated, and so would have been called manipulated wrongly.{fakes}{_seen_before(grid)} All "
        "come from the sources that the detector was calibrated on; on photographs from elsewhere expect "
        "more errors."
    )


def strength_data(analysis: Analysis, finding: FaceFinding) -> dict[str, Any]:
    """Both as plain values for the report."""
    found, rate = finding.evidence, error_rate_of(analysis, finding)
    ratio = {"words": evidence_words(finding), "meaning": evidence_meaning(finding), "log10_lr": None}
    if found is not None:
        ratio |= {
            "log10_lr": round(found.log10_lr, 2),
            "bounds": list(found.bounds),
            "limited": found.limited,
            "support": None if finding.reasons else found.support,
            "verbal": strength_of(finding),
            "row": ratio_words(finding),
        }
    errors: dict[str, Any] = {"words": error_rate_words(analysis, finding), "real": None}
    if rate is not None:
        errors |= {"real": rate.real, "false_alarms": list(rate.false_alarms), "fake": rate.fake}
        errors |= {"found": None if rate.found is None else list(rate.found)}
    return {"evidence": ratio, "error_rate": errors}


def _seen_before(grid: Robustness) -> str:
    """A warning where the photographs measured are those that chose checkpoint and thresholds."""
    if grid.split == "test":
        return ""
    return (
        " These are largely the photographs by which the detector was chosen and that score was set, so the "
        "rates look better than they are."
    )


def _why_none(finding: FaceFinding) -> str:
    return flaws(finding) or "its bounds were not fitted for this detector"


def _kind_words(image_size: int, finding: FaceFinding) -> str:
    limit = round(LARGE * image_size)
    size = "at least" if _crop_side(finding) >= LARGE * image_size else "less than"
    # A quality without estimates of compression comes only from findings made by hand.
    band = COMPRESSION_WORDS[band_of(finding.quality.jpeg_loss or 0.0, finding.quality.video_loss or 0.0)]
    return f"the square around the face is {size} {limit} pixels wide; {band}"


def _crop_side(finding: FaceFinding) -> float:
    return finding.crop.box[2] - finding.crop.box[0]


def _percent(share: tuple[float, float, float]) -> str:
    value, low, high = (100 * part for part in share)
    digits = 1 if value < 10 else 0
    # A no-break space, or the sign may begin a line of the report.
    return f"{value:.{digits}f}\u00a0% (95\u00a0% interval {low:.{digits}f} to {high:.{digits}f}\u00a0%)"
