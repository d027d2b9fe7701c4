"""Measure an assistant's Yes or No on a face set, as evaluation.detector measures a detector.

    python -m llm.benchmark --assistant checkpoints/embedded/assistant --kfd checkpoints/embedded/kfd \\
        --data runs/set --split test --out runs/llm-test.json --report runs/llm-test-report
    python -m llm.benchmark ... --simulated 8 --num-resamples 50     # about a minute for 1,600 faces, CPU

The score of a face is P(Yes) against No at the first word of the answer to "Is this a deepfake image?", so
that an AUC is of a whole ROC; the verdict is the likelier of the two words, as the paper reads it out of the
answer. Never a search for words in the reply. The paper's video-level AUC of hard answers is the aggregation
`vote`. Files of this command and of evaluation.detector on the same data compare with each other:

    python -m evaluation.detector --compare runs/test.json runs/llm-test.json    # what does it cost?
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.cli import parse
from common.verdicts import Reason, Verdict
from data_sim.dataset import FaceSet
from evaluation.detector import publish
from evaluation.measure import SEEDS, MeasureConfig, measure
from evaluation.results import folder_digest, header
from kfd.calibration.decision import decide
from kfd.config import Decision
from kfd.detection import Detection
from kfd.detector import Detector
from llm.conversation import VERDICT_QUESTION, Conversation
from llm.model import ForgeryLLM
from llm.training.cases import judged_case
from media.regions import region_scores

# Yes or No, whichever is likelier: nothing is fitted, and nothing is between.
YES_OR_NO = Decision(
    real_below=0.5, fake_above=math.nextafter(0.5, 1.0), fitted_on="nothing: the likelier of Yes and No"
)
SUREST = 1e-7  # a probability is as far from 0 and 1 as float32 can tell


@dataclass(frozen=True)
class BenchmarkConfig(MeasureConfig):
    assistant: Path = Path("checkpoints/embedded/assistant")  # folder of the assistant
    kfd: Path = Path("checkpoints/embedded/kfd")  # folder of the detector it was trained with
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    device: str = "cpu"

    def __post_init__(self) -> None:
        problems = self.problems() + (["data: a face set is needed"] if self.data is None else [])
        if problems:
            raise ValueError("; ".join(problems))


def main(args: list[str] | None = None) -> None:
    config = parse(BenchmarkConfig, __doc__, args)
    try:
        faces = FaceSet.open(config.data, config.split)
        detector = Detector.from_pretrained(config.kfd, config.device, config.encoder)
        model = ForgeryLLM.from_pretrained(config.assistant, device=config.device)
        model.merge_adapter()
        found, items = measure(AnswerJudge(model, detector), faces, config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    results = header(config, SEEDS, "llm.benchmark")
    results["checkpoint"] = {"folder": config.assistant.name, "sha256": folder_digest(config.assistant)}
    results["kfd"] = {"folder": config.kfd.name, "sha256": detector.digest}
    publish(results | found, items, config)


class AnswerJudge:
    """An assistant whose score is P(Yes) and whose verdict the likelier of Yes and No.

    Maps and embedding stay the detector's. Raises ValueError when the assistant was trained with another one.
    """

    decision = YES_OR_NO

    def __init__(self, model: ForgeryLLM, detector: Detector):
        if model.info.kfd_digest not in ("", detector.digest):
            raise ValueError(
                f"the assistant was trained with the detector {model.info.kfd_digest[:12]}, got "
                f"{detector.digest[:12]}: pass that detector's folder as --kfd, or fine-tune again"
            )
        self.model, self.detector = model, detector

    def __call__(self, crops: Tensor, landmarks: Tensor) -> Detection:
        found = self.detector(crops)
        strengths = region_scores(found.heatmap, landmarks)
        probabilities = []
        for k, score in enumerate(found.score.tolist()):
            case = judged_case(self.detector, score, float(found.logit[k]), strengths[k])
            conversation = Conversation(self.model, case, found[k])
            probabilities.append(conversation.yes_probability(VERDICT_QUESTION))
        yes = torch.tensor(probabilities, dtype=torch.float64).clamp(SUREST, 1 - SUREST)
        return replace(found, logit=yes.logit().float(), score=yes.float())

    def verdict(
        self, row: dict[str, str], crop: np.ndarray, landmarks: np.ndarray, found: Detection
    ) -> tuple[Verdict, tuple[Reason, ...]]:
        return decide(self.decision, float(found.score))


if __name__ == "__main__":
    main()
