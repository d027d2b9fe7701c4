"""What file and pixels give away without the forgery: planted differences are found, and nothing else is."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_sim.dataset import COLUMNS, FaceSet
from evaluation import confounders
from evaluation.confounders import (
    block_grid,
    confounder_scores,
    confounder_table,
    pixel_facts,
    row_facts,
    tables_by_source,
)
from media.images import read_image
from media.jpeg import file_facts
from tests.tiny.faces import add_known_fakes, save_tiny_faces

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return cv2.resize(read_image(EXAMPLE), (192, 192), interpolation=cv2.INTER_AREA)


def encoded(image: np.ndarray, file_format: str, **options) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, file_format, **options)
    return buffer.getvalue()


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    gaps = scores[labels == 1][:, None] - scores[labels == 0][None]
    return float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 95, 100])
def test_jpeg_quality_is_read_from_the_tables(photo, quality):
    facts = file_facts(encoded(photo, "JPEG", quality=quality))
    assert facts["jpeg_quality"] == str(quality)
    assert (facts["width"], facts["height"]) == ("192", "192") and int(facts["bytes"]) > 500


def test_other_formats_have_no_jpeg_quality(photo):
    for file_format in ("PNG", "WEBP"):
        assert file_facts(encoded(photo, file_format))["jpeg_quality"] == ""
    known = row_facts(dict.fromkeys(COLUMNS, "") | file_facts(encoded(photo, "PNG")))
    assert known["JPEG quality"] == [0.0, 0.0], "no JPEG is a fact too, not a missing one"
    assert row_facts(dict.fromkeys(COLUMNS, "")) == {}, "old sets tell nothing"


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.3])
def test_a_block_grid_stands_out_at_any_scale(photo, scale):
    """A crop is resampled, so the grid's edges are seldom eight pixels apart."""
    side = round(192 / scale)
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    coded = read_image(encoded(small, "JPEG", quality=15))

    def grid(image: np.ndarray) -> float:
        return block_grid(cv2.cvtColor(cv2.resize(image, (192, 192)), cv2.COLOR_RGB2GRAY).astype(np.float32))

    assert grid(coded) > grid(small) + 1


def planted(count: int, change) -> tuple[list[dict[str, list[float]]], np.ndarray, np.ndarray]:
    """Facts of pictures of noise; `change` is applied to those labelled fake. Groups are pairs."""
    rng = np.random.default_rng(0)
    labels, groups = np.arange(count) % 2, np.arange(count) // 2
    images = [cv2.GaussianBlur(rng.integers(40, 215, (64, 64, 3), dtype=np.uint8), (0, 0), 2) for _ in labels]
    images = [change(image) if label else image for image, label in zip(images, labels, strict=True)]
    return [pixel_facts(image) for image in images], labels, groups


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("sharpness", lambda image: cv2.GaussianBlur(image, (0, 0), 2)),
        ("mean colour", lambda image: cv2.add(image, (12, 0, 0, 0))),
    ],
)
def test_a_planted_confounder_is_found(name, change):
    facts, labels, groups = planted(40, change)
    scores = confounder_scores(facts, labels, groups)
    assert auc(labels, scores[name]) > 0.98
    assert auc(labels, scores["all together"]) > 0.95
    others = {"sharpness", "mean colour"} - {name}
    assert all(auc(labels, scores[other]) < 0.75 for other in others)


def test_nothing_planted_gives_a_half():
    facts, labels, groups = planted(200, lambda image: image)
    for name, scores in confounder_scores(facts, labels, groups).items():
        assert abs(auc(labels, scores) - 0.5) < 0.1, name


def test_a_constant_says_exactly_nothing():
    facts = [{"JPEG quality": [75.0, 1.0]} for _ in range(40)]
    labels = np.arange(40) % 2
    scores = confounder_scores(facts, labels, np.arange(40) // 2)
    assert auc(labels, scores["JPEG quality"]) == pytest.approx(0.5)


def test_a_quality_between_two_others_is_found():
    """Real ones at 60 and 95, fakes at 80: no single threshold tells them apart, yet the quality does."""
    labels = np.arange(60) % 2
    facts = [
        {"JPEG quality": [80.0 if label else (60.0, 95.0)[i // 2 % 2], 1.0]} for i, label in enumerate(labels)
    ]
    assert auc(labels, confounder_scores(facts, labels, np.arange(60))["JPEG quality"]) > 0.98


def test_what_only_tells_the_group_is_no_confounder():
    """Each group has a colour of its own and one label: without grouped folds it would be learnt by heart."""
    rng = np.random.default_rng(1)
    colours, labels = rng.normal(size=(20, 3)), np.repeat(np.arange(20) % 2, 10)
    groups = np.repeat(np.arange(20), 10)
    facts = [{"mean colour": colours[g].tolist()} for g in groups]
    assert auc(labels, confounder_scores(facts, labels, groups)["mean colour"]) < 0.8


def test_one_group_cannot_be_judged():
    with pytest.raises(ValueError, match="at least two groups each; got 1 groups with real"):
        confounder_scores([{"a": [0.0]}] * 4, np.array([0, 1, 1, 0]), np.array([0, 1, 2, 0]))


@pytest.fixture
def faces(tmp_path) -> Path:
    return add_known_fakes(save_tiny_faces(tmp_path / "set", faces=10, splits=("test",)))


def test_the_table_of_a_set(faces, tmp_path):
    """A set without facts is measured on its crops; the photographs fill in what is missing."""
    opened = FaceSet.open(faces, "test")
    table = confounder_table(opened)
    assert list(table) == ["sharpness", "mean colour", "block grid", "all together"]
    for row in opened.rows:  # the files of the fakes are smaller JPEGs
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        quality = 40 if row["label"] == "fake" else 90
        (tmp_path / row["path"]).write_bytes(encoded(noise, "JPEG", quality=quality))
    filled = confounder_table(opened, photos=tmp_path)
    assert filled["JPEG quality"] == filled["bytes per pixel"] == 1.0
    assert filled["file size in pixels"] == 0.5 and filled["all together"] > 0.9
    assert tables_by_source(opened, tmp_path) == {"drawn": filled}


def test_the_command(faces, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluation.confounders", str(faces)])
    confounders.main()
    head, _, row = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("| AUC of | sharpness") and row.startswith("| drawn | ")


def test_a_split_of_reals_only_is_said(tmp_path, monkeypatch):
    folder = save_tiny_faces(tmp_path / "set", splits=("test",))
    monkeypatch.setattr(sys, "argv", ["evaluation.confounders", str(folder)])
    with pytest.raises(SystemExit, match="error: no source of this split has both real and fake"):
        confounders.main()
