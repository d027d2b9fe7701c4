"""The weights of the detector's losses, a part of the settings of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term; none is negative."""

    cls: float = 1.0  # Eq. 4
    loc: float = 0.5  # Eq. 3
    reference: float = 0.5  # lambda of Eq. 3, the reference's share
    pixel: float = 0.5  # cross-entropy of each pixel: Dice alone leaves P(fake) uncalibrated
    align: float = 0.5  # cross-entropy of each patch's nearer class: teaches the maps themselves

    def __post_init__(self) -> None:
        negative = [name for name, value in vars(self).items() if value < 0]
        if negative:
            raise ValueError(f"weights of losses must not be negative: {', '.join(negative)}")
        if not self.cls:
            raise ValueError("without cls nothing teaches the score")
