"""Faces are found whatever the file's orientation, number or border, and framed the same everywhere."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from media.faces import CROP_MARGIN, Face, crop_face, find_faces
from media.images import read_image

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(256, 256, 3) uint8, one face about 46 pixels wide."""
    return cv2.resize(read_image(EXAMPLE), (256, 256), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def face(photo) -> Face:
    (found,) = find_faces(photo)
    return found


def test_the_face_is_found_where_it_is(photo, face):
    x0, y0, x1, y1 = face.box
    assert 60 < x0 < x1 < 160 and 20 < y0 < y1 < 110
    assert face.side == max(x1 - x0, y1 - y0) and face.landmarks.shape == (68, 2)
    assert np.allclose(face.landmarks.min(0), (x0, y0)) and np.allclose(face.landmarks.max(0), (x1, y1))
    assert face.landmarks[36, 0] < face.landmarks[30, 0] < face.landmarks[45, 0], "right eye, nose, left eye"


def test_a_rotated_photo_gives_the_same_face(photo, face):
    """Telephones store pictures lying on their side and say so in EXIF."""
    lying = Image.fromarray(np.rot90(photo))
    exif = Image.Exif()
    exif[274] = 6  # "turn by 90 degrees clockwise to view"
    buffer = BytesIO()
    lying.save(buffer, "PNG", exif=exif)
    upright = read_image(buffer.getvalue())
    assert np.array_equal(upright, photo)
    (found,) = find_faces(upright)
    assert found.box == face.box


def test_no_face_gives_an_empty_list():
    assert find_faces(np.full((120, 120, 3), 128, np.uint8)) == []


def test_thirty_faces_largest_first(photo, face):
    tile = crop_face(photo, face, 140, zoom=1.25).pixels
    crowd = np.tile(tile, (5, 6, 1))
    found = find_faces(crowd)
    assert len(found) == 30
    sides = [f.side for f in found]
    assert sides == sorted(sides, reverse=True)
    places = {(int(f.box[0] + f.side / 2) // 140, int(f.box[1] + f.side / 2) // 140) for f in found}
    assert len(places) == 30, "one face in each tile"


def test_a_face_at_the_border_is_found_and_cropped(photo, face):
    cut = photo[:, round(face.box[0]) :]
    (found,) = find_faces(cut)
    assert abs(found.box[2] - (face.box[2] - round(face.box[0]))) < 6
    crop = crop_face(cut, found, 64)
    assert crop.box[0] < 0, "the square reaches outside, where the border is mirrored"
    assert crop.pixels.shape == (64, 64, 3) and crop.pixels[:, 0].max() > 0


@pytest.mark.parametrize("size", [32, 96])
def test_a_wider_crop_holds_the_usual_one(photo, face, size):
    """Training sets store a border around the crop; its centre must be what inference sees."""
    border = 8
    usual = crop_face(photo, face, size)
    wide = crop_face(photo, face, size + 2 * border, zoom=1 + 2 * border / size)
    centre = wide.pixels[border : border + size, border : border + size]
    assert np.abs(centre.astype(int) - usual.pixels).max() <= 1, "at most rounding"
    assert np.allclose(wide.landmarks - border, usual.landmarks, atol=1e-3)


def test_the_crop_has_the_stated_margin_and_landmarks_follow(photo, face):
    crop = crop_face(photo, face, 96)
    side = crop.box[2] - crop.box[0]
    assert side == pytest.approx(face.side * (1 + 2 * CROP_MARGIN)) == crop.box[3] - crop.box[1]
    # Pixel centres: the left edge of the box is the left edge of the crop's first pixel.
    back = (crop.landmarks + 0.5) * side / 96 + np.array(crop.box[:2]) - 0.5
    assert np.allclose(back, face.landmarks, atol=0.51), "landmarks are those of the photo, moved"


def test_pixels_and_landmarks_move_together(face):
    """A bright dot under a landmark of the photo lies under that landmark of the crop."""
    for size in (24, 96):
        canvas = np.zeros((256, 256, 3), np.uint8)
        x, y = (int(v) for v in face.landmarks[30].round())
        cv2.circle(canvas, (x, y), 3, (255, 255, 255), -1)
        exact = Face(face.box, np.repeat([[x, y]], 68, axis=0).astype(np.float32))
        crop = crop_face(canvas, exact, size)
        rows, columns = np.nonzero(crop.pixels[..., 0] > 60)
        assert np.allclose((columns.mean(), rows.mean()), crop.landmarks[30], atol=0.5)
