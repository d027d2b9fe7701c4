"""Score a face set with anything that judges faces, and compute every figure of the benchmark.

evaluation.detector does it for a detector, llm.benchmark for the answers of a language model.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.verdicts import Reason, Verdict
from data_sim.dataset import FaceSet, difference_mask, evenly, unit_of
from data_sim.simulate import simulate
from evaluation.confounders import confounder_scores, pixel_facts, row_facts
from evaluation.leakage import as_text, find_leaks
from evaluation.metrics.classification import NUM_RESAMPLES, Figure, figure_of
from evaluation.metrics.fairness import Label, fairness
from evaluation.metrics.levels import (
    SEED,
    aggregations,
    auc_of,
    calibration_level,
    comparisons,
    frame_level,
    has_videos,
    video_level,
)
from evaluation.metrics.localization import MapCounts, map_figures
from evaluation.metrics.video import Method, vla_score
from evaluation.results import SIMULATED, Item, data_digest, failures
from kfd.config import Decision
from kfd.detection import Detection
from media.regions import REGION_NAMES, REGIONS, region_mask

BATCH = 50
SIMULATION_SEED = 7
SEEDS = {"bootstrap": SEED, "simulation": SIMULATION_SEED}
MOST_LEFT_OUT = 0.02  # share of a split's faces that may be left out for looking like one learnt from
LEARNT_FROM = ("train", "val")  # weights from the first; checkpoint, calibration, thresholds from both
NOTES = {
    "test": "A test split measures, it chooses nothing: kfd.train and its calibration read train and val "
    "only, evaluation.detector changes no checkpoint.",
    "val": "Checkpoint, calibration and thresholds are chosen on a validation split; where it was this one, "
    "the figures are optimistic.",
    "train": "The detector may have been trained on these faces: the figures say nothing about others.",
}


class Judge(Protocol):
    """A judge of faces. decision: how its logit becomes a score and a score a verdict."""

    decision: Decision

    def __call__(self, crops: Tensor, landmarks: Tensor) -> Detection:
        """crops: (B, 3, S, S) in [0, 1]. landmarks: (B, 68, 2) in their pixels."""

    def verdict(
        self, row: dict[str, str], crop: np.ndarray, landmarks: np.ndarray, found: Detection
    ) -> tuple[Verdict, tuple[Reason, ...]]:
        """Verdict and reasons of one face, as users see them.

        row: of the manifest. crop: (S, S, 3) uint8 RGB. landmarks: (68, 2). found: B = 1.
        """


@dataclass(frozen=True)
class MeasureConfig:
    data: Path | None = None  # a face set made by data_sim.build
    split: str = "val"  # which split; `test` is for the last measurement only
    out: Path | None = None  # JSON file for the figures and for every score
    report: Path | None = None  # folder for report.md and report.html, with plots
    sources: tuple[str, ...] = ()  # only faces of these sources; by default all
    most: int = 0  # of the faces of each label and source, evenly spread; 0: all
    simulated: int = 600  # most real faces that forgeries are simulated from; 0: none
    aggregate: Method = "mean"  # how the frames of a video become one score; see evaluation.metrics.video
    by: tuple[Label, ...] = ("age", "gender", "race")  # false positives by these, where names tell them
    num_resamples: int = NUM_RESAMPLES  # of the bootstrap
    trained_on: Path | None = None  # the set that the detector learnt from, where that is not `data`
    allow_leaks: bool = False  # measure although the split shares people or pictures with those learnt from

    def problems(self) -> list[str]:
        """List what cannot be, in words."""
        if self.num_resamples >= 1 and min(self.simulated, self.most) >= 0:
            return []
        return [
            "num_resamples must be positive, simulated and most not negative, got "
            f"{self.num_resamples}, {self.simulated} and {self.most}"
        ]


def measure(judge: Judge, faces: FaceSet, config: MeasureConfig) -> tuple[dict[str, object], list[Item]]:
    """Score the faces; return the fields of evaluation.results below the header, and the items."""
    clean, leaks, left_out = without_leaks(chosen(faces, config), config)
    measured, decision = Measured(judge), judge.decision
    score_stored(measured, clean)
    score_simulated(measured, clean, config.simulated)
    items = measured.items
    lost = failures(config.data, config.split) + left_out
    if measured.not_finite:
        lost.append({"split": config.split, "reason": "score_not_finite", "count": measured.not_finite})
    frame = frame_level(items, decision, config.num_resamples)
    for comparison in comparisons(items):
        frame[comparison.name] |= _map_figures(
            items, measured.maps, comparison.positions, config.num_resamples
        )
    note = NOTES.get(config.split, "")
    if leaks and config.allow_leaks:
        shared = ", ".join(f"{kind.replace('_', ' ')} {count}" for kind, count in leaks.items())
        note = f"This split leaks into the training data, and was measured all the same: {shared}. {note}"
    if leaks is None and config.split != LEARNT_FROM[0]:
        note += " Leaks were not looked for: no set was given that the detector learnt from (--trained-on)."
    results: dict[str, object] = {
        "note": note,
        "data": {
            "folder": config.data.name,
            "split": config.split,
            "size": faces.size,
            "sha256": data_digest(faces),
            "simulated": {"faces": config.simulated, "sha256": measured.simulated},
            "leaks": leaks,
        },
        "decision": asdict(decision),
        "failures": lost,
        "confounders": confounders(items, measured.facts, config.num_resamples),
        "results": {"frame": frame},
        "calibration": calibration_level(items, decision, config.num_resamples),
        "fairness": fairness(items, config.by),
    }
    if has_videos(items):
        results["aggregation"] = config.aggregate
        results["results"]["video"] = video_level(items, decision, config.aggregate, config.num_resamples)
        results["aggregations"] = aggregations(items, decision, config.num_resamples)
    return results, items


@dataclass
class Measured:
    """The scored faces of a run, filled batch by batch.

    facts: of every item, what could tell real from fake without a forgery; see evaluation.confounders.
    maps: place among the items, and counts with N = 1, of every face whose true mask is known.
    not_finite: faces whose logit was NaN or infinite; they are no items.
    simulated: SHA-256 of the simulated images.
    """

    judge: Judge
    items: list[Item] = field(default_factory=list)
    facts: list[dict[str, list[float]]] = field(default_factory=list)
    maps: dict[int, MapCounts] = field(default_factory=dict)
    not_finite: int = 0
    simulated: str | None = None

    def add(
        self, rows: list[dict[str, str]], images: Tensor, landmarks: Tensor, masks: dict[int, np.ndarray]
    ) -> None:
        """Judge a batch and keep what is found.

        images: (B, 3, S, S) in [0, 1]. landmarks: (B, 68, 2). masks: (S, S) in [0, 1], by place in the batch.
        """
        found = self.judge(images, landmarks)
        mapped = found.heatmap is not None
        local = (
            vla_score(found.consistency_maps, found.heatmap) if mapped and found.consistency_maps else None
        )
        finite = found.logit.isfinite().tolist()
        crops = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        self.not_finite += len(rows) - sum(finite)
        for k in (k for k in range(len(rows)) if finite[k]):
            row = rows[k]
            if k in masks and mapped:
                self.maps[len(self.items)] = MapCounts.of(
                    found.heatmap[k].numpy(), masks[k][None], self.judge.decision.map_share
                )
            verdict, reasons = self.judge.verdict(row, crops[k], landmarks[k].numpy(), found[k])
            names = (row[name] for name in ("path", "label", "kind", "source"))
            # Nine digits are all that a float32 has: the figures are those of the file, to the last bit.
            told_values = (None if v is None else v[k] for v in (found.logit, found.score, local))
            logit, score, near = (None if v is None else float(f"{float(v):.9g}") for v in told_values)
            told = (unit_of(row), row["video"], row["track"], logit, score, verdict, "|".join(reasons), near)
            self.items.append(Item(*names, *told))
            self.facts.append(row_facts(row) | pixel_facts(crops[k]))


def learnt_from(config: MeasureConfig) -> dict[str, FaceSet]:
    """The splits that training and calibration read, by name; of the same set, those before the measured one.

    Empty where the set was built to measure on and no other was named. Raises ValueError or FileNotFoundError
    where the one named by `trained_on` has none.
    """
    folder = config.trained_on or config.data
    names = LEARNT_FROM
    if folder.resolve() == config.data.resolve() and config.split in names:
        names = names[: names.index(config.split)]
    found = {name: FaceSet.open(folder, name) for name in names if name in FaceSet.splits(folder)}
    if config.trained_on is not None and names and not found:
        raise ValueError(f"{folder} has none of the splits {', '.join(names)} that a detector learns from")
    return found


def without_leaks(
    faces: FaceSet, config: MeasureConfig
) -> tuple[FaceSet, dict[str, int] | None, list[dict[str, object]]]:
    """The faces that the detector cannot have known, what the split shares with those, and what was left out.

    Near duplicates are left out while they are few, unless leaks are allowed. A split that shares persons,
    groups, videos or identical pictures, or has more near duplicates, is refused: raises ValueError that
    names them. What is shared is None where nothing was compared.
    """
    known = learnt_from(config)
    if not known:
        return faces, None, []
    found = {name: find_leaks(other, faces) for name, other in known.items()}
    leaks = [leak for some in found.values() for leak in some]
    counts = dict(Counter(leak.kind for leak in leaks))
    if config.allow_leaks or not leaks:
        return faces, counts, []
    likeness: dict[str, str] = {}  # path of a face: the split that holds one like it
    for name, some in found.items():
        likeness |= {leak.b: name for leak in some if leak.b not in likeness}
    if set(counts) != {"near_duplicate"} or len(likeness) > MOST_LEFT_OUT * len(faces):
        told = "\n".join(f"{name}: {as_text(some)}" for name, some in found.items() if some)
        raise ValueError(
            f"split {config.split!r} of {config.data} leaks into what the detector learnt from: {told}\n"
            "Measure on other data, or give --allow-leaks; the leaks are then part of the result"
        )
    kept = [p for p, row in enumerate(faces.rows) if row["path"] not in likeness]
    left = [
        {"split": config.split, "reason": f"near_duplicate_of_{name}", "count": count}
        for name, count in Counter(likeness.values()).items()
    ]
    return faces.of(kept), counts, left


def chosen(faces: FaceSet, config: MeasureConfig) -> FaceSet:
    """The faces of a split that are measured. Raises ValueError where it has none of the sources."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for position, row in enumerate(faces.rows):
        if not config.sources or row["source"] in config.sources:
            groups[row["label"], row["source"]].append(position)
    if not groups:
        raise ValueError(
            f"split {config.split!r} of {config.data} has no face of {', '.join(config.sources)}"
        )
    kept = sorted(p for some in groups.values() for p in evenly(some, config.most or len(some)))
    return faces if len(kept) == len(faces) else faces.of(kept)


def score_stored(measured: Measured, faces: FaceSet) -> None:
    """Every face of the split, with progress."""
    for start in tqdm(range(0, len(faces), BATCH), desc="faces", unit="batch"):
        positions = list(range(start, min(start + BATCH, len(faces))))
        images, landmarks = faces.read(positions)
        masks = true_masks(faces, positions, images, landmarks)
        measured.add([faces.rows[p] for p in positions], images, landmarks, masks)


def true_masks(
    faces: FaceSet, positions: list[int], images: Tensor, landmarks: Tensor
) -> dict[int, np.ndarray]:
    """(S, S) masks in [0, 1] by place in `positions`, of the fakes whose forged pixels are known.

    The data set's own mask, else the difference from a pixel-aligned real face, else the union of the regions
    that the manifest names. images: (B, 3, S, S). landmarks: (B, 68, 2), both of `positions`.
    """
    fakes = [k for k, position in enumerate(positions) if faces.rows[position]["label"] == "fake"]
    own = {k: faces.mask_of(positions[k]) for k in fakes}
    masks = {k: mask.numpy() for k, mask in own.items() if mask is not None}
    pairs = [None if k in masks else faces.pair_of(position) for k, position in enumerate(positions)]
    if paired := [k for k, pair in enumerate(pairs) if pair is not None]:
        reals = faces.read([pairs[k] for k in paired])[0]
        masks |= dict(zip(paired, difference_mask(reals, images[paired])[:, 0].numpy(), strict=True))
    for k in fakes:
        row = faces.rows[positions[k]]
        names = [name for name in row["regions"].split("|") if name]
        if unknown := sorted(set(names) - set(REGION_NAMES)):
            raise ValueError(f"{row['path']}: no regions {unknown}; media.regions has {REGION_NAMES}")
        if names and k not in masks:
            named = [REGIONS[REGION_NAMES.index(name)] for name in names]
            parts = [region_mask(landmarks[k : k + 1], region, faces.size)[0] for region in named]
            masks[k] = torch.stack(parts).amax(dim=0).numpy()
    return masks


def score_simulated(measured: Measured, faces: FaceSet, count: int) -> None:
    """Forgeries simulated from at most `count` of the split's real faces, evenly over all, beside them."""
    reals = evenly(faces.where(label="real"), count)
    if not reals:
        return
    generator, seen = torch.Generator().manual_seed(SIMULATION_SEED), hashlib.sha256()
    for start in tqdm(range(0, len(reals), BATCH), desc="simulated", unit="batch"):
        part = reals[start : start + BATCH]
        images, landmarks = faces.read(part)
        forged = simulate(images, landmarks, generator)
        for label, shown in (("real", forged.pristine), ("fake", forged.images)):
            rows = [faces.rows[p] | {"label": label, "kind": SIMULATED} for p in part]
            masks = dict(enumerate(forged.masks[:, 0].numpy())) if label == "fake" else {}
            measured.add(rows, shown, landmarks, masks)
            seen.update((shown * 255).round().byte().numpy().tobytes())
    measured.simulated = seen.hexdigest()


def _map_figures(
    items: list[Item], maps: dict[int, MapCounts], positions: np.ndarray, num_resamples: int
) -> dict[str, Figure]:
    known = [int(p) for p in positions if int(p) in maps]
    if not known:
        return {}
    counts = MapCounts.join([maps[p] for p in known])
    return map_figures(counts, [items[p].unit for p in known], num_resamples, SEED)


def confounders(
    items: list[Item], facts: list[dict[str, list[float]]], num_resamples: int = NUM_RESAMPLES
) -> dict[str, dict[str, Figure]]:
    """AUC that each fact about a file or crop reaches alone, by comparison; see evaluation.confounders."""
    result: dict[str, dict[str, Figure]] = {}
    for comparison in comparisons(items):
        some = [items[i] for i in comparison.positions]
        labels = np.array([int(item.label == "fake") for item in some])
        units = np.array([item.unit for item in some])
        try:
            scores = confounder_scores([facts[i] for i in comparison.positions], labels, units)
        except ValueError as error:  # too few groups of a class to fit and to judge
            result[comparison.name] = {"all together": figure_of(None, str(error), None)}
            continue
        result[comparison.name] = {
            name: auc_of(some, values, num_resamples) for name, values in scores.items()
        }
    return result
