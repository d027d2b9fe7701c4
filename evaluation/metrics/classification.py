"""The metrics, each computed in one place, and the bootstrap interval of every one.

A figure is a dict that JSON can hold: `value`, `low` and `high` (95 % interval), and `reason` where one of
them cannot be known: too few items, one class alone. A missing value is None, never NaN and never a guess.

scikit-learn computes the values. It takes one weight vector at a time, so the thousand draws of the bootstrap
are computed here, all together, as weights on the items; tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    roc_auc_score,
    roc_curve,
)

from common.verdicts import Verdict

Figure = dict[str, float | str | None]

NUM_RESAMPLES = 1000  # of the bootstrap
LEVEL = 0.95  # of every interval
MIN_UNITS = 5  # independent units of a class below which an interval would be an invention
FALSE_POSITIVE_RATES = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05}
# Name of a rate: the class among which, and the verdict that is counted.
RATES = {
    "real_called_fake": (0, Verdict.FAKE), "inconclusive_real": (0, Verdict.INCONCLUSIVE),
    "fake_called_real": (1, Verdict.REAL), "inconclusive_fake": (1, Verdict.INCONCLUSIVE),
}  # fmt: skip
RANKING = ("auc", "ap", "eer", "eer_threshold", *FALSE_POSITIVE_RATES)
_CELLS = 2_000_000  # numbers of one array while draws are computed


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Measure how well scores separate real from fake.

    labels: (N,) 0 real, 1 fake. scores: (N,) any monotone measure of P(fake).
    Returns auc, ap, eer, eer_threshold, tpr_at_fpr_1 and tpr_at_fpr_5, the rates in [0, 1].
    Raises ValueError unless both classes are there.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError(
            f"metrics need real (0) and fake (1) images, got labels {sorted(set(labels.tolist()))}"
        )
    # Every threshold: scikit-learn otherwise drops points on a straight line, the crossing among them.
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    crossing = int(np.argmin(np.abs(fpr - (1 - tpr))))
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "ap": float(average_precision_score(labels, scores)),
        "eer": float((fpr[crossing] + 1 - tpr[crossing]) / 2),
        "eer_threshold": float(thresholds[crossing]),
        **{name: float(tpr[fpr <= rate].max()) for name, rate in FALSE_POSITIVE_RATES.items()},
    }


def verdict_metrics(
    labels: np.ndarray, scores: np.ndarray, threshold: float, verdicts: np.ndarray
) -> dict[str, float]:
    """Measure what decisions get right; thresholds are fitted elsewhere, on validation.

    threshold: from which on a score counts as fake where everything must be decided: acc and f1.
    verdicts: (N,) of Verdict, as users see them. real_called_fake and fake_called_real:
    share of a class with the wrong verdict; inconclusive_real, inconclusive_fake: share without one. A class
    that is absent has no rates.
    """
    labels, scores, verdicts = np.asarray(labels), np.asarray(scores), np.asarray(verdicts)
    result: dict[str, float] = {}
    if set(np.unique(labels)) == {0, 1}:
        result["acc"] = float(accuracy_score(labels, scores >= threshold))
        result["f1"] = float(f1_score(labels, scores >= threshold, zero_division=0.0))
    for name, (label, verdict) in RATES.items():
        if (labels == label).any():
            result[name] = float((verdicts == verdict)[labels == label].mean())
    return result


def figures(
    labels: np.ndarray,
    scores: np.ndarray,
    units: Sequence[str],
    threshold: float,
    verdicts: np.ndarray,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Figure]:
    """Every figure of `image_metrics` and `verdict_metrics` with its interval.

    labels: (N,) 0 or 1. scores: (N,) finite. units: (N,) what the bootstrap draws whole: a person, a video.
    """
    labels, scores, verdicts = np.asarray(labels), np.asarray(scores, dtype=np.float64), np.asarray(verdicts)
    counts = {name: int((labels == value).sum()) for value, name in enumerate(("real", "fake"))}
    values = verdict_metrics(labels, scores, threshold, verdicts)
    if all(counts.values()):
        values |= image_metrics(labels, scores)
    reasons = _reasons(values, counts)

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        rates = _weighted_rates(labels, scores, weights, threshold, verdicts)
        return rates | (weighted_metrics(labels, scores, weights) if all(counts.values()) else {})

    spread, few = draw(statistics, labels, units, num_resamples, seed)
    wanted = (*RANKING, "acc", "f1", *RATES)
    found = {name: figure_of(values.get(name), reasons.get(name), spread.get(name), few) for name in wanted}
    for name, (label, _) in RATES.items():
        if values.get(name) in (0.0, 1.0):
            # Every draw repeats a rate of 0 or 1, which is no certainty: none of ten may be one of five.
            count = len(np.unique(np.asarray(units)[labels == label]))
            low, high = wilson_interval(round(values[name] * count), count)
            found[name] = {"value": values[name], "low": low, "high": high}
    return found


def auc_figure(
    labels: np.ndarray,
    scores: np.ndarray,
    units: Sequence[str],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Figure:
    """The AUC alone, with its interval; arguments as of `figures`."""
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if set(np.unique(labels)) != {0, 1}:
        return figure_of(None, "one class alone", None)
    spread, few = draw(lambda w: weighted_metrics(labels, scores, w), labels, units, num_resamples, seed)
    return figure_of(image_metrics(labels, scores)["auc"], None, spread.get("auc"), few)


def _reasons(values: dict[str, float], counts: dict[str, int]) -> dict[str, str]:
    """Tell why a figure has no value, by its name."""
    absent = " and ".join(name for name, count in counts.items() if not count)
    reasons = {name: f"there are no {absent} items" for name in (*RANKING, "acc", "f1") if absent}
    for name, rate in FALSE_POSITIVE_RATES.items():
        if counts["real"] * rate < 1 - 1e-9:
            reasons[name] = f"{rate:.0%} of {counts['real']} real items is less than one item"
    for name, (label, _) in RATES.items():
        if not counts[("real", "fake")[label]]:
            reasons[name] = f"there are no {('real', 'fake')[label]} items"
    if not np.isfinite(values.get("eer_threshold", 0.0)):
        reasons["eer_threshold"] = "all scores are equal"
    return reasons


def _few_units(labels: np.ndarray, units: Sequence[str]) -> str:
    """Tell why there are no intervals; an empty string where there are."""
    names = np.asarray(units)
    for value, name in enumerate(("real", "fake")):
        found = len(np.unique(names[labels == value]))
        if 0 < found < MIN_UNITS:
            return f"no interval: {found} independent {name} units, at least {MIN_UNITS} are needed"
    return ""


def figure_of(
    value: float | None, reason: str | None, spread: np.ndarray | None, no_interval: str = ""
) -> Figure:
    """A figure out of its value, or of the reason why there is none, and of the bootstrap's draws of it."""
    if reason or value is None:
        return {"value": None, "low": None, "high": None, "reason": reason or "not measured"}
    low, high = interval(spread) if spread is not None else (None, None)
    figure: Figure = {"value": value, "low": low, "high": high}
    if low is None:
        figure["reason"] = no_interval or "no interval: too few draws held both classes"
    return figure


def share_of(hits: Sequence[bool]) -> Figure:
    """The share of hits with Wilson's 95 % interval."""
    if not hits:
        return figure_of(None, "nothing was counted", None)
    low, high = wilson_interval(sum(hits), len(hits))
    return {"value": sum(hits) / len(hits), "low": low, "high": high}


def interval(spread: np.ndarray) -> tuple[float | None, float | None]:
    """The percentile interval of a statistic's draws; draws without the statistic are NaN and left out.

    (None, None) when every tenth draw or more is without it.
    """
    known = spread[np.isfinite(spread)]
    if len(known) < 0.9 * len(spread):
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def draw(
    statistics: Callable[[np.ndarray], dict[str, np.ndarray]],
    labels: np.ndarray,
    units: Sequence[str],
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], str]:
    """Compute statistics on bootstrap draws of whole units.

    statistics: (D, N) weights -> name to (D,) values. labels: (N,) 0 or 1. units: (N,).
    Returns name to (num_resamples,) values and an empty string; or nothing and why there are no draws.
    """
    if few := _few_units(labels, units):
        return {}, few
    parts = [statistics(weights) for weights in resampled(units, num_resamples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, ""


def resampled(
    units: Sequence[str], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """Count how often each item is drawn when units are drawn with replacement, as many as there are.

    Yields (D, N) float64 in parts that sum to `num_resamples` rows; the parts do not change the draws.
    """
    _, member = np.unique(np.asarray(units), return_inverse=True)
    count, rng = int(member.max()) + 1, np.random.default_rng(seed)
    left, part = num_resamples, max(1, _CELLS // len(member))
    while left > 0:
        times = rng.multinomial(count, np.full(count, 1 / count), size=min(part, left))
        yield times[:, member].astype(np.float64)
        left -= len(times)


def weighted_metrics(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """`image_metrics` under D weightings of the same N items: weights (D, N) -> name to (D,).

    NaN where a weighting leaves a class out.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # equal scores are one threshold
    sorted_weights = weights[:, order]
    hits = np.cumsum(sorted_weights * (labels[order] == 1), axis=1)[:, ends]
    alarms = np.cumsum(sorted_weights * (labels[order] == 0), axis=1)[:, ends]
    thresholds = np.append(np.inf, scores[order][ends])
    zero = np.zeros((len(weights), 1))
    hits, alarms = np.hstack([zero, hits]), np.hstack([zero, alarms])
    tpr, fpr = _shares(hits), _shares(alarms)
    flagged = hits + alarms
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    known = np.isfinite(tpr[:, -1]) & np.isfinite(fpr[:, -1])
    gap = np.where(known[:, None], np.abs(fpr - (1 - tpr)), 0.0)
    crossing = gap.argmin(axis=1)
    row = np.arange(len(weights))
    result = {
        "auc": _area(fpr, tpr),
        "ap": (np.diff(tpr, axis=1) * precision[:, 1:]).sum(axis=1),
        "eer": (fpr[row, crossing] + 1 - tpr[row, crossing]) / 2,
        "eer_threshold": thresholds[crossing],
    }
    for name, rate in FALSE_POSITIVE_RATES.items():
        result[name] = np.where(fpr <= rate, tpr, 0.0).max(axis=1)
    return {name: np.where(known, values, np.nan) for name, values in result.items()}


def _shares(sums: np.ndarray) -> np.ndarray:
    """Running sums (D, T) as shares of their last; NaN where that is 0."""
    total = sums[:, -1:]
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)


def ranked_area(fake: np.ndarray, real: np.ndarray) -> np.ndarray:
    """AUC of D weightings of T scores: (D, T) weights of the fake and the real, highest score first."""
    zero = np.zeros((len(fake), 1))
    tpr, fpr = (_shares(np.hstack([zero, np.cumsum(x, axis=1)])) for x in (fake, real))
    return _area(fpr, tpr)


def _area(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Area under (D, T) curves, by trapezoids."""
    return (np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1]) / 2).sum(axis=1)


def _weighted_rates(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, threshold: float, verdicts: np.ndarray
) -> dict[str, np.ndarray]:
    """`verdict_metrics` under D weightings; NaN where a weighting leaves a class out."""

    def share(which: np.ndarray, among: np.ndarray) -> np.ndarray:
        total = weights @ among.astype(np.float64)
        hits = weights @ (which & among).astype(np.float64)
        return np.divide(hits, total, out=np.full_like(hits, np.nan), where=total > 0)

    flagged, fake = scores >= threshold, labels == 1
    found = weights @ (flagged & fake).astype(np.float64)
    named = weights @ flagged.astype(np.float64) + weights @ fake.astype(np.float64)
    return {
        "acc": share(flagged == fake, np.ones(len(labels), dtype=bool)),
        "f1": np.divide(2 * found, named, out=np.zeros_like(found), where=named > 0),
        **{name: share(verdicts == verdict, labels == label) for name, (label, verdict) in RATES.items()},
    }


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of independent items, hits of count >= 1."""
    from scipy.stats import binomtest

    found = binomtest(hits, count).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)
