"""Conditions that a photograph may have passed through, by name: the rows of the robustness grid.

A name is a chain of steps, applied in order: "resize 50 jpeg 40" is shrunk to half and then saved as a JPEG
of quality 40. Steps and the unit of their number:

    jpeg Q, webp Q   quality on the encoder's scale        video C    constant rate factor of H.264
    resize P         to P percent of the side              blur S     sigma in pixels
    noise P          sigma in percent of the range         social     a photograph that was posted twice

What follows a "resize" happens at the smaller size, as it does to a small face of a large photograph, and
the result is enlarged to the size of the crop in the end.
"""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_sim.dataset import FaceSet, evenly
from data_sim.degrade import Degradation, add_noise, degrade, gaussian_blur, jpeg, video

AS_IT_IS = "as it is"
SOCIAL = "social"
SEED = 11
HELD_OUT_STRENGTH = 0.5  # how often held-out faces are degraded, of how often training's are
HELD_OUT_SEED = 20_260_000  # their forgeries and degradations are the same at every step and in every run
SHOWN, POSTED = 1440, 1080  # pixels: what platforms shrink a photograph from and to


def apply(name: str, images: Tensor) -> Tensor:
    """Put (B, 3, S, S) float32 crops in [0, 1] through a condition; returns a new tensor of the same shape.

    Raises ValueError for a step that is not in the table above.
    """
    side = images.shape[-2:]
    small = shrunk(name, images)
    return small if small.shape[-2:] == side else _resized(small, side)


def shrunk(name: str, images: Tensor) -> Tensor:
    """Apply a condition without enlarging again: the pixels that the photograph has of the face."""
    if name == AS_IT_IS:
        return images.clone()
    words = name.split()
    if words == [SOCIAL]:
        words = ["resize", str(100 * POSTED / SHOWN), "jpeg", "75", "jpeg", "75"]
    if len(words) % 2:
        raise ValueError(f"condition {name!r}: expected steps of a word and a number, such as 'jpeg 50'")
    for step, number in zip(words[::2], words[1::2], strict=True):
        images = _step(step, float(number), images)
    return images


def degrade_held_out(
    images: Tensor, generator: torch.Generator, drawn_by: torch.Generator | None = None
) -> Tensor:
    """Degrade faces that training does not see, real and forged alike, at half its frequency.

    images: (B, 3, S, S) in [0, 1]; a new tensor is returned. drawn_by: draws what happens to each image;
    by default `generator`, which draws the noise too.
    """
    how = Degradation.draw(len(images), drawn_by or generator, HELD_OUT_STRENGTH)
    return degrade(images, how, generator)


def scale_of(name: str) -> float:
    """Return the factor by which a condition shrinks the face, in (0, 1]."""
    words = name.split()
    factors = [float(number) / 100 for step, number in pairwise(words) if step == "resize"]
    return float(np.prod(factors)) if words != [SOCIAL] else POSTED / SHOWN


def _step(step: str, number: float, images: Tensor) -> Tensor:
    strength = torch.full((len(images),), number)
    if step == "jpeg":
        return jpeg(images, strength)
    if step == "webp":
        return _webp(images, round(number))
    if step == "video":
        return video(images, strength)
    if step == "resize":
        return _resized(images, [max(8, round(side * number / 100)) for side in images.shape[-2:]])
    if step == "blur":
        return gaussian_blur(images, strength)
    if step == "noise":
        return add_noise(images, strength / 100, torch.Generator().manual_seed(SEED))
    raise ValueError(
        f"unknown condition step {step!r}; known: jpeg, webp, video, resize, blur, noise, {SOCIAL}"
    )


def _resized(images: Tensor, side: list[int] | torch.Size) -> Tensor:
    return F.interpolate(images, list(side), mode="bilinear", antialias=True).clamp(0, 1)


def _webp(images: Tensor, quality: int) -> Tensor:
    from PIL import Image

    coded = []
    for pixels in to_uint8(images):
        buffer = BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=quality)
        coded.append(np.array(Image.open(buffer).convert("RGB")))
    return torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2).to(images) / 255


def to_uint8(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) float in [0, 1] -> (B, H, W, 3) uint8."""
    return (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()


def spread_over_sources(faces: FaceSet, positions: list[int], count: int) -> list[int]:
    """At most `count` of the positions, as evenly over the sources and within each as they allow."""
    by_source: dict[str, list[int]] = {}
    for position in positions:
        by_source.setdefault(faces.rows[position]["source"], []).append(position)
    chosen: list[int] = []
    for left, own in zip(range(len(by_source), 0, -1), sorted(by_source.values(), key=len), strict=True):
        share = min(len(own), -(-(count - len(chosen)) // left))
        chosen += evenly(own, share)
    return sorted(chosen)
