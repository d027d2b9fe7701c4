"""Find faces, their 68 landmarks, and cut the square the detector sees.

One function for training, evaluation and the app, so that a face is framed the same way wherever it is
judged. Where the faces are, media.face_detector says; the landmarks are dlib's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from media.face_detector import rotation_by, search, square_view
from media.face_models import Candidate, finder, package_folder, roll_of

CROP_MARGIN = 0.15  # context on each side, as a fraction of the landmark box's longer side
TILTED = 30.0  # degrees of roll from which a face is turned upright before it is read
LANDMARK_BOX = 200  # pixels, side of the face in the view in which its landmarks are looked for
LANDMARK_VIEW = 320  # pixels, side of that view
# The predictor was trained on boxes of dlib's finder. Fitted on 324 training photographs in which both
# finders see the one face: dlib's box lies this share of the way from the middle of CenterFace's towards the
# mean of its points, and is this much larger or smaller where that mean lies low or high. What remains
# scatters by 3 % of the side in place and 9 % in size, most of it dlib's own steps.
TOWARDS_POINTS = 0.75
DLIB_SIDE = 0.99, -0.86  # side of dlib's box, in sides of the other: constant, and per side of that height


@dataclass(frozen=True)
class Face:
    """A face in a photograph.

    box: (x0, y0, x1, y1) float, around the landmarks once the face is turned upright about the middle of the
        box, in pixels of the photograph.
    landmarks: (68, 2) float32, (X, Y) in pixels of the photograph, iBUG order.
    sure: False where the finder was not confident that this is a face.
    roll: degrees by which the face is turned clockwise; 0 for all that are tilted by less than TILTED.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    sure: bool = True
    roll: float = 0.0

    @property
    def side(self) -> float:
        """The longer side of the box, in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True)
class FaceCrop:
    """The square the detector sees.

    pixels: (S, S, 3) uint8 RGB. landmarks: (68, 2) float32 in pixels of the crop.
    box: (x0, y0, x1, y1) of the square in pixels of the photograph, before it is turned clockwise by `roll`
    degrees about its middle; it may reach outside, where the border is mirrored.
    """

    pixels: np.ndarray
    landmarks: np.ndarray
    box: tuple[float, float, float, float]
    roll: float = 0.0


@dataclass(frozen=True)
class FaceSearch:
    """What a search for faces found.

    faces: the largest first. more: how many places that may be faces were passed over, because a picture may
    have so many that nobody would wait for them; smallest: side in pixels from which faces were searched
    for; see media.face_detector.Found.
    """

    faces: tuple[Face, ...]
    more: int
    smallest: float


def finder_name() -> str:
    """The name of what looks for faces on this machine: "CenterFace", or "dlib" where that is missing."""
    return finder().name


def search_faces(image: np.ndarray) -> FaceSearch:
    """Look for every face of a photograph.

    image: (H, W, 3) uint8 RGB, upright (see media.images.read_image). Faces whose side is at least
    media.face_detector.SMALLEST_FACE are searched for, however large the photograph of a camera is, and
    smaller ones found with luck.
    """
    height, width = image.shape[:2]
    found = search(image)
    faces = [_face(image, candidate) for candidate in found.candidates]
    inside = [face for face in faces if _centre_inside(face, width, height)]
    return FaceSearch(tuple(sorted(inside, key=lambda face: -face.side)), found.more, found.smallest)


def find_faces(image: np.ndarray) -> list[Face]:
    """The faces of a photograph, largest first; an empty list when there is none. See `search_faces`."""
    return list(search_faces(image).faces)


def face_of(landmarks: np.ndarray, sure: bool = True) -> Face:
    """The face that has these landmarks, (68, 2) float32 (X, Y) in pixels of the photograph."""
    eyes = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    tilt = roll_of(np.stack([*eyes, *landmarks[[30, 48, 54]]]))
    roll = tilt if abs(tilt) > TILTED else 0.0
    upright = rotation_by(-roll)
    turned = landmarks @ upright.T if roll else landmarks
    low, high = turned.min(axis=0).astype(np.float64), turned.max(axis=0).astype(np.float64)
    if roll:  # the box lies where its middle is once the face is turned back
        middle, half = (low + high) / 2 @ upright, (high - low) / 2
        low, high = middle - half, middle + half
    return Face((*low.tolist(), *high.tolist()), landmarks, sure, roll)


def crop_face(
    image: np.ndarray,
    face: Face,
    size: int,
    zoom: float = 1.0,
    shrink: Callable[[int], np.ndarray] | None = None,
) -> FaceCrop:
    """Cut the square around a face.

    image: (H, W, 3) uint8 RGB. size: side of the crop in pixels.
    zoom: how much wider than usual the square is; a crop of side `size * zoom` with this zoom
        holds the usual crop, pixel for pixel, in its centre (see data_sim.dataset).
    shrink: gives the picture `shrunk` by a factor; where many faces are cut out of it, one that remembers.
    """
    x0, y0, x1, y1 = face.box
    upright = rotation_by(-face.roll)  # exactly the identity for a face that is not tilted
    rise = -0.06 * (y1 - y0)  # landmarks stop at the brows
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + np.array([0, rise]) @ upright
    side = face.side * (1 + 2 * CROP_MARGIN) * zoom
    half = np.array([side / 2, side / 2])
    scale = size / side
    linear = upright * scale
    # Pixel centres: column c of an upright crop shows x = corner + (c + 0.5) / scale - 0.5.
    shift = linear @ (0.5, 0.5) - 0.5 - linear @ (centre - half @ upright)
    matrix = np.column_stack([linear, shift])
    source = image
    if scale < 0.5:  # area-average first: one bilinear tap would alias
        factor = 2 ** int(np.floor(np.log2(1 / scale)))
        source = shrunk(image, factor) if shrink is None else shrink(factor)
        back = np.array(image.shape[1::-1]) / source.shape[1::-1]
        matrix = np.column_stack([linear * back, shift + 0.5 * (linear @ (back - 1))])
    pixels = cv2.warpAffine(
        source, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    landmarks = (face.landmarks @ linear.T + shift).astype(np.float32)
    box = (*(centre - half).tolist(), *(centre + half).tolist())
    return FaceCrop(pixels, landmarks, box, face.roll)


def shrunk(image: np.ndarray, factor: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 whose pixels are the means of factor x factor pixels, or nearly so."""
    size = max(1, image.shape[1] // factor), max(1, image.shape[0] // factor)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _face(image: np.ndarray, candidate: Candidate) -> Face:
    """The candidate with its landmarks, read upright where it is tilted."""
    roll = candidate.roll if abs(candidate.roll) > TILTED else 0.0
    landmarks = _landmarks(image, *_dlib_box(candidate, roll), roll)
    return face_of(landmarks, candidate.confidence >= finder().sure)


def _dlib_box(candidate: Candidate, roll: float) -> tuple[np.ndarray, float]:
    """Middle, in coordinates of pixel corners, and side of the box that dlib's finder would draw."""
    if candidate.points is None:
        return candidate.centre, candidate.side
    towards = candidate.points.mean(axis=0) - candidate.centre
    low = float((rotation_by(-roll) @ towards)[1]) / candidate.side
    side = candidate.side * (DLIB_SIDE[0] + DLIB_SIDE[1] * float(np.clip(low, -0.2, 0.3)))
    return candidate.centre + TOWARDS_POINTS * towards, side


def _landmarks(image: np.ndarray, centre: np.ndarray, side: float, roll: float) -> np.ndarray:
    """The 68 landmarks (68, 2) float32 in the box of that middle and side, in pixels of the picture."""
    import dlib

    scale = LANDMARK_BOX / side
    to_picture = rotation_by(roll) / scale
    corner = centre - to_picture @ (LANDMARK_VIEW / 2, LANDMARK_VIEW / 2)
    view = square_view(image, corner, LANDMARK_VIEW, scale, roll)
    first = (LANDMARK_VIEW - LANDMARK_BOX) // 2
    shape = _predictor()(
        view, dlib.rectangle(first, first, first + LANDMARK_BOX - 1, first + LANDMARK_BOX - 1)
    )
    points = np.array([(point.x, point.y) for point in shape.parts()]) + 0.5
    return (points @ to_picture.T + corner - 0.5).astype(np.float32)


def _centre_inside(face: Face, width: int, height: int) -> bool:
    """Whether the face lies in the photograph, not in its replicated border."""
    x0, y0, x1, y1 = face.box
    return 0 <= (x0 + x1) / 2 < width and 0 <= (y0 + y1) / 2 < height


@lru_cache(maxsize=1)
def _predictor():
    """dlib's 68-point shape predictor."""
    import dlib

    # The package's own __init__ needs pkg_resources, which new setuptools no longer ship.
    folder = package_folder("face_recognition_models")
    if folder is None:
        raise ModuleNotFoundError(
            "face_recognition_models is not installed: pip install face_recognition_models"
        )
    return dlib.shape_predictor(str(folder / "models" / "shape_predictor_68_face_landmarks.dat"))
