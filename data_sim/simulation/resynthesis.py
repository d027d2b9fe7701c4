"""Re-render whole real faces the way a generator would, without one: the picture stays, its pixels are new.

A blend has a seam; a picture that a network made as a whole has none. What such pictures share is how their
pixels came about: enlarged step by step from a small grid by kernels that do not treat every pixel alike
(Odena et al. 2016), which repeats the spectrum at the grid's frequencies, and with fine texture that has the
right strength but was made up. Here both are made from a photograph, so that a detector sees them beside the
untouched face, pixel by pixel.

Images are (B, 3, S, S) float32 RGB in [0, 1], on whatever device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from data_sim.degrade import chance, gaussian_blur, uniform
from data_sim.simulation.recipe import SimulationConfig, Softening, draw_masks
from data_sim.simulation.render_batch import soften

LEVELS = 3  # enlargements by two, at most
UNEVEN = 0.005, 0.05  # standard deviation of a kernel's weights about those of a smooth one, relative to them
EPSILON = 1e-4
WHOLE = 0.5  # share of pictures from a real generator that are shown as a whole, not in parts


def resynthesise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Re-render every face: through a generator's enlargements, with made-up texture, or both.

    images: real faces, S divisible by 2 ** LEVELS. generator: on the images' device.
    Returns new images of the same shape. Raises ValueError for a side that cannot be halved so often.
    """
    if images.shape[-1] % 2**LEVELS or images.shape[-2] % 2**LEVELS:
        raise ValueError(f"sides must be divisible by {2**LEVELS}, got {tuple(images.shape[-2:])}")
    batch = len(images)
    both = torch.rand(batch, generator=generator, device=generator.device)
    textured, enlarged = both < 0.6, both > 0.4  # a fifth of the faces gets both
    for rows, change in ((textured, retextured), (enlarged, through_grid)):
        rows = rows.nonzero().flatten()
        if len(rows):
            images = images.index_copy(0, rows, change(images[rows], generator))
    return images


def through_grid(images: Tensor, generator: torch.Generator) -> Tensor:
    """Halve each picture one to LEVELS times and enlarge it again by transposed convolutions.

    Most of the detail lost by it is given back, so that a picture is not recognised by its softness, which
    photographs have too.
    """
    batch = len(images)
    levels = torch.randint(1, LEVELS + 1, (batch,), generator=generator, device=generator.device)
    share = uniform(generator, batch, 0.5, 1.0)[:, None, None, None]
    out = images
    for count in range(1, LEVELS + 1):
        rows = (levels == count).nonzero().flatten()
        if len(rows):
            rendered, plain = (_enlarged(images[rows], count, g) for g in (generator, None))
            detail = share[rows] * (images[rows] - plain)
            out = out.index_copy(0, rows, (rendered + detail).clamp(0, 1))
    return out


def _enlarged(images: Tensor, levels: int, generator: torch.Generator | None) -> Tensor:
    """Averaged down by 2 ** levels and enlarged; by smooth kernels where the generator is None."""
    batch = len(images)
    line = images.new_tensor([0.25, 0.75, 0.75, 0.25])
    kernels = (line[:, None] * line).expand(batch, 1, 4, 4)
    pixels = F.avg_pool2d(images, 2**levels).transpose(0, 1)  # (3, B, s, s): one group per image
    for _ in range(levels):
        own = kernels
        if generator is not None:
            uneven = uniform(generator, batch, *UNEVEN)[:, None, None, None]
            own = kernels * (1 + uneven * _noise(kernels, generator))
            own = own * (4 / own.sum((2, 3), keepdim=True))
        padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
        pixels = F.conv_transpose2d(padded, own, stride=2, padding=3, groups=batch)
    return pixels.transpose(0, 1)


def retextured(images: Tensor, generator: torch.Generator) -> Tensor:
    """Replace a share of each picture's fine detail by noise that is as strong at every place.

    The noise is grey, as most detail is, or of each channel by itself.
    """
    batch, size = len(images), images.shape[-1]
    sigma = uniform(generator, batch, 0.004, 0.012) * size
    detail = images - gaussian_blur(images, sigma)
    noise = _noise(images, generator)
    grey = chance(generator, batch, 0.7)[:, None, None, None]
    noise = torch.where(grey, noise[:, :1].expand_as(noise), noise)
    noise = gaussian_blur(noise, uniform(generator, batch, 0.4, 1.0))
    noise = noise - gaussian_blur(noise, sigma)
    strength = _local_strength(detail, 2 * sigma) / _local_strength(noise, 2 * sigma)
    share = uniform(generator, batch, 0.35, 0.9)[:, None, None, None]
    made = (1 - share**2).sqrt() * detail + share * strength * noise  # the energy stays
    return (images - detail + made).clamp(0, 1)


def partly(
    real: Tensor,
    made: Tensor,
    landmarks: Tensor,
    generator: torch.Generator,
    config: SimulationConfig | None = None,
) -> tuple[Tensor, Tensor]:
    """Lay what a real generator made of faces over them: as a whole, or where a face forger would.

    A face swap's traces of a generator end at a soft edge within the picture; a synthetic face's do not.

    real, made: (B, 3, S, S) in [0, 1], the same photographs. landmarks: (B, 68, 2) pixels.
    config: whether parts or the inner face are laid over, see `draw_masks`.
    Returns the pictures and (B, 1, S, S) float32 masks in [0, 1], where `made` shows.
    """
    _, hulls, thinnest = draw_masks(landmarks, real.shape[-1], generator, config or SimulationConfig())
    how = Softening.draw(len(real), generator).sparing(thinnest / real.shape[-1])
    masks = soften(hulls.to(real.dtype) / 255, how)
    whole = chance(generator, len(real), WHOLE)[:, None, None, None]
    masks = torch.where(whole, torch.ones_like(masks), masks)
    return real + masks * (made - real), masks


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device)


def _local_strength(detail: Tensor, sigma: Tensor) -> Tensor:
    """(B, 1, S, S) root mean square of (B, 3, S, S) detail about every pixel, never zero."""
    return (gaussian_blur(detail.square().mean(1, keepdim=True), sigma) + EPSILON**2).sqrt()
