"""Measure a detector on a face set: real photographs, known fakes and simulated forgeries.

    python -m evaluation.detector --data runs/set --split test --out runs/test.json --report runs/test-report
    python -m evaluation.detector --data runs/set --split val --checkpoint runs/kfd-real
    python -m evaluation.detector --compare runs/a.json runs/b.json      # is b better than a? who is right?
    python -m evaluation.detector --data runs/set --simulated 8 --num-resamples 50     # a minute

Every kind of fake is measured against the real faces of its own source, each face alone and, where the set
holds videos, each video as a whole (evaluation.metrics.video); forgeries simulated from the split's real
faces show localization too. Every figure has a 95 % interval, drawn by person where known, else by group.
Verdicts are given at the checkpoint's thresholds, which were fitted on validation. Beside every result stands
the AUC that compression, size, sharpness and colour alone reach on the same faces.

Nothing can be chosen by a test split: training and calibration read `train` and `val` only, and this command
changes no checkpoint. A split that shares people, videos or pictures with those is refused; the few faces
that merely look like one of theirs are left out and counted. Name the set that the detector learnt from with
--trained-on where it is another one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from common.cli import parse
from common.locks import one_writer
from common.storage import write_text
from common.strict_json import to_json
from common.verdicts import Reason, Verdict
from data_sim.dataset import FaceSet
from evaluation.compare import compare_files, compared
from evaluation.measure import SEEDS, MeasureConfig, measure
from evaluation.results import Item, header, write_results
from evaluation.seen import seen_in_training
from evaluation.tables import tables, to_markdown, write_report
from kfd.calibration.decision import decide
from kfd.detection import Detection, Quality
from kfd.detector import SMALLEST_MEASURED, Detector, doubts_of, oddities_of
from kfd.encoders.backbones import Dtype
from kfd.quality.estimate import compression, sharpness
from kfd.scoring.opinions import digests
from kfd.training.record import read_worlds


@dataclass(frozen=True)
class EvaluateDetectorConfig(MeasureConfig):
    checkpoint: Path = Path("checkpoints/embedded/kfd")  # folder of the detector
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    dtype: Dtype | None = None  # what a frozen encoder computes in; None: bf16 on a GPU, fp32 on a CPU
    device: str = "cpu"
    compare: tuple[Path, Path] | None = None  # two JSON files of --out to compare, instead of measuring

    def __post_init__(self) -> None:
        problems = self.problems()
        if (self.data is None) == (self.compare is None):
            problems.append("give --data to measure, or --compare A.json B.json, one of the two")
        if self.compare is not None and self.report is not None:
            problems.append("--compare writes its JSON with --out; it has no --report")
        if problems:
            raise ValueError("; ".join(problems))


class DetectorJudge:
    """A detector whose verdict on a stored crop is that on the photograph, as far as the set tells."""

    def __init__(self, detector: Detector):
        self.detector, self.decision = detector, detector.decision

    def __call__(self, crops: Tensor, landmarks: Tensor) -> Detection:
        return self.detector(crops)

    def verdict(
        self, row: dict[str, str], crop: np.ndarray, landmarks: np.ndarray, found: Detection
    ) -> tuple[Verdict, tuple[Reason, ...]]:
        quality = self.quality(row, crop, landmarks)
        return decide(self.decision, float(found.score), quality, *oddities_of(found), also=doubts_of(crop))

    def quality(self, row: dict[str, str], crop: np.ndarray, landmarks: np.ndarray) -> Quality:
        """Measure a stored crop. A set that does not tell a face's size had it large enough."""
        side, pixels = self.decision.min_face, crop
        if row["box"]:
            x0, y0, x1, y1 = map(float, row["box"].split())
            side = max(x1 - x0, y1 - y0)
            shown = float((landmarks.max(axis=0) - landmarks.min(axis=0)).max())  # of the face in the crop
            original = max(SMALLEST_MEASURED, round(len(crop) * side / shown))
            if original < len(crop):  # compression is estimated where it happened, before any enlarging
                pixels = cv2.resize(crop, (original, original), interpolation=cv2.INTER_AREA)
        limited = (self.decision.max_jpeg_loss, self.decision.max_video_loss) != (None, None)
        losses = compression(pixels) if limited else (None, None)
        return Quality(side, sharpness(crop), *losses, int(row["jpeg_quality"] or 0) or None)


def main(args: list[str] | None = None) -> None:
    config = parse(EvaluateDetectorConfig, __doc__, args)
    try:
        with one_writer(config.out), one_writer(config.report, is_folder=True):
            if config.compare is not None:
                _compare(config)
            else:
                _measure(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _compare(config: EvaluateDetectorConfig) -> None:
    found = compare_files(*config.compare, num_resamples=config.num_resamples)
    print(to_markdown(compared(found)))
    if config.out is not None:
        write_text(config.out, to_json(found, indent=1) + "\n")


def _measure(config: EvaluateDetectorConfig) -> None:
    faces = FaceSet.open(config.data, config.split)
    detector = Detector.from_pretrained(config.checkpoint, config.device, config.encoder, config.dtype)
    found, items = measure(DetectorJudge(detector), faces, config)
    results = header(config, SEEDS, "evaluation.detector")
    sha256, decision = digests(detector)
    results["checkpoint"] = {"folder": config.checkpoint.name, "sha256": sha256, "decision": decision}
    worlds = read_worlds(config.checkpoint)
    if worlds is not None:
        found["seen"] = seen_in_training(items, worlds)
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
