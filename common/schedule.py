"""The learning-rate schedules and optimizers of all training."""

from __future__ import annotations

import math
from typing import Literal

import torch

Optimizer = Literal["adamw", "adam"]  # adam: weight decay is part of the gradient
Schedule = Literal["cosine", "constant"]  # constant: the peak rates all along, without a warm-up


def make_optimizer(
    kind: Optimizer, groups: list[dict[str, object]], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer of a run. groups: of parameters, as torch's optimizers take them; empty ones may be."""
    made = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    return made([group for group in groups if group["params"]], lr=lr, weight_decay=weight_decay)


def rate(schedule: Schedule, step: int, steps: int, warmup: int, floor: float) -> float:
    """Compute the factor on the peak learning rate, see `cosine_rate`."""
    return 1.0 if schedule == "constant" else cosine_rate(step, steps, warmup, floor)


def cosine_rate(step: int, steps: int, warmup: int, floor: float) -> float:
    """Compute the factor on the peak learning rate: linear warm-up, then half a cosine.

    step: from 0; `steps` and beyond give `floor`, the factor at the end. A function of the step alone, so
    that a resumed run goes on with the very same rates.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
