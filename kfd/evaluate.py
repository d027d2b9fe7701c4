"""Measure a detector on a face set: real photographs, known fakes and simulated forgeries.

    python -m kfd.evaluate --data runs/set --split test --out runs/test.json --report runs/test-report
    python -m kfd.evaluate --data runs/set --split val --checkpoint runs/kfd-real
    python -m kfd.evaluate --compare runs/a.json runs/b.json      # is b better than a?
    python -m kfd.evaluate --data runs/set --simulated 8 --draws 50     # about a minute for 1,600 faces, CPU

Every kind of fake is measured against the real faces of its own source, each face alone and, where the set
holds videos, each video as a whole (kfd.aggregate); forgeries simulated from the split's real faces show
localization too. Every figure has a 95 % interval, drawn by person where known, else by group. Verdicts are
given at the checkpoint's thresholds, which were fitted on validation. Beside every result stands the AUC that
compression, size, sharpness and colour alone reach on the same faces.

Nothing can be chosen by a test split: training and calibration read `train` and `val` only, and this command
changes no checkpoint. A split that shares people, videos or pictures with `train` is refused; the few
faces that merely look like a training face are left out and counted.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data_sim.cli import parse
from data_sim.confounders import confounder_scores, pixel_facts, row_facts
from data_sim.dataset import FaceSet, difference_mask, unit_of
from data_sim.leaks import as_text, find_leaks
from data_sim.simulate import simulate
from kfd.aggregate import Method, vla_score
from kfd.benchmark import SEED, aggregations, auc_of, comparisons, frame_level, has_videos, video_level
from kfd.compare import compare_files
from kfd.detection import Detection
from kfd.detector import Detector
from kfd.fairness import Label, fairness
from kfd.map_metrics import MapCounts, map_figures
from kfd.metrics import DRAWS, Figure, figure_of
from kfd.report import compared, tables, to_markdown, write_report
from kfd.results import SIMULATED, Item, data_digest, failures, header, write_results
from kfd.storage import write_atomically

BATCH = 50
SIMULATION_SEED = 7
MOST_LEFT_OUT = 0.02  # share of a split's faces that may be left out for looking like a training face
NOTES = {
    "test": "A test split measures, it chooses nothing: kfd.train and its calibration read train and val "
    "only, kfd.evaluate changes no checkpoint.",
    "val": "Checkpoint, calibration and thresholds are chosen on a validation split; where it was this one, "
    "the figures are optimistic.",
    "train": "The detector may have been trained on these faces: the figures say nothing about others.",
}


@dataclass(frozen=True)
class EvaluateConfig:
    data: Path | None = None  # a face set made by data_sim.build
    split: str = "val"  # which split; `test` is for the last measurement only
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder lacks: file, folder, hub id
    out: Path | None = None  # JSON file for the figures and for every score
    report: Path | None = None  # folder for report.md and report.html, with plots
    simulated: int = 600  # most real faces that forgeries are simulated from; 0: none
    aggregate: Method = "mean"  # how the frames of a video become one score; see kfd.aggregate
    by: tuple[Label, ...] = ("age", "gender", "race")  # false positives by these, where names tell them
    draws: int = DRAWS  # of the bootstrap
    allow_leaks: bool = False  # measure although the split shares people or pictures with `train`
    compare: tuple[Path, Path] | None = None  # two JSON files of --out to compare, instead of measuring
    device: str = "cpu"

    def __post_init__(self) -> None:
        problems = []
        if (self.data is None) == (self.compare is None):
            problems.append("give --data to measure, or --compare A.json B.json, one of the two")
        if self.draws < 1 or self.simulated < 0:
            problems.append(
                f"draws must be positive and simulated not negative, got {self.draws}, {self.simulated}"
            )
        if problems:
            raise ValueError("; ".join(problems))


@dataclass
class Measured:
    """What the scored faces come down to, filled batch by batch.

    facts: of every item, what could tell real from fake without a forgery; see data_sim.confounders.
    maps: place among the items, and counts with N = 1, of every face whose true mask is known.
    not_finite: faces whose logit was NaN or infinite; they are no items.
    simulated: SHA-256 of the simulated images.
    """

    items: list[Item] = field(default_factory=list)
    facts: list[dict[str, list[float]]] = field(default_factory=list)
    maps: dict[int, MapCounts] = field(default_factory=dict)
    not_finite: int = 0
    simulated: str | None = None

    def add(
        self, rows: list[dict[str, str]], images: Tensor, detection: Detection, masks: dict[int, np.ndarray]
    ) -> None:
        """Add a batch. images: (B, 3, S, S) in [0, 1]. masks: (S, S) in [0, 1], by place in the batch."""
        local = vla_score(detection.consistency_maps, detection.heatmap)
        finite = detection.logit.isfinite().tolist()
        crops = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
        self.not_finite += len(rows) - sum(finite)
        for k in (k for k in range(len(rows)) if finite[k]):
            row = rows[k]
            if k in masks:
                self.maps[len(self.items)] = MapCounts.of(detection.heatmap[k].numpy(), masks[k][None])
            names = (row[name] for name in ("path", "label", "kind", "source"))
            # Nine digits are all that a float32 has: the figures are those of the file, to the last bit.
            numbers = (float(f"{float(v[k]):.9g}") for v in (detection.logit, detection.score, local))
            self.items.append(Item(*names, unit_of(row), row["video"], row["track"], *numbers))
            self.facts.append(row_facts(row) | pixel_facts(crops[k]))


def main() -> None:
    config = parse(EvaluateConfig, __doc__)
    try:
        if config.compare is not None:
            _compare(config)
        else:
            _measure(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _compare(config: EvaluateConfig) -> None:
    found = compare_files(*config.compare, draws=config.draws)
    print(to_markdown(compared(found)))
    if config.out is not None:
        write_atomically(config.out, lambda part: part.write_text(json.dumps(found, indent=1) + "\n"))


def _measure(config: EvaluateConfig) -> None:
    faces = FaceSet.open(config.data, config.split)
    detector = Detector.from_pretrained(config.checkpoint, config.device, config.encoder)
    results, items = evaluate(detector, faces, config)
    print(to_markdown(tables(results)))
    out = config.out or (config.report / "results.json" if config.report is not None else None)
    if out is not None:
        write_results(out, results, items)
    if config.report is not None:
        write_report(config.report, results, items)


def evaluate(
    detector: Detector, faces: FaceSet, config: EvaluateConfig
) -> tuple[dict[str, object], list[Item]]:
    """Score the faces and compute every figure; the fields of kfd.results, and the items."""
    measured = Measured()
    clean, leaks, left_out = without_leaks(faces, config)
    score_stored(measured, detector, clean)
    score_simulated(measured, detector, clean, config.simulated)
    items = measured.items
    lost = failures(config.data, config.split) + left_out
    if measured.not_finite:
        lost.append({"split": config.split, "reason": "score_not_finite", "count": measured.not_finite})
    decision = detector.decision
    frame = frame_level(items, decision, config.draws)
    for comparison in comparisons(items):
        frame[comparison.name] |= _map_figures(items, measured.maps, comparison.positions, config.draws)
    results: dict[str, object] = header(
        config, {"bootstrap": SEED, "simulation": SIMULATION_SEED}, "kfd.evaluate"
    )
    results |= {
        "note": NOTES.get(config.split, ""),
        "checkpoint": {"folder": config.checkpoint.name, "sha256": detector.digest},
        "data": {
            "folder": config.data.name,
            "split": config.split,
            "size": faces.size,
            "sha256": data_digest(faces),
            "simulated": {"faces": config.simulated, "sha256": measured.simulated},
            "leaks": leaks,
        },
        "thresholds": {
            "fake_above": decision.fake_above,
            "real_below": decision.real_below,
            "fitted_on": decision.fitted_on,
        },
        "calibration": {"slope": decision.slope, "intercept": decision.intercept},
        "failures": lost,
        "confounders": confounders(items, measured.facts, config.draws),
        "results": {"frame": frame},
        "fairness": fairness(items, decision, config.by),
    }
    if has_videos(items):
        results["aggregation"] = config.aggregate
        results["results"]["video"] = video_level(items, decision, config.aggregate, config.draws)
        results["aggregations"] = aggregations(items, decision, config.draws)
    return results, items


def without_leaks(
    faces: FaceSet, config: EvaluateConfig
) -> tuple[FaceSet, dict[str, int] | None, list[dict[str, object]]]:
    """The faces that training cannot have known, what the split shares with `train`, and what was left out.

    Near duplicates of training faces are left out while they are few, unless leaks are allowed. A split that
    shares persons, groups, videos or identical pictures, or has more near duplicates, is refused: raises
    ValueError that names them.
    """
    try:
        train = FaceSet.open(config.data, "train")
    except ValueError:  # the set has no such split: it was built to measure on
        return faces, None, []
    if config.split == "train":
        return faces, None, []
    leaks = find_leaks(train, faces)
    counts = dict(Counter(leak.kind for leak in leaks))
    if config.allow_leaks or not leaks:
        return faces, counts, []
    known = {leak.b for leak in leaks if leak.kind == "near_duplicate"}
    if len(known) < len(leaks) or len(known) > MOST_LEFT_OUT * len(faces):
        raise ValueError(
            f"split {config.split!r} of {config.data} leaks into its training split: {as_text(leaks)}\n"
            "Measure on other data, or give --allow-leaks; the leaks are then part of the result"
        )
    kept = [p for p, row in enumerate(faces.rows) if row["path"] not in known]
    left = {"split": config.split, "reason": "near_duplicate_of_train", "count": len(faces) - len(kept)}
    return replace(faces, rows=tuple(faces.rows[p] for p in kept), index=faces.index[kept]), counts, [left]


def score_stored(measured: Measured, detector: Detector, faces: FaceSet) -> None:
    """Every face of the split, with progress."""
    for start in tqdm(range(0, len(faces), BATCH), desc="faces", unit="batch"):
        positions = list(range(start, min(start + BATCH, len(faces))))
        images = faces.read(positions)[0]
        pairs = [faces.pair_of(p) for p in positions]
        paired = [k for k, pair in enumerate(pairs) if pair is not None]
        masks = {}
        if paired:
            reals = faces.read([pairs[k] for k in paired])[0]
            masks = dict(zip(paired, difference_mask(reals, images[paired])[:, 0].numpy(), strict=True))
        measured.add([faces.rows[p] for p in positions], images, detector(images), masks)


def score_simulated(measured: Measured, detector: Detector, faces: FaceSet, count: int) -> None:
    """Forgeries simulated from the split's real faces, people the detector never saw, beside those faces."""
    reals = faces.where(label="real")
    reals = reals[:: max(1, len(reals) // count)][:count] if count else []
    if not reals:
        return
    generator, seen = torch.Generator().manual_seed(SIMULATION_SEED), hashlib.sha256()
    for start in tqdm(range(0, len(reals), BATCH), desc="simulated", unit="batch"):
        part = reals[start : start + BATCH]
        forged = simulate(*faces.read(part), generator)
        for label, images in (("real", forged.pristine), ("fake", forged.images)):
            rows = [faces.rows[p] | {"label": label, "kind": SIMULATED} for p in part]
            masks = dict(enumerate(forged.masks[:, 0].numpy())) if label == "fake" else {}
            measured.add(rows, images, detector(images), masks)
            seen.update((images * 255).round().byte().numpy().tobytes())
    measured.simulated = seen.hexdigest()


def _map_figures(
    items: list[Item], maps: dict[int, MapCounts], positions: np.ndarray, draws: int
) -> dict[str, Figure]:
    known = [int(p) for p in positions if int(p) in maps]
    if not known:
        return {}
    counts = MapCounts.join([maps[p] for p in known])
    return map_figures(counts, [items[p].unit for p in known], draws, SEED)


def confounders(
    items: list[Item], facts: list[dict[str, list[float]]], draws: int = DRAWS
) -> dict[str, dict[str, Figure]]:
    """AUC that each fact about a file or crop reaches alone, by comparison; see data_sim.confounders."""
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
        result[comparison.name] = {name: auc_of(some, values, draws) for name, values in scores.items()}
    return result


if __name__ == "__main__":
    main()
