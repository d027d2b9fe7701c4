"""Simulate forgeries from real faces (paper §3.3; whole faces as in Self-Blended Images).

A forgery is a foreground face laid over a background face through a soft mask (Eq. 6).
The foreground is the same face moved a little, or another person's face brought to the
same landmarks; either the foreground or the background has its colour, sharpness or
resolution changed, so that the only thing a forgery must show is the seam between two
statistics. What is random is drawn first (data_sim.simulation.recipe); the pixels are made by OpenCV on a CPU
and as batches of tensors elsewhere, alike to two 255ths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_sim.simulation import render_batch, render_opencv
from data_sim.simulation.recipe import SimulationConfig, draw_recipe
from media import regions


@dataclass(frozen=True)
class Forgeries:
    """B simulated forgeries and what they were made from.

    images: (B, 3, S, S) float32 RGB in [0, 1].
    pristine: (B, 3, S, S) the background before anything was laid over it: the real image
        with the same statistics, and the reference of Eq. 2.
    masks: (B, 1, S, S) float32 in [0, 1], where foreground shows.
    regions: (B, R) bool, which of media.regions.REGIONS were replaced.
    """

    images: Tensor
    pristine: Tensor
    masks: Tensor
    regions: Tensor

    def names(self, index: int) -> tuple[str, ...]:
        """The words of the replaced regions of one forgery, in REGIONS order."""
        return tuple(
            n for n, on in zip(regions.REGION_NAMES, self.regions[index].tolist(), strict=True) if on
        )


def simulate(
    images: Tensor,
    landmarks: Tensor,
    generator: torch.Generator,
    config: SimulationConfig | None = None,
    donors: tuple[Tensor, Tensor] | None = None,
) -> Forgeries:
    """Forge every face of a batch.

    images: (B, 3, S, S) float32 RGB in [0, 1], real faces. landmarks: (B, 68, 2) pixels.
    generator: source of all randomness, on the images' device.
    donors: images and landmarks of the other person that each face would be swapped with, shapes as above;
        by default the one of the batch whose pose is nearest.
    """
    pictures, points = (None, None) if donors is None else donors
    recipe = draw_recipe(landmarks, images.shape[-1], generator, config, points)
    renderer = render_opencv if images.device.type == "cpu" else render_batch
    forged, background, masks = renderer.render(images, landmarks, recipe, pictures)
    return Forgeries(forged, background, masks, recipe.regions)
