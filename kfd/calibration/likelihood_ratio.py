"""Likelihood ratios: how strongly a score speaks, and measures of how far that can be trusted.

A likelihood ratio (LR) says how much likelier the observation is where the face was manipulated than where
it was not. A calibrated score that takes both as equally frequent has it as its odds, so log10 LR is the
calibrated log-odds over ln 10. Throughout, `log10_lrs` are (N,) and `labels` (N,) 0 real, 1 fake.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.enfsi import NO_SUPPORT, verbal_of
from common.verdicts import Verdict

LN10 = math.log(10)
STEP = 0.0101  # of log10 LR: more than a hundredth, so that no two that are this far apart are told alike
ECE_BINS = 10


@dataclass(frozen=True)
class Evidence:
    """The worth of the score of one face.

    log10_lr: log10 likelihood ratio, positive for manipulation, never beyond the bounds.
    bounds: (least, most) log10 LR that the calibration faces support.
    limited: whether the score alone would have given one beyond the bounds.
    support: FAKE, REAL, or None where it speaks for neither.
    verbal: a word of common.enfsi.VERBAL_SCALE for its strength, or NO_SUPPORT.
    """

    log10_lr: float
    bounds: tuple[float, float]
    limited: bool
    support: Verdict | None
    verbal: str


def weigh(
    log_odds: float,
    bounds: tuple[float, float],
    thresholds: tuple[float, float] | None = None,
    decided: bool = True,
) -> Evidence:
    """The evidence of a calibrated natural log-odds, cut at the bounds (log10).

    thresholds: natural log-odds up to which a face reads as real, and from which as fake; None: no verdicts.
    decided: whether this one lies beyond either. Two faces of equal strength must not get different verdicts:
    where a threshold lies beyond a bound, what lies before it is lowered in proportion, so that the bound is
    reached by faces with a verdict only; and faces without one are told as weaker by STEP at least.
    """
    free = log_odds / LN10
    limited = not bounds[0] <= free <= bounds[1]
    log10_lr = min(max(free, bounds[0]), bounds[1])
    if thresholds is not None and not decided:
        least, most = (t / LN10 for t in thresholds)
        told = max(least, bounds[0]), min(most, bounds[1])  # the strength of the weakest faces with a verdict
        end, reached = (most, told[1]) if free > 0 else (least, told[0])
        if abs(end) > abs(reached):
            log10_lr = free * reached / end
        lowest, highest = told[0] + STEP, told[1] - STEP
        log10_lr = min(max(log10_lr, lowest), highest) if lowest < highest else sum(told) / 2
    verbal = verbal_of(log10_lr)
    support = None if verbal == NO_SUPPORT else Verdict.FAKE if log10_lr > 0 else Verdict.REAL
    return Evidence(log10_lr, bounds, limited, support, verbal)


def cllr(log10_lrs: np.ndarray, labels: np.ndarray) -> float:
    """The log-likelihood-ratio cost (Brümmer and du Preez, 2006): 0 is perfect, 1 says nothing.

    Both classes count equally. Raises ValueError unless both are there.
    """
    fake, real = _by_class(log10_lrs, labels)
    missed, alarmed = np.logaddexp2(0, -fake / np.log10(2)), np.logaddexp2(0, real / np.log10(2))
    return float((missed.mean() + alarmed.mean()) / 2)


def cllr_min(scores: np.ndarray, labels: np.ndarray) -> float:
    """Cllr after the best monotone recalibration (PAV): what the separation alone costs."""
    return cllr(pav_log10_lrs(scores, labels), labels)


def pav_log10_lrs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log10 LR of every score by pooling adjacent violators, fitted on these very faces; may be infinite."""
    from sklearn.isotonic import IsotonicRegression

    labels = np.asarray(labels)
    _by_class(scores, labels)
    prior = labels.mean()
    weights = np.where(labels == 1, 0.5 / prior, 0.5 / (1 - prior))
    probability = IsotonicRegression(y_min=0, y_max=1).fit_transform(scores, labels, sample_weight=weights)
    with np.errstate(divide="ignore"):
        return np.log10(probability) - np.log10(1 - probability)


def brier(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared error of P(fake), both classes counting equally; 0.25 says nothing."""
    fake, real = _by_class(scores, labels)
    return float((np.mean((1 - fake) ** 2) + np.mean(real**2)) / 2)


def expected_calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = ECE_BINS) -> float:
    """Mean gap between P(fake) and the share of fakes over equal-width bins, classes counting equally."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    fake, real = _by_class(scores, labels)
    weights = np.where(labels == 1, 0.5 / len(fake), 0.5 / len(real))
    place = np.minimum((scores * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights * (scores - labels), minlength=bins)
    return float(np.abs(gap).sum())


def empirical_bounds(
    log10_lrs: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
) -> tuple[float, float]:
    """The strongest log10 LRs that these faces support, (least, most), by the ELUB rule.

    Empirical lower and upper bounds (Vergeer, van Es, de Jongh, Alberink and Stoel, Science & Justice 56,
    2016, "Numerical likelihood ratios outputted by LR systems are often based on extrapolation"): one
    maximally misleading face is added to each class; an LR t is supported as long as deciding by the
    threshold t costs no more than deciding without the system, (n1 misses + 1) / (n1 + 1) +
    t (n0 false alarms + 1) / (n0 + 1) <= min(1, t). With perfect separation that gives no more than about
    the number of real faces in one direction, and of fakes in the other.

    groups: (N,) what is not independent; a group counts as one face, however many it holds.
    """
    labels = np.asarray(labels)
    _by_class(log10_lrs, labels)
    weights = _group_weights(labels, groups)
    fake, real = labels == 1, labels == 0
    counts = weights[fake].sum(), weights[real].sum()

    def holds(threshold: float) -> bool:
        """Whether a threshold (log10) is better than none; LRs equal to it count as errors."""
        at_least, at_most = log10_lrs >= threshold - 1e-12, log10_lrs <= threshold + 1e-12
        missed = (weights[fake & at_most].sum() + 1) / (counts[0] + 1)
        alarmed = (weights[real & at_least].sum() + 1) / (counts[1] + 1)
        return missed + 10**threshold * alarmed <= min(1.0, 10**threshold)

    steps = np.arange(0.0, 9.0, 0.01)
    return -_last(steps, lambda step: holds(-step)), _last(steps, holds)


def _last(steps: np.ndarray, holds) -> float:
    """The last of the rising steps before the first that does not hold; 0 where none does."""
    reached = 0.0
    for step in steps:
        if not holds(step):
            break
        reached = float(step)
    return round(reached, 2)


def _group_weights(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """(N,) so that the faces of one class and group weigh one together."""
    if groups is None:
        return np.ones(len(labels))
    keys = np.char.add(np.asarray(groups).astype(str), labels.astype(str))
    _, member = np.unique(keys, return_inverse=True)
    return 1 / np.bincount(member)[member]


def coverage_accuracy(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy among the faces that are decided, as fewer and fewer of them are.

    Faces are decided in the order of their distance from an even score, the farthest first, those of one
    distance together; fake where the score is above a half. Classes count equally.
    Returns coverage (K,) rising to 1 and accuracy (K,), K distances.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    fake, real = _by_class(scores, labels)
    distance = np.abs(scores - 0.5)
    order = np.argsort(-distance, kind="stable")
    ends = np.flatnonzero(np.diff(distance[order], append=-1))
    weights = np.where(labels == 1, 0.5 / len(fake), 0.5 / len(real))[order]
    right = ((scores > 0.5) == (labels == 1))[order]
    coverage = np.cumsum(weights)
    return coverage[ends], (np.cumsum(weights * right) / coverage)[ends]


def _by_class(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of fakes and of reals."""
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels)
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError(f"both real (0) and fake (1) faces are needed, got {sorted(set(labels.tolist()))}")
    return values[labels == 1], values[labels == 0]
