"""The metrics, each computed in one place; scikit-learn where it has them."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """How well scores separate real from fake.

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
        "tpr_at_fpr_1": float(tpr[fpr <= 0.01].max()),
        "tpr_at_fpr_5": float(tpr[fpr <= 0.05].max()),
    }


def bootstrap_interval(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the AUC, resampling whole groups (videos or persons), not frames.

    groups: (N,) what must stay together. Returns (low, high).
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    rows = [np.flatnonzero(member == g) for g in range(member.max() + 1)]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        drawn = np.concatenate([rows[g] for g in rng.integers(len(rows), size=len(rows))])
        if 0 < labels[drawn].sum() < len(drawn):
            values.append(roc_auc_score(labels[drawn], scores[drawn]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def map_metrics(heatmaps: np.ndarray, masks: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """How well heat maps find the forged pixels of fake images.

    heatmaps: (N, S, S) P(fake). masks: (N, S, S) in [0, 1], cut at a half.
    Returns pixel_auc (all pixels together), iou (mean over images, map cut at `threshold`) and
    pointing (share of images whose hottest pixel lies in the mask).
    """
    truth = np.asarray(masks) > 0.5
    found = np.asarray(heatmaps) > threshold
    union = (truth | found).sum(axis=(1, 2))
    overlap = (truth & found).sum(axis=(1, 2))
    flat = np.asarray(heatmaps).reshape(len(truth), -1)
    hottest = truth.reshape(len(truth), -1)[np.arange(len(truth)), flat.argmax(axis=1)]
    return {
        "pixel_auc": float(roc_auc_score(truth.ravel(), flat.ravel())),
        "iou": float(np.mean(overlap / np.maximum(union, 1))),
        "pointing": float(np.mean(hottest)),
    }
