"""What python -m evaluation.detector is run on and with in tests."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from data_sim.dataset import COLUMNS
from evaluation import detector as evaluate
from kfd.config import Decision
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.kfd import SIZE

FACES = 6
DECISION = Decision(fake_above=0.8, real_below=0.2, fitted_on="planted")


def face_set(folder: Path, splits: tuple[str, ...]) -> Path:
    """Noise pictures, no two alike, with known fakes: coarse colours would be near duplicates."""
    save_tiny_faces(folder, SIZE, FACES, splits)
    crops = np.load(folder / "crops.npy")
    noise = np.random.default_rng(1).integers(0, 255, (len(crops), 24, 24, 3)).astype(np.uint8)
    side = crops.shape[1]
    np.save(folder / "crops.npy", noise.repeat(3, axis=1).repeat(3, axis=2)[:, :side, :side])
    return add_known_fakes(folder, SIZE)


def run(monkeypatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluation.detector", *map(str, words)])
    evaluate.main()


def edit_rows(folder: Path, change) -> None:
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [dict.fromkeys(COLUMNS, "") | row for row in csv.DictReader(file)]
    for number, row in enumerate(rows):
        row |= change(number, row)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
