"""A drawn or painted face gets no verdict; a photograph keeps its own, however it was compressed."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from common.verdicts import Reason
from kfd.detector import Detector
from kfd.quality.drawings import KINDS, draw, is_drawn
from media.faces import crop_face, find_faces
from media.images import read_image

ROOT = Path(__file__).parents[2]
EXAMPLES = ("example.jpg", "example_forged.jpg")


@pytest.fixture(scope="module", params=EXAMPLES)
def photo(request) -> np.ndarray:
    return read_image(ROOT / "app" / request.param)


@pytest.fixture(scope="module")
def crop(photo) -> np.ndarray:
    """(192, 192, 3) uint8, the square that a detector sees."""
    return crop_face(photo, find_faces(photo)[0], 192).pixels


def pencil(photo: np.ndarray) -> np.ndarray:
    """The common recipe: grey divided by its blurred negative."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    lines = cv2.divide(grey, 255 - cv2.GaussianBlur(255 - grey, (21, 21), 0), scale=256)
    return cv2.cvtColor(lines, cv2.COLOR_GRAY2RGB)


def contours(photo: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).filter(ImageFilter.CONTOUR))


def poster(photo: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).quantize(8, dither=Image.Dither.NONE).convert("RGB"))


def cartoon(photo: np.ndarray) -> np.ndarray:
    flat = cv2.pyrMeanShiftFiltering(photo, 10, 30)
    grey = cv2.medianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 5)
    edges = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 4)
    return cv2.bitwise_and(flat, flat, mask=edges)


def test_what_others_draw_is_told_apart(photo):
    """Not by our own recipes alone, which the estimate was fitted on.

    A poster of eight colours lies at the limit, and may be missed.
    """
    box = find_faces(photo)[0]
    missed = [
        made.__name__
        for made in (pencil, contours, poster, cartoon)
        if not is_drawn(crop_face(made(photo), box, 192).pixels)
    ]
    assert missed in ([], ["poster"])


@pytest.mark.parametrize("kind", KINDS)
def test_most_drawings_are_told_apart(crop, kind):
    random = np.random.default_rng(1)
    flagged = [is_drawn(draw(crop, kind, random)) for _ in range(12)]
    assert np.mean(flagged) >= 0.7


def test_a_photograph_stays_one(crop):
    """As it is, without colour, compressed, blurred, noisy, dark, bright, small."""
    random = np.random.default_rng(0)
    small = Image.fromarray(crop).resize((60, 60)).resize((192, 192), Image.Resampling.BILINEAR)
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    forms = {
        "as it is": crop,
        "grey": grey,
        "blurred": cv2.GaussianBlur(crop, (0, 0), 2),
        "noisy": np.clip(crop + random.normal(0, 12, crop.shape), 0, 255).astype(np.uint8),
        "dark": (crop * 0.5).astype(np.uint8),
        "bright": np.clip(crop * 1.3, 0, 255).astype(np.uint8),
        "small": np.asarray(small),
    }
    for quality in (90, 50, 25):
        buffer = BytesIO()
        Image.fromarray(crop).save(buffer, "JPEG", quality=quality)
        forms[f"JPEG {quality}"] = np.asarray(Image.open(buffer))
    assert [name for name, pixels in forms.items() if is_drawn(pixels)] == []


def test_a_sketch_was_called_real():
    """A pencil sketch scored 0.02, "no signs of manipulation": the detector knows nothing of drawings."""
    detector = Detector.from_pretrained(ROOT / "checkpoints" / "embedded" / "kfd")
    photo = read_image(ROOT / "app" / EXAMPLES[0])
    (finding,) = detector.judge(pencil(photo), find_faces(photo))
    assert finding.verdict == "inconclusive" and Reason.NOT_A_PHOTOGRAPH in finding.reasons
    assert finding.evidence is None
    (photographed,) = detector.examine(photo)
    assert Reason.NOT_A_PHOTOGRAPH not in photographed.reasons


def test_a_picture_of_text_has_no_face():
    page = Image.new("RGB", (900, 700), "white")
    draw_on = ImageDraw.Draw(page)
    for line in range(30):
        draw_on.text((20, 20 + 22 * line), "The quick brown fox jumps over the lazy dog. " * 3, fill="black")
    assert find_faces(np.asarray(page)) == []
