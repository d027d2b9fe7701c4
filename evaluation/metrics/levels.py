"""From scored faces to figures: per kind of fake, per source, at frame and at video level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from common.verdicts import Verdict
from evaluation.metrics.classification import NUM_RESAMPLES, Figure, auc_figure, draw, figure_of, figures
from evaluation.metrics.video import METHODS, Method, VideoKey, video_scores, video_thresholds
from evaluation.results import SIMULATED, Item
from kfd.calibration.decision import clip_logit, log_odds, logit_of, score_of, sigmoid
from kfd.calibration.likelihood_ratio import ECE_BINS, LN10
from kfd.config import Decision

SEED = 0  # of the bootstrap
COVERAGES = (0.25, 0.5, 0.75, 1.0)  # shares of the faces, the surest first, whose accuracy is told
Level = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Comparison:
    """Real and fake items that belong together. positions: (N,) places in the list of items."""

    name: str
    positions: np.ndarray


def comparisons(items: Sequence[Item]) -> list[Comparison]:
    """Each kind of fake against the reals of its own sources; each source as a whole; the simulation.

    Another source's reals would let a detector win by telling the sources apart; they stand in only where
    a source has none of its own.
    """
    reals: dict[str, list[int]] = {}
    kinds: dict[str, list[int]] = {}
    sources: dict[str, list[int]] = {}
    simulated = []
    for place, item in enumerate(items):
        if item.kind == SIMULATED:
            simulated.append(place)
            continue
        sources.setdefault(item.source, []).append(place)
        if item.label == "real":
            reals.setdefault(item.source, []).append(place)
        else:
            kinds.setdefault(item.kind, []).append(place)
    everywhere = [place for places in reals.values() for place in places]
    found = {}
    for kind, fakes in sorted(kinds.items()):
        partners = [p for s in sorted({items[f].source for f in fakes}) for p in reals.get(s, [])]
        found[kind] = (partners or everywhere) + fakes
    for source, places in sorted(sources.items()):
        found[f"all {source}"] = ([] if source in reals else everywhere) + places
    if simulated:
        found[SIMULATED] = simulated
    return [Comparison(name, np.array(places)) for name, places in found.items()]


def frame_level(items: Sequence[Item], decision: Decision, num_resamples: int = NUM_RESAMPLES) -> Level:
    """Figures of every comparison, each face on its own, by its own verdict.

    Beside them `reasons`: how many real and fake faces are inconclusive for which reason.
    """
    logits = np.array([item.logit for item in items])
    threshold = logit_of(decision, decision.fake_above)
    level = {}
    for comparison in comparisons(items):
        some = [items[i] for i in comparison.positions]
        verdicts = np.array([item.verdict for item in some])
        found = _figures(some, logits[comparison.positions], threshold, verdicts, num_resamples)
        found["eer_threshold"] = _as_score(found["eer_threshold"], decision)
        found["reasons"] = {
            label: Counter(r for i in some if i.label == label for r in i.reasons.split("|") if r)
            for label in ("real", "fake")
        }
        level[comparison.name] = found
    return level


def score_videos(items: Sequence[Item], decision: Decision, method: Method) -> dict[VideoKey, float]:
    """One score per video (evaluation.metrics.video), a mean carried as page and report carry it."""
    carry = partial(clip_logit, decision) if method == "mean" else None
    return video_scores([item.frame for item in items], method, decision.fake_above, carry)


def video_level(
    items: Sequence[Item], decision: Decision, method: Method, num_resamples: int = NUM_RESAMPLES
) -> Level:
    """Figures of every comparison, each video with one score; see evaluation.metrics.video.

    A video's verdict follows from its score alone, by the decision's thresholds.
    """
    fake_above, real_below = video_thresholds(
        method, decision.fake_above, decision.real_below, lambda score: logit_of(decision, score)
    )
    scores = score_videos(items, decision, method)
    level = {}
    for comparison in comparisons(items):
        videos = videos_of([items[i] for i in comparison.positions])
        values = np.array([scores[key] for key in videos])
        verdicts = np.select(
            [values >= fake_above, values <= real_below], [Verdict.FAKE, Verdict.REAL], Verdict.INCONCLUSIVE
        )
        found = _figures(list(videos.values()), values, fake_above, verdicts, num_resamples)
        if method not in ("vote", "fusion"):
            found["eer_threshold"] = _as_score(found["eer_threshold"], decision)
        level[comparison.name] = found
    return level


def coverage_name(share: float) -> str:
    """Key of the accuracy among the `share` of faces that are decided: 0.25 -> acc_of_25."""
    return f"acc_of_{round(100 * share)}"


def calibration_level(items: Sequence[Item], decision: Decision, num_resamples: int = NUM_RESAMPLES) -> Level:
    """Cllr, Brier score and expected calibration error of every comparison with both classes, by face.

    The log-odds are those that users are told: cut at the bounds that the calibration faces support.
    """
    uncut = odds = log_odds(decision, np.array([item.logit for item in items]))
    if decision.min_log10_lr is not None:
        odds = odds.clip(decision.min_log10_lr * LN10, decision.max_log10_lr * LN10)
    level: Level = {}
    for comparison in comparisons(items):
        some = [items[i] for i in comparison.positions]
        if len({item.label for item in some}) == 2:
            where = comparison.positions
            level[comparison.name] = _calibration(some, odds[where], uncut[where], num_resamples)
    return level


def _calibration(
    items: Sequence[Item], odds: np.ndarray, uncut: np.ndarray, num_resamples: int
) -> dict[str, object]:
    """The measures of kfd.calibration.likelihood_ratio as figures; both classes count alike in each draw.

    Among them the accuracy of the share COVERAGES of the faces whose scores are furthest from even.
    odds, uncut: (N,) log-odds at the bounds and before: cut, the surest would all be equally sure.
    """
    labels, scores = labels_of(items), sigmoid(odds)
    surprise = np.logaddexp2(0, np.where(labels == 1, -odds, odds) / np.log(2))  # of Cllr, in bits
    bins = np.minimum((scores * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = (scores - labels)[:, None] * np.eye(ECE_BINS)[bins]
    surest = np.argsort(-np.abs(uncut), kind="stable")
    ends = np.flatnonzero(
        np.diff(np.abs(uncut)[surest], append=-1)
    )  # who is equally sure is decided together
    right = ((uncut > 0) == (labels == 1))[surest]

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        # NaN, and so left out, where a draw holds one class alone, or none of the surest.
        with np.errstate(invalid="ignore", divide="ignore"):
            halves = [
                w / (2 * w.sum(axis=1, keepdims=True)) for w in (weights * (labels == c) for c in (0, 1))
            ]
            even = halves[0] + halves[1]
            covered = even[:, surest].cumsum(axis=1)[:, ends]
            accuracy = (even[:, surest] * right).cumsum(axis=1)[:, ends] / covered
        accuracies = {}
        for share in COVERAGES:  # the last within the share; at least the surest
            last = ((covered <= share + 1e-9).sum(axis=1, keepdims=True) - 1).clip(min=0)
            accuracies[coverage_name(share)] = np.take_along_axis(accuracy, last, 1)[:, 0]
        return accuracies | {"cllr": even @ surprise, "brier": even @ (scores - labels) ** 2,
                "ece": np.abs(even @ gaps).sum(axis=1)}  # fmt: skip

    spread, few = draw(statistics, labels, [item.unit for item in items], num_resamples, SEED)
    values = statistics(np.ones((1, len(labels))))
    return {name: figure_of(float(value[0]), None, spread.get(name), few) for name, value in values.items()}


def aggregations(
    items: Sequence[Item], decision: Decision, num_resamples: int = NUM_RESAMPLES
) -> dict[str, dict[str, Figure]]:
    """AUC at video level by way of aggregation, method -> comparison -> figure.

    To choose among them is a choice like any other: on validation.
    """
    local = all(item.local is not None for item in items)
    result: dict[str, dict[str, Figure]] = {}
    for method in (m for m in METHODS if local or m != "fusion"):
        scores = score_videos(items, decision, method)
        for comparison in comparisons(items):
            videos = videos_of([items[i] for i in comparison.positions])
            values = np.array([scores[key] for key in videos])
            figure = auc_of(list(videos.values()), values, num_resamples)
            result.setdefault(method, {})[comparison.name] = figure
    return result


def has_videos(items: Sequence[Item]) -> bool:
    """Whether any video has more than one face; without one, the video level says nothing new."""
    keys = [item.frame.key for item in items]
    return len(set(keys)) < len(keys)


def auc_of(items: Sequence[Item], values: np.ndarray, num_resamples: int = NUM_RESAMPLES) -> Figure:
    """AUC of one value per item, with its interval."""
    return auc_figure(labels_of(items), values, [item.unit for item in items], num_resamples, SEED)


def labels_of(items: Sequence[Item]) -> np.ndarray:
    """(N,) 0 real, 1 fake."""
    return np.array([int(item.label == "fake") for item in items])


def _as_score(figure: Figure, decision: Decision) -> Figure:
    """A threshold on the logit, as the calibrated score that users see."""

    def score(logit: float | str | None) -> float | str | None:
        if not isinstance(logit, float):
            return logit
        return float(score_of(decision, logit))

    return {name: score(value) for name, value in figure.items()}


def videos_of(items: Sequence[Item]) -> dict[VideoKey, Item]:
    """The first item of every video, for its label and unit."""
    found: dict[VideoKey, Item] = {}
    for item in items:
        found.setdefault(item.frame.key, item)
    return found


def _figures(
    items: Sequence[Item], values: np.ndarray, threshold: float, verdicts: np.ndarray, num_resamples: int
) -> dict[str, object]:
    labels, units = labels_of(items), [item.unit for item in items]
    return {
        "real": int((labels == 0).sum()),
        "fake": int((labels == 1).sum()),
        "units": len(set(units)),
        **figures(labels, values, units, threshold, verdicts, num_resamples, SEED),
    }
