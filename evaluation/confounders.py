"""Measure how far real and fake can be told apart without looking at the forgery.

    python -m evaluation.confounders runs/set --split test
    python -m evaluation.confounders runs/set --split test --photos photos/   # an old set, without facts

JPEG quality, size, sharpness and mean colour differ between the sources of a data set. Where they alone
separate real from fake, a detector's AUC says little. Each is fed, alone and together with the others, to
a logistic regression that is fitted on four fifths of the groups and judged on the rest, so that 0.5 means
"says nothing"; by source, since real and fake of one source should differ in nothing else.

Two kinds: facts of the file, which data_sim.build stores in the manifest (size, quality, bytes; for frames
of a video those of the video), and what is measured on the stored crop (sharpness, colour, block grid),
which is what the detector sees.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from common.cli import parse
from data_sim.dataset import FaceSet, unit_of
from media.images import read_bytes
from media.jpeg import file_facts

FOLDS = 5
LONGEST_BLOCK, SHORTEST_BLOCK = 40, 4  # pixels of the crop between edges of the JPEG grid, after resizing


@dataclass(frozen=True)
class ConfoundersConfig:
    folder: Annotated[Path, tyro.conf.Positional]  # a face set made by data_sim.build
    split: str = "test"
    photos: Path | None = None  # where the set's photographs are, when its manifest holds no facts of them


def main() -> None:
    config = parse(ConfoundersConfig, __doc__)
    try:
        faces = FaceSet.open(config.folder, config.split)
        tables = tables_by_source(faces, config.photos)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(as_text(tables))


def pixel_facts(crop: np.ndarray) -> dict[str, list[float]]:
    """Measure a crop; each fact is a list of numbers: sharpness, colour and block grid.

    crop: (S, S, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    laplacian = cv2.Laplacian(grey, cv2.CV_32F)
    return {
        "sharpness": [float(np.log(laplacian.var() + 1e-3))],
        "mean colour": crop.reshape(-1, 3).mean(axis=0).tolist(),
        "block grid": [block_grid(grey)],
    }


def block_grid(grey: np.ndarray) -> float:
    """Measure how much a grid of compression blocks stands out, whatever size the blocks were resized to.

    grey: (S, S) float32, 0..255. Edges between blocks lie at equal distances, which is a line in the
    spectrum of the mean second difference along an axis. Returns the logarithm of that line's height
    over the median of the spectrum.
    """
    shared = np.ones(1)
    for plane in (grey, grey.T):
        bend = np.abs(np.diff(plane, n=2, axis=1)).mean(axis=0)
        bend = bend - cv2.blur(bend[None], (17, 1))[0]  # what the face itself draws changes slowly
        spectrum = np.abs(np.fft.rfft(bend * np.hanning(len(bend))))
        shared = shared * spectrum[len(bend) // LONGEST_BLOCK : len(bend) // SHORTEST_BLOCK + 1]
    return float(np.log((shared.max() + 1e-3) / (np.median(shared) + 1e-3)))


def row_facts(row: dict[str, str]) -> dict[str, list[float]]:
    """Read a manifest row's facts of its file, each a list of numbers; empty for rows of old sets."""
    if not row["width"] or not row["height"]:
        return {}
    width, height, quality = float(row["width"]), float(row["height"]), row["jpeg_quality"]
    facts = {"file size in pixels": [np.log(width), np.log(height)]}
    facts["JPEG quality"] = [float(quality or 0), float(bool(quality))]
    if row["bytes"]:
        facts["bytes per pixel"] = [float(np.log(float(row["bytes"]) / (width * height)))]
    if row["box"]:
        x0, y0, x1, y1 = map(float, row["box"].split())
        facts["face size"] = [float(np.log(max(x1 - x0, y1 - y0, 1)))]
    return facts


def confounder_scores(
    facts: list[dict[str, list[float]]], labels: np.ndarray, groups: np.ndarray, seed: int = 0
) -> dict[str, np.ndarray]:
    """Estimate P(fake) from each fact alone, and from all together, by a model that did not see the group.

    facts: N dicts of equally long lists; a fact that some lack is left out. labels: (N,) 0 real, 1 fake.
    groups: (N,) what must not be split. Returns (N,) log odds by name, the last named "all together", less
    their mean over the images that the model was fitted on, so that folds compare.
    Raises ValueError unless there are real and fake images in at least two groups each.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    labels, groups = np.asarray(labels), np.asarray(groups)
    sizes = [len(np.unique(groups[labels == label])) for label in (0, 1)]
    if min(sizes) < 2:
        raise ValueError(
            "confounders need real and fake images in at least two groups each; "
            f"got {sizes[0]} groups with real and {sizes[1]} with fake images"
        )
    names = [name for name in facts[0] if all(name in fact for fact in facts)]
    columns = {name: np.array([fact[name] for fact in facts]) for name in names}
    columns["all together"] = np.concatenate([columns[name] for name in names], axis=1)
    folds = StratifiedGroupKFold(min(FOLDS, *sizes), shuffle=True, random_state=seed)
    scores = {name: np.zeros(len(labels)) for name in columns}
    for fitted, judged in folds.split(labels, labels, groups):
        for name, values in columns.items():
            # Squares, because fakes may lie between two kinds of real ones.
            model = make_pipeline(
                StandardScaler(),
                PolynomialFeatures(2, include_bias=False),
                StandardScaler(),
                LogisticRegression(C=0.3, max_iter=2000),
            )
            model.fit(values[fitted], labels[fitted])
            level = model.decision_function(values[fitted]).mean()
            # Rounded, or the noise of a fit to a constant would rank.
            scores[name][judged] = np.round(model.decision_function(values[judged]) - level, 9)
    return scores


def confounder_table(
    faces: FaceSet, positions: list[int] | None = None, photos: Path | None = None
) -> dict[str, float]:
    """AUC of each confounder on rows of a set, the last named "all together".

    positions: rows of `faces`, real and fake; None takes all. photos: folder of the set's photographs,
        read for facts that the manifest does not hold.
    Facts that not every row has are left out. Raises ValueError as `confounder_scores`.
    """
    from sklearn.metrics import roc_auc_score

    positions = list(range(len(faces))) if positions is None else positions
    rows = [faces.rows[i] for i in positions]
    if photos is not None:
        rows = [row if row["width"] else row | file_facts(read_bytes(photos / row["path"])) for row in rows]
    labels = np.array([row["label"] == "fake" for row in rows]).astype(int)
    groups = np.array([unit_of(row) for row in rows])
    inner = slice(faces.border, faces.border + faces.size)
    crops = (np.array(faces.crops[faces.index[i], inner, inner]) for i in positions)
    facts = [row_facts(row) | pixel_facts(crop) for row, crop in zip(rows, crops, strict=True)]
    scores = confounder_scores(facts, labels, groups)
    return {name: float(roc_auc_score(labels, values)) for name, values in scores.items()}


def tables_by_source(faces: FaceSet, photos: Path | None = None) -> dict[str, dict[str, float]]:
    """`confounder_table` of each source that has real and fake faces, and of the whole split, "all".

    Raises ValueError when no source has both.
    """
    sources = {}
    for source in sorted({row["source"] for row in faces.rows}):
        positions = faces.where(source=source)
        if len({faces.rows[i]["label"] for i in positions}) == 2:
            sources[source] = positions
    if not sources:
        raise ValueError("no source of this split has both real and fake faces, so none can be compared")
    tables = {source: confounder_table(faces, rows, photos) for source, rows in sources.items()}
    return tables | ({"all": confounder_table(faces, None, photos)} if len(sources) > 1 else {})


def as_text(tables: dict[str, dict[str, float]]) -> str:
    """The tables as one Markdown table, a row per source."""
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    names = [name for name in names if name != "all together"] + ["all together"]
    lines = ["| AUC of | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for source, table in tables.items():
        cells = [f"{table[name]:.3f}" if name in table else "" for name in names]
        lines.append(f"| {source} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
