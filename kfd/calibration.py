"""From logits to calibrated scores and thresholds, on validation images only."""

from __future__ import annotations

import numpy as np

from kfd.config import Decision

FALSE_ALARM_RATE = 0.05  # share of real validation faces that may score at or above fake_above
MISS_RATE = 0.15  # share of fake validation faces that may score at or below real_below
MIN_GAP = 0.1  # least distance of either threshold from an even score


def fit_decision(logits: np.ndarray, labels: np.ndarray, fitted_on: str) -> Decision:
    """Fit Platt's logistic calibration and the two thresholds of the verdict.

    logits: (N,) of validation images. labels: (N,) 0 real, 1 fake; the classes are weighted
    equally, so the score answers "if real and fake were equally likely beforehand".
    fitted_on: words for the report that name the images.
    Raises ValueError when a higher logit does not mean a more likely fake.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e3, class_weight="balanced").fit(logits[:, None], labels)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        raise ValueError(f"the detector does not separate real from fake on validation (slope {slope:.3f})")
    scores = 1 / (1 + np.exp(-(slope * logits + intercept)))
    fake_above = float(np.quantile(scores[labels == 0], 1 - FALSE_ALARM_RATE))
    real_below = float(np.quantile(scores[labels == 1], MISS_RATE))
    return Decision(
        slope,
        intercept,
        fake_above=round(min(max(fake_above, 0.5 + MIN_GAP), 0.99), 3),
        real_below=round(max(min(real_below, 0.5 - MIN_GAP), 0.01), 3),
        fitted_on=fitted_on,
    )
