"""Simulate forgeries from real faces (paper §3.3; whole faces as in Self-Blended Images).

A forgery is a foreground face laid over a background face through a soft mask (Eq. 6).
The foreground is the same face moved a little, or another person's face brought to the
same landmarks; either the foreground or the background has its colour, sharpness or
resolution changed, so that the only thing a forgery must show is the seam between two
statistics. Everything runs on batches of tensors, on whatever device they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from data_sim import warp
from data_sim.degrade import chance, gaussian_blur, jpeg, resize, uniform
from media import regions


@dataclass(frozen=True)
class SimulationConfig:
    """How forgeries are drawn; probabilities in [0, 1], lengths as fractions of the side."""

    whole_face: float = 0.55  # share of forgeries that replace the whole face instead of parts
    swap: float = 0.3  # share whose foreground is another person of the batch
    poisson: float = 0.3  # share blended in the gradient domain first
    alter_background: float = 0.5  # share whose background, not foreground, is altered
    shift: float = 0.025  # largest translation of the foreground
    scale: float = 0.05  # largest |log scale| of the foreground
    angle: float = 0.04  # largest rotation of the foreground, radians
    elastic: float = 0.012  # amplitude of the elastic change
    max_parts: int = 3  # regions replaced together, at most
    untouched: float = 0.0  # share of swaps whose statistics are left as they are
    reenact: float = 0.0  # share whose expression is changed: mouth, chin, lids and brows move
    upsample: float = 0.0  # share whose foreground comes out of a generator's last upsampling


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
    config = config or SimulationConfig()
    batch, size = len(images), images.shape[-1]
    chosen, hulls = draw_masks(landmarks, size, generator, config)
    source, matrix, swapped = _foreground(images, landmarks, generator, config, donors)
    flow = warp.elastic_flow(batch, size, generator, config.elastic * size)
    if config.reenact:
        moved = (chance(generator, batch, config.reenact) & ~swapped)[:, None, None, None]
        flow = flow + moved * warp.expression_flow(landmarks, size, generator)
    foreground = warp.warp(source, matrix, flow)
    if config.upsample:
        rows = chance(generator, batch, config.upsample).nonzero().flatten()
        if len(rows):
            foreground = foreground.index_copy(0, rows, upsampled(foreground[rows], generator))

    altered = alter(torch.cat([foreground, images]), generator)
    if config.untouched:
        untouched = (chance(generator, batch, config.untouched) & swapped).repeat(2)[:, None, None, None]
        altered = torch.where(untouched, torch.cat([foreground, images]), altered)
    on_background = chance(generator, batch, config.alter_background)[:, None, None, None]
    background = torch.where(on_background, altered[batch:], images)
    foreground = torch.where(on_background, foreground, altered[:batch])

    masks = soften(warp.warp(hulls, _identity(batch, hulls), flow), generator)
    foreground = _colour_to_background(foreground, background, masks, generator)
    poisson = chance(generator, batch, config.poisson).nonzero().flatten()
    if len(poisson):
        seamless = poisson_foreground(foreground[poisson], background[poisson], masks[poisson])
        foreground = foreground.index_copy(0, poisson, seamless)

    ratio = images.new_tensor([0.5, 0.75, 1.0, 1.0, 1.0])
    pick = torch.randint(len(ratio), (batch,), generator=generator, device=generator.device)
    alpha = masks * ratio[pick, None, None, None]
    forged = alpha * foreground + (1 - alpha) * background  # Eq. 6
    return Forgeries(forged.clamp(0, 1), background, masks, chosen)


def draw_masks(
    landmarks: Tensor, size: int, generator: torch.Generator, config: SimulationConfig
) -> tuple[Tensor, Tensor]:
    """Draw what is replaced: one to three parts, or the whole face in one of three outlines.

    Returns (B, R) bool in REGIONS order and hard-edged masks (B, 1, size, size) in [0, 1].
    """
    batch = len(landmarks)
    whole = chance(generator, batch, config.whole_face)
    chosen = torch.zeros(batch, len(regions.REGIONS), dtype=torch.bool, device=landmarks.device)
    chosen[:, regions.REGION_NAMES.index(regions.WHOLE_FACE)] = whole
    masks = torch.zeros(batch, 1, size, size, device=landmarks.device)
    rank = torch.rand(batch, len(regions.PART_NAMES), generator=generator, device=generator.device).argsort(1)
    count = torch.randint(1, config.max_parts + 1, (batch,), generator=generator, device=generator.device)
    picked = (rank < count[:, None]) & ~whole[:, None]  # (B, parts)
    for part, name in enumerate(regions.PART_NAMES):
        rows = picked[:, part].nonzero().flatten()
        region = regions.REGION_NAMES.index(name)
        chosen[rows, region] = True
        if len(rows):
            mask = regions.region_mask(landmarks[rows], regions.REGIONS[region], size)
            masks[rows, 0] = torch.maximum(masks[rows, 0], mask)
    rows = whole.nonzero().flatten()
    if len(rows):
        masks[rows, 0] = _whole_face_outline(landmarks[rows], size, generator)
    return chosen, masks


def _whole_face_outline(landmarks: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Jaw to forehead, jaw to brows, or brows to mouth: the outlines face swaps are known for."""
    points = regions.with_forehead(landmarks)
    eyes = (landmarks[:, 36:42].mean(1) - landmarks[:, 42:48].mean(1)).norm(dim=-1)
    outlines = torch.stack([
        regions.convex_hull(points[:, [*range(17), *regions.FOREHEAD_POINTS]], size),
        regions.convex_hull(landmarks, size),
        regions.convex_hull(landmarks[:, 17:], size, 0.1 * eyes),
    ])  # fmt: skip
    kind = torch.randint(3, (len(landmarks),), generator=generator, device=generator.device)
    return outlines[kind, torch.arange(len(landmarks), device=landmarks.device)]


def _foreground(
    images: Tensor,
    landmarks: Tensor,
    generator: torch.Generator,
    config: SimulationConfig,
    donors: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each foreground comes from: (B, 3, S, S) images, the map into them, (B,) whether a swap."""
    batch, size = len(images), images.shape[-1]
    slight = warp.random_affine(batch, size, generator, config.shift, config.scale, config.angle)
    swap = chance(generator, batch, config.swap if donors is not None or batch > 1 else 0.0)
    if donors is None:
        poses = pose(landmarks)
        distance = torch.cdist(poses, poses) + 1e9 * torch.eye(batch, device=poses.device)
        donors = images[distance.argmin(1)], landmarks[distance.argmin(1)]
    to_donor = warp.fit_affine(landmarks, donors[1])
    matrix = torch.where(swap[:, None, None], to_donor, slight)
    return torch.where(swap[:, None, None, None], donors[0], images), matrix, swap


def pose(landmarks: Tensor) -> Tensor:
    """Shape of a face without its place and size: (B, 68, 2) pixels -> (B, 136)."""
    centred = landmarks - landmarks.mean(1, keepdim=True)
    return (centred / landmarks.std(dim=(1, 2), keepdim=True)).flatten(1)


def _identity(batch: int, like: Tensor) -> Tensor:
    return torch.eye(2, 3, device=like.device, dtype=like.dtype).expand(batch, 2, 3)


def alter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change colour, and one of sharpness, softness, resolution or compression, of each image.

    images: (B, 3, S, S) in [0, 1]. Returns new images in [0, 1].
    """
    batch, device = len(images), images.device
    gain = 1 + 0.12 * (torch.rand(batch, 3, generator=generator, device=device) * 2 - 1)
    light = uniform(generator, batch, 0.85, 1.15)[:, None] * gain
    offset = 0.04 * (torch.rand(batch, 3, generator=generator, device=device) * 2 - 1)
    images = (images * light[..., None, None] + offset[..., None, None]).clamp(0, 1)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * uniform(generator, batch, 0.75, 1.25)[:, None, None, None]
    kind = torch.randint(5, (batch,), generator=generator, device=device)
    strength = torch.rand(batch, generator=generator, device=device)
    for number, change in enumerate((_sharpen, _blur, _shrink, _compress)):  # the fifth kind: colour only
        rows = (kind == number).nonzero().flatten()
        if len(rows):
            images = images.index_copy(0, rows, change(images[rows].clamp(0, 1), strength[rows]))
    return images.clamp(0, 1)


def upsampled(images: Tensor, generator: torch.Generator) -> Tensor:
    """The faint grid that transposed convolutions leave (Odena et al. 2016): halved, then doubled by a kernel
    of four by four weights that do not quite add up alike at every pixel.

    images: (B, 3, S, S) in [0, 1], S even. Returns new images in [0, 1].
    """
    batch = len(images)
    line = images.new_tensor([0.25, 0.75, 0.75, 0.25])
    uneven = uniform(generator, batch, 0.0, 0.12)[:, None, None, None]
    noise = torch.randn(batch, 1, 4, 4, generator=generator, device=images.device)
    kernels = (line[:, None] * line) * (1 + uneven * noise)
    kernels = kernels * (4 / kernels.sum((2, 3), keepdim=True))
    small = F.avg_pool2d(images, 2).transpose(0, 1)  # (3, B, S/2, S/2): one group per image
    large = F.conv_transpose2d(small, kernels, stride=2, padding=1, groups=batch)
    return large.transpose(0, 1).clamp(0, 1)


def _sharpen(images: Tensor, strength: Tensor) -> Tensor:
    detail = images - gaussian_blur(images, torch.full_like(strength, 1.2))
    return images + (0.4 + 1.2 * strength)[:, None, None, None] * detail


def _blur(images: Tensor, strength: Tensor) -> Tensor:
    return gaussian_blur(images, 0.4 + 1.4 * strength)


def _shrink(images: Tensor, strength: Tensor) -> Tensor:
    return resize(images, 0.3 + 0.5 * strength)


def _compress(images: Tensor, strength: Tensor) -> Tensor:
    return jpeg(images, 30 + 50 * strength)


def _colour_to_background(
    foreground: Tensor, background: Tensor, masks: Tensor, generator: torch.Generator
) -> Tensor:
    """Bring the foreground's mean colour most of the way to the background's, inside the mask.

    Without this a swapped face differs so grossly that nothing subtle is learned.
    """
    area = masks.sum(dim=(2, 3), keepdim=True).clamp(min=1.0)
    gap = ((background - foreground) * masks).sum(dim=(2, 3), keepdim=True) / area
    share = uniform(generator, len(masks), 0.5, 1.0)[:, None, None, None]
    return (foreground + share * gap).clamp(0, 1)


def soften(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink and smooth hard masks by random amounts, so that the alpha never leaves the hull far.

    masks: (B, 1, S, S) in [0, 1]. Returns the same shape, peak 1.
    """
    batch, size = len(masks), masks.shape[-1]
    first = uniform(generator, batch, 0.004, 0.03) * size
    inner = gaussian_blur(masks, first)
    level = uniform(generator, batch, 0.4, 0.75)[:, None, None, None]  # above a half erodes
    inner = ((inner - level) * 8 + 0.5).clamp(0, 1)
    empty = inner.amax(dim=(1, 2, 3), keepdim=True) < 0.5  # a region too thin to erode
    inner = torch.where(empty, masks, inner)
    soft = gaussian_blur(inner, uniform(generator, batch, 0.003, 0.035) * size)
    return (soft / soft.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)).clamp(0, 1)


def poisson_foreground(foreground: Tensor, background: Tensor, masks: Tensor, sweeps: int = 12) -> Tensor:
    """The foreground, shifted so that it meets the background on the mask's edge (Pérez et al. 2003).

    Solves the membrane equation of Poisson blending: the correction is harmonic inside the
    mask and equals background - foreground outside, found from coarse to fine.

    foreground, background: (B, 3, S, S) in [0, 1]. masks: (B, 1, S, S) in [0, 1].
    Returns (B, 3, S, S) in [0, 1], equal to the background outside the mask.
    """
    size = foreground.shape[-1]
    inside = (masks > 0.5).to(foreground.dtype)
    outside = 1 - inside
    gap = (background - foreground) * outside
    correction = (gap.sum((2, 3)) / outside.sum((2, 3)).clamp(min=1))[:, :, None, None]
    for level in (16, 8, 4, 2, 1):
        side = max(4, size // level)
        known = F.adaptive_avg_pool2d(outside, side)
        value = F.adaptive_avg_pool2d(gap, side) / known.clamp(min=1e-6)
        fixed = (known > 0.5).to(value.dtype) if level > 1 else outside
        correction = F.interpolate(correction, (side, side), mode="bilinear") if level < 16 else correction
        correction = fixed * value + (1 - fixed) * correction
        for _ in range(sweeps):
            padded = F.pad(correction, (1, 1, 1, 1), mode="replicate")
            mean = (
                padded[..., :-2, 1:-1]
                + padded[..., 2:, 1:-1]
                + padded[..., 1:-1, :-2]
                + padded[..., 1:-1, 2:]
            )
            correction = fixed * value + (1 - fixed) * 0.25 * mean
    return (foreground + correction).clamp(0, 1)
