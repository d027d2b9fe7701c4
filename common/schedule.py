"""The one learning-rate schedule of all training."""

from __future__ import annotations

import math


def cosine_rate(step: int, steps: int, warmup: int, floor: float) -> float:
    """Compute the factor on the peak learning rate: linear warm-up, then half a cosine.

    step: from 0; `steps` and beyond give `floor`, the factor at the end. A function of the step alone, so
    that a resumed run goes on with the very same rates.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
