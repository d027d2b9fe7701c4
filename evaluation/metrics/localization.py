"""Localization of the heat map: pixel AUC, IoU and pointing game, with intervals.

A map is reduced to counts as soon as it is there, so that thousands of them need no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from evaluation.metrics.classification import NUM_RESAMPLES, Figure, draw, figure_of, ranked_area
from kfd.calibration.map_cut import forged_pixels, overlap

BINS = 1024  # of the logit; pixels of one bin count as equal
SPAN = 12.0  # logits beyond are cut; sigmoid(-12) is 6e-6


@dataclass(frozen=True)
class MapCounts:
    """Counts that N heat maps and masks come down to.

    forged, pristine: (N, BINS) pixels inside and outside the mask by the map's logit, ascending.
    iou: (N,) of the map's forged pixels (kfd.calibration.map_cut) with the mask.
    pointing: (N,) whether the hottest pixel is inside.
    """

    forged: np.ndarray
    pristine: np.ndarray
    iou: np.ndarray
    pointing: np.ndarray

    @classmethod
    def of(cls, heatmaps: np.ndarray, masks: np.ndarray, share: float | None = None) -> MapCounts:
        """heatmaps: (N, S, S) P(fake) in [0, 1]. masks: (N, S, S) in [0, 1], cut at a half.

        share: of a decision (map_share), says which pixels count as forged.
        """
        maps = np.asarray(heatmaps, dtype=np.float64).reshape(len(heatmaps), -1)
        truth = np.asarray(masks).reshape(len(maps), -1) > 0.5
        logit = np.log(np.maximum(maps, 1e-300)) - np.log(np.maximum(1 - maps, 1e-300))
        bins = np.clip((logit + SPAN) * BINS / (2 * SPAN), 0, BINS - 1).astype(np.int64)
        bins += BINS * np.arange(len(maps))[:, None]
        counts = [np.bincount(bins[where], minlength=BINS * len(maps)).reshape(-1, BINS)
                  for where in (truth, ~truth)]  # fmt: skip
        hottest = truth[np.arange(len(maps)), maps.argmax(axis=1)]
        return cls(*counts, overlap(forged_pixels(maps, share), truth), hottest.astype(np.float64))

    @classmethod
    def join(cls, parts: Sequence[MapCounts]) -> MapCounts:
        names = ("forged", "pristine", "iou", "pointing")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def map_metrics(heatmaps: np.ndarray, masks: np.ndarray, share: float | None = None) -> dict[str, float]:
    """Measure how well heat maps find the forged pixels of fake images.

    heatmaps: (N, S, S) P(fake). masks: (N, S, S) in [0, 1], cut at a half.
    Returns pixel_auc (all pixels together; absent where the masks hold one class), iou (mean over images,
    see MapCounts) and pointing (share of images whose hottest pixel lies in the mask).
    """
    return _values(MapCounts.of(heatmaps, masks, share))


def _values(counts: MapCounts) -> dict[str, float]:
    result = {"iou": float(counts.iou.mean()), "pointing": float(counts.pointing.mean())}
    forged, pristine = counts.forged.sum(axis=0), counts.pristine.sum(axis=0)
    if forged.any() and pristine.any():
        labels, bins = np.repeat([1, 0], BINS), np.tile(np.arange(BINS), 2)
        weights = np.concatenate([forged, pristine])
        return {"pixel_auc": float(roc_auc_score(labels, bins, sample_weight=weights)), **result}
    return result


def map_figures(
    counts: MapCounts, units: Sequence[str], num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """`map_metrics` with intervals. units: (N,) what the bootstrap draws whole."""

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=1)
        return {
            "pixel_auc": ranked_area(weights @ counts.forged[:, ::-1], weights @ counts.pristine[:, ::-1]),
            "iou": weights @ counts.iou / total,
            "pointing": weights @ counts.pointing / total,
        }

    values = _values(counts)
    spread, few = draw(statistics, np.ones(len(counts.iou), dtype=int), units, num_resamples, seed)
    reason = None if "pixel_auc" in values else "the masks hold no forged or no pristine pixel"
    return {
        name: figure_of(values.get(name), reason if name == "pixel_auc" else None, spread.get(name), few)
        for name in ("pixel_auc", "iou", "pointing")
    }
