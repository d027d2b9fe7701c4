"""Show what the scores of several systems rest on: their Grad-CAM on the same fakes (paper Fig. 5).

    python -m evaluation.grad_cam --data runs/set --split test --out runs/grad-cam.png \\
      --checkpoints checkpoints/embedded/kfd runs/sbi

Draws one row for each fake: the face with the outline of its true mask, then every system's map and score.
Prints, for each system, how often the hottest place lies in the true mask (the pointing game), of fakes
whose mask is known: the set's own, or what differs from the aligned original.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common.cli import parse
from common.storage import write_atomically
from data_sim.dataset import FaceSet, difference_mask, evenly, unit_of
from evaluation.metrics.classification import Figure
from evaluation.metrics.localization import MapCounts, map_figures
from kfd.detector import Detector

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCH = 32
CELL = 1.5  # inches of a picture in the sheet
OPACITY = 0.6  # of a map where it is highest


@dataclass(frozen=True)
class GradCamConfig:
    data: Path  # a face set made by data_sim.build
    out: Path  # the sheet, a PNG or another kind of picture by the ending of its name
    checkpoints: tuple[str, ...] = ("checkpoints/embedded/kfd",)  # FOLDER, or FOLDER=WEIGHTS underneath
    split: str = "test"
    kinds: tuple[str, ...] = ()  # kinds of fakes; empty: all
    faces: int = 2  # fakes of each kind that are drawn
    measured: int = 60  # fakes of each kind that the pointing game is played on
    device: str = "cpu"

    def __post_init__(self) -> None:
        if min(self.faces, self.measured) < 1:
            raise ValueError("faces and measured must be at least 1")
        if not self.checkpoints:
            raise ValueError("checkpoints: name one folder at least")


@dataclass(frozen=True)
class Seen:
    """What a system rests on in N faces. name: of its folder. maps: (N, S, S) in [0, 1]. scores: (N,)."""

    name: str
    maps: np.ndarray
    scores: np.ndarray


def main(args: list[str] | None = None) -> None:
    config = parse(GradCamConfig, __doc__, args)
    try:
        run(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(config: GradCamConfig) -> None:
    """Measure and draw. Raises FileNotFoundError or ValueError that says which input is of no use."""
    faces = FaceSet.open(config.data, config.split)
    by_kind = fakes_of(faces, config)
    chosen = sorted({i for some in by_kind.values() for i in some})
    masks = {i: mask for i in chosen if (mask := true_mask(faces, i)) is not None}
    systems = [look(choice, faces, chosen, config.device) for choice in config.checkpoints]
    for system in systems:
        print(f"{system.name}: {told(pointing(system, faces, chosen, masks))}", flush=True)
    drawn = [i for some in by_kind.values() for i in evenly(some, config.faces)]
    write_atomically(
        config.out, lambda path: draw(path, config.out.suffix, faces, chosen, drawn, masks, systems)
    )
    print(f"written to {config.out}")


def fakes_of(faces: FaceSet, config: GradCamConfig) -> dict[str, list[int]]:
    """Positions of the fakes that are looked at, by kind. Raises ValueError where there are none."""
    found = sorted({row["kind"] for row in faces.rows if row["label"] == "fake"})
    kinds = config.kinds or tuple(found)
    if not kinds or set(kinds) - set(found):
        raise ValueError(
            f"{config.data}: no fakes of {', '.join(kinds) or 'any kind'}; its kinds are {found}"
        )
    most = max(config.faces, config.measured)
    return {kind: evenly(faces.where(label="fake", kind=kind), most) for kind in kinds}


def true_mask(faces: FaceSet, position: int) -> np.ndarray | None:
    """Where a fake is forged, (S, S) in [0, 1]; None where nobody knows."""
    own, pair = faces.mask_of(position), faces.pair_of(position)
    if own is None and pair is not None:
        real, fake = faces.read([pair, position])[0].split(1)
        own = difference_mask(real, fake)[0, 0]
    return None if own is None or not (own > 0.5).any() else own.numpy()


def look(choice: str, faces: FaceSet, positions: Sequence[int], device: str) -> Seen:
    """Grad-CAM and scores of a system, which sees the crops at its own size.

    Raises ValueError for a system without Grad-CAM.
    """
    folder, _, weights = choice.partition("=")
    detector = Detector.from_pretrained(folder, device, weights or None)
    if not detector.has_grad_cam:
        raise ValueError(f"{folder} has no Grad-CAM; a KFD, sbi and mesonet4 have")
    parts = [
        (_side(detector.grad_cam(crops), faces.size)[:, 0], detector(crops).score)
        for crops in _batches(faces, positions, detector.image_size)
    ]
    maps, scores = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return Seen(Path(folder).resolve().name, maps, scores)


def _batches(faces: FaceSet, positions: Sequence[int], side: int) -> Iterator[Tensor]:
    for start in range(0, len(positions), BATCH):
        yield _side(faces.read(list(positions[start : start + BATCH]))[0], side)


def _side(images: Tensor, side: int) -> Tensor:
    """(B, C, S, S) in [0, 1] -> (B, C, side, side)."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True).clamp(0, 1)


def pointing(
    system: Seen, faces: FaceSet, positions: Sequence[int], masks: dict[int, np.ndarray]
) -> tuple[Figure, float, int] | None:
    """How often the hottest place is forged; the share of the face that is; the number of fakes."""
    known = [k for k, i in enumerate(positions) if i in masks]
    if not known:
        return None
    truth = np.stack([masks[positions[k]] for k in known])
    units = [unit_of(faces.rows[positions[k]]) for k in known]
    figure = map_figures(MapCounts.of(system.maps[known], truth), units)["pointing"]
    return figure, float((truth > 0.5).mean()), len(known)


def told(found: tuple[Figure, float, int] | None) -> str:
    """The pointing game in words."""
    if found is None:
        return "no true mask is known"
    figure, share, count = found
    low, high = figure["low"], figure["high"]
    interval = "" if low is None else f" ({low:.3f}–{high:.3f})"
    return f"hottest place forged in {figure['value']:.3f}{interval} of {count} fakes; by chance {share:.3f}"


def draw(
    path: Path,
    ending: str,
    faces: FaceSet,
    positions: Sequence[int],
    drawn: Sequence[int],
    masks: dict[int, np.ndarray],
    systems: Sequence[Seen],
) -> None:
    """Write the sheet. positions: of the faces that the systems looked at. drawn: those that it shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    columns = 1 + len(systems)
    sheet = Sheet((CELL * columns + 1, CELL * len(drawn) + 0.4), layout="constrained")
    FigureCanvasAgg(sheet)
    grid = sheet.subplots(len(drawn), columns, squeeze=False)
    pixels = faces.read(list(drawn))[0].permute(0, 2, 3, 1).numpy()
    for row, position in enumerate(drawn):
        k = positions.index(position)
        for axes in grid[row]:
            axes.imshow(pixels[row])
            axes.set(xticks=[], yticks=[])
        grid[row, 0].set_ylabel(faces.rows[position]["kind"], rotation=0, ha="right", va="center", fontsize=7)
        if position in masks:
            grid[row, 0].contour(masks[position], levels=[0.5], colors="#e69f00", linewidths=1.2)
        for axes, system in zip(grid[row, 1:], systems, strict=True):
            _lay(axes, system.maps[k], float(system.scores[k]))
    for axes, name in zip(grid[0], ["face and true mask", *(s.name for s in systems)], strict=True):
        axes.set_title(name, fontsize=8)
    sheet.savefig(path, format=ending.lstrip(".") or "png", dpi=110)


def _lay(axes: Axes, heat: np.ndarray, score: float) -> None:
    axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=OPACITY * heat)
    axes.text(0.03, 0.04, f"{score:.2f}", transform=axes.transAxes, fontsize=7, color="white",
              bbox={"facecolor": "#1d2733", "edgecolor": "none", "pad": 1.5})  # fmt: skip


if __name__ == "__main__":
    main()
