"""Measure a detector on a face set: real photographs, known fakes and simulated forgeries.

    python -m kfd.evaluate --data runs/set --split test --out runs/test.json
    python -m kfd.evaluate --data runs/set --split val --checkpoint runs/kfd-real

Every kind of fake is measured against the real faces of its own source; forgeries simulated
from the split's real faces show localization too. AUC has a 95 % interval, resampled by group.
Accuracy is given at the checkpoint's thresholds, which were fitted on validation.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_sim.cli import parse
from data_sim.dataset import FaceSet, difference_mask
from data_sim.simulate import simulate
from kfd.detector import Detector
from kfd.metrics import bootstrap_interval, image_metrics, map_metrics
from kfd.storage import write_atomically

BATCH = 50
SEED = 7


@dataclass(frozen=True)
class EvaluateConfig:
    data: Path  # a face set made by data_sim.build
    split: str = "val"  # which split; `test` is for the last measurement only
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    out: Path | None = None  # JSON file for the figures
    simulated: int = 600  # most real faces that forgeries are simulated from
    device: str = "cpu"


def main() -> None:
    config = parse(EvaluateConfig, __doc__)
    try:
        faces = FaceSet.open(config.data, config.split)
        detector = Detector.from_pretrained(config.checkpoint, config.device)
        results = evaluate(detector, faces, config.simulated)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(table(results))
    if config.out is not None:
        report = {
            "checkpoint_sha256": detector.digest,
            "fake_above": detector.decision.fake_above,
            "real_below": detector.decision.real_below,
            "data": config.data.name,
            "split": config.split,
            "results": results,
        }
        write_atomically(config.out, lambda part: part.write_text(json.dumps(report, indent=2) + "\n"))


def evaluate(detector: Detector, faces: FaceSet, simulated: int) -> dict[str, dict[str, float]]:
    """Figures by kind of fake, in the order measured; see the module's text.

    Raises ValueError when the split holds no real faces.
    """
    reals = faces.where(label="real")
    if not reals:
        raise ValueError("this split holds no real faces to compare fakes with")
    scores, maps = _scores(detector, faces, list(range(len(faces))))
    results = {}
    for kind in sorted({faces.rows[i]["kind"] for i in faces.where(label="fake")}):
        fakes = faces.where(label="fake", kind=kind)
        sources = {faces.rows[i]["source"] for i in fakes}
        partners = [i for i in reals if faces.rows[i]["source"] in sources] or reals
        results[kind] = _compare(detector, faces, scores, partners, fakes)
        pairs = [(faces.pair_of(i), i) for i in fakes if faces.pair_of(i) is not None]
        if pairs:
            masks = difference_mask(
                faces.read([r for r, _ in pairs])[0], faces.read([f for _, f in pairs])[0]
            )
            results[kind] |= map_metrics(maps[[f for _, f in pairs], 0], masks[:, 0].numpy())
    for source in sorted({faces.rows[i]["source"] for i in faces.where(label="fake")}):
        fakes = faces.where(label="fake", source=source)
        partners = faces.where(label="real", source=source) or reals
        results[f"all {source}"] = _compare(detector, faces, scores, partners, fakes)
    results["simulated"] = _simulated(detector, faces, reals[:: max(1, len(reals) // simulated)][:simulated])
    return results


def _scores(detector: Detector, faces: FaceSet, positions: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) and heat maps (N, 1, S, S) of stored faces, with progress."""
    from tqdm import tqdm

    scores, maps = [], []
    for start in tqdm(range(0, len(positions), BATCH), desc="faces", unit="batch"):
        detection = detector(faces.read(positions[start : start + BATCH])[0])
        scores.append(detection.score)
        maps.append(detection.heatmap)
    return torch.cat(scores).numpy(), torch.cat(maps).numpy()


def _compare(
    detector: Detector, faces: FaceSet, scores: np.ndarray, reals: list[int], fakes: list[int]
) -> dict[str, float]:
    rows = reals + fakes
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    groups = np.array([faces.rows[i]["group"] for i in rows])
    return _figures(detector, labels, scores[rows], groups)


def _figures(
    detector: Detector, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray
) -> dict[str, float]:
    low, high = bootstrap_interval(labels, scores, groups)
    real, fake = scores[labels == 0], scores[labels == 1]
    flagged, cleared = detector.decision.fake_above, detector.decision.real_below
    return {
        "real": len(real),
        "fake": len(fake),
        **image_metrics(labels, scores),
        "auc_low": low,
        "auc_high": high,
        "real_called_fake": float(np.mean(real >= flagged)),
        "fake_called_real": float(np.mean(fake <= cleared)),
        "inconclusive": float(np.mean((scores > cleared) & (scores < flagged))),
    }


def _simulated(detector: Detector, faces: FaceSet, reals: list[int]) -> dict[str, float]:
    """Forgeries simulated from the split's real faces, people the detector never saw."""
    generator = torch.Generator().manual_seed(SEED)
    scores: list[Tensor] = []
    maps, masks, groups = [], [], []
    for start in range(0, len(reals), BATCH):
        part = reals[start : start + BATCH]
        forged = simulate(*faces.read(part), generator)
        real, fake = detector(forged.pristine), detector(forged.images)
        scores += [real.score, fake.score]
        maps.append(fake.heatmap[:, 0])
        masks.append(forged.masks[:, 0])
        groups += [faces.rows[i]["group"] for i in part] * 2
    labels = np.concatenate([np.full(len(s), k % 2) for k, s in enumerate(scores)])
    figures = _figures(detector, labels, torch.cat(scores).numpy(), np.array(groups))
    return figures | map_metrics(torch.cat(maps).numpy(), torch.cat(masks).numpy())


def table(results: dict[str, dict[str, float]]) -> str:
    """The figures as a Markdown table."""
    columns = {
        "auc": "AUC", "ap": "AP", "eer": "EER", "tpr_at_fpr_5": "TPR at 5 % FPR",
        "real_called_fake": "real called fake", "fake_called_real": "fake called real",
        "inconclusive": "inconclusive", "pixel_auc": "pixel AUC", "iou": "IoU", "pointing": "pointing",
    }  # fmt: skip
    lines = [
        "| kind | real | fake | " + " | ".join(columns.values()) + " |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for kind, figures in results.items():
        cells = [f"{figures[name]:.3f}" if name in figures else "" for name in columns]
        cells[0] += f" ({figures['auc_low']:.3f}-{figures['auc_high']:.3f})"
        lines.append(f"| {kind} | {figures['real']} | {figures['fake']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
