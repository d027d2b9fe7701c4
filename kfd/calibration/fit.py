"""From logits to calibrated scores, likelihood ratios and thresholds, on validation images only.

Two calibrations are tried, both scikit-learn's: logistic (Platt; two numbers, monotone everywhere) and
isotonic (a line along the pooled blocks; bends where the logits ask for it). The one with the lower Cllr on
faces it was not fitted on is kept, in five folds that never split a group; isotonic must win by MARGIN,
because it has more ways to be wrong beyond the faces it saw.
"""

from __future__ import annotations

import numpy as np

from common.enfsi import VERBAL_SCALE
from kfd.calibration import likelihood_ratio as evidence
from kfd.calibration.decision import log_odds, sigmoid
from kfd.config import Decision

FALSE_ALARM_RATE = 0.02  # share of a source's real validation faces that may score at or above fake_above
MISS_RATE = 0.15  # share of fake validation faces that may score at or below real_below
WEAKEST = VERBAL_SCALE[-1][0]  # likelihood ratio, or its inverse, without which there is no verdict
FOLDS = 5
MARGIN = 0.005  # of Cllr
OWN_RATE = 50  # real groups from which a source keeps FALSE_ALARM_RATE by itself; smaller ones do together
MAX_KNOTS = 12  # of the isotonic line
TILT = 1e-3  # of log-odds from knot to knot where the line is flat: it has an inverse
EXTREMES = 1e-3, 1 - 1e-3  # scores between which the thresholds lie


def fit_decision(
    logits: np.ndarray,
    labels: np.ndarray,
    fitted_on: str,
    groups: np.ndarray | None = None,
    sources: np.ndarray | None = None,
) -> Decision:
    """Fit calibration, bounds of the likelihood ratio, and the two thresholds of the verdict.

    logits: (N,) of validation images. labels: (N,) 0 real, 1 fake; the classes are weighted
    equally, so the score answers "if real and fake were equally likely beforehand".
    fitted_on: words for the report that name the images.
    groups: (N,) what is not independent of each other; every face by itself where None.
    sources: (N,) where the images come from, see `false_alarm_limit`.
    Raises ValueError when a higher logit does not mean a more likely fake, or a class is missing.
    """
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    groups = np.arange(len(labels)).astype(str) if groups is None else np.asarray(groups).astype(str)
    calibration, held_out = choose(logits, labels, groups)
    odds = log_odds(calibration, logits)
    real = labels == 0
    of_reals = logits[real], groups[real], None if sources is None else np.asarray(sources)[real]
    limit = false_alarm_limit(*of_reals)
    limits = [float(log_odds(calibration, limit)), np.quantile(odds[labels == 1], MISS_RATE)]
    fake_above, real_below = sigmoid(np.array(limits)).tolist()
    least, most = ratio_bounds(held_out / evidence.LN10, labels, groups, sources)
    return Decision(
        calibration.slope,
        calibration.intercept,
        fake_above=_up(min(max(fake_above, WEAKEST / (1 + WEAKEST)), EXTREMES[1])),
        real_below=_down(max(min(real_below, 1 / (1 + WEAKEST)), EXTREMES[0])),
        fitted_on=fitted_on,
        method=calibration.method,
        knot_logits=calibration.knot_logits,
        knot_log_odds=calibration.knot_log_odds,
        min_log10_lr=least,
        max_log10_lr=most,
        measured=calibration_figures(held_out, labels, groups) | _alarm_figures(left_out_alarms(*of_reals)),
    )


def ratio_bounds(
    log10_lrs: np.ndarray, labels: np.ndarray, groups: np.ndarray, sources: np.ndarray | None = None
) -> tuple[float, float]:
    """The strongest log10 LRs that the faces support; for manipulation, also every large source by itself.

    A source whose real faces often look manipulated would be drowned by the others, and who brings such a
    photograph would be accused with their weight.

    log10_lrs, labels, groups: as evidence.empirical_bounds takes them. sources: (N,), or None for one.
    """
    least, most = evidence.empirical_bounds(log10_lrs, labels, groups)
    for name in [] if sources is None else sorted(set(np.asarray(sources).tolist())):
        own = (labels == 0) & (np.asarray(sources) == name)
        if len(set(groups[own])) >= OWN_RATE:
            part = own | (labels == 1)
            most = min(most, evidence.empirical_bounds(log10_lrs[part], labels[part], groups[part])[1])
    return least, most


def choose(logits: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple[Decision, np.ndarray]:
    """The better calibration, fitted on everything, and the (N,) log-odds it gave each face held out."""
    logistic = fit_logistic(logits, labels)
    folds = _folds(labels, groups)
    held_out = {fit: _held_out(fit, logits, labels, folds) for fit in (fit_logistic, fit_isotonic)}
    cost = {fit: evidence.cllr(values / evidence.LN10, labels) for fit, values in held_out.items()}
    if cost[fit_isotonic] + MARGIN < cost[fit_logistic]:
        return fit_isotonic(logits, labels), held_out[fit_isotonic]
    return logistic, held_out[fit_logistic]


def fit_logistic(logits: np.ndarray, labels: np.ndarray) -> Decision:
    """Platt's calibration. Raises ValueError when it does not rise, or a class is missing."""
    from sklearn.linear_model import LogisticRegression

    if set(np.unique(labels)) != {0, 1}:
        raise ValueError(f"calibration needs real (0) and fake (1) faces, got {sorted(set(labels.tolist()))}")
    fitted = LogisticRegression(C=1e3, class_weight="balanced").fit(logits[:, None], labels)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        raise ValueError(f"the detector does not separate real from fake on validation (slope {slope:.3f})")
    return Decision(slope, intercept)


def fit_isotonic(logits: np.ndarray, labels: np.ndarray) -> Decision:
    """A rising line through the centres of MAX_KNOTS equal parts of the faces, at the odds that pooling
    adjacent violators gives them.

    One misleading face is added at either end, so that no part is certain. Parts that were pooled keep their
    common odds, but for TILT. Falls back to the logistic one where all logits are equal.
    """
    from sklearn.isotonic import IsotonicRegression

    logistic = fit_logistic(logits, labels)
    x = np.concatenate([logits, [logits.min(), logits.max()]])
    y = np.concatenate([labels, [1, 0]])
    weights = np.where(y == 1, 0.5 / (y == 1).sum(), 0.5 / (y == 0).sum())
    fitted = IsotonicRegression().fit_transform(x, y, sample_weight=weights)
    order = np.argsort(x, kind="stable")
    bins = np.array_split(order, min(MAX_KNOTS, len(order) // 2))
    centres = np.array([np.average(x[part], weights=weights[part]) for part in bins])
    means = np.array([np.average(fitted[part], weights=weights[part]) for part in bins])
    # Every part stays a knot: a line from the first part of a flat block to the next overstates the others.
    odds = np.log(means) - np.log1p(-means) + TILT * np.arange(len(bins))
    x_knots, first = np.unique(np.round(centres, 5), return_index=True)
    if len(first) < 2:
        return logistic
    return Decision(
        logistic.slope,
        logistic.intercept,
        method="isotonic",
        knot_logits=tuple(x_knots.tolist()),
        knot_log_odds=tuple(np.round(odds[first], 5).tolist()),
    )


def calibration_figures(held_out: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Measure the calibration on faces it was not fitted on. held_out: (N,) natural log-odds."""
    scores = sigmoid(held_out)
    return {
        "real": int((labels == 0).sum()),
        "fake": int((labels == 1).sum()),
        "real_groups": len(set(groups[labels == 0])),
        "fake_groups": len(set(groups[labels == 1])),
        "cllr": round(evidence.cllr(held_out / evidence.LN10, labels), 4),
        "cllr_min": round(evidence.cllr_min(held_out, labels), 4),
        "brier": round(evidence.brier(scores, labels), 4),
        "ece": round(evidence.expected_calibration_error(scores, labels), 4),
    }


def false_alarm_limit(logits: np.ndarray, groups: np.ndarray, sources: np.ndarray | None = None) -> float:
    """The least logit that keeps FALSE_ALARM_RATE over all real faces and in every source.

    A mean over sources hides the people that one of them shows. How much a source never seen may exceed the
    rate is measured by leaving each one out (`left_out_alarms`).

    logits: (N,) of real faces. groups: (N,) what is not independent. sources: (N,), or None for one.
    """
    parts = [np.ones(len(logits), dtype=bool), *_source_parts(groups, sources).values()]
    return max(float(np.quantile(logits[part], 1 - FALSE_ALARM_RATE, method="higher")) for part in parts)


def left_out_alarms(
    logits: np.ndarray, groups: np.ndarray, sources: np.ndarray | None = None
) -> dict[str, float]:
    """Shares of each source's real faces at or above the limit that all other sources give, by source.

    Arguments as `false_alarm_limit` takes them; empty where there are fewer than two sources.
    """
    parts = _source_parts(groups, sources)
    if len(parts) < 2:
        return {}
    limits = {
        name: false_alarm_limit(logits[~own], groups[~own], sources[~own]) for name, own in parts.items()
    }
    return {name: float(np.mean(logits[own] >= limits[name])) for name, own in parts.items()}


def _alarm_figures(alarms: dict[str, float]) -> dict[str, float]:
    """Mean and highest rate of false alarms in a source left out, for `Decision.measured`."""
    if not alarms:
        return {}
    rates = list(alarms.values())
    return {"left_out_alarms": round(float(np.mean(rates)), 4), "left_out_alarms_worst": round(max(rates), 4)}


def _source_parts(groups: np.ndarray, sources: np.ndarray | None) -> dict[str, np.ndarray]:
    """(N,) masks of the sources of at least OWN_RATE groups; the others are one part, if so many together."""
    if sources is None:
        return {}
    named = {name: sources == name for name in sorted(set(sources.tolist()))}
    large = {name: own for name, own in named.items() if len(set(groups[own])) >= OWN_RATE}
    small = ~np.isin(sources, list(large))
    return large | ({"small sources": small} if len(set(groups[small])) >= OWN_RATE else {})


def _up(score: float) -> float:
    """Three decimals, never below the score: rounding down would let one more real face through."""
    return float(np.ceil(score * 1000 - 1e-9) / 1000)


def _down(score: float) -> float:
    """Three decimals, never above the score: rounding up would let one more fake through."""
    return float(np.floor(score * 1000 + 1e-9) / 1000)


def _folds(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) number of the fold of each face; groups stay whole."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(set(groups[labels == label])) for label in (0, 1))
    if fewest < 2:
        raise ValueError(f"calibration needs at least 2 groups of real and of fake faces, got {fewest}")
    splitter = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    fold = np.zeros(len(labels), dtype=int)
    for number, (_, held) in enumerate(splitter.split(labels, labels, groups)):
        fold[held] = number
    return fold


def _held_out(fit, logits: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    values = np.zeros(len(logits))
    for number in sorted(set(folds.tolist())):
        held = folds == number
        values[held] = log_odds(fit(logits[~held], labels[~held]), logits[held])
    return values
