"""A face set on disk, small and drawn, for tests that train or evaluate on one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np

from data_sim.dataset import COLUMNS

BORDER = 4


def drawn_landmarks(side: int) -> np.ndarray:
    """68 landmarks of an upright face that fills a crop of `side` pixels. Returns (68, 2) float32."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.4 * np.cos(turn), 0.45 + 0.45 * np.sin(turn)], axis=1)

    def row(x0: float, x1: float, y: float, count: int) -> np.ndarray:
        return np.stack([np.linspace(x0, x1, count), np.full(count, y)], axis=1)

    def ring(x: float, y: float, rx: float, ry: float, count: int) -> np.ndarray:
        angle = np.pi - np.linspace(0, 2 * np.pi, count, endpoint=False)
        return np.stack([x + rx * np.cos(angle), y - ry * np.sin(angle)], axis=1)

    brows = np.concatenate([row(0.2, 0.42, 0.32, 5), row(0.58, 0.8, 0.32, 5)])
    bridge = np.stack([np.full(4, 0.5), np.linspace(0.4, 0.55, 4)], axis=1)
    nose = np.concatenate([bridge, row(0.43, 0.57, 0.6, 5)])
    eyes = np.concatenate([ring(0.32, 0.41, 0.07, 0.03, 6), ring(0.68, 0.41, 0.07, 0.03, 6)])
    mouth = np.concatenate([ring(0.5, 0.74, 0.13, 0.05, 12), ring(0.5, 0.74, 0.09, 0.02, 8)])
    return (side * np.concatenate([jaw, brows, nose, eyes, mouth])).astype(np.float32)


def save_tiny_faces(
    folder: Path, size: int = 64, faces: int = 4, splits: tuple[str, ...] = ("train", "val")
) -> Path:
    """Write a set of `faces` real faces per split, of smooth random colours."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    side, count = size + 2 * BORDER, faces * len(splits)
    coarse = rng.integers(0, 255, (count, 8, 8, 3)).astype(np.uint8)
    crops = coarse.repeat(-(-side // 8), axis=1).repeat(-(-side // 8), axis=2)[:, :side, :side]
    np.save(folder / "crops.npy", crops)
    np.save(folder / "landmarks.npy", np.repeat(drawn_landmarks(size)[None] + BORDER, count, axis=0))
    (folder / "set.json").write_text(json.dumps({"size": size, "border": BORDER}))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for i in range(count):
            row = {"path": f"{i}.png", "split": splits[i // faces], "label": "real", "group": str(i)}
            writer.writerow(dict.fromkeys(COLUMNS, "") | row | {"source": "drawn"})
    return folder


def add_known_fakes(folder: Path, size: int = 64) -> Path:
    """Give every real face of a set a fake one: the same picture with a bright square on its nose."""
    with (folder / "manifest.csv").open(newline="") as file:
        reals = list(csv.DictReader(file))
    crops, landmarks = np.load(folder / "crops.npy"), np.load(folder / "landmarks.npy")
    fakes = crops.copy()
    middle = slice(BORDER + size // 2 - size // 8, BORDER + size // 2 + size // 8)
    fakes[:, middle, middle] = 255
    np.save(folder / "crops.npy", np.concatenate([crops, fakes]))
    np.save(folder / "landmarks.npy", np.concatenate([landmarks, landmarks]))
    with (folder / "manifest.csv").open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        for i, row in enumerate(reals):
            changes = {"path": f"fake_{i}.png", "label": "fake", "kind": "square", "pair": str(i)}
            writer.writerow(row | changes)
    return folder


def soften_crops(folder: Path) -> Path:
    """Blur the blocks of a set: as they are, they count as drawn, and a drawn face gets no verdict."""
    crops = np.load(folder / "crops.npy")
    np.save(folder / "crops.npy", np.stack([cv2.GaussianBlur(crop, (0, 0), 4) for crop in crops]))
    return folder


def photograph_crops(folder: Path, photo: np.ndarray) -> Path:
    """Cut the crops of a set from a photograph instead: what a generator makes of noise is no likeness.

    photo: (H, W, 3) uint8 RGB.
    """
    crops = np.load(folder / "crops.npy")
    side = crops.shape[1]
    photo = cv2.resize(photo, (side + 16, side + 16), interpolation=cv2.INTER_AREA)
    crops[:] = np.stack([photo[i : i + side, i : i + side] for i in range(len(crops))])
    np.save(folder / "crops.npy", crops)
    return folder
