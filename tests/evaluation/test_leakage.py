"""Two splits that share people or pictures are found out, and told."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_sim.dataset import FaceSet
from evaluation import leakage as leaks
from evaluation.leakage import find_leaks, nearest_hashes, perceptual_hash, shared_names
from media.images import read_image
from tests.tiny.faces import BORDER, save_tiny_faces

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
SIDE = 64


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return cv2.resize(read_image(EXAMPLE), (192, 192), interpolation=cv2.INTER_AREA)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A set of five different faces in train and five others in test."""
    return save_tiny_faces(tmp_path / "set", SIDE, faces=5, splits=("train", "test"))


def splits(folder: Path) -> tuple[FaceSet, FaceSet]:
    return FaceSet.open(folder, "train"), FaceSet.open(folder, "test")


def name(folder: Path, **columns: dict[int, str]) -> None:
    """Write into columns of rows: name(folder, identity={0: "ann", 7: "ann|bob"})."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column, values in columns.items():
        for i, value in values.items():
            rows[i][column] = value
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def show(folder: Path, position: int, picture: np.ndarray) -> None:
    """Put a picture in place of a stored face."""
    crops = np.load(folder / "crops.npy")
    crops[position, BORDER : BORDER + SIDE, BORDER : BORDER + SIDE] = picture
    np.save(folder / "crops.npy", crops)


def shown(folder: Path, position: int) -> np.ndarray:
    return np.load(folder / "crops.npy")[position, BORDER : BORDER + SIDE, BORDER : BORDER + SIDE]


def test_separate_splits_pass(folder):
    assert find_leaks(*splits(folder)) == []


def test_names_are_found_and_told(folder):
    """A fake's second person counts: the face that was put in is seen too."""
    name(
        folder,
        identity={0: "ff/003", 1: "ff/009", 7: "ff/000|ff/003"},
        video={2: "clip", 8: "clip", 9: "other"},
        group={4: "shared", 9: "shared"},
    )
    found = {(leak.kind, leak.what): (leak.a, leak.b) for leak in find_leaks(*splits(folder))}
    assert found == {
        ("identity", "ff/003"): ("0.png", "7.png"),
        ("video", "drawn /  / clip"): ("2.png", "8.png"),
        ("group", "drawn / shared"): ("4.png", "9.png"),
    }


def test_same_names_of_different_forgeries_and_sources_are_no_leak():
    """FIELD trap 1: 000_003 is a video of each forgery, and every archive has a group 1."""
    row = {"path": "a", "identity": "", "group": "1", "source": "x", "kind": "deepfakes", "video": "000_003"}
    others = [row | {"kind": "faceswap", "group": "2"}, row | {"source": "y"}]
    assert shared_names([row], others) == []
    assert [leak.kind for leak in shared_names([row], [dict(row)])] == ["group", "video"]


def test_copies_are_found(folder):
    """Identical, saved anew as a poor JPEG and mirrored: each is the first face again."""
    face = shown(folder, 0)
    poor = cv2.imdecode(cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)
    for position, picture in ((5, face), (6, poor), (7, poor[:, ::-1])):
        show(folder, position, picture)
    found = find_leaks(*splits(folder))
    assert [(leak.kind, leak.a, leak.b) for leak in found] == [
        ("identical", "0.png", "5.png"),
        ("near_duplicate", "0.png", "6.png"),
        ("near_duplicate", "0.png", "7.png"),
    ]
    assert found[0].distance == 0 and 0 < found[1].distance <= leaks.SAME_PICTURE


def test_the_hash_keeps_through_what_copies_go_through(photo):
    def distance(other: np.ndarray) -> int:
        return int((perceptual_hash(photo) != perceptual_hash(other)).sum())

    half = cv2.resize(cv2.resize(photo, (96, 96), interpolation=cv2.INTER_AREA), (192, 192))
    bright = (255 * (photo / 255) ** 0.7).astype(np.uint8)
    coded = cv2.imdecode(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 20])[1], cv2.IMREAD_COLOR)
    assert perceptual_hash(photo).shape == (255,)
    assert all(distance(other) <= leaks.SAME_PICTURE // 2 for other in (half, bright, coded))
    assert distance(photo[:, ::-1]) > 2 * leaks.SAME_PICTURE, "a picture and its mirror image are two"


def test_nearest_hashes_is_a_search_through_all(monkeypatch):
    monkeypatch.setattr(leaks, "BLOCK", 7)  # so that blocks of both sides have edges
    rng = np.random.default_rng(0)
    a, b = rng.random((30, 255)) > 0.5, rng.random((16, 255)) > 0.5
    position, bits = nearest_hashes(a, b)
    distances = (a[:, None] != b[None]).sum(axis=2)
    assert np.array_equal(bits, distances.min(axis=0))
    assert np.array_equal(distances[position, np.arange(16)], bits)


def test_leaks_are_told_one_by_one(folder):
    name(folder, identity={0: "ann", 9: "ann"})
    assert leaks.as_text(find_leaks(*splits(folder))) == "identity: 1\n  identity: ann: 0.png | 9.png"


def run(monkeypatch, *words: str) -> str | int | None:
    monkeypatch.setattr(sys, "argv", ["evaluation.leakage", *words])
    with pytest.raises(SystemExit) as ended:
        leaks.main()
    return ended.value.code


def test_the_command(folder, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, f"{folder}:train", f"{folder}:test") == 0
    assert "no leaks found" in capsys.readouterr().out
    show(folder, 8, shown(folder, 3))
    out = tmp_path / "reports" / "leaks.json"
    assert run(monkeypatch, f"{folder}:train", f"{folder}:test", "--out", str(out)) == 1
    assert "identical: 1" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["counts"] == {"identical": 1} and report["leaks"][0]["b"] == "8.png"


def test_a_place_without_a_split_is_said(folder, monkeypatch):
    assert "expected FOLDER:SPLIT" in run(monkeypatch, str(folder), f"{folder}:test")
    assert "has no split 'val'" in run(monkeypatch, f"{folder}:train", f"{folder}:val")
