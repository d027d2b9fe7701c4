"""What limits a finding is measured: compression is raised where there is some, and only there."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from kfd.quality.corruptions import apply, scale_of, shrunk, to_uint8
from kfd.quality.estimate import compression, jpeg_quality, lost_detail
from media.faces import crop_face, find_faces
from media.images import read_image
from media.jpeg import file_facts

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def crop() -> torch.Tensor:
    """(1, 3, 192, 192): the example's face as a detector of that size sees it."""
    photo = read_image(EXAMPLE)
    pixels = crop_face(photo, find_faces(photo)[0], 192).pixels
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def estimate(name: str, crop: torch.Tensor) -> tuple[float, float]:
    return compression(to_uint8(shrunk(name, crop))[0])


def test_compression_is_seen_in_the_pixels(crop):
    jpeg, video = estimate("as it is", crop)
    for name in ("jpeg 10", "jpeg 20"):
        assert estimate(name, crop)[0] > jpeg + 0.1, name
    for name in ("video 40", "video 44", "webp 5"):
        assert estimate(name, crop)[1] > video + 0.1, name
    grid = [estimate(f"jpeg {quality}", crop)[0] for quality in (90, 50, 30, 10)]
    assert grid == sorted(grid)
    rates = [estimate(f"video {rate}", crop)[1] for rate in (20, 33, 44)]
    assert rates == sorted(rates)


@pytest.mark.parametrize("name", ["blur 1", "resize 50", "noise 3"])
def test_what_is_no_compression_is_not_taken_for_it(crop, name):
    assert estimate(name, crop)[0] < estimate("jpeg 10", crop)[0]
    assert estimate(name, crop)[1] < estimate("video 40", crop)[1]


def test_lost_detail_is_the_truth_it_is_fitted_to(crop):
    original = to_uint8(crop)[0]
    assert lost_detail(original, original) == pytest.approx(0, abs=1e-6)
    assert lost_detail(np.full_like(original, 90), original) == 1
    lost = [lost_detail(to_uint8(apply(f"jpeg {q}", crop))[0], original) for q in (90, 50, 10)]
    assert lost == sorted(lost) and lost[0] < 0.2 < lost[2]


@pytest.mark.parametrize("quality", [10, 37, 75, 90, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality):
    buffer = BytesIO()
    Image.open(EXAMPLE).save(buffer, "JPEG", quality=quality)
    assert jpeg_quality(buffer.getvalue()) == quality


def test_a_set_and_a_photograph_tell_the_same_quality_of_foreign_tables():
    """Cameras have tables of their own: the benchmark once withheld verdicts that the page gave, and back."""
    foreign = [min(255, 3 + k // 2) for k in range(64)]
    buffer = BytesIO()
    Image.open(EXAMPLE).save(buffer, "JPEG", qtables=[foreign, foreign])
    data = buffer.getvalue()
    assert str(jpeg_quality(data)) == file_facts(data)["jpeg_quality"]


def test_other_files_have_no_jpeg_quality():
    buffer = BytesIO()
    Image.open(EXAMPLE).save(buffer, "PNG")
    assert jpeg_quality(buffer.getvalue()) is None and jpeg_quality(b"text") is None


def test_conditions_are_chains_of_steps(crop):
    assert torch.equal(apply("as it is", crop), crop)
    assert shrunk("resize 50 jpeg 40", crop).shape[-1] == 96 and apply("resize 50", crop).shape == crop.shape
    assert scale_of("resize 50 jpeg 40") == 0.5 and scale_of("jpeg 40") == 1.0 and scale_of("social") == 0.75
    assert not torch.equal(apply("social", crop), crop)
    for name in ("webp 20", "video 33", "blur 1", "noise 2"):
        changed = apply(name, crop)
        assert changed.shape == crop.shape and changed.dtype == crop.dtype and 0 <= changed.min() <= 1
        assert torch.equal(apply(name, crop), changed), "the same photograph must always get the same cell"
    for name in ("sharpen 3", "jpeg"):
        with pytest.raises(ValueError, match="condition"):
            apply(name, crop)


def test_ours_is_what_pillow_does(crop):
    """The tables' quality means the same in a file and in the grid."""
    buffer = BytesIO()
    Image.fromarray(to_uint8(crop)[0]).save(buffer, "JPEG", quality=20)
    saved = np.array(Image.open(buffer))
    grid = to_uint8(apply("jpeg 20", crop))[0]
    assert cv2.absdiff(saved, grid).mean() < 2.5
