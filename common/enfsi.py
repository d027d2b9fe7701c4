"""The one scale of words for the strength of evidence: page, report and language model speak by it."""

from __future__ import annotations

import math

# ENFSI guideline for evaluative reporting in forensic science (2015): from which likelihood ratio on which
# words hold.
VERBAL_SCALE = (
    (1e6, "extremely strong"),
    (1e4, "very strong"),
    (1e3, "strong"),
    (1e2, "moderately strong"),
    (10.0, "moderate"),
    (2.0, "weak"),
)
NO_SUPPORT = "no"


def verbal_of(log10_lr: float) -> str:
    """The ENFSI word for a log10 likelihood ratio of either sign, or NO_SUPPORT."""
    return _word(round(log10_lr, 2))  # as printed: 10^1.00 is ten, whatever its hidden decimals


def verbal_of_score(score: float) -> str:
    """The word for a score in [0, 1] whose odds are a likelihood ratio; 0 and 1 count as 0.01 and 0.99."""
    score = min(max(score, 0.01), 0.99)  # two decimals are shown, more must not be claimed
    return _word(math.log10(score / (1 - score)))


def _word(log10_lr: float) -> str:
    """Two decimals decide: a ratio of two is one of 10^0.30."""
    return next(
        (word for least, word in VERBAL_SCALE if abs(log10_lr) >= round(math.log10(least), 2)), NO_SUPPORT
    )
