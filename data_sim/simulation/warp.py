"""Geometry on batches: affine and elastic warps of images, masks and landmarks."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from data_sim.degrade import uniform
from media.regions import eye_distance

# Where each of the 68 landmarks goes when the face is mirrored.
MIRROR = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip


def random_affine(
    count: int, size: int, generator: torch.Generator, shift: float, scale: float, angle: float
) -> Tensor:
    """Draw similarity transforms about the centre of a size x size picture.

    shift: largest translation, as a fraction of the side. scale: largest |log scale|.
    angle: largest rotation in radians.
    Returns (count, 2, 3) float32 that take (X, Y, 1) in output pixels to input pixels.
    """
    theta = uniform(generator, count, -angle, angle)
    zoom = uniform(generator, count, -scale, scale).exp()
    linear = torch.stack([theta.cos(), -theta.sin(), theta.sin(), theta.cos()], dim=1).view(-1, 2, 2)
    linear = linear * zoom[:, None, None]
    centre = torch.full((2,), (size - 1) / 2, device=linear.device)
    move = torch.stack([uniform(generator, count, -shift, shift) * size for _ in range(2)], dim=1)
    offset = centre + move - (linear @ centre)
    return torch.cat([linear, offset[:, :, None]], dim=2)


def fit_affine(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares affine maps that take `source` points to `target` points.

    source, target: (B, K, 2) pixels. Returns (B, 2, 3) float32.
    """
    # LAPACK's last digits depend on where the numbers lie in memory; in float64 they round away, so that the
    # same seed gives the same forgery.
    points = torch.cat([source, torch.ones_like(source[..., :1])], dim=-1).double()
    solution = torch.linalg.lstsq(points, target.double()).solution  # (B, 3, 2)
    return solution.transpose(1, 2).to(source.dtype)


def warp(images: Tensor, matrix: Tensor, flow: Tensor | None = None) -> Tensor:
    """Sample images at affinely (and elastically) moved places; the border is mirrored.

    images: (B, C, S, S). matrix: (B, 2, 3), output pixels to input pixels.
    flow: (B, 2, S, S) further displacement in input pixels, or None.
    Returns (B, C, S, S).
    """
    size = images.shape[-1]
    axis = torch.arange(size, device=images.device, dtype=images.dtype)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).view(3, -1)
    places = (matrix.to(images.dtype) @ points).view(-1, 2, size, size)
    if flow is not None:
        places = places + flow
    grid = (places + 0.5) * (2 / size) - 1
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=False)


COARSE = 6  # side of the grid between whose knots an elastic displacement is smooth


def draw_elastic(count: int, generator: torch.Generator) -> Tensor:
    """Draw the knots of `elastic_flow`: (count, 2, COARSE, COARSE) in [-1, 1]."""
    return torch.rand(count, 2, COARSE, COARSE, generator=generator, device=generator.device) * 2 - 1


def elastic_flow(knots: Tensor, size: int) -> Tensor:
    """A smooth displacement field.

    knots: (B, 2, COARSE, COARSE) displacements. Returns (B, 2, size, size) in the same unit.
    """
    return F.interpolate(knots, (size, size), mode="bicubic", align_corners=True)


@lru_cache(maxsize=8)
def elastic_basis(size: int) -> Tensor:
    """The matrix (size, COARSE) by which `elastic_flow` is basis @ knots @ basis.T."""
    unit = torch.eye(COARSE)[None, None]
    flat = F.interpolate(unit, (size, COARSE), mode="bicubic", align_corners=True)
    return flat[0, 0]


EXPRESSIVE = (8, 19, 24, 37, 44, 48, 54, 57)  # chin, brows, upper lids, corners of the mouth, lower lip


def draw_expression(count: int, generator: torch.Generator) -> Tensor:
    """Draw the moves of `expression_flow`, (count, E, 2) in units of the distance between the eyes."""
    return 0.07 * torch.randn(count, len(EXPRESSIVE), 2, generator=generator, device=generator.device)


def expression_factors(landmarks: Tensor, moves: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The displacement of `expression_flow`, which is a sum of products.

    Returns moves in pixels (B, E, 2), and the bump around each point along X and along Y, (B, E, size) both.
    """
    points, eyes = landmarks[:, list(EXPRESSIVE)], eye_distance(landmarks)
    axis = torch.arange(size, device=landmarks.device, dtype=landmarks.dtype)
    near = torch.exp(-0.5 * ((axis - points[..., None]) / (0.3 * eyes)[:, None, None, None]) ** 2)
    return moves * eyes[:, None, None], near[:, :, 0], near[:, :, 1]


def expression_flow(landmarks: Tensor, moves: Tensor, size: int) -> Tensor:
    """A displacement that moves the parts of a face as another expression would.

    landmarks: (B, 68, 2) pixels of size x size pictures.
    moves: (B, E, 2) of the points EXPRESSIVE, in units of the distance between the eyes.
    Returns (B, 2, size, size), in pixels.
    """
    factors = expression_factors(landmarks, moves, size)
    return torch.einsum("bkd,bkx,bky->bdyx", *factors)


def mirror(images: Tensor, landmarks: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
    """Flip the chosen faces left to right.

    images: (B, C, S, S). landmarks: (B, 68, 2) pixels. which: (B,) bool.
    Returns new images and landmarks; left landmarks stay the person's left.
    """
    flipped = landmarks[:, list(MIRROR)].clone()
    flipped[..., 0] = images.shape[-1] - 1 - flipped[..., 0]
    rows = which.nonzero().flatten()
    images = images.index_copy(0, rows, images[rows].flip(-1))
    return images, torch.where(which[:, None, None], flipped, landmarks)
