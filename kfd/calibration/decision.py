"""From a logit to a score to a verdict: the one rule of photographs, videos and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from common.verdicts import Reason, Verdict
from kfd.calibration.likelihood_ratio import Evidence, weigh
from kfd.config import Decision
from kfd.detection import Quality


def log_odds(decision: Decision, logits: np.ndarray) -> np.ndarray:
    """Calibrated natural log-odds of logits of any shape, float64; strictly rising, so the order stays."""
    logits = np.asarray(logits, dtype=np.float64)
    if decision.method == "logistic":
        return decision.slope * logits + decision.intercept
    return _line(logits, decision.knot_logits, decision.knot_log_odds, decision.slope)


def score_of(decision: Decision, logits: np.ndarray) -> np.ndarray:
    """Calibrated P(fake) of logits of any shape, float64 in [0, 1]."""
    return sigmoid(log_odds(decision, logits))


def logit_of(decision: Decision, score: float) -> float:
    """The detector's logit that a calibrated score in (0, 1) belongs to: the inverse of `score_of`."""
    odds = float(np.log(score) - np.log1p(-score))
    if decision.method == "logistic":
        return (odds - decision.intercept) / decision.slope
    return float(_line(np.array(odds), decision.knot_log_odds, decision.knot_logits, 1 / decision.slope))


def sigmoid(odds: np.ndarray) -> np.ndarray:
    """Probabilities of natural log-odds of any shape."""
    return 1 / (1 + np.exp(-odds))


def decide(
    decision: Decision,
    score: float | None,
    quality: Quality | None = None,
    views_gap: float | None = None,
    strangeness: float | None = None,
    also: Iterable[Reason] = (),
) -> tuple[Verdict, tuple[Reason, ...]]:
    """The verdict of a face, and the reasons where it is inconclusive.

    score: calibrated P(fake) in [0, 1]; None where the face must not be scored (see `may_be_scored`).
    quality: of the photograph; None where `also` tells all that it limits, as of a video's frames.
    views_gap: by how much the log-odds of the crop and of its mirror image differ; None where not known.
    strangeness: distance from the pictures that the decision was fitted on; None where not known.
    also: reasons found elsewhere that forbid a verdict, told first.
    Raises FloatingPointError for a score that is no probability: NaN must not pass for a low one.
    """
    if score is not None and not 0 <= score <= 1:
        raise FloatingPointError(f"expected a score in [0, 1], got {score}")
    reasons = (*also, *_limits_passed(decision, quality, views_gap, strangeness))
    if score is None:
        return Verdict.INCONCLUSIVE, reasons
    if not decision.is_fitted:  # thresholds that nobody fitted separate nothing
        return Verdict.INCONCLUSIVE, (*reasons, Reason.NOT_CALIBRATED)
    if decision.real_below < score < decision.fake_above:
        reasons += (Reason.BETWEEN_THRESHOLDS,)
    if reasons:
        return Verdict.INCONCLUSIVE, reasons
    return (Verdict.FAKE if score >= decision.fake_above else Verdict.REAL), ()


def clip_logit(decision: Decision, mean: float, frames: int) -> float:
    """The logit of a photograph that is worth as much as so many frames with this mean logit.

    Fewer frames than the line was fitted on count as one photograph.
    """
    if decision.clip_frames is None or frames < decision.clip_frames:
        return mean
    return decision.clip_slope * mean + decision.clip_intercept


def decide_track(
    decision: Decision, logits: np.ndarray, also: Sequence[Reason] = ()
) -> tuple[float, Verdict, tuple[Reason, ...]]:
    """Score, verdict and reasons of one face's track through a video.

    logits: (N,) of its frames, N >= 1, those that may be scored. The score is that of `clip_logit`.
    also: reasons that the frames themselves give against any verdict.
    Frames disagree where `clip_disagree` of them or more read as fake and as many as real: a mean would hide
    that only a part of the clip was manipulated, or that the detector wavers.
    """
    scores = score_of(decision, logits)
    split = (scores >= decision.fake_above).mean(), (scores <= decision.real_below).mean()
    score = float(score_of(decision, clip_logit(decision, float(np.mean(logits)), len(logits))))
    disagreeing = (Reason.FRAMES_DISAGREE,) if min(split) >= decision.clip_disagree else ()
    return score, *decide(decision, score, also=(*also, *disagreeing))


def may_be_scored(decision: Decision, quality: Quality) -> bool:
    """Whether a face is large enough for its score to mean anything."""
    return quality.face_pixels >= decision.min_face


def evidence_of(decision: Decision, logit: float, score: float) -> Evidence | None:
    """The worth of a logit as a likelihood ratio; None where no bounds were fitted.

    score: of this logit, as `decide` got it: which side of a threshold it lies on must not be told twice.
    """
    least, most = decision.min_log10_lr, decision.max_log10_lr
    if not decision.is_fitted or least is None or most is None:
        return None
    with np.errstate(divide="ignore"):  # thresholds of 0 and 1 are those that nothing reaches
        ends = np.array([decision.real_below, decision.fake_above])
        thresholds = tuple((np.log(ends) - np.log1p(-ends)).tolist())
    decided = not decision.real_below < score < decision.fake_above
    return weigh(float(log_odds(decision, logit)), (least, most), thresholds, decided)


def _limits_passed(
    decision: Decision, quality: Quality | None, views_gap: float | None, strangeness: float | None
) -> tuple[Reason, ...]:
    """Reasons that the photograph, and the two readings of it, give against a verdict."""
    found = []
    if quality is not None:
        if not may_be_scored(decision, quality):
            found.append(Reason.FACE_TOO_SMALL)
        if quality.sharpness < decision.min_sharpness:
            found.append(Reason.BLURRED)
        if (
            _beyond(quality.jpeg_loss, decision.max_jpeg_loss)
            or _beyond(quality.video_loss, decision.max_video_loss)
            or _beyond(decision.min_jpeg_quality, quality.jpeg_quality)
        ):
            found.append(Reason.HEAVY_COMPRESSION)
    if _beyond(strangeness, decision.max_strangeness):
        found.append(Reason.UNFAMILIAR)
    if _beyond(views_gap, decision.max_views_gap):
        found.append(Reason.VIEWS_DISAGREE)
    return tuple(found)


def _beyond(value: float | None, limit: float | None) -> bool:
    """Whether a value lies above a limit; what is not known lies above nothing."""
    return value is not None and limit is not None and value > limit


def _line(x: np.ndarray, knots: Sequence[float], values: Sequence[float], slope: float) -> np.ndarray:
    """Interpolate through the knots, and go on with `slope` beyond the first and the last."""
    inside = np.interp(x, knots, values)
    return inside + slope * (np.minimum(x - knots[0], 0) + np.maximum(x - knots[-1], 0))
