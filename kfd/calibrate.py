"""Calibrate a detector on validation faces and write the result into its folder.

    python -m kfd.calibrate --data runs/set --checkpoint runs/kfd
    python -m kfd.calibrate --data runs/set --checkpoint runs/kfd --real 40 --fake 20 --limits 10   # seconds

Fits the limits beyond which no verdict is given: for compression, for the quality of a JPEG file, for how
much the readings of a face and of its mirror image may differ, and for what is unfamiliar. Then, on the faces
within them, the score, the likelihood ratio and its bounds, and the two thresholds. Training ends with the
same. What was measured before, such as robustness.json, speaks of the former decision and has to be measured
again.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.cli import parse
from common.locks import one_writer
from common.storage import save_config
from common.verdicts import SCORE_REASONS, Reason, Verdict
from data_sim.dataset import FaceSet, unit_of
from data_sim.simulate import simulate
from kfd.calibration.clips import ENOUGH as ENOUGH_CLIPS
from kfd.calibration.clips import fit_clips, read_clips
from kfd.calibration.decision import decide, log_odds, score_of
from kfd.calibration.familiar import Familiar, fit_familiar, save_familiar
from kfd.calibration.fit import MISS_RATE, fit_decision
from kfd.calibration.map_cut import fit_map_share
from kfd.checkpoint import DECISION_FILE
from kfd.config import Decision
from kfd.detection import Quality
from kfd.detector import Detector, doubts_of
from kfd.quality.corruptions import (
    AS_IT_IS,
    HELD_OUT_SEED,
    apply,
    degrade_held_out,
    shrunk,
    spread_over_sources,
    to_uint8,
)
from kfd.quality.estimate import compression, sharpness

BATCH = 50
# Shares of wrong verdicts in photographs of one compression, beyond which no verdict is given on such a one:
MOST_FALSE_ALARMS = 0.05  # real faces called fake
MOST_MISSED = 2 * MISS_RATE  # fakes called real; one that is only not found is no wrong verdict
VIEWS_DISAGREE_RATE = 0.025  # share of calibration faces whose two readings differ by more than the limit
ENOUGH = 20  # real faces, and fakes, without which no limit is fitted
MAPS = 150  # forgeries whose maps are read
JPEG_QUALITIES = (90, 70, 50, 30, 20, 10)
CONDITIONS = (
    AS_IT_IS, *(f"jpeg {quality}" for quality in JPEG_QUALITIES), "webp 20", "video 23", "video 28",
    "video 33", "video 40", "resize 50 jpeg 40", "resize 50 video 33", "video 33 jpeg 75",
)  # fmt: skip


@dataclass(frozen=True)
class CalibrationSettings:
    """The number of validation faces that are read, at most, and the way of reading them."""

    real: int = 500  # real faces
    fake: int = 200  # fakes of each known kind, and as many simulated ones
    clips: int = 300  # real faces, and half as many fakes, of which clips are made; 0: none
    limits: int = 70  # real faces, and fakes, in each condition that the limits are fitted on
    known_fakes: bool = True  # False: only simulated forgeries, as the paper's protocol asks
    flip: bool = True  # read every face a second time as its mirror image
    kinds: tuple[str, ...] = ()  # of the known fakes; empty: all


@dataclass(frozen=True)
class CalibrateConfig(CalibrationSettings):
    data: Path = Path("runs/set")  # a face set made by data_sim.build; its val split is used
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    device: str = "cpu"


@dataclass(frozen=True)
class Reading:
    """Readings of N faces by a detector and by the measures of quality.

    logits: (N,). gaps: (N,) |logit of the crop - logit of its mirror image|, or None. losses: (N, 2), by
    JPEG and by video or WebP, and sharpness: (N,), see kfd.quality.estimate. embeddings: (N, D) of the image,
    and strangeness: (N,) of these; None where the detector has none, or was not fitted to tell it.
    doubts: of each face, see kfd.detector.doubts_of.
    """

    logits: np.ndarray
    gaps: np.ndarray | None
    losses: np.ndarray
    sharpness: np.ndarray
    embeddings: np.ndarray | None = None
    strangeness: np.ndarray | None = None
    doubts: tuple[tuple[Reason, ...], ...] = ()

    @classmethod
    def join(cls, parts: list[Reading]) -> Reading:
        """The readings of several batches as one."""
        doubts = tuple(doubts for part in parts for doubts in part.doubts)
        columns = [[getattr(part, name) for part in parts] for name in vars(parts[0]) if name != "doubts"]
        return cls(*(None if some[0] is None else np.concatenate(some) for some in columns), doubts)


def main() -> None:
    config = parse(CalibrateConfig, __doc__)
    try:
        detector = Detector.from_pretrained(config.checkpoint, config.device, config.encoder)
        with one_writer(config.checkpoint, is_folder=True):
            decision, familiar = calibrate(detector, FaceSet.open(config.data, "val"), config)
            decision = save_familiar(familiar, decision, config.checkpoint)
            save_config(decision, config.checkpoint / DECISION_FILE)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for name, value in vars(decision).items():
        print(f"{name}: {value}")


def calibrate(
    detector: Detector, faces: FaceSet, settings: CalibrationSettings | None = None
) -> tuple[Decision, Familiar | None]:
    """Fit everything a Decision holds but `min_face` and `min_sharpness`, which are kept.

    faces: of the validation split, never of the test split.
    Returns it with the pictures that its max_strangeness is measured from, for `save_familiar`.
    Raises ValueError where the faces do not suffice or the detector does not separate them.
    """
    settings = settings or CalibrationSettings()
    probe = Detector(detector.model, Decision(flip=settings.flip), detector.digest, detector.device)
    chosen, words = _chosen(faces, settings)
    reading, labels, rows = _read_chosen(probe, faces, chosen)
    groups, sources = (np.array([key(row) for row in rows]) for key in (unit_of, _source))
    first = fit_decision(reading.logits, labels, words, groups, sources)
    found = None if reading.embeddings is None else fit_familiar(reading.embeddings, groups, sources)
    familiar, most_strange, figures = found or (None, None, {})
    limits = {name: getattr(detector.decision, name) for name in ("min_face", "min_sharpness")}
    limits |= {"flip": settings.flip, "max_strangeness": most_strange}
    limits |= _limits(probe, faces, first, chosen, settings.limits)
    # Beyond the limits no ratio is told and no verdict given, so such faces have no say in either.
    limited = replace(first, max_views_gap=_views_limit(reading, first), **limits)
    within = _within_limits(limited, reading, familiar)
    if set(labels[within].tolist()) != {0, 1}:
        raise ValueError(
            f"of {len(within)} faces only {within.sum()} lie within the limits that allow a verdict, not of "
            "both labels: train further, or give a validation split of better photographs"
        )
    words += f". Left out for lying beyond a limit that forbids any verdict: {(~within).sum()}"
    fitted = fit_decision(reading.logits[within], labels[within], words, groups[within], sources[within])
    fitted = replace(fitted, max_views_gap=_views_limit(reading, fitted), **limits)
    fitted = _with_map_share(probe, faces, fitted, chosen["simulated"])
    if min(len(chosen["real"]), settings.clips) >= ENOUGH_CLIPS:
        fitted = fit_clips(fitted, *read_clips(probe, faces, chosen, settings.clips))
    return replace(fitted, measured=fitted.measured | figures), familiar


def _read_chosen(
    probe: Detector, faces: FaceSet, chosen: dict[str, list[int]]
) -> tuple[Reading, np.ndarray, list[dict[str, str]]]:
    """Readings of all the faces, their labels (N,) 0 real, 1 fake, and their N rows of the manifest."""
    readings, labels, rows = [], [], []
    for name, positions in chosen.items():
        for start in tqdm(range(0, len(positions), BATCH), desc=name, unit="batch"):
            part = positions[start : start + BATCH]
            readings.append(read(probe, _images(faces, part, name, start)))
            labels += [int(name != "real")] * len(part)
            rows += [faces.rows[i] for i in part]
    return Reading.join(readings), np.array(labels), rows


def read(detector: Detector, images: Tensor, condition: str = AS_IT_IS) -> Reading:
    """Read (B, 3, S, S) crops in [0, 1] under a condition of kfd.quality.corruptions."""
    seen = apply(condition, images)
    found = [detector(part) for part in seen.split(BATCH)]
    logits = torch.cat([detection.logit for detection in found]).numpy()
    gaps, embeddings, strangeness = (
        None if getattr(found[0], name) is None else torch.cat([getattr(d, name) for d in found]).numpy()
        for name in ("views_gap", "embedding", "strangeness")
    )
    losses = np.array([compression(pixels) for pixels in to_uint8(shrunk(condition, images))])
    crops = to_uint8(seen)
    sharp = np.array([sharpness(pixels) for pixels in crops])
    return Reading(logits, gaps, losses, sharp, embeddings, strangeness, tuple(map(doubts_of, crops)))


def verdicts(decision: Decision, reading: Reading) -> list[tuple[Verdict, tuple[Reason, ...]]]:
    """Verdict and reasons of every face, the limits on the photograph included.

    The size of the face is left out: a set does not tell how large its faces were.
    """
    scores = score_of(decision, reading.logits).tolist()
    odd = [
        [None] * len(scores) if values is None else values.tolist()
        for values in (reading.gaps, reading.strangeness)
    ]
    read = zip(scores, *odd, reading.losses.tolist(), reading.sharpness.tolist(), reading.doubts, strict=True)
    return [
        decide(decision, score, Quality(decision.min_face, sharp, *losses), gap, strange, doubts)
        for score, gap, strange, losses, sharp, doubts in read
    ]


def _within_limits(decision: Decision, reading: Reading, familiar: Familiar | None) -> np.ndarray:
    """(N,) whether nothing but the score forbids a verdict. reading: by a probe, with gaps of logits."""
    reading = replace(reading, gaps=_views_gaps(reading, decision))
    if familiar is not None:
        strange = familiar.strangeness(torch.from_numpy(reading.embeddings)).numpy()
        reading = replace(reading, strangeness=strange)
    return np.array([SCORE_REASONS.issuperset(reasons) for _, reasons in verdicts(decision, reading)])


def _source(row: dict[str, str]) -> str:
    return row["source"]


def _chosen(faces: FaceSet, settings: CalibrationSettings) -> tuple[dict[str, list[int]], str]:
    """Positions by what they are read as: "real", "simulated" (from them) and kinds of known fakes; words."""
    reals = spread_over_sources(faces, faces.where(label="real"), settings.real)
    chosen = {"real": reals, "simulated": spread_over_sources(faces, reals, settings.fake)}
    fakes = faces.where(label="fake") if settings.known_fakes else []
    found = {faces.rows[i]["kind"] for i in fakes}
    for kind in sorted(found & set(settings.kinds) if settings.kinds else found):
        own = [i for i in fakes if faces.rows[i]["kind"] == kind]
        chosen[kind or "fake"] = spread_over_sources(faces, own, settings.fake)
    counts = Counter(faces.rows[i]["source"] for i in reals)
    shown = ", ".join(f"{count} of {source}" for source, count in counts.most_common())
    made = [f"{len(chosen['simulated'])} simulated from them"]
    made += [f"{len(chosen[kind])} of the kind {kind}" for kind in list(chosen)[2:]]
    words = (
        f"{len(reals)} genuine face photographs ({shown}) and {sum(map(len, chosen.values())) - len(reals)} "
        f"manipulated ones ({', '.join(made)}). The detector was not trained on them; they served to choose "
        "among its versions. More than half were compressed, resized, blurred or otherwise degraded, real "
        "and manipulated alike"
    )
    return chosen, words


def _images(faces: FaceSet, positions: list[int], name: str, start: int) -> Tensor:
    """Read faces, forge them where `name` says so, and degrade them alike."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED + start)
    images, landmarks = faces.read(positions)
    if name == "simulated":
        images = simulate(images, landmarks, generator).images
    return degrade_held_out(images, generator)


def _with_map_share(probe: Detector, faces: FaceSet, fitted: Decision, reals: list[int]) -> Decision:
    """The decision with the share of a map that forgeries of whole faces and of parts ask for."""
    maps, masks = [], []
    for start in range(0, min(len(reals), MAPS), BATCH):
        generator = torch.Generator().manual_seed(HELD_OUT_SEED + start)
        forged = simulate(*faces.read(reals[start : start + BATCH]), generator)
        maps.append(probe(degrade_held_out(forged.images, generator)).heatmap)
        masks.append(forged.masks)
    if not maps or maps[0] is None:  # a system without a map
        return fitted
    share, figures = fit_map_share(torch.cat(maps)[:, 0].numpy(), torch.cat(masks)[:, 0].numpy())
    return replace(fitted, map_share=share, measured=fitted.measured | figures)


def _views_gaps(reading: Reading, fitted: Decision) -> np.ndarray | None:
    """(N,) by how much the log-odds of face and mirror image differ, out of their logits' mean and gap."""
    if reading.gaps is None:
        return None
    views = (log_odds(fitted, reading.logits + side * reading.gaps / 2) for side in (1, -1))
    return np.abs(np.subtract(*views))


def _views_limit(reading: Reading, fitted: Decision) -> float | None:
    """The log-odds by which few calibration faces and their mirror images differ."""
    gaps = _views_gaps(reading, fitted)
    return None if gaps is None else round(float(np.quantile(gaps, 1 - VIEWS_DISAGREE_RATE)), 3)


def _limits(
    probe: Detector, faces: FaceSet, fitted: Decision, chosen: dict[str, list[int]], count: int
) -> dict[str, float | None]:
    """The limits of compression: how far real photographs keep their rate of false alarms."""
    reals = spread_over_sources(faces, chosen["real"], count)
    known = [i for name, some in chosen.items() if name not in ("real", "simulated") for i in some]
    fakes = spread_over_sources(faces, known or chosen["simulated"], count)
    if min(len(reals), len(fakes)) < ENOUGH:
        return {}
    fake_images, landmarks = faces.read(fakes)
    if not known:
        fake_images = simulate(fake_images, landmarks, torch.Generator().manual_seed(HELD_OUT_SEED)).images
    images = torch.cat([faces.read(reals)[0], fake_images])
    real = np.arange(len(images)) < len(reals)
    found = {name: read(probe, images, name) for name in tqdm(CONDITIONS, unit="condition")}
    scores = {name: score_of(fitted, reading.logits) for name, reading in found.items()}
    wrong = {name: wrong_verdicts(fitted, values, real) for name, values in scores.items()}
    losses, every = np.concatenate([r.losses for r in found.values()]), np.concatenate([*wrong.values()])
    limits = [compression_limit(losses[:, k], every, np.tile(real, len(found))) for k in (0, 1)]
    return {
        "max_jpeg_loss": limits[0],
        "max_video_loss": limits[1],
        "min_jpeg_quality": jpeg_limit(
            [wrong[f"jpeg {quality}"][real].mean() for quality in JPEG_QUALITIES],
            [wrong[f"jpeg {quality}"][~real].mean() for quality in JPEG_QUALITIES],
        ),
    }


def wrong_verdicts(decision: Decision, scores: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(N,) whether each of N scores reads as the other class. real: (N,) whether the face is real."""
    return np.where(real, scores >= decision.fake_above, scores <= decision.real_below)


def compression_limit(estimates: np.ndarray, wrong: np.ndarray, real: np.ndarray) -> float:
    """The highest estimate up to which real faces are rarely called fake and fakes rarely real.

    estimates, wrong, real: (N,) estimate of kfd.quality, whether the verdict is wrong, whether the face is
    real. The rates as functions of the estimate are isotonic: both rise with compression.
    """
    from sklearn.isotonic import IsotonicRegression

    grid = np.linspace(0, 1, 201)
    alarms = IsotonicRegression(out_of_bounds="clip").fit(estimates[real], wrong[real])
    misses = IsotonicRegression(out_of_bounds="clip").fit(estimates[~real], wrong[~real])
    good = (alarms.predict(grid) <= MOST_FALSE_ALARMS) & (misses.predict(grid) <= MOST_MISSED)
    first_bad = int(np.argmin(good)) if not good.all() else len(grid) - 1
    return round(float(grid[max(0, first_bad - 1)]), 3)


def jpeg_limit(alarms: list[float], misses: list[float]) -> int:
    """The lowest of JPEG_QUALITIES down to which the two rates hold; 100 where not even the first does."""
    lowest = 100
    for quality, alarm, missed in zip(JPEG_QUALITIES, alarms, misses, strict=True):
        if alarm > MOST_FALSE_ALARMS or missed > MOST_MISSED:
            break
        lowest = quality
    return lowest


if __name__ == "__main__":
    main()
