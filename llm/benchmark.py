"""Measure an assistant's Yes or No on a face set, as evaluation.detector measures a detector.

    python -m llm.benchmark --assistant checkpoints/embedded/assistant --kfd checkpoints/embedded/kfd \\
        --data runs/set --split test --out runs/llm-test.json --report runs/llm-test-report
    python -m llm.benchmark ... --simulated 8 --num-resamples 50
    python -m llm.benchmark ... --no-text --soft opposite  # what do the soft prompts carry, what the words?
    python -m llm.benchmark ... --hard                     # beside it the paper's Yes or No, written out

The score of a face is P(Yes) against No at the first word of the answer to "Is this a deepfake image?", so
that an AUC is of a whole ROC; the verdict is the likelier of the two words. With --hard the answer is written
as well, and the verdict is its first word, as the paper reads it; what opens with neither Yes nor No is
inconclusive. AUC of these hard answers, by face and by video, stands beside the other. Never a search for
words in the reply. Files of this command and of evaluation.detector on the same data compare:

    python -m evaluation.detector --compare runs/test.json runs/llm-test.json    # what does it cost?

Whose soft prompts the model reads (--soft own, another, opposite, zeros) and whether it is told the finding
in words (--no-text) can be chosen. Those of the opposite face, as far from the one end of the detector's
ranking as its own are from the other, must turn the answers round where the prompts decide them; those of any
face leave them to chance.
"""

from __future__ import annotations

import math
import random
import re
import sys
from collections import Counter
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
from data_sim.dialogue import FIRST_QUESTION, Case
from evaluation.detector import publish
from evaluation.measure import SEEDS, MeasureConfig, measure
from evaluation.metrics.levels import frame_level, has_videos, video_level
from evaluation.results import Item, folder_digest, header
from kfd.calibration.decision import decide
from kfd.config import Decision
from kfd.detection import CLASSES, Detection, joined
from kfd.detector import Detector
from llm.checks.claims import FIRST_WORDS
from llm.conversation import Conversation
from llm.model import ForgeryLLM, trained_in_4_bits
from llm.prompt import opening, question
from llm.tokens import PromptTokenizer
from llm.training.cases import judged_case
from media.regions import region_scores

# Yes or No, whichever is likelier: nothing is fitted, and nothing is between.
YES_OR_NO = Decision(
    real_below=0.5, fake_above=math.nextafter(0.5, 1.0), fitted_on="nothing: the likelier of Yes and No"
)
Soft = Literal["own", "another", "opposite", "zeros"]
OTHERS = 32  # faces of each label whose soft prompts stand in for a face's own
HARD_TOKENS = 8  # of a written answer: enough for its first word
SEED = 0  # of which one stands in
SAME = 1e-3  # a face read in another batch has the same embedding but for rounding
SUREST = 1e-7  # a probability is as far from 0 and 1 as float32 can tell


@dataclass(frozen=True)
class BenchmarkConfig(MeasureConfig):
    assistant: Path = Path("checkpoints/embedded/assistant")  # folder of the assistant
    kfd: Path = Path("checkpoints/embedded/kfd")  # folder of the detector it was trained with
    encoder: str | None = None  # weights of a frozen encoder, which such a folder does not hold
    device: str = "cpu"
    soft: Soft = "own"  # whose soft prompts the model reads; opposite: of the other end; zeros: blank ones
    text: bool = True  # tell it the finding in words as well, as the app does
    hard: bool = False  # write the answers, too: the verdict is their first word
    batch_size: int = 8  # faces that are asked about together
    quantize: bool | None = None  # base model in 4 bits; None: as it was when the assistant was trained

    def __post_init__(self) -> None:
        problems = self.problems() + (["data: a face set is needed"] if self.data is None else [])
        if self.batch_size < 1:
            problems.append(f"batch_size: expected at least 1, got {self.batch_size}")
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
    as_trained = trained_in_4_bits(config.assistant) if config.quantize is None else config.quantize
    model = ForgeryLLM.from_pretrained(config.assistant, device=config.device, quantize=as_trained)
    model.merge_adapter()
    others = stand_ins(detector, faces) if config.soft in ("another", "opposite") else None
    judge = AnswerJudge(model, detector, config.soft, config.text, others, config.batch_size, config.hard)
    found, items = measure(judge, faces, config)
    results = header(config, {**SEEDS, "others": SEED}, "llm.benchmark")
    results["checkpoint"] = {"folder": config.assistant.name, "sha256": folder_digest(config.assistant)}
    results["kfd"] = {"folder": config.kfd.name, "sha256": detector.digest}
    results["base_in_4_bits"] = as_trained
    if config.hard:
        results["hard"] = hard_figures(items, config)
        print(hard_words(results["hard"]))
    publish(results | found, items, config)


def stand_ins(detector: Detector, faces: FaceSet) -> Detection:
    """What is found in faces spread over a split, as many real as fake ones, so that a label tells nothing.

    Returns B = 2 to 2 * OTHERS, by rising score. Raises ValueError where the split lacks faces of a label.
    """
    sides = [faces.where(label=label) for label in CLASSES]
    most = min(OTHERS, *map(len, sides))
    if most == 0:
        raise ValueError(
            "--soft another and opposite take soft prompts from real and fake faces of the split"
        )
    found = detector(faces.read([position for side in sides for position in evenly(side, most)])[0])
    return found[found.logit.argsort()]


def hard_figures(items: list[Item], config: BenchmarkConfig) -> dict[str, object]:
    """AUC of the written answers: Yes 1, No -1, anything else 0; of a video the mean, as the paper has it.

    Returns the answers' counts by label, and by comparison the AUC of faces and, where there are any, videos.
    """
    sign = {Verdict.FAKE: 1.0, Verdict.REAL: -1.0, Verdict.INCONCLUSIVE: 0.0}
    hard = [replace(item, logit=sign[item.verdict], score=0.5 + sign[item.verdict] / 2) for item in items]
    levels = {"frame": frame_level(hard, YES_OR_NO, config.num_resamples)}
    if has_videos(hard):
        levels["video"] = video_level(hard, YES_OR_NO, "mean", config.num_resamples)
    counts = {name: Counter(item.verdict for item in items if item.label == name) for name in CLASSES}
    return {"answers": counts} | {
        level: {name: figures["auc"] for name, figures in found.items()} for level, found in levels.items()
    }


def hard_words(found: dict[str, object]) -> str:
    """The figures of written answers, a line each."""
    words = {Verdict.FAKE: "Yes", Verdict.REAL: "No", Verdict.INCONCLUSIVE: "neither"}
    lines = []
    for label, counts in found["answers"].items():
        told = ", ".join(f"{counts[verdict]} {word}" for verdict, word in words.items())
        lines.append(f"written answers, {label} faces: {told}")
    for level in ("frame", "video"):
        for name, auc in found.get(level, {}).items():
            if auc["value"] is not None:
                lines.append(f"AUC of written answers, {level}, {name}: {auc['value']:.3f}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Answered(Detection):
    """A detection whose score is P(Yes). said: the first words of B written answers; empty if none were."""

    said: tuple[str, ...] = ()

    def __getitem__(self, index: int) -> Answered:
        return Answered(**vars(super().__getitem__(index)), said=self.said[index : index + 1])


class AnswerJudge:
    """An assistant whose score is P(Yes) and whose verdict is Yes or No: the likelier, or the one written.

    Maps and embedding stay the detector's.
    """

    def __init__(
        self,
        model: ForgeryLLM,
        detector: Detector,
        soft: Soft = "own",
        text: bool = True,
        others: Detection | None = None,
        batch_size: int = 8,
        hard: bool = False,
    ):
        """soft: whose soft prompts are read. text: whether the finding is told in words, too; without it the
        model's prompter is replaced. others: of which one is taken for each face, drawn where `soft` is
        "another", by its rank where it is "opposite". batch_size: faces asked about together. hard: write
        the answers.

        Raises ValueError when the assistant was trained with another detector, or reads words alone, and
        where there is nothing to draw from.
        """
        if model.info.kfd_digest not in ("", detector.digest):
            raise ValueError(
                f"the assistant was trained with the detector {model.info.kfd_digest[:12]}, got "
                f"{detector.digest[:12]}: pass that detector's folder as --kfd, or fine-tune again"
            )
        if not model.prompter.style.has_soft_prompts:
            raise ValueError("expected an assistant that reads soft prompts, got one that reads words alone")
        if soft in ("another", "opposite") and others is None:
            raise ValueError(f'expected the findings of other faces with soft="{soft}", got none')
        if not text:
            old = model.prompter
            style = replace(old.style, told="nothing")
            model.prompter = PromptTokenizer(old.tokenizer, style, old.num_prompts)
        self.model, self.detector, self.soft, self.others = model, detector, soft, others
        # The maps are the detector's, so they are cut as its own are.
        self.decision = replace(YES_OR_NO, map_share=detector.decision.map_share)
        self.batch_size, self.hard = batch_size, hard
        self.rng = random.Random(SEED)

    def __call__(self, crops: Tensor, landmarks: Tensor) -> Answered:
        found = self.detector(crops)
        strengths = region_scores(found.heatmap, landmarks)
        cases = [
            judged_case(self.detector, score, logit, strength)
            for score, logit, strength in zip(
                found.score.tolist(), found.logit.tolist(), strengths, strict=True
            )
        ]
        found_each = [found[k] for k in range(len(cases))]
        read = [self._read(own) for own in found_each]
        yes = torch.cat([
            self._yes(cases[start : start + self.batch_size], read[start : start + self.batch_size])
            for start in range(0, len(cases), self.batch_size)
        ])  # fmt: skip
        yes = yes.clamp(SUREST, 1 - SUREST)
        written = zip(cases, found_each, read, strict=True) if self.hard else ()
        said = tuple(self._written(*face) for face in written)
        return Answered(**vars(replace(found, logit=yes.logit().float(), score=yes.float())), said=said)

    def _yes(self, cases: list[Case], read: list[Detection | None]) -> Tensor:
        """P(Yes | Yes or No) of B faces in one pass, (B,) float64."""
        prompter = self.model.prompter
        asked = question(prompter.markers, FIRST_QUESTION, first=True)
        prompts = [
            prompter.tokenise([*opening(prompter.style, prompter.markers, case), *asked]) for case in cases
        ]
        return self.model.yes_probabilities(prompts, None if read[0] is None else joined(read))

    def _written(self, case: Case, own: Detection, read: Detection | None) -> str:
        """The first word of the answer as it is written, the likeliest token each time."""
        conversation = Conversation(self.model, case, own)
        conversation.detection = read  # None: blank soft prompts, as of a face without a score
        reply = "".join(conversation.ask(FIRST_QUESTION, max_new_tokens=HARD_TOKENS))
        return re.split(r"\W", reply, maxsplit=1)[0].lower()

    def _read(self, own: Detection) -> Detection | None:
        """The finding whose soft prompts are read for a face, B = 1; another is never its own."""
        if self.soft in ("own", "zeros"):
            return own if self.soft == "own" else None
        places = list(range(len(self.others.score)))
        if self.soft == "another":
            self.rng.shuffle(places)
        else:  # at the same distance from the other end first
            mirrored = len(places) - 1 - int((self.others.logit < own.logit).sum())
            places.sort(key=lambda place: abs(place - mirrored))
        gaps = (self.others.embedding - own.embedding).abs().amax(dim=1).tolist()
        other = next((place for place in places if gaps[place] > SAME), None)
        if other is None:
            raise ValueError(f"--soft {self.soft} found no other face to take soft prompts from")
        return self.others[other]

    def verdict(
        self, row: dict[str, str], crop: np.ndarray, landmarks: np.ndarray, found: Answered
    ) -> tuple[Verdict, tuple[Reason, ...]]:
        if found.said:
            return FIRST_WORDS.get(found.said[0], Verdict.INCONCLUSIVE), ()
        return decide(self.decision, float(found.score))


if __name__ == "__main__":
    main()
