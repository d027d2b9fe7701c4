"""Find faces, their 68 landmarks, and cut the square the detector sees.

One function for training, evaluation and the app, so that a face is framed the same
way wherever it is judged. Detector and landmarks are dlib's, offline and on the CPU.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

CROP_MARGIN = 0.15  # context on each side, as a fraction of the landmark box's longer side
PADDING = 0.3  # replicated border before detection: many archives cut faces tightly
WORK_SIDE = 1200  # longer side, padding included, of the image the detector searches first
SURE = 0.3  # confidence; badges and patterns stay below it, 198 of 200 validation faces do not
RETRY_SIDE = 2600  # and of the second search, when the first finds no sure face
_FINDING = Lock()  # dlib's finder cannot be shared between threads


@dataclass(frozen=True)
class Face:
    """A face in a photograph.

    box: (x0, y0, x1, y1) float, around the landmarks, in pixels of the photograph.
    landmarks: (68, 2) float32, (X, Y) in pixels of the photograph, iBUG order.
    sure: False where the finder's confidence was below SURE: of 150 photographs 6 have only such a face, and
        of 450 turned or shuffled ones, without an upright face, as many.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    sure: bool = True

    @property
    def side(self) -> float:
        """The longer side of the box, in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True)
class FaceCrop:
    """The square the detector sees.

    pixels: (S, S, 3) uint8 RGB. landmarks: (68, 2) float32 in pixels of the crop.
    box: (x0, y0, x1, y1) of the square in pixels of the photograph; it may reach outside,
    where the border is mirrored.
    """

    pixels: np.ndarray
    landmarks: np.ndarray
    box: tuple[float, float, float, float]


def find_faces(image: np.ndarray) -> list[Face]:
    """Every face of a photograph, largest first; an empty list when there is none.

    image: (H, W, 3) uint8 RGB, upright (see media.images.read_image).
    """
    height, width = image.shape[:2]
    pad = round(PADDING * max(height, width))
    padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    longest = max(padded.shape[:2])
    coarse, fine = min(2.0, WORK_SIDE / longest), min(1.0, RETRY_SIDE / longest)
    faces = _search(padded, coarse, SURE)
    if not faces and fine > coarse:
        faces = _search(padded, fine, SURE)
    sure = bool(faces)
    faces = faces or _search(padded, coarse, 0.0)
    inside = [_face(landmarks - pad, sure) for landmarks in faces]
    inside = [face for face in inside if _centre_inside(face, width, height)]
    return sorted(inside, key=lambda face: -face.side)


def crop_face(image: np.ndarray, face: Face, size: int, zoom: float = 1.0) -> FaceCrop:
    """Cut the square around a face.

    image: (H, W, 3) uint8 RGB. size: side of the crop in pixels.
    zoom: how much wider than usual the square is; a crop of side `size * zoom` with this zoom
        holds the usual crop, pixel for pixel, in its centre (see data_sim.dataset).
    """
    x0, y0, x1, y1 = face.box
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2 - 0.06 * (y1 - y0)])  # landmarks stop at the brows
    side = face.side * (1 + 2 * CROP_MARGIN) * zoom
    corner = centre - side / 2
    scale = size / side
    # Pixel centres: column c of the crop shows x = corner + (c + 0.5) / scale - 0.5.
    shift = 0.5 * scale - 0.5 - corner * scale
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    source = image
    if scale < 0.5:  # area-average first: one bilinear tap would alias
        factor = 2 ** int(np.floor(np.log2(1 / scale)))
        width, height = max(1, image.shape[1] // factor), max(1, image.shape[0] // factor)
        source = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        back = np.array([image.shape[1] / width, image.shape[0] / height])
        matrix = np.array([[scale * back[0], 0, 0], [0, scale * back[1], 0]])
        matrix[:, 2] = shift + 0.5 * scale * (back - 1)
    pixels = cv2.warpAffine(
        source, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    landmarks = (face.landmarks * scale + shift).astype(np.float32)
    box = (*corner.tolist(), *(corner + side).tolist())
    return FaceCrop(pixels, landmarks, box)


def _search(padded: np.ndarray, scale: float, confidence: float) -> list[np.ndarray]:
    """Landmarks (68, 2) of each face found with at least that confidence, in pixels of `padded`."""
    import dlib

    detector, predictor = _models()
    size = (max(1, round(padded.shape[1] * scale)), max(1, round(padded.shape[0] * scale)))
    work = cv2.resize(padded, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    exact = np.array([size[0] / padded.shape[1], size[1] / padded.shape[0]])
    found = []
    with _FINDING:
        for rectangle in detector.run(work, 0, confidence)[0]:
            box = dlib.rectangle(rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom())
            shape = predictor(work, box)
            points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float32)
            found.append(((points + 0.5) / exact - 0.5).astype(np.float32))
    return found


def _face(landmarks: np.ndarray, sure: bool) -> Face:
    (x0, y0), (x1, y1) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
    return Face((x0, y0, x1, y1), landmarks.astype(np.float32), sure)


def _centre_inside(face: Face, width: int, height: int) -> bool:
    """Whether the face lies in the photograph, not in its replicated border."""
    x0, y0, x1, y1 = face.box
    return 0 <= (x0 + x1) / 2 < width and 0 <= (y0 + y1) / 2 < height


@lru_cache(maxsize=1)
def _models():
    """dlib's frontal face detector and 68-point predictor."""
    import dlib

    # The package's own __init__ needs pkg_resources, which new setuptools no longer ship.
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "face_recognition_models is not installed: pip install face_recognition_models"
        )
    folder = Path(spec.submodule_search_locations[0]) / "models"
    predictor = dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))
    return dlib.get_frontal_face_detector(), predictor
