"""What happens to a photograph after it was taken: blur, noise, video coding, resizing, JPEG.

One set of degradations, used by training on real and fake alike and by the robustness
grid. Everything works on batches of tensors, on whatever device they are.

Images are (B, 3, H, W) float32 RGB in [0, 1]; strengths are (B,), one per image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_sim import pictures
from media.jpeg import LUMINANCE

# ITU T.81 Annex K, table K.2, at quality 50; table K.1 is media.jpeg.LUMINANCE.
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
# JFIF's full-range BT.601: RGB to Y, Cb, Cr around zero.
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))

NO_VIDEO = 52.0  # a CRF beyond H.264's scale: not coded as video
NO_JPEG = 101.0  # a quality beyond libjpeg's scale: not compressed


def uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    """(count,) float32 drawn evenly from [low, high), on the generator's device."""
    return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)


def chance(generator: torch.Generator, count: int, probability: float) -> Tensor:
    """(count,) bool, each true with the given probability."""
    return torch.rand(count, generator=generator, device=generator.device) < probability


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """What a baseline JPEG with 4:2:0 chroma leaves of the images.

    quality: (B,) in [1, 100], libjpeg's scale, rounded.
    Returns images of the same shape; the same transform, tables and rounding as libjpeg,
    so a decoded file of that quality differs by interpolation of the chroma only.
    """
    height, width = images.shape[-2:]
    quality = quality.round()
    pad = (0, -width % 16, 0, -height % 16)
    pixels = F.pad((images * 255).round(), pad, mode="replicate")
    ycc = torch.einsum("cd,bdhw->bchw", images.new_tensor(TO_YCC), pixels)
    luma = _quantise(ycc[:, :1] - 128, images.new_tensor(LUMINANCE), quality) + 128
    chroma = _quantise(F.avg_pool2d(ycc[:, 1:], 2), images.new_tensor(CHROMINANCE), quality)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")
    rgb = torch.einsum("cd,bdhw->bchw", images.new_tensor(TO_RGB), torch.cat([luma, chroma], dim=1))
    return rgb[..., :height, :width].round().clamp(0, 255) / 255


def _quantise(plane: Tensor, table: Tensor, quality: Tensor) -> Tensor:
    """Round the 8 x 8 block spectra of (B, C, H, W) to multiples of the scaled table."""
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)  # libjpeg divides integers
    steps = ((table * scale[:, None] + 50) / 100).floor().clamp(1, 255)  # (B, 64)
    batch, channels, height, width = plane.shape
    blocks = plane.reshape(batch, channels, height // 8, 8, width // 8, 8)
    blocks = blocks.permute(0, 1, 2, 4, 3, 5).reshape(batch, -1, 64)  # (B, blocks, 64)
    basis = _block_dct().to(plane)
    spectrum = (blocks @ basis.T / steps[:, None]).round() * steps[:, None]
    blocks = (spectrum @ basis).reshape(batch, channels, height // 8, width // 8, 8, 8)
    return blocks.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, height, width)


@lru_cache(maxsize=1)
def _block_dct() -> Tensor:
    """The orthonormal 2-D DCT of an 8 x 8 block, as a (64, 64) matrix on flattened blocks."""
    n = torch.arange(8, dtype=torch.float64)
    rows = torch.cos(math.pi / 8 * (n[None] + 0.5) * n[:, None]) * 0.5
    rows[0] /= math.sqrt(2)
    return torch.kron(rows, rows).float()


def video(images: Tensor, crf: Tensor) -> Tensor:
    """What H.264 leaves of the images, as the second frame of a clip that moved by one pixel.

    The second frame, because most frames of a video are predicted from another one and keep less detail
    than a still: a face forger's c40 is CRF 40 of this codec.

    crf: (B,) constant rate factor in [0, 51], rounded; FaceForensics++ calls 23 and 40 c23 and c40.
    Returns images of the same shape, on the images' device; the work is done on the CPU.
    """
    whole = pictures.pictures_of(images.cpu())
    coded = [pictures.video(picture, round(rate)) for picture, rate in zip(whole, crf.tolist(), strict=True)]
    return pictures.batch_of(np.stack(coded)).to(images)


def resize(images: Tensor, factor: Tensor) -> Tensor:
    """Shrink by `factor` (B,) in (0, 1] with antialiasing and enlarge again; 1 changes nothing."""
    side = torch.tensor(images.shape[-2:])
    out = []
    for image, f in zip(images, factor.tolist(), strict=True):
        small = [max(8, round(int(s) * f)) for s in side]
        shrunk = F.interpolate(image[None], small, mode="bilinear", antialias=True)
        out.append(F.interpolate(shrunk, images.shape[-2:], mode="bilinear") if f < 1 else image[None])
    return torch.cat(out)


def gaussian_blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image with its own Gaussian.

    images: (B, C, H, W), any range. sigma: (B,) pixels; 0 leaves the image as it is.
    """
    radius = max(1, math.ceil(3 * float(sigma.max())))
    x = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (x[None] / sigma.clamp(min=1e-3)[:, None]) ** 2)
    # Cut off at three sigma, whatever the neighbours' are.
    kernel = kernel * (x.abs() <= (3 * sigma).ceil().clamp(min=1)[:, None])
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (B, K)
    batch, channels, height, width = images.shape
    pad = min(radius, height - 1, width - 1)
    if pad < radius:  # a kernel wider than the picture: its far tail has nothing to average
        kernel = kernel[:, radius - pad : radius + pad + 1]
        kernel = kernel / kernel.sum(dim=1, keepdim=True)
    lines = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    lines = lines.transpose(0, 1)  # (C, B, H, W): one group per image
    lines = F.conv2d(lines, kernel[:, None, :, None], groups=batch)
    lines = F.conv2d(lines, kernel[:, None, None, :], groups=batch)
    return lines.transpose(0, 1).reshape(batch, channels, height, width)


def smooth(images: Tensor, sigma: Tensor) -> Tensor:
    """Nearly `gaussian_blur`, but what is blurred widely is blurred at half the size, and so on.

    Nothing is to be seen of that, and a wide blur costs a quarter or less. Shapes as there.
    """
    wide = sigma >= pictures.WIDE
    narrow, rows = (~wide).nonzero().flatten(), wide.nonzero().flatten()
    out = images
    if len(narrow):
        out = out.index_copy(0, narrow, gaussian_blur(images[narrow], sigma[narrow]))
    if len(rows):
        height, width = images.shape[-2:]
        even = F.pad(images[rows], (0, width % 2, 0, height % 2), mode="replicate")
        # Means of two by two pixels and lines between their centres blur a little themselves.
        half = smooth(F.avg_pool2d(even, 2), (sigma[rows] ** 2 - 0.75).sqrt() / 2)
        double = F.interpolate(half, scale_factor=2, mode="bilinear")[..., :height, :width]
        out = out.index_copy(0, rows, double)
    return out


def add_noise(images: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Add sensor-like Gaussian noise; sigma: (B,) in units of the [0, 1] range."""
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return (images + sigma[:, None, None, None] * noise).clamp(0, 1)


@dataclass(frozen=True)
class Degradation:
    """How strongly each of B images is degraded; the fields in the order they are applied.

    gain: (B, 3) factor of each colour channel. gamma: (B,) exponent.
    blur: (B,) sigma in pixels. noise: (B,) sigma.
    crf: (B,) rate factor of H.264; NO_VIDEO means never part of a video.
    scale: (B,) resize factor in (0, 1]. quality: (B,) JPEG quality; above 100 means not compressed.
    """

    gain: Tensor
    gamma: Tensor
    blur: Tensor
    noise: Tensor
    crf: Tensor
    scale: Tensor
    quality: Tensor

    @classmethod
    def draw(cls, count: int, generator: torch.Generator, strength: float = 1.0) -> Degradation:
        """Draw independent degradations; `strength` in [0, 1] scales how often they happen."""

        def sometimes(probability: float, low: float, high: float, otherwise: float) -> Tensor:
            value = uniform(generator, count, low, high)
            return torch.where(chance(generator, count, probability * strength), value, otherwise)

        light = sometimes(0.5, 0.75, 1.25, 1.0)
        tint = 1 + 0.08 * strength * (
            torch.rand(count, 3, generator=generator, device=generator.device) - 0.5
        )
        return cls(
            gain=light[:, None] * tint,
            gamma=sometimes(0.3, 0.75, 1.3, 1.0),
            blur=sometimes(0.2, 0.3, 1.5, 0.0),
            noise=sometimes(0.2, 0.005, 0.04, 0.0),
            crf=sometimes(0.25, 18.0, 42.0, NO_VIDEO),
            scale=sometimes(0.35, 0.4, 0.95, 1.0),
            quality=sometimes(0.6, 30.0, 98.0, NO_JPEG),
        )

    def __getitem__(self, index: Tensor) -> Degradation:
        return Degradation(*(getattr(self, field.name)[index] for field in fields(self)))


STRENGTHS = tuple(field.name for field in fields(Degradation))[1:]  # all but the gain, in order


def degrade(images: Tensor, how: Degradation, generator: torch.Generator) -> Tensor:
    """Apply a degradation to (B, 3, H, W) images in [0, 1]; returns new images.

    On a CPU OpenCV does it, one picture after the other, and elsewhere batches of tensors do.
    """
    noisy = how.noise.nonzero().flatten()
    height, width = images.shape[-2:]
    # By picture, row and column, so that both ways add the same noise.
    noise = torch.randn(len(noisy), height, width, 3, generator=generator, device=generator.device)
    if images.device.type == "cpu":
        return degrade_pictures(images, how, dict(zip(noisy.tolist(), noise.numpy(), strict=True)))
    return degrade_batch(images, how, noisy, noise.permute(0, 3, 1, 2))


def degrade_batch(images: Tensor, how: Degradation, noisy: Tensor, noise: Tensor) -> Tensor:
    """See `degrade`. noise: (n, 3, H, W) of the rows `noisy`."""
    images = (images * how.gain[:, :, None, None]).clamp(0, 1)
    images = images.clamp(min=1e-4) ** how.gamma[:, None, None, None]
    for strength, neutral, apply in (
        (how.blur, 0.0, gaussian_blur),
        (how.noise, 0.0, lambda part, sigma: (part + sigma[:, None, None, None] * noise).clamp(0, 1)),
        (how.crf, NO_VIDEO, video),
        (how.scale, 1.0, resize),
        (how.quality, NO_JPEG, jpeg),
    ):
        touched = (strength != neutral).nonzero().flatten()
        if len(touched):
            images = images.index_copy(0, touched, apply(images[touched], strength[touched]))
    return images


def degrade_pictures(images: Tensor, how: Degradation, noise: dict[int, np.ndarray]) -> Tensor:
    """See `degrade`. noise: (H, W, 3) of the noisy rows."""
    before = pictures.pictures_of(images)
    after = np.empty_like(before)
    gain = how.gain.numpy()
    rows = zip(*(getattr(how, name).tolist() for name in STRENGTHS), strict=True)
    for i, (gamma, blur, sigma, crf, scale, quality) in enumerate(rows):
        picture = cv2.transform(before[i], np.diag(gain[i]))
        np.clip(picture, 0, 1, out=picture)
        if gamma != 1.0:
            np.power(np.maximum(picture, 1e-4, out=picture), np.float32(gamma), out=picture)
        if blur:
            picture = pictures.blur(picture, blur)
        if sigma:
            cv2.scaleAdd(noise[i], sigma, picture, picture)
            np.clip(picture, 0, 1, out=picture)
        if crf != NO_VIDEO:
            picture = pictures.video(picture, round(crf))
        if scale != 1.0:
            picture = pictures.resize(picture, scale)
        if quality != NO_JPEG:
            picture = pictures.jpeg(picture, quality)
        after[i] = picture
    return pictures.batch_of(after)
