"""Recipes of forgeries become pixels, one picture after the other, by OpenCV: the way for a CPU.

Makes what `render_batch` makes. Pictures are (S, S, 3) float32 RGB in [0, 1], masks (S, S).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from data_sim import pictures
from data_sim.simulation import render_batch, warp
from data_sim.simulation.recipe import ALTERATIONS, SHARPENED, Alteration, Recipe, Softening
from data_sim.simulation.seamless import seamless_foreground

KINDS = tuple(ALTERATIONS)
BLOCK = 16  # pixels; the larger of JPEG's unit at 4:2:0 and 2 ** render_batch.LEVELS
FRAME = 16  # pixels around all that shows: as far as sharpening, blurring and Poisson blending look
EVERYWHERE = slice(None), slice(None)
EDGE = cv2.BORDER_REPLICATE | cv2.BORDER_ISOLATED  # of a part of an array, not of the array around it
NEIGHBOURS = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]], dtype=np.float32)


def render(
    images: Tensor, landmarks: Tensor, recipe: Recipe, donors: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the forgeries of a recipe; see `render_batch.render`, all tensors on the CPU."""
    own = pictures.pictures_of(images)
    others = own if donors is None else pictures.pictures_of(donors)
    forged, background = np.empty_like(own), np.empty_like(own)
    masks = np.zeros((*own.shape[:3], 1), np.float32)
    maps = _Maps(landmarks, recipe, own.shape[1])
    for i in range(len(own)):
        source = others[int(recipe.donor[i])] if recipe.swapped[i] else own[i]
        _forge(own[i], source, recipe, i, maps, forged[i], background[i], masks[i, ..., 0])
    return pictures.batch_of(forged), pictures.batch_of(background), pictures.batch_of(masks)


def _forge(
    own: np.ndarray,
    source: np.ndarray,
    recipe: Recipe,
    i: int,
    maps: _Maps,
    forged: np.ndarray,
    background: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Make the forgery `i` of a recipe and write it, its background and its mask into the last three.

    Whatever only shows through the mask is made within a box around it.
    """
    kind, altered = KINDS[int(recipe.alteration.kind[i])], not recipe.untouched[i]
    background[:] = alter(own, recipe.alteration, i) if altered and recipe.alter_background[i] else own
    forged[:] = background
    hull = recipe.hulls[i, 0].numpy()
    box = _box(hull, maps.reach(i) + _spread(recipe.softening, i, len(hull)) + FRAME)
    if recipe.seamless and recipe.poisson[i]:
        box = EVERYWHERE
    hard = np.multiply(hull[box], np.float32(1 / 255))
    mask[box] = soften(_remap(hard, maps.of_mask(i, box)), recipe.softening, i, len(hull))
    kernel = None if recipe.upsampling is None else recipe.upsampling.kernel_of(i)
    alter_foreground = altered and not recipe.alter_background[i]
    # A shrunk or upsampled picture has a grid that begins at its corner.
    everywhere = kernel is not None or (alter_foreground and kind == "shrink")
    foreground = _remap(source, maps.of_source(i, EVERYWHERE if everywhere else box))
    if kernel is not None:
        one = pictures.batch_of(foreground[None])
        foreground = pictures.pictures_of(render_batch.upsampled(one, kernel[None]))[0]
    if alter_foreground:
        foreground = alter(foreground, recipe.alteration, i)
    if everywhere:
        foreground = np.ascontiguousarray(foreground[box])
    alpha, behind = np.ascontiguousarray(mask[box]), np.ascontiguousarray(background[box])
    foreground = _colour_to_background(foreground, behind, alpha, float(recipe.colour_share[i]))
    if recipe.poisson[i]:
        blend = seamless_foreground if recipe.seamless else poisson_foreground
        foreground = blend(foreground, behind, alpha)
    alpha = alpha * np.float32(recipe.ratio[i])
    cv2.subtract(foreground, behind, foreground)
    cv2.multiply(foreground, cv2.merge([alpha, alpha, alpha]), foreground)
    cv2.add(behind, foreground, foreground)  # Eq. 6
    np.clip(foreground, 0, 1, out=forged[box])


def _spread(how: Softening, i: int, size: int) -> int:
    """How far softening carries a mask, in pixels."""
    return sum(pictures.radius(float(sigma[i]) * size) for sigma in (how.erode, how.feather))


def _box(hull: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns around a hull, in whole blocks of JPEG and of Poisson blending's coarsest level."""
    x, y, width, height = cv2.boundingRect(hull)
    if not width:
        return EVERYWHERE
    low = [max(0, start - margin) // BLOCK * BLOCK for start in (y, x)]
    high = [-(-(end + margin) // BLOCK) * BLOCK for end in (y + height, x + width)]
    return slice(low[0], min(high[0], len(hull))), slice(low[1], min(high[1], len(hull)))


class _Maps:
    """Where each pixel of a warped picture comes from.

    Affine and elastic displacements and those of an expression are sums of products of a function of X and
    one of Y, so that a map is one product of two slim matrices.
    """

    def __init__(self, landmarks: Tensor, recipe: Recipe, size: int):
        basis = warp.elastic_basis(size).numpy()  # (S, K)
        self.axis = np.arange(size, dtype=np.float32)
        self.matrix = recipe.matrix.numpy()
        batch, knots = len(landmarks), recipe.elastic.numpy()
        affine = np.stack([np.ones_like(self.axis), self.axis], axis=1)
        along_y = [np.broadcast_to(affine, (batch, 2, size, 2)), basis @ knots]
        along_x = [np.zeros((batch, 2, size), np.float32), np.broadcast_to(basis.T, (batch, *basis.T.shape))]
        # A cubic curve between knots exceeds them by less than a third, along either axis.
        self.longest = 1.8 * np.abs(knots).max((1, 2, 3))
        if recipe.expression is not None:
            moves, near_x, near_y = warp.expression_factors(landmarks, recipe.expression, size)
            along_y.append(torch.einsum("bkd,bky->bdyk", moves, near_y).numpy())
            along_x.append(near_x.numpy())
            self.longest = self.longest + moves.abs().sum(1).amax(1).numpy()
        self.along_y = np.concatenate(along_y, axis=3)  # (B, 2, S, 2 + ...)
        self.along_x = np.concatenate(along_x, axis=1)  # (B, 2 + ..., S); affine rows filled in by _map

    def reach(self, i: int) -> int:
        """Most pixels that anything is moved from its place on the background."""
        return math.ceil(self.longest[i])

    def of_source(self, i: int, box: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        """Of the foreground's picture, in a box: X and Y, float32 both."""
        return self._map(i, self.matrix[i], box)

    def of_mask(self, i: int, box: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        """Of the box of the hull, which lies on the background and is not moved as a whole."""
        top, left = box[0].start or 0, box[1].start or 0
        return self._map(i, np.array([[1, 0, -left], [0, 1, -top]], np.float32), box)

    def _map(self, i: int, matrix: np.ndarray, box: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = box
        maps = []
        for (by_x, by_y, shift), along_y in zip(matrix, self.along_y[i], strict=True):
            along_x = self.along_x[i, :, columns].copy()
            along_x[0], along_x[1] = by_x * self.axis[columns] + shift, by_y
            maps.append(along_y[rows] @ along_x)
        return maps[0], maps[1]


def _remap(picture: np.ndarray, maps: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def alter(picture: np.ndarray, how: Alteration, i: int) -> np.ndarray:
    """Row `i` of an alteration, applied to one picture; see `render_batch.alter`."""
    saturation = float(how.saturation[i])
    mix = np.full((3, 3), (1 - saturation) / 3, np.float32) + np.diag(np.full(3, saturation, np.float32))
    colours = np.diag(how.gain[i].numpy()), how.offset[i].numpy()[:, None]
    picture = cv2.transform(picture, mix @ np.concatenate(colours, axis=1))
    np.clip(picture, 0, 1, out=picture)
    kind, amount = KINDS[int(how.kind[i])], float(how.amount[i])
    if kind == "sharpen":
        picture = pictures.sharpen(picture, amount, SHARPENED)
    elif kind == "blur":
        picture = pictures.blur(picture, amount)
    elif kind == "shrink":
        picture = pictures.resize(picture, amount)
    elif kind == "compress":
        picture = pictures.jpeg(picture, amount)
    return np.clip(picture, 0, 1, out=picture)


def soften(mask: np.ndarray, how: Softening, i: int, size: int) -> np.ndarray:
    """Row `i` of a softening, applied to one mask of a picture of this size; see `render_batch.soften`."""
    inner = pictures.smooth(mask, float(how.erode[i]) * size)
    inner *= 8
    inner += 0.5 - 8 * float(how.level[i])
    np.clip(inner, 0, 1, out=inner)
    if inner.max() < 0.5:  # a region too thin to erode
        inner = mask
    soft = pictures.smooth(inner, float(how.feather[i]) * size)
    soft *= 1 / max(float(soft.max()), 1e-6)
    return np.clip(soft, 0, 1, out=soft)


def _mean_gap(foreground: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    gap = cv2.subtract(background, foreground).reshape(-1, 3)
    return mask.ravel() @ gap / max(float(mask.sum()), 1.0)


def _colour_to_background(
    foreground: np.ndarray, background: np.ndarray, mask: np.ndarray, share: float
) -> np.ndarray:
    """See `render_batch`; returns a new picture."""
    move = share * _mean_gap(foreground, background, mask)[:, None]
    return cv2.transform(foreground, np.concatenate([np.eye(3), move], axis=1).astype(np.float32))


def poisson_foreground(foreground: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """See `render_batch.poisson_foreground`; one picture, (H, W, 3) and (H, W)."""
    outside = (mask <= 0.5).astype(np.float32)
    gap = cv2.multiply(cv2.subtract(background, foreground), cv2.merge([outside] * 3))
    levels = [(gap, outside)]
    for _ in range(render_batch.LEVELS):
        levels.append(tuple(pictures.halve(part, cv2.BORDER_CONSTANT) for part in levels[-1]))
    correction = np.empty_like(levels[-1][0])
    correction[:] = _mean_gap(foreground, background, mask)
    for number, (gap, known) in enumerate(reversed(levels)):
        height, width = known.shape
        if number:
            double = correction.shape[1] * 2, correction.shape[0] * 2
            correction = cv2.resize(correction, double, interpolation=cv2.INTER_LINEAR)
            correction = np.ascontiguousarray(correction[:height, :width])
        value = gap / np.maximum(known, 1e-6)[..., None] if number < render_batch.LEVELS else gap
        fixed = (known > 0.5).astype(np.uint8)
        cv2.copyTo(value, fixed, correction)
        x, y, columns, rows = cv2.boundingRect(1 - fixed)
        if not columns:
            continue
        # Only these, and the known ones around them, need the sweeps.
        part = slice(max(y - 1, 0), y + rows + 1), slice(max(x - 1, 0), x + columns + 1)
        value, fixed, inner = value[part], fixed[part], correction[part]
        for _ in range(render_batch.SWEEPS[number]):
            inner = cv2.filter2D(inner, -1, NEIGHBOURS, borderType=EDGE)
            cv2.copyTo(value, fixed, inner)
        correction[part] = inner
    return cv2.add(foreground, correction)
