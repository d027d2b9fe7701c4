"""The one list of facial regions: their words, their outlines, their scores.

Outlines are convex hulls of the 68 landmarks of the iBUG scheme and of ten forehead
points raised from the eyebrows. "Left" and "right" are the person's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

NUM_LANDMARKS = 68
FOREHEAD_POINTS = tuple(range(68, 78))  # made by `with_forehead`, one above each brow point


@dataclass(frozen=True)
class Region:
    """A named part of the face.

    name: how code and files spell it. words: how a sentence spells it.
    points: landmark indices (68..77 are the forehead points) whose convex hull it is.
    margin: how far the hull is widened, as a fraction of the distance between the eyes.
    """

    name: str
    words: str
    points: tuple[int, ...]
    margin: float = 0.0


REGIONS: tuple[Region, ...] = (
    Region("left_eye", "left eye", (42, 43, 44, 45, 46, 47), 0.12),
    Region("right_eye", "right eye", (36, 37, 38, 39, 40, 41), 0.12),
    Region("left_eyebrow", "left eyebrow", (22, 23, 24, 25, 26), 0.06),
    Region("right_eyebrow", "right eyebrow", (17, 18, 19, 20, 21), 0.06),
    Region("nose", "nose", (27, 28, 29, 30, 31, 32, 33, 34, 35), 0.08),
    Region("mouth", "mouth", tuple(range(48, 60)), 0.08),
    Region("left_cheek", "left cheek", (46, 45, 16, 15, 14, 13, 12, 54, 35)),
    Region("right_cheek", "right cheek", (41, 36, 0, 1, 2, 3, 4, 48, 31)),
    Region("chin", "chin", (5, 6, 7, 8, 9, 10, 11, 55, 57, 59)),
    Region("forehead", "forehead", (17, 19, 21, 22, 24, 26, *FOREHEAD_POINTS)),
    Region("whole_face", "whole face", (*range(17), *FOREHEAD_POINTS)),
)
REGION_NAMES: tuple[str, ...] = tuple(region.name for region in REGIONS)
WHOLE_FACE = "whole_face"
PART_NAMES: tuple[str, ...] = tuple(name for name in REGION_NAMES if name != WHOLE_FACE)

MAX_NAMED = 3  # a reader can look at three places; a longer list says "everywhere"
NUM_DIRECTIONS = 32  # sides of the polygon that stands for a convex hull
_NEXT = np.arange(1, NUM_DIRECTIONS + 1) % NUM_DIRECTIONS
_DIRECTIONS = np.stack([
    np.cos(np.arange(NUM_DIRECTIONS) * (2 * np.pi / NUM_DIRECTIONS)),
    np.sin(np.arange(NUM_DIRECTIONS) * (2 * np.pi / NUM_DIRECTIONS)),
])  # fmt: skip


def with_forehead(landmarks: Tensor) -> Tensor:
    """Add ten forehead points above the brows, where the 68 landmarks stop.

    landmarks: (B, 68, 2) float, (X, Y) in pixels.
    Returns (B, 78, 2): each brow point raised along the face's own up direction
    by six tenths of the distance from the nose bridge to the nose base.
    """
    if landmarks.shape[-2:] != (NUM_LANDMARKS, 2):
        raise ValueError(f"landmarks: expected (B, {NUM_LANDMARKS}, 2), got {tuple(landmarks.shape)}")
    up = landmarks[:, 27] - landmarks[:, 33]  # nose base to nose bridge
    brows = landmarks[:, 17:27]
    rise = 0.9 - 0.3 * torch.linspace(-1, 1, 10, device=landmarks.device).abs()  # a rounded top
    return torch.cat([landmarks, brows + rise[None, :, None] * up[:, None]], dim=1)


def convex_hull(points: Tensor, size: int, margin: Tensor | float = 0.0, soft: float = 1.0) -> Tensor:
    """Rasterise the convex hull of point sets, in one batch and without loops over points.

    A point lies in a convex hull when, in every direction, it reaches no further than the
    furthest of the points; `NUM_DIRECTIONS` directions are close enough for a mask.

    points: (B, K, 2) float, (X, Y) in pixels of a size x size grid.
    margin: pixels by which the hull grows, a number or (B,).
    soft: width in pixels of the edge's ramp, at least 1 (one pixel is anti-aliasing).
    Returns (B, size, size) float32 in [0, 1].
    """
    angles = torch.arange(NUM_DIRECTIONS, device=points.device) * (2 * math.pi / NUM_DIRECTIONS)
    directions = torch.stack([angles.cos(), angles.sin()])  # (2, D)
    reach = (points.float() @ directions).amax(dim=1)  # (B, D)
    reach = reach + torch.as_tensor(margin, device=points.device, dtype=torch.float32).reshape(-1, 1)
    grid = torch.arange(size, device=points.device, dtype=torch.float32)
    inside = torch.full((len(points), size, size), float("inf"), device=points.device)
    for d in range(NUM_DIRECTIONS):
        along = grid[None, :] * directions[0, d] + grid[:, None] * directions[1, d]  # (size, size)
        inside = torch.minimum(inside, reach[:, d, None, None] - along)
    return (inside / max(soft, 1.0) + 0.5).clamp(0, 1)


def hull_polygons(points: np.ndarray, margin: np.ndarray | float = 0.0) -> np.ndarray:
    """Corners of what `convex_hull` rasterises, for `fill_polygons`.

    points: (B, K, 2) float, (X, Y) in pixels. margin: pixels by which the hull grows, a number or (B,).
    Returns (B, NUM_DIRECTIONS, 2) float: a tangent of the hull lies in every direction, and the corners are
    where neighbours meet. They stand a quarter of a pixel too far in, because `fill_polygons` also fills what
    the outline touches.
    """
    x, y = _DIRECTIONS
    reach = (points @ _DIRECTIONS).max(axis=1) + (np.reshape(margin, (-1, 1)) - 0.25)  # (B, D)
    after = reach[:, _NEXT]
    corners = np.stack([reach * y[_NEXT] - after * y, after * x - reach * x[_NEXT]], axis=-1)
    return corners / math.sin(2 * math.pi / NUM_DIRECTIONS)


def fill_polygons(polygons: Iterable[np.ndarray], size: int) -> np.ndarray:
    """Draw the union of convex polygons.

    polygons: (K, 2) float arrays, (X, Y) in pixels, K of any size.
    Returns (size, size) uint8, 255 inside, with edges anti-aliased to a quarter of a pixel's area.
    """
    canvas = np.zeros((2 * size, 2 * size), dtype=np.uint8)
    for polygon in polygons:
        corners = np.round(((polygon + 0.5) * 2 - 0.5) * 256).astype(np.int32)
        cv2.fillConvexPoly(canvas, corners, 255, cv2.LINE_8, 8)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def eye_distance(landmarks: Tensor) -> Tensor:
    """Between the centres of both eyes: (B, 68, 2) -> (B,), in the landmarks' unit."""
    return (landmarks[:, 36:42].mean(1) - landmarks[:, 42:48].mean(1)).norm(dim=-1)


def region_mask(landmarks: Tensor, region: Region, size: int, soft: float = 1.0) -> Tensor:
    """The mask of one region for B faces: (B, 68, 2) pixels -> (B, size, size) in [0, 1]."""
    points = with_forehead(landmarks)[:, list(region.points)]
    return convex_hull(points, size, region.margin * eye_distance(landmarks), soft)


def region_masks(landmarks: Tensor, size: int, soft: float = 1.0) -> Tensor:
    """The masks of all regions for B faces, in REGIONS order.

    landmarks: (B, 68, 2) float, (X, Y) in pixels of a size x size crop.
    Returns (B, R, size, size) float32 in [0, 1].
    """
    return torch.stack([region_mask(landmarks, region, size, soft) for region in REGIONS], dim=1)


def region_scores(heatmap: Tensor, landmarks: Tensor) -> Tensor:
    """Mean P(fake) inside each region.

    heatmap: (B, 1, S, S) float in [0, 1]. landmarks: (B, 68, 2) in pixels of the S x S crop.
    Returns (B, R) float32 in [0, 1], REGIONS order; 0 for a region outside the crop.
    """
    maps, size = heatmap.float().cpu().numpy()[:, 0], heatmap.shape[-1]
    points, eyes = with_forehead(landmarks).float().cpu().numpy(), eye_distance(landmarks).tolist()
    scores = np.zeros((len(maps), len(REGIONS)), dtype=np.float32)
    for b, r in np.ndindex(*scores.shape):
        region = REGIONS[r]
        part, mask = _hull_part(points[b, list(region.points)], size, region.margin * eyes[b])
        scores[b, r] = (maps[b][part] * mask).sum() / max(mask.sum(), 1.0)
    return torch.from_numpy(scores).to(heatmap.device)


def _hull_part(points: np.ndarray, size: int, margin: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """One mask of `convex_hull`, where it is not 0: four times faster than the whole picture of it.

    points: (K, 2) float32 (X, Y). Returns rows and columns of the part, and its (h, w) float32 in [0, 1].
    """
    angles = np.arange(NUM_DIRECTIONS) * (2 * np.pi / NUM_DIRECTIONS)
    x, y = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    reach = (points @ np.stack([x, y])).max(axis=0) + np.float32(margin)
    quarter = NUM_DIRECTIONS // 4
    right, below, left, above = reach[::quarter] + 1  # in the directions of the axes; the edge is a ramp
    rows = np.arange(max(0, math.floor(-above)), min(size, math.ceil(below)), dtype=np.float32)
    columns = np.arange(max(0, math.floor(-left)), min(size, math.ceil(right)), dtype=np.float32)
    inside = np.full((len(rows), len(columns)), np.inf, dtype=np.float32)
    for d in range(NUM_DIRECTIONS):
        np.minimum(inside, reach[d] - (columns[None] * x[d] + rows[:, None] * y[d]), out=inside)
    part = tuple(
        slice(int(axis[0]), int(axis[-1]) + 1) if len(axis) else slice(0, 0) for axis in (rows, columns)
    )
    return part, np.clip(inside + 0.5, 0, 1)


@lru_cache(maxsize=1)
def _part_indices() -> tuple[int, ...]:
    return tuple(REGION_NAMES.index(name) for name in PART_NAMES)


def named_regions(scores: Tensor, floor: float = 0.25) -> tuple[str, ...]:
    """The regions a heat map points at, in words' order of strength.

    scores: (R,) as `region_scores` gives them.
    floor: mean P(fake) below which a region is never named.
    A region is named when it reaches the floor and half of the strongest region; when more
    than MAX_NAMED + 3 parts do, the map does not single anything out: it is the whole face.
    Returns at most MAX_NAMED names, strongest first; empty where nothing stands out.
    """
    parts = {REGION_NAMES[i]: float(scores[i]) for i in _part_indices()}
    strongest = max(parts.values())
    named = [name for name, score in parts.items() if score >= max(floor, 0.5 * strongest)]
    if len(named) > MAX_NAMED + 3:
        return (WHOLE_FACE,)
    return tuple(sorted(named, key=lambda name: -parts[name])[:MAX_NAMED])
