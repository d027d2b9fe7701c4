"""Measure a detector on photographs that were compressed, shrunk, blurred: its error rate for each kind.

    python -m evaluation.robustness --data runs/set --split val --checkpoint runs/kfd
    python -m evaluation.robustness --data runs/set --checkpoint runs/kfd --real 6 --fake 6   # a minute, CPU

Every condition (kfd.quality.corruptions) gives one cell: AUC, and at the shipped thresholds the share of real
photographs called fake and of fakes called fake, with 95 % intervals, before and after abstaining. The
same readings, sorted by what can be measured on any photograph (size of the face, estimated compression),
give the error rates that the page and the report state for the photograph at hand. All of it is written to
robustness.json in the detector's folder, cell by cell: a run that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.cli import parse
from common.locks import one_writer
from common.storage import write_text
from common.strict_json import read_json_object, to_json
from common.verdicts import Verdict
from data_sim.dataset import FaceSet, unit_of
from data_sim.simulate import simulate
from evaluation.metrics.classification import auc_figure, wilson_interval
from evaluation.results import data_digest
from kfd.calibrate import Reading, read, verdicts
from kfd.calibration.decision import log_odds, score_of
from kfd.calibration.error_rates import (
    CONDITIONS,
    LARGE,
    ROBUSTNESS_FILE,
    ErrorRate,
    band_of,
    digest_of_decision,
    refuse_stale,
)
from kfd.detector import Detector
from kfd.quality.corruptions import HELD_OUT_SEED, scale_of, spread_over_sources

FEWEST = 30  # different real photographs, without which no error rate is stated
NUM_RESAMPLES = 400  # of the bootstrap of an AUC


@dataclass(frozen=True)
class RobustnessConfig:
    data: Path = Path("runs/set")  # a face set made by data_sim.build
    split: str = "val"  # which split; `test` is for the last measurement only
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    real: int = 80  # real faces, evenly over the sources
    fake: int = 40  # fakes: half of them known ones where there are any, the others simulated
    device: str = "cpu"


def main() -> None:
    config = parse(RobustnessConfig, __doc__)
    try:
        detector = Detector.from_pretrained(config.checkpoint, config.device, config.encoder)
        faces = FaceSet.open(config.data, config.split)
        with one_writer(config.checkpoint, is_folder=True):
            stored = measure_grid(detector, faces, config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(table(stored["cells"]))


def measure_grid(detector: Detector, faces: FaceSet, config: RobustnessConfig) -> dict[str, object]:
    """Measure every condition that the file does not hold yet; returns what is in the file then.

    Raises ValueError when the file belongs to another detector, decision or sample.
    """
    from tqdm import tqdm

    path = config.checkpoint / ROBUSTNESS_FILE
    head = {
        "detector": detector.digest,
        "decision": digest_of_decision(detector.decision),
        "data": data_digest(faces),
        "split": config.split,
        "real": config.real,
        "fake": config.fake,
    }
    cells: dict[str, dict[str, object]] = {}
    if path.is_file():
        stored = read_json_object(path)
        refuse_stale(path, stored, detector)
        changed = [name for name, value in head.items() if stored.get(name) != value]
        if changed:
            raise ValueError(f"{path} was measured with another {' and '.join(changed)}; delete it first")
        cells = stored["cells"]
    left = [name for name in CONDITIONS if name not in cells]
    if not left:
        return stored
    images, labels, units = sample(faces, config.real, config.fake)
    for name in tqdm(left, unit="condition", initial=len(cells), total=len(CONDITIONS)):
        cells[name] = _cell(detector, read(detector, images, name), labels, units, scale_of(name))
        ordered = {name: cells[name] for name in CONDITIONS if name in cells}
        rates = [dataclasses.asdict(rate) for rate in _rates(ordered, labels, units)]
        stored = head | {"cells": ordered, "rates": rates}
        write_text(path, to_json(stored, indent=1) + "\n")
    return stored


def sample(faces: FaceSet, real: int, fake: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Choose the faces, the same for every condition: (N, 3, S, S) crops in [0, 1], (N,) labels, (N,) units.

    Raises ValueError without real faces.
    """
    reals = spread_over_sources(faces, faces.where(label="real"), real)
    if not reals:
        raise ValueError("this split holds no real faces to measure false alarms on")
    fakes = spread_over_sources(faces, faces.where(label="fake"), fake // 2)
    forged = spread_over_sources(faces, reals, fake - len(fakes))
    images, landmarks = faces.read(forged)
    parts = [
        faces.read(reals)[0],
        simulate(images, landmarks, torch.Generator().manual_seed(HELD_OUT_SEED)).images,
    ]
    parts += [faces.read(fakes)[0]] if fakes else []
    rows = [faces.rows[i] for i in (*reals, *forged, *fakes)]
    labels = np.repeat([0, 1], [len(reals), len(rows) - len(reals)])
    return torch.cat(parts), labels, np.array([unit_of(row) for row in rows])


def _cell(
    detector: Detector, reading: Reading, labels: np.ndarray, units: np.ndarray, scale: float
) -> dict[str, object]:
    """Figures of one condition; `bands` and `above` hold a digit per face: compression, scored as fake."""
    decision = detector.decision
    odds, scores = log_odds(decision, reading.logits), score_of(decision, reading.logits)
    flagged = scores >= decision.fake_above
    called = np.array([verdict for verdict, _ in verdicts(decision, reading)])
    cell: dict[str, object] = {"auc": auc_figure(labels, odds, units, NUM_RESAMPLES)}
    for name, label in (("real", 0), ("fake", 1)):
        own = labels == label
        cell[f"{name}_above"] = _share(flagged[own], units[own])  # by the score alone
        cell[f"{name}_called_fake"] = _share((called == Verdict.FAKE)[own], units[own])
        cell[f"{name}_inconclusive"] = _share((called == Verdict.INCONCLUSIVE)[own], units[own])
    cell["losses"] = [round(float(value), 3) for value in np.median(reading.losses, axis=0)]
    cell["large"] = scale >= LARGE
    cell["bands"] = "".join(str(band_of(*losses)) for losses in reading.losses)
    cell["above"] = "".join(str(int(hit)) for hit in flagged)
    return cell


def _rates(cells: dict[str, dict[str, object]], labels: np.ndarray, units: np.ndarray) -> Iterator[ErrorRate]:
    """Error rates by kind, over all conditions measured.

    One photograph comes under many conditions: intervals count it once, by its unit.
    """
    large = np.array([[cell["large"]] for cell in cells.values()])
    bands, above = (np.array([[*cell[name]] for cell in cells.values()], int) for name in ("bands", "above"))
    for of_large, band in product((False, True), range(4)):
        alike = (large == of_large) & (bands == band)
        shares = []
        for label in (0, 1):
            hit = alike & (labels == label)
            different = len(set(units[hit.any(axis=0)]))
            share = float(above[hit].mean()) if different else 0.0
            shares.append((different, (round(share, 4), *_interval(share, different))))
        (real, alarms), (fake, found) = shares
        if real >= FEWEST:
            yield ErrorRate(of_large, band, real, fake, alarms, found if fake else None)


def _share(hits: np.ndarray, units: np.ndarray) -> dict[str, object]:
    """A share of N faces with its 95 % interval, in which a unit counts once. hits, units: (N,)."""
    share = float(hits.mean()) if len(hits) else 0.0
    low, high = _interval(share, len(set(units)))
    return {"value": round(share, 4), "low": low, "high": high, "n": len(hits)}


def _interval(share: float, different: int) -> tuple[float, float]:
    """Wilson's interval of a share among so many independent units."""
    low, high = wilson_interval(round(share * different), different) if different else (0.0, 1.0)
    # The count of a share of few units is rounded, which must not push the share out of its interval.
    return round(min(low, share), 4), round(max(high, share), 4)


def table(cells: dict[str, dict[str, object]]) -> str:
    """The cells as a Markdown table."""
    columns = {
        "auc": "AUC", "real_above": "real at or above threshold", "fake_above": "fake at or above threshold",
        "real_called_fake": "real called fake", "real_inconclusive": "real inconclusive",
        "fake_called_fake": "fake called fake", "fake_inconclusive": "fake inconclusive",
    }  # fmt: skip
    head = f"| condition | {' | '.join(columns.values())} | lost to JPEG, video |"
    lines = [head, "|---" * (len(columns) + 2) + "|"]
    for name, cell in cells.items():
        shown = [_shown(cell[column]) for column in columns]
        lost = ", ".join(f"{value:.2f}" for value in cell["losses"])
        lines.append(f"| {name} | {' | '.join(shown)} | {lost} |")
    return "\n".join(lines)


def _shown(figure: dict[str, object]) -> str:
    if figure["value"] is None or figure["low"] is None:
        return "" if figure["value"] is None else f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"


if __name__ == "__main__":
    main()
