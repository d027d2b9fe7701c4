"""Quality of a photograph, which limits a finding: sharpness, and how strongly it was compressed.

    python -m kfd.quality.estimate --data runs/set             # fit the estimate of compression again
    python -m kfd.quality.estimate --data runs/set --photos 6 --out /tmp/c.json   # seconds

The estimates of compression need no file: they read what JPEG, and what H.264 and WebP, leave in the
pixels, also after the picture was resized and saved once more. Two, because the two ways of coding leave
different traces and mislead a detector differently: JPEG rounds blocks, the others predict and smooth them.
Each is a quadratic function of eleven measures, fitted by ridge regression on real training photographs
that were degraded on purpose. What it predicts is the share of fine detail that coding destroyed: 1 - r²,
r the correlation of the high-pass of the picture with that of its original; 0 for photographs that were only
shrunk, blurred, made noisy, or coded the other way.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np

from common.cli import parse
from common.locks import one_writer
from common.strict_json import read_json_object, to_json
from media.jpeg import jpeg_quality as quality_of_tables

WEIGHTS = Path(__file__).with_name("compression.json")
BLOCK = 8  # pixels, of JPEG's and of most of H.264's transforms
RIDGE = 10.0
HIGH_PASS = 1.5  # sigma in pixels
# What the estimates are fitted on, by names of corruptions.py; what is said of both lists is 0 for the last.
JPEG = ("jpeg 70", "jpeg 50", "jpeg 30", "jpeg 20", "jpeg 10", "resize 50 jpeg 30")
VIDEO = (
    "webp 50", "webp 20", "webp 5", "video 23", "video 28", "video 33", "video 37", "video 40", "video 44",
    "video 33 jpeg 75", "video 40 jpeg 75", "resize 50 video 33",
)  # fmt: skip
OTHERWISE = ("as it is", "resize 50", "resize 25", "blur 1", "blur 2", "noise 2", "noise 5")


@dataclass(frozen=True)
class QualityConfig:
    data: Path  # a face set made by data_sim.build; its train split is used
    photos: int = 400  # real photographs, evenly over the sources
    out: Path = WEIGHTS  # JSON file for the weights of the estimate


def sharpness(pixels: np.ndarray) -> float:
    """Variance of the Laplacian of the grey picture: (H, W, 3) uint8 -> 0 and up; under 10 is soft."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def compression(pixels: np.ndarray) -> tuple[float, float]:
    """Estimated shares of the fine detail that JPEG, and that H.264 or WebP, destroyed.

    pixels: (H, W, 3) uint8 RGB, at the scale at which a detector sees it, at least 32 pixels a side.
    Returns 0 (nothing) to 1 (all of it); steps of less than 0.1 mean little for a single photograph.
    What destroyed detail before the photographs that the estimates were fitted on is not counted.
    """
    mean, deviation, weights, constant = _estimate()
    values = _quadratic((measures(pixels) - mean) / deviation)
    jpeg, video = np.clip(values @ weights + constant, 0, 1).tolist()
    return jpeg, video


def jpeg_quality(data: bytes) -> int | None:
    """libjpeg's quality, 1..100, of a JPEG file, as the manifest of a face set has it; None for others.

    data: the bytes of any file.
    """
    from PIL import Image

    try:
        tables = getattr(Image.open(BytesIO(data)), "quantization", None)
    except (OSError, ValueError, SyntaxError):
        return None
    return quality_of_tables(tables or {})


def measures(pixels: np.ndarray) -> np.ndarray:
    """The (11,) float64 measures of one (H, W, 3) uint8 picture that the estimate rests on.

    Codecs flatten faint texture and keep edges, and leave steps at the borders of their blocks. So: faint
    (median) against strong (standard deviation) detail in three octaves, textureless blocks and pixels,
    and the mean gradient in the strongest column and row of a block against the others.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    octaves, finer = [], grey
    for sigma in (1, 2, 4):
        coarser = cv2.GaussianBlur(grey, (0, 0), sigma)
        octaves.append(finer - coarser)
        finer = coarser
    faint = [_log(np.median(np.abs(octave))) for octave in octaves]
    strong = [_log(octave.std()) for octave in octaves]
    fainter = _log(np.percentile(np.abs(octaves[0]), 25))
    laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    rows, columns = (side // BLOCK for side in grey.shape)
    blocks = laplacian[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    smooth, textured = np.quantile(blocks.mean(axis=(1, 3)), [0.1, 0.9])
    return np.array([
        faint[0] - faint[1], faint[1] - faint[2], strong[0] - strong[1], strong[1] - strong[2],
        faint[0] - strong[0], faint[1] - strong[1], fainter - faint[0], _log(smooth) - _log(textured),
        np.mean(laplacian <= 1), _steps(grey, 0) + _steps(grey, 1), faint[0],
    ])  # fmt: skip


def _log(value: float) -> float:
    return float(np.log(value + 0.05))  # grey levels; a fifth of a level and none are the same


def _steps(grey: np.ndarray, axis: int) -> float:
    """Measure how much the steepest of eight phases of the block grid exceeds the usual one, as a log."""
    gradient = np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
    phases = np.array([gradient[k::BLOCK].mean() for k in range(BLOCK)]) + 0.1
    return float(np.log(phases.max() / np.median(phases)))


def _quadratic(values: np.ndarray) -> np.ndarray:
    """(..., M) -> (..., M + M (M + 1) / 2): the values and their products."""
    i, j = np.triu_indices(values.shape[-1])
    return np.concatenate([values, values[..., i] * values[..., j]], axis=-1)


@lru_cache(maxsize=1)
def _estimate() -> tuple[np.ndarray, ...]:
    """Mean and deviation (11,) of the measures, weights (77, 2) of the quadratic terms, constants (2,)."""
    stored = read_json_object(WEIGHTS)
    return tuple(np.array(stored[name]) for name in ("mean", "deviation", "weights", "constant"))


def lost_detail(pixels: np.ndarray, original: np.ndarray) -> float:
    """1 - r² of the two high-passes, see above. Both (H, W, 3) uint8."""
    a, b = _high_pass(pixels), _high_pass(original)
    if a.std() == 0 or b.std() == 0:
        return 1.0
    return float(1 - max(0.0, np.corrcoef(a.ravel(), b.ravel())[0, 1]) ** 2)


def _high_pass(pixels: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - cv2.GaussianBlur(grey, (0, 0), HIGH_PASS)


def main() -> None:
    config = parse(QualityConfig, __doc__)
    try:
        with one_writer(config.out):
            print(fit(config))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def fit(config: QualityConfig) -> str:
    """Fit and write the weights. Returns how well the estimate holds on sources it did not see."""
    from sklearn.linear_model import Ridge
    from tqdm import tqdm

    from common.storage import write_text
    from data_sim.dataset import FaceSet
    from kfd.quality.corruptions import apply, spread_over_sources, to_uint8

    faces = FaceSet.open(config.data, "train")
    chosen = spread_over_sources(faces, faces.where(label="real"), config.photos)
    images = faces.read(chosen)[0]
    originals = to_uint8(images)
    conditions = (*JPEG, *VIDEO, *OTHERWISE)
    found, targets = [], []
    for name in tqdm(conditions, unit="condition"):
        degraded = to_uint8(apply(name, images))
        found += [measures(pixels) for pixels in degraded]
        for pixels, original in zip(degraded, originals, strict=True):
            lost = 0.0 if name in OTHERWISE else lost_detail(pixels, original)
            targets.append((lost * (name in JPEG), lost * (name in VIDEO)))
    x, y = np.array(found), np.array(targets)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    terms = _quadratic((x - mean) / deviation)
    ridge = Ridge(RIDGE).fit(terms, y)
    source = np.tile([faces.rows[i]["source"] for i in chosen], len(conditions))
    held_out = np.zeros(y.shape)
    for name in sorted(set(source)) if len(set(source)) > 1 else ():
        held = source == name
        held_out[held] = Ridge(RIDGE).fit(terms[~held], y[~held]).predict(terms[held])
    stored = {"mean": mean, "deviation": deviation, "weights": ridge.coef_.T, "constant": ridge.intercept_}
    text = to_json({name: np.round(values, 5).tolist() for name, values in stored.items()}) + "\n"
    write_text(config.out, text)
    truth = [
        f"{name} {np.corrcoef(held_out[:, k], y[:, k])[0, 1]:.3f}" for k, name in enumerate(("JPEG", "video"))
    ]
    return (
        f"{len(chosen)} photographs under {len(conditions)} conditions; correlation with the truth on "
        f"sources left out: {', '.join(truth)}; written to {config.out}"
    )


if __name__ == "__main__":
    main()
