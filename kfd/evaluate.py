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

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from data_sim.cli import parse
from data_sim.dataset import FaceSet
from kfd.backbones import Dtype
from kfd.compare import compare_files
from kfd.detector import Detector
from kfd.measure import SEEDS, MeasureConfig, measure
from kfd.report import compared, tables, to_markdown, write_report
from kfd.results import Item, header, write_results
from kfd.storage import write_atomically


@dataclass(frozen=True)
class EvaluateConfig(MeasureConfig):
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    dtype: Dtype | None = None  # what a frozen encoder computes in; None: bf16 on a GPU, fp32 on a CPU
    device: str = "cpu"
    compare: tuple[Path, Path] | None = None  # two JSON files of --out to compare, instead of measuring

    def __post_init__(self) -> None:
        problems = self.problems()
        if (self.data is None) == (self.compare is None):
            problems.append("give --data to measure, or --compare A.json B.json, one of the two")
        if problems:
            raise ValueError("; ".join(problems))


def main(args: list[str] | None = None) -> None:
    config = parse(EvaluateConfig, __doc__, args)
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
    detector = Detector.from_pretrained(config.checkpoint, config.device, config.encoder, config.dtype)
    found, items = measure(lambda crops, landmarks: detector(crops), detector.decision, faces, config)
    results = header(config, SEEDS, "kfd.evaluate")
    results["checkpoint"] = {"folder": config.checkpoint.name, "sha256": detector.digest}
    publish(results | found, items, config)


def publish(results: dict[str, object], items: list[Item], config: MeasureConfig) -> None:
    """Print the tables, and write the files that the command asks for."""
    print(to_markdown(tables(results)))
    out = config.out or (config.report / "results.json" if config.report is not None else None)
    if out is not None:
        write_results(out, results, items)
    if config.report is not None:
        write_report(config.report, results, items)


if __name__ == "__main__":
    main()
