"""Where the faces of a picture are.

A finder (media.face_models) is asked at scales that follow from SMALLEST_FACE, never from what was found
before: a large picture is searched in overlapping tiles, so that a small face beside a large one is found and
memory stays bounded. So does the work: in what is larger than a camera's picture only larger faces are
searched for, and of a crowd MOST_FACES are told; both are said.

Coordinates here have the corner of the first pixel at (0, 0), so its centre at (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from media.errors import check_wanted
from media.face_models import STRIDE, Candidate, Finder, distinct, finder

SMALLEST_FACE = 48  # pixels of the photograph; every face from here on is searched for
OVERLAP = 160  # pixels of a tile that its neighbour sees too; a face cut by one tile is whole in the other
STEP = 4  # from one scale of the search to the next
MOST_WORK = (
    32e6  # pixels that a finder reads at the finest scale: as many as in a photograph of 80 megapixels
)
MOST_FACES = 100  # of a picture; a face takes twentieths of a second to read and to judge
CERTAIN = 0.8  # confidence from which nobody asks whether a face might lie on its side
TURN_GAIN = 0.1  # by how much a turned reading must be more confident than the upright one
TURN_VIEW = 128  # pixels, side of the picture in which the turn is looked for; the face takes half of it


@dataclass(frozen=True)
class Found:
    """What a search found.

    candidates: places that may be faces, each once, most confident first. more: how many places beyond
    MOST_FACES were passed over, those that are least surely faces and smallest. smallest: side in pixels from
    which faces were searched for: SMALLEST_FACE, more in a picture too large for MOST_WORK.
    """

    candidates: list[Candidate]
    more: int
    smallest: float


def search(image: np.ndarray) -> Found:
    """Every place of a photograph that may be a face, also on its side and upside down.

    image: (H, W, 3) uint8 RGB.
    """
    using = finder()
    scales = _scales(image.shape, using)
    found = distinct([c for scale in scales for c in _search(image, scale, using)])
    if not any(candidate.confidence >= using.sure for candidate in found):
        # In one tile, and shrunk before it is turned: a turned copy of a large picture would be as large.
        coarse = _resized(image, scales[-1])
        exact = np.array(coarse.shape[1::-1]) / image.shape[1::-1]
        for turns in (1, 2, 3):
            turned = using.search(np.ascontiguousarray(np.rot90(coarse, turns)))
            found += [_turned_back(c, turns, coarse.shape).moved(exact, np.zeros(2)) for c in turned]
        found = distinct(found)
    kept = found
    if len(found) > MOST_FACES:
        kept = sorted(found, key=lambda c: (c.confidence < using.sure, -c.side))[:MOST_FACES]
    if using.name == "CenterFace":
        kept = distinct([_oriented(image, candidate, using) for candidate in kept])
    return Found(kept, max(0, len(found) - MOST_FACES), max(SMALLEST_FACE, using.reads / scales[0]))


def _scales(shape: Sequence[int], using: Finder) -> list[float]:
    """The scales at which a picture is searched, finest first; at the last it fits into one tile."""
    longest = max(shape[:2])
    scale = min(using.largest_scale, max(using.whole / longest, using.reads / SMALLEST_FACE))
    while (work := _work(shape, scale, using)) > MOST_WORK:
        scale *= min(0.98, math.sqrt(MOST_WORK / work))
    scales = [scale]
    while longest * scales[-1] > using.tile:
        scales.append(max(scales[-1] / STEP, using.whole / longest))
    return scales


def _work(shape: Sequence[int], scale: float, using: Finder) -> int:
    """How many pixels the finder reads of a picture at a scale, what overlaps and what fills up included."""
    sides = []
    for extent in shape[:2]:
        parts = [(end - start) * scale for start, end in _spans(extent, scale, using.tile)]
        sides.append(sum(math.ceil(part / STRIDE) * STRIDE for part in parts))
    return sides[0] * sides[1]


def _search(image: np.ndarray, scale: float, using: Finder) -> Iterator[Candidate]:
    """Candidates of the picture at one scale, in its own pixels."""
    height, width = image.shape[:2]
    for top, bottom in _spans(height, scale, using.tile):
        for left, right in _spans(width, scale, using.tile):
            check_wanted()
            part = _resized(image[top:bottom, left:right], scale)
            size = part.shape[1::-1]
            exact = np.array(size) / (right - left, bottom - top)
            inner = np.array([left > 0, top > 0, right < width, bottom < height])
            edges = np.array([0, 0, *size])
            for candidate in using.search(part):
                touches = inner & ((edges - candidate.box) * (-1, -1, 1, 1) < 2)
                if touches.any() and candidate.side < OVERLAP / 2:
                    continue  # whole in the tile next to it
                yield candidate.moved(exact, np.array([left, top]))


def _resized(part: np.ndarray, scale: float) -> np.ndarray:
    """A picture, or the part of one, at a scale; at least one pixel of it."""
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    if size == part.shape[1::-1]:
        return part
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _spans(extent: int, scale: float, tile: int) -> list[tuple[int, int]]:
    """Cut one axis of a picture into overlapping parts of at most `tile` pixels at that scale."""
    scaled = extent * scale
    count = 1 if scaled <= tile else math.ceil((scaled - OVERLAP) / (tile - OVERLAP))
    length = (scaled + (count - 1) * OVERLAP) / count
    starts = [n * (length - OVERLAP) / scale for n in range(count)]
    return [(math.floor(start), min(extent, math.ceil(start + length / scale))) for start in starts]


def _turned_back(candidate: Candidate, turns: int, shape: Sequence[int]) -> Candidate:
    """A candidate of np.rot90(image, turns) in pixels of the image of that shape."""
    height, width = shape[:2]
    places = [candidate.box.reshape(2, 2)] + ([] if candidate.points is None else [candidate.points])
    for turn in range(turns, 0, -1):  # each step back: (x, y) of the turned picture was at (W - y, x)
        extent = width if turn % 2 else height
        places = [np.stack([extent - place[:, 1], place[:, 0]], axis=1) for place in places]
    box = np.concatenate([places[0].min(axis=0), places[0].max(axis=0)])
    return replace(candidate, box=box, points=places[1] if len(places) > 1 else None)


def _oriented(image: np.ndarray, candidate: Candidate, using: Finder) -> Candidate:
    """The candidate as it reads when the head is turned upright, where there is doubt that it is.

    CenterFace finds most faces that lie on their side or stand on their head, with less confidence and with
    wrong points: then it reads the place again in quarter turns.
    """
    check_wanted()
    if candidate.confidence >= CERTAIN and abs(candidate.roll) < 45:
        return candidate
    scale = TURN_VIEW / 2 / candidate.side
    corner = candidate.centre - TURN_VIEW / 2 / scale
    view = square_view(image, corner, TURN_VIEW, scale)
    best = candidate
    middle = np.array([TURN_VIEW / 2, TURN_VIEW / 2])
    for turns in range(4):
        for found in using.search(np.ascontiguousarray(np.rot90(view, turns))):
            here = np.abs(found.centre - middle).max() < TURN_VIEW / 6 and found.side > TURN_VIEW / 4
            if here and found.confidence > best.confidence + (TURN_GAIN if best is candidate else 0):
                best = _turned_back(found, turns, view.shape).moved(scale, corner)
    return best


def square_view(
    image: np.ndarray, corner: np.ndarray, side: int, scale: float, roll: float = 0.0
) -> np.ndarray:
    """Read a square out of a picture, turned upright; outside, the border is repeated.

    image: (H, W, 3) uint8 RGB. corner: (2,) X, Y of the square's first corner. scale: pixels of the view
    per pixel of the picture. roll: degrees clockwise by which the square is turned about that corner.
    Returns (side, side, 3) uint8 RGB.
    """
    rotation = rotation_by(-roll)
    if scale < 0.5:  # area-average first: one bilinear tap would alias
        factor = 2 ** int(np.floor(np.log2(1 / scale)))
        reach = side / scale * (1.5 if roll else 1.0)
        low = np.clip(np.floor(corner - reach * bool(roll)), 0, None).astype(int)
        high = np.maximum(np.ceil(corner + reach).astype(int), low + 1)
        part = image[low[1] : high[1], low[0] : high[0]]
        if part.size:
            size = max(1, part.shape[1] // factor), max(1, part.shape[0] // factor)
            step = np.array([part.shape[1] / size[0], part.shape[0] / size[1]])
            image = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            return _warped(image, (rotation * scale) * step, -rotation @ (corner - low) * scale, side)
    return _warped(image, rotation * scale, -rotation @ corner * scale, side)


def _warped(image: np.ndarray, linear: np.ndarray, shift: np.ndarray, side: int) -> np.ndarray:
    """Apply an affine map that is written in coordinates of pixel corners."""
    matrix = np.column_stack([linear, shift + linear @ (0.5, 0.5) - 0.5])
    return cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def rotation_by(degrees: float) -> np.ndarray:
    """(2, 2) matrix that turns (X, Y), Y downwards, clockwise; exactly the identity for 0."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
