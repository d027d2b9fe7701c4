"""From which value on a pixel of a heat map counts as forged.

Maps of faint forgeries are faint as a whole, yet hottest in the right place: a fixed value of a half leaves
them empty. So a pixel counts from a share of the map's own hottest value on, and that share is fitted on
forgeries of validation faces whose masks are known.
"""

from __future__ import annotations

import numpy as np

HALF = 0.5  # P(fake) of a pixel, where no share was fitted
SHARES = tuple(round(0.05 * step, 2) for step in range(4, 20))
GAIN = 0.01  # of mean IoU, without which the half stays


def forged_pixels(maps: np.ndarray, share: float | None) -> np.ndarray:
    """Which pixels count as forged: (N, ...) P(fake) -> (N, ...) bool. share: Decision.map_share."""
    if share is None:
        return maps > HALF
    return maps >= share * maps.reshape(len(maps), -1).max(axis=1).reshape(-1, *[1] * (maps.ndim - 1))


def overlap(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Intersection over union of N pairs of (N, P) bool pixels: (N,) in [0, 1], 0 where both are empty."""
    return (truth & found).sum(axis=1) / np.maximum((truth | found).sum(axis=1), 1)


def fit_map_share(maps: np.ndarray, masks: np.ndarray) -> tuple[float | None, dict[str, float]]:
    """The share with the highest mean IoU, None where it gains less than GAIN over a half; and figures.

    maps: (N, S, S) P(fake) of fakes. masks: (N, S, S) in [0, 1], cut at a half.
    """
    flat, truth = maps.reshape(len(maps), -1), masks.reshape(len(maps), -1) > HALF
    half = float(overlap(forged_pixels(flat, None), truth).mean())
    found = {share: float(overlap(forged_pixels(flat, share), truth).mean()) for share in SHARES}
    best = max(found, key=found.__getitem__)
    share = best if found[best] > half + GAIN else None
    return share, {"iou_at_half": round(half, 4), "iou": round(found[best] if share else half, 4)}
