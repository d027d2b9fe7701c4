"""Recipes of forgeries become pixels, whole batches of tensors at once, on whatever device they are.

The way for a GPU; on a CPU `data_sim.simulation.render_opencv` makes the same pictures several times faster.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from data_sim.degrade import gaussian_blur, jpeg, resize, smooth
from data_sim.simulation import warp
from data_sim.simulation.recipe import ALTERATIONS, SHARPENED, Alteration, Recipe, Softening
from data_sim.simulation.seamless import seamless_batch

SWEEPS = (12, 12, 12, 8, 6)  # of Poisson blending, from its coarsest level to the picture itself
LEVELS = len(SWEEPS) - 1  # times that it halves the picture


def render(
    images: Tensor, landmarks: Tensor, recipe: Recipe, donors: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the forgeries of a recipe.

    images: (B, 3, S, S) float32 RGB in [0, 1]. landmarks: (B, 68, 2) pixels.
    donors: pictures that recipe.donor counts, shaped as images; None: those are `images`.
    Returns forgeries and backgrounds (B, 3, S, S), and soft masks (B, 1, S, S).
    """
    batch, size = len(images), images.shape[-1]
    others = (images if donors is None else donors)[recipe.donor]
    source = torch.where(recipe.swapped[:, None, None, None], others, images)
    flow = warp.elastic_flow(recipe.elastic, size)
    if recipe.expression is not None:
        flow = flow + warp.expression_flow(landmarks, recipe.expression, size)
    foreground = warp.warp(source, recipe.matrix, flow)
    if recipe.upsampling is not None:
        rows = recipe.upsampling.rows
        made = upsampled(foreground[rows], recipe.upsampling.kernels)
        foreground = foreground.index_copy(0, rows, made)

    on_background = recipe.alter_background[:, None, None, None]
    target = torch.where(on_background, images, foreground)
    kept = recipe.untouched[:, None, None, None]
    altered = torch.where(kept, target, alter(target, recipe.alteration))
    background = torch.where(on_background, altered, images)
    foreground = torch.where(on_background, foreground, altered)

    hulls = recipe.hulls.to(images.dtype) / 255
    stay = torch.eye(2, 3, device=images.device, dtype=images.dtype).expand(batch, 2, 3)
    masks = soften(warp.warp(hulls, stay, flow), recipe.softening)
    foreground = _colour_to_background(foreground, background, masks, recipe.colour_share)
    poisson = recipe.poisson.nonzero().flatten()
    if len(poisson):
        blend = seamless_batch if recipe.seamless else poisson_foreground
        blended = blend(foreground[poisson], background[poisson], masks[poisson])
        foreground = foreground.index_copy(0, poisson, blended)
    alpha = masks * recipe.ratio[:, None, None, None]
    forged = background + alpha * (foreground - background)  # Eq. 6
    return forged.clamp(0, 1), background, masks


def alter(images: Tensor, how: Alteration) -> Tensor:
    """Change colour, and one of sharpness, softness, resolution or compression, of each image.

    images: (B, 3, S, S) in [0, 1]. Returns new images in [0, 1].
    """
    images = images * how.gain[..., None, None] + how.offset[..., None, None]
    grey = images.mean(1, keepdim=True)
    images = (grey + (images - grey) * how.saturation[:, None, None, None]).clamp(0, 1)
    changes = {"sharpen": _sharpen, "blur": gaussian_blur, "shrink": resize, "compress": jpeg}
    for number, name in enumerate(ALTERATIONS):
        rows = (how.kind == number).nonzero().flatten()
        if name in changes and len(rows):
            images = images.index_copy(0, rows, changes[name](images[rows], how.amount[rows]))
    return images.clamp(0, 1)


def upsampled(images: Tensor, kernels: Tensor) -> Tensor:
    """The faint grid that transposed convolutions leave (Odena et al. 2016).

    A picture is halved, then doubled by a kernel.

    images: (B, 3, S, S) in [0, 1], S even. kernels: (B, 4, 4). Returns new images in [0, 1].
    """
    small = F.avg_pool2d(images, 2).transpose(0, 1)  # (3, B, S/2, S/2): one group per image
    large = F.conv_transpose2d(small, kernels[:, None], stride=2, padding=1, groups=len(images))
    return large.transpose(0, 1).clamp(0, 1)


def _sharpen(images: Tensor, amount: Tensor) -> Tensor:
    detail = images - gaussian_blur(images, torch.full_like(amount, SHARPENED))
    return images + amount[:, None, None, None] * detail


def soften(masks: Tensor, how: Softening) -> Tensor:
    """Shrink and smooth hard masks, so that the alpha never leaves the hull far.

    masks: (B, 1, S, S) in [0, 1]. Returns the same shape, peak 1.
    """
    size = masks.shape[-1]
    inner = smooth(masks, how.erode * size)
    inner = ((inner - how.level[:, None, None, None]) * 8 + 0.5).clamp(0, 1)
    empty = inner.amax(dim=(1, 2, 3), keepdim=True) < 0.5  # a region too thin to erode
    soft = smooth(torch.where(empty, masks, inner), how.feather * size)
    return (soft / soft.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)).clamp(0, 1)


def _colour_to_background(foreground: Tensor, background: Tensor, masks: Tensor, share: Tensor) -> Tensor:
    """Bring the foreground's mean colour most of the way to the background's, inside the mask.

    Without this a swapped face differs so grossly that nothing subtle is learned.
    """
    gap = _mean_gap(foreground, background, masks)
    return foreground + share[:, None, None, None] * gap


def _mean_gap(foreground: Tensor, background: Tensor, masks: Tensor) -> Tensor:
    """Of background minus foreground inside the mask: (B, 3, 1, 1)."""
    area = masks.sum(dim=(2, 3), keepdim=True).clamp(min=1.0)
    return ((background - foreground) * masks).sum(dim=(2, 3), keepdim=True) / area


def poisson_foreground(foreground: Tensor, background: Tensor, masks: Tensor) -> Tensor:
    """The foreground, shifted so that it meets the background on the mask's edge (Pérez et al. 2003).

    Solves the membrane equation of Poisson blending: the correction is harmonic inside the
    mask and equals background - foreground outside, found from coarse to fine.

    foreground, background: (B, 3, S, S) in [0, 1]. masks: (B, 1, S, S) in [0, 1].
    Returns (B, 3, S, S), equal to the background outside the mask.
    """
    outside = (masks <= 0.5).to(foreground.dtype)
    levels = [((background - foreground) * outside, outside)]
    for _ in range(LEVELS):
        levels.append(tuple(_halve(part) for part in levels[-1]))
    correction = _mean_gap(foreground, background, masks)
    for number, (gap, known) in enumerate(reversed(levels)):
        value, fixed = gap / known.clamp(min=1e-6), known > 0.5
        if number:  # from the level before, twice as coarse
            correction = F.interpolate(correction, scale_factor=2, mode="bilinear")
            correction = correction[..., : gap.shape[-2], : gap.shape[-1]]
        correction = torch.where(fixed, value, correction)
        for _ in range(SWEEPS[number]):
            padded = F.pad(correction, (1, 1, 1, 1), mode="replicate")
            mean = 0.25 * (
                padded[..., :-2, 1:-1]
                + padded[..., 2:, 1:-1]
                + padded[..., 1:-1, :-2]
                + padded[..., 1:-1, 2:]
            )
            correction = torch.where(fixed, value, mean)
    return foreground + correction


def _halve(planes: Tensor) -> Tensor:
    """Means of two by two pixels; beyond an odd side lie zeros."""
    return F.avg_pool2d(F.pad(planes, (0, planes.shape[-1] % 2, 0, planes.shape[-2] % 2)), 2)
