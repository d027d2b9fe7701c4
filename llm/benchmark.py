"""Measure an assistant's Yes or No on a face set, as evaluation.detector measures a detector.

    python -m llm.benchmark --assistant checkpoints/embedded/assistant --kfd checkpoints/embedded/kfd \\
        --data runs/set --split test --out runs/llm-test.json --report runs/llm-test-report
    python -m llm.benchmark ... --simulated 8 --num-resamples 50
    python -m llm.benchmark ... --no-text --soft zeros     # what do the soft prompts carry, what the words?

The score of a face is P(Yes) against No at the first word of the answer to "Is this a deepfake image?", so
that an AUC is of a whole ROC; the verdict is the likelier of the two words, as the paper reads it out of the
answer. Never a search for words in the reply. The paper's video-level AUC of hard answers is the aggregation
`vote`. Files of this command and of evaluation.detector on the same data compare with each other:

    python -m evaluation.detector --compare runs/test.json runs/llm-test.json    # what does it cost?

Whose soft prompts the model reads (--soft own, another, zeros) and whether it is told the finding in words
(--no-text) can be chosen: what reading another face's prompts costs is what the own ones carry.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from common.cli import parse
from common.locks import one_writer
from common.verdicts import Reason, Verdict
from data_sim.dataset import FaceSet, evenly
from evaluation.detector import publish
from evaluation.measure import SEEDS, MeasureConfig, measure
from evaluation.results import folder_digest, header
from kfd.calibration.decision import decide
from kfd.config import Decision
from kfd.detection import Detection
from kfd.detector import Detector
from llm.conversation import VERDICT_QUESTION, Conversation
from llm.model import ForgeryLLM
from llm.tokens import PromptTokenizer
from llm.training.cases import judged_case
from media.regions import region_scores

# Yes or No, whichever is likelier: nothing is fitted, and nothing is between.
YES_OR_NO = Decision(
    real_below=0.5, fake_above=math.nextafter(0.5, 1.0), fitted_on="nothing: the likelier of Yes and No"
)
Soft = Literal["own", "another", "zeros"]
OTHERS = 32  # faces of each label whose soft prompts stand in for a face's own
SEED = 0  # of which one stands in
SAME = 1e-3  # a face read in another batch has the same embedding but for rounding
SUREST = 1e-7  # a probability is as far from 0 and 1 as float32 can tell


@dataclass(frozen=True)
class BenchmarkConfig(MeasureConfig):
    assistant: Path = Path("checkpoints/embedded/assistant")  # folder of the assistant
    kfd: Path = Path("checkpoints/embedded/kfd")  # folder of the detector it was trained with
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    device: str = "cpu"
    soft: Soft = "own"  # whose soft prompts the model reads; zeros: blank ones
    text: bool = True  # tell it the finding in words as well, as the app does

    def __post_init__(self) -> None:
        problems = self.problems() + (["data: a face set is needed"] if self.data is None else [])
        if problems:
            raise ValueError("; ".join(problems))


def main(args: list[str] | None = None) -> None:
    config = parse(BenchmarkConfig, __doc__, args)
    try:
        with one_writer(config.out), one_writer(config.report, is_folder=True):
            run(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(config: BenchmarkConfig) -> None:
    """Measure, and write what the command asks for. Raises OSError or ValueError that says what is wrong."""
    faces = FaceSet.open(config.data, config.split)
    detector = Detector.from_pretrained(config.kfd, config.device, config.encoder)
    model = ForgeryLLM.from_pretrained(config.assistant, device=config.device)
    model.merge_adapter()
    others = stand_ins(detector, faces) if config.soft == "another" else None
    found, items = measure(AnswerJudge(model, detector, config.soft, config.text, others), faces, config)
    results = header(config, {**SEEDS, "others": SEED}, "llm.benchmark")
    results["checkpoint"] = {"folder": config.assistant.name, "sha256": folder_digest(config.assistant)}
    results["kfd"] = {"folder": config.kfd.name, "sha256": detector.digest}
    publish(results | found, items, config)


def stand_ins(detector: Detector, faces: FaceSet) -> Detection:
    """What is found in faces spread over a split, as many real as fake ones, so that a label tells nothing.

    Returns B = 2 to 2 * OTHERS. Raises ValueError where the split has no face of either label.
    """
    sides = [faces.where(label=label) for label in ("real", "fake")]
    most = min(OTHERS, *map(len, sides))
    if most == 0:
        raise ValueError("--soft another needs real and fake faces in the split, to take soft prompts from")
    return detector(faces.read([position for side in sides for position in evenly(side, most)])[0])


class AnswerJudge:
    """An assistant whose score is P(Yes) and whose verdict the likelier of Yes and No.

    Maps and embedding stay the detector's.
    """

    decision = YES_OR_NO

    def __init__(
        self,
        model: ForgeryLLM,
        detector: Detector,
        soft: Soft = "own",
        text: bool = True,
        others: Detection | None = None,
    ):
        """soft: whose soft prompts are read. text: whether the finding is told in words, too; without it the
        model's prompter is replaced. others: of which one is drawn for each face where `soft` is "another".

        Raises ValueError when the assistant was trained with another detector, or reads words alone and is
        told none, and where there is nothing to draw from.
        """
        if model.info.kfd_digest not in ("", detector.digest):
            raise ValueError(
                f"the assistant was trained with the detector {model.info.kfd_digest[:12]}, got "
                f"{detector.digest[:12]}: pass that detector's folder as --kfd, or fine-tune again"
            )
        if soft == "another" and others is None:
            raise ValueError('expected the findings of other faces with soft="another", got none')
        if not text:
            old = model.prompter
            style = replace(old.style, told="nothing")
            model.prompter = PromptTokenizer(old.tokenizer, style, old.num_prompts)
        self.model, self.detector, self.soft, self.others = model, detector, soft, others
        self.rng = random.Random(SEED)

    def __call__(self, crops: Tensor, landmarks: Tensor) -> Detection:
        found = self.detector(crops)
        strengths = region_scores(found.heatmap, landmarks)
        probabilities = []
        for k, score in enumerate(found.score.tolist()):
            case = judged_case(self.detector, score, float(found.logit[k]), strengths[k])
            conversation = Conversation(self.model, case, self._read(found[k]))
            if self.soft == "zeros":
                conversation.detection = None  # as of a face without a score
            probabilities.append(conversation.yes_probability(VERDICT_QUESTION))
        yes = torch.tensor(probabilities, dtype=torch.float64).clamp(SUREST, 1 - SUREST)
        return replace(found, logit=yes.logit().float(), score=yes.float())

    def _read(self, own: Detection) -> Detection:
        """The finding whose soft prompts are read for a face, B = 1; another is never its own."""
        if self.soft != "another":
            return own
        places = list(range(len(self.others.score)))
        self.rng.shuffle(places)
        gaps = (self.others.embedding - own.embedding).abs().amax(dim=1).tolist()
        other = next((place for place in places if gaps[place] > SAME), None)
        if other is None:
            raise ValueError("--soft another found no other face to take soft prompts from")
        return self.others[other]

    def verdict(
        self, row: dict[str, str], crop: np.ndarray, landmarks: np.ndarray, found: Detection
    ) -> tuple[Verdict, tuple[Reason, ...]]:
        return decide(self.decision, float(found.score))


if __name__ == "__main__":
    main()
