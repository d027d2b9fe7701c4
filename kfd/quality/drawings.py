"""Whether a face is a photograph at all, or drawn, painted or posterised.

    python -m kfd.quality.drawings --data runs/set              # fit the estimate again
    python -m kfd.quality.drawings --data runs/set --photos 24 --out /tmp/d.json   # seconds

The detector was trained on photographs: of a pencil sketch it knows nothing, and says `real`. A photograph
has grain, many shades and few hard lines; the estimate is a quadratic logistic function of twelve such
measures, fitted on real training photographs, also compressed, blurred and noisy ones, against drawings that
were made of the same. It flags LIMIT of the photographs at most, so a drawing that comes close to one passes,
as the dark shading of OpenCV's pencilSketch does. A statue is photographed, and is not told apart.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from common.cli import parse
from common.locks import one_writer
from common.strict_json import read_json_object, to_json

WEIGHTS = Path(__file__).with_name("drawings.json")
SIDE = 160  # pixels, of the picture in which the measures are taken
LIMIT = 0.002  # share of real photographs that may be flagged
# Photographs are also these, by names of corruptions.py; what only compression did is still a photograph.
CONDITIONS = (
    "as it is",
    "jpeg 30",
    "jpeg 10",
    "video 33",
    "video 40",
    "resize 50",
    "resize 25",
    "blur 2",
    "noise 5",
)


@dataclass(frozen=True)
class DrawingsConfig:
    data: Path  # a face set made by data_sim.build; its train split is used
    photos: int = 600  # real photographs, evenly over the sources
    out: Path = WEIGHTS  # JSON file for the weights of the estimate
    seed: int = 0


def is_drawn(pixels: np.ndarray) -> bool:
    """Whether a crop, (H, W, 3) uint8 RGB, is surely no photograph."""
    mean, deviation, weights, constant, limit = _estimate()
    return bool(_terms((measures(pixels) - mean) / deviation) @ weights + constant > limit)


def measures(pixels: np.ndarray) -> np.ndarray:
    """The (12,) float64 measures of one (H, W, 3) uint8 picture: tones, colours, flatness, lines."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    tones = np.bincount(grey.ravel(), minlength=256) / grey.size
    coarse = small.astype(np.int64) >> 4
    colours = np.bincount((coarse[..., 0] * 256 + coarse[..., 1] * 16 + coarse[..., 2]).ravel()) / grey.size
    red, green, blue = cv2.split(small)  # NumPy takes ten times as long over an axis of three
    chroma = cv2.max(cv2.max(red, green), blue).astype(np.float64) - cv2.min(cv2.min(red, green), blue)
    detail = grey.astype(np.float64) - cv2.GaussianBlur(grey, (0, 0), 1.5).astype(np.float64)
    flat = cv2.dilate(grey, np.ones((3, 3))).astype(int) - cv2.erode(grey, np.ones((3, 3)))
    slopes = np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1))
    middle, steep = np.quantile(slopes, (0.5, 0.98))
    return np.array(
        [
            tones[235:].sum(),
            tones[:20].sum(),
            _entropy(tones),
            _entropy(colours),
            np.sort(colours)[-6:].sum(),
            np.abs(np.diff(tones)).sum(),
            chroma.mean() / 255,
            chroma.std() / 255,
            np.log1p(np.median(np.abs(detail))) - np.log1p(detail.std()),
            np.log1p(detail.std()),
            (flat <= 2).mean(),
            np.log1p(steep) - np.log1p(middle),
        ]
    )


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def _terms(values: np.ndarray) -> np.ndarray:
    """(..., 12) standardised measures -> them, cut where nothing was fitted, and their products."""
    values = np.clip(values, -4, 4)
    rows, columns = np.triu_indices(values.shape[-1])
    return np.concatenate([values, values[..., rows] * values[..., columns]], axis=-1)


@lru_cache(maxsize=1)
def _estimate() -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    stored = read_json_object(WEIGHTS)
    fitted = (np.array(stored[name]) for name in ("mean", "deviation", "weights"))
    return (*fitted, stored["constant"], stored["limit"])


def draw(pixels: np.ndarray, kind: str, random: np.random.Generator) -> np.ndarray:
    """Make a drawing of a photograph, each time with other strokes.

    pixels: (H, W, 3) uint8 RGB. kind: one of KINDS. Returns a new (H, W, 3) uint8 RGB picture.
    """
    return KINDS[kind](pixels, random)


def _pencil(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    light = 255 - cv2.GaussianBlur(255 - grey, (0, 0), random.uniform(2, 14))
    lines = np.minimum(255, 255.0 * grey / np.maximum(light, 1)) ** random.uniform(1, 1.6)
    lines *= 255 / lines.max()
    paper = random.normal(0, random.uniform(0, 6), grey.shape)
    tint = np.array([1, random.uniform(0.94, 1), random.uniform(0.85, 1)])
    return np.clip((lines + paper)[..., None] * tint, 0, 255).astype(np.uint8)


def _ink(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (0, 0), random.uniform(0.6, 1.6))
    block = 2 * int(random.integers(3, 10)) + 1
    lines = cv2.adaptiveThreshold(
        grey, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, block, random.uniform(2, 7)
    )
    return cv2.cvtColor(cv2.GaussianBlur(lines, (0, 0), random.uniform(0.4, 0.9)), cv2.COLOR_GRAY2RGB)


def _poster(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    levels = int(random.integers(3, 7))
    smooth = cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.6, 2.0)).astype(np.float64)
    return (np.rint(smooth / 255 * levels) * (255 / levels)).astype(np.uint8)


def _cartoon(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    smooth = pixels
    for _ in range(int(random.integers(2, 5))):
        smooth = cv2.bilateralFilter(smooth, 7, random.uniform(25, 60), 7)
    levels = int(random.integers(6, 14))
    flat = np.rint(smooth / 255 * levels) * (255 / levels)
    edges = _ink(pixels, random).astype(np.float64) / 255
    return np.clip(flat * (edges if random.random() < 0.8 else 1), 0, 255).astype(np.uint8)


def _painting(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    strokes = cv2.pyrMeanShiftFiltering(pixels, random.uniform(5, 12), random.uniform(15, 40))
    return cv2.medianBlur(strokes, int(random.choice([3, 5, 7])))


KINDS = {"pencil": _pencil, "ink": _ink, "poster": _poster, "cartoon": _cartoon, "painting": _painting}


def main() -> None:
    """Exit status 1, with the reason, for a set that cannot be read."""
    config = parse(DrawingsConfig, __doc__)
    try:
        with one_writer(config.out):
            print(fit(config))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def fit(config: DrawingsConfig) -> str:
    """Fit and write the weights. Returns how many photographs and drawings it flags, on faces left out."""
    from sklearn.linear_model import LogisticRegression

    from common.storage import write_text
    from data_sim.dataset import FaceSet
    from kfd.quality.corruptions import apply, spread_over_sources, to_uint8

    random = np.random.default_rng(config.seed)
    faces = FaceSet.open(config.data, "train")
    chosen = spread_over_sources(faces, faces.where(label="real"), config.photos)
    images = faces.read(chosen)[0]
    fold = np.arange(len(chosen)) % 4
    found, kinds, folds = [], [], []
    for name in CONDITIONS:
        found += [measures(pixels) for pixels in to_uint8(apply(name, images))]
        kinds, folds = kinds + [name] * len(fold), folds + fold.tolist()
    for kind in KINDS:
        found += [measures(draw(pixels, kind, random)) for pixels in to_uint8(images)]
        kinds, folds = kinds + [kind] * len(fold), folds + fold.tolist()
    x, kind, folds = np.array(found), np.array(kinds), np.array(folds)
    drawn = np.isin(kind, list(KINDS))
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    terms = _terms((x - mean) / deviation)
    odds = np.zeros(len(x))
    for part in range(4):
        model = LogisticRegression(C=0.1, max_iter=500).fit(terms[folds != part], drawn[folds != part])
        odds[folds == part] = model.decision_function(terms[folds == part])
    limit = float(np.quantile(odds[~drawn], 1 - LIMIT))
    model = LogisticRegression(C=0.1, max_iter=500).fit(terms, drawn)
    stored = {
        "mean": mean.round(5).tolist(),
        "deviation": deviation.round(5).tolist(),
        "weights": model.coef_[0].round(5).tolist(),
        "constant": round(float(model.intercept_[0]), 5),
        "limit": round(limit, 5),
    }
    write_text(config.out, to_json(stored) + "\n")
    shares = [f"{name} {(odds[kind == name] > limit).mean():.3f}" for name in (*CONDITIONS, *KINDS)]
    return f"flagged of {len(chosen)} each, on faces left out: {', '.join(shares)}; written to {config.out}"


if __name__ == "__main__":
    main()
