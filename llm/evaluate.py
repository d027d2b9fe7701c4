"""Measure an assistant's words against the detector and against the truth.

    python -m llm.evaluate --assistant checkpoints/embedded/assistant --kfd checkpoints/embedded/kfd \\
        --data runs/set --out runs/llm-evaluation.json
    python -m llm.evaluate ... --faces 8 --conversations 4                  # seconds, CPU

Faces are of a split that no training saw, questions in wordings that no training used.

* verdict: does the first word of the answer agree with the detector, and does P(Yes) separate real from fake
  as well as the detector's score?
* wordings: is Yes or No the same, and the verdict's, in twenty wordings of the question?
* regions: F1 of the regions named against those truly forged, next to a blind reader (the same model with
  the soft prompts of another face), to the best constant answer, and to what the heatmap itself points at;
  for all simulated forgeries, for those of single regions, and for known fakes whose regions the set names.
* conversations: contradictions between the answers and the evidence, in random conversations, and answers
  that are garbled by the signs of llm/checks/garbled.py; --conversations 100 gives five hundred answers.
* asked, with --asked docs/conversations.yaml: conversations as people write them, judged by the rules of
  llm/checks/pointed.py: to the point, with a fact of the case, repeated, contradicting, garbled, and how many
  were composed by rules; as in the app and by the model alone; --only-asked skips the others.
* general, with --general FILE: perplexity on general instruction data that training never saw,
  with LoRA and without: what the language model has forgotten.
"""

from __future__ import annotations

import math
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.cli import parse
from common.locks import one_writer
from common.storage import write_text
from common.strict_json import to_json
from common.verdicts import Verdict
from data_sim.dataset import FaceSet, evenly
from data_sim.dialogue import FIRST_QUESTION, Case, Turn, make_dialogue, questions
from data_sim.dialogues.conversation import make_conversation
from data_sim.dialogues.drawn import draw_facts
from data_sim.dialogues.facts import Facts
from evaluation.measure import MeasureConfig, without_leaks
from evaluation.metrics.classification import image_metrics, share_of
from evaluation.results import data_digest, folder_digest, header
from kfd.detector import Detector
from llm.checks.asked import Talk, judged
from llm.checks.claims import FIRST_WORDS, contradictions
from llm.checks.garbled import garbled
from llm.checks.pointed import read_conversations
from llm.checks.regions import measure_regions
from llm.conversation import Conversation
from llm.model import ForgeryLLM, trained_in_4_bits
from llm.training.cases import GroundedCases, ground_known, ground_once, vary
from llm.training.general import GeneralData, embed_pictures, read_general
from llm.training.loop import general_loss


@dataclass(frozen=True)
class EvaluateAssistantConfig:
    """Settings of one evaluation."""

    assistant: str  # folder of the assistant
    kfd: str  # folder of the detector
    data: str  # a face set made by data_sim.build
    out: str = "runs/llm-evaluation.json"  # file for the figures
    split: str = "test"  # of the face set
    faces: int = 150  # real faces; each is judged as it is and forged
    wordings: int = 20  # of the question for the verdict, put to every face that has one
    conversations: int = 500  # with every sentence checked before it is said, as in the app
    raw_conversations: int = 100  # unchecked, to show what the check takes out
    turns: int = 5  # of each conversation
    max_new_tokens: int = 120
    asked: str = ""  # conversations as people write them, such as docs/conversations.yaml
    only_asked: bool = False  # nothing but those
    general: str = ""  # general instruction data in PandaGPT's format
    general_images: str = ""  # folder of its pictures
    seed: int = 1
    allow_leaks: bool = False  # measure although the split shares people or pictures with those learnt from
    encoder: str | None = None  # weights of a frozen encoder, which the detector's folder does not hold
    device: str = "cpu"
    quantize: bool | None = None  # base model in 4 bits; None: as it was when the assistant was trained


def conversation_about(model: ForgeryLLM, faces: GroundedCases, row: int, case: Case) -> Conversation:
    """A new conversation about a judged face."""
    found = None if case.score is None else faces.detection([row], model.device)
    return Conversation(model, case, found)


def measure_verdicts(
    model: ForgeryLLM, faces: GroundedCases, config: EvaluateAssistantConfig, rng: random.Random
) -> dict[str, object]:
    """Agreement of Yes or No with the detector's verdict, and AUC of P(Yes) next to the score's.

    Yes or No is the likelier of the two as the answer's first word; where the verdict is inconclusive neither
    is right. How often the answer truly opens with Yes, No or Inconclusive as it should is a figure of its
    own: to an unseen wording the model may answer truly in other words.
    """
    wordings = questions("verdict", heldout=True)
    agreed: dict[Verdict, list[bool]] = {verdict: [] for verdict in Verdict}
    usual, unseen, likelier = [], [], []
    for row, case in enumerate(tqdm(faces.cases, desc="verdicts", mininterval=5)):
        asked = rng.choice(wordings)
        conversation = conversation_about(model, faces, row, case)
        usual.append(conversation.yes_probability(FIRST_QUESTION))
        unseen.append(conversation.yes_probability(asked))
        if case.verdict != Verdict.INCONCLUSIVE:
            likelier.append((unseen[-1] > 0.5) == (case.verdict == Verdict.FAKE))
        reply = "".join(conversation.ask(asked, max_new_tokens=4))
        first = re.split(r"\W", reply, maxsplit=1)[0].lower()
        agreed[case.verdict].append(FIRST_WORDS.get(first) == case.verdict)
    decided = agreed[Verdict.FAKE] + agreed[Verdict.REAL]
    everything = decided + agreed[Verdict.INCONCLUSIVE]
    scores = [case.score for case in faces.cases]
    return {
        "faces": len(faces),
        "decided_faces": len(decided),
        "yes_no_agreement": share_of(likelier),
        "first_word_agreement": share_of(decided),
        "first_word_agreement_with_inconclusive": share_of(everything),
        "kfd_auc": image_metrics(faces.labels, scores)["auc"],
        "yes_auc_usual_question": image_metrics(faces.labels, usual)["auc"],
        "yes_auc_unseen_wordings": image_metrics(faces.labels, unseen)["auc"],
    }


def measure_wordings(
    model: ForgeryLLM, faces: GroundedCases, config: EvaluateAssistantConfig, rng: random.Random
) -> dict[str, object]:
    """Measure how often the likelier of Yes and No is the verdict's, whatever the wording of the question."""
    asked = rng.sample(questions("verdict", heldout=True), config.wordings)
    agreed: list[float] = []
    for row, case in enumerate(tqdm(faces.cases, desc="wordings", mininterval=5)):
        if case.verdict != Verdict.INCONCLUSIVE:
            conversation = conversation_about(model, faces, row, case)
            sides = [conversation.yes_probability(text) > 0.5 for text in asked]
            agreed.append(sum(side == (case.verdict == Verdict.FAKE) for side in sides) / len(sides))
    return {
        "faces": len(agreed),
        "wordings": len(asked),
        "agreement": sum(agreed) / max(1, len(agreed)),
        "faces_with_one_verdict": share_of([share in (0.0, 1.0) for share in agreed]),
    }


def measure_all_regions(
    model: ForgeryLLM, faces: GroundedCases, known: dict[str, GroundedCases], config: EvaluateAssistantConfig
) -> dict[str, object]:
    """`measure_regions` on simulated forgeries and, by source, on known fakes."""
    sets = {"simulated": faces, **known}
    return {
        name: measure_regions(model, found, config.max_new_tokens, random.Random(config.seed))
        for name, found in sets.items()
    }


def known_fakes(detector: Detector, faces: FaceSet, most: int) -> dict[str, GroundedCases]:
    """The fakes of a split whose replaced regions somebody named, at most `most` of each source, judged."""
    found: dict[str, list[int]] = {}
    for position in faces.where(label="fake"):
        if faces.rows[position]["regions"]:
            found.setdefault(faces.rows[position]["source"], []).append(position)
    return {
        source: ground_known(detector, faces, evenly(positions, most))
        for source, positions in sorted(found.items())
    }


def measure_conversations(
    model: ForgeryLLM, faces: GroundedCases, config: EvaluateAssistantConfig, rng: random.Random
) -> dict[str, object]:
    """Contradictions in conversations as the app leads them, and as the model alone would."""
    return {
        "checked": _converse(model, faces, config, rng, config.conversations, checked=True),
        "raw": _converse(model, faces, config, rng, config.raw_conversations, checked=False),
    }


def _asked(case: Case, rng: random.Random, turns: int) -> list[Turn]:
    """Questions in unseen wordings: of everything where all facts are told, else of the finding."""
    if isinstance(case, Facts):
        return make_conversation(case, rng, turns, heldout=True)
    return make_dialogue(case, rng, turns, heldout=True)


def _converse(
    model: ForgeryLLM,
    faces: GroundedCases,
    config: EvaluateAssistantConfig,
    rng: random.Random,
    count: int,
    checked: bool,
) -> dict[str, object]:
    """Contradictions in `count` random conversations, in unseen wordings, about faces as the app shows them.

    Answers that name other regions than the heatmap does are a figure of their own: the app lets them pass
    with a note beneath, where a wrong verdict, score or strength is never said.
    """
    found: Counter[str] = Counter()
    examples: list[dict[str, str]] = []
    spoilt: list[dict[str, object]] = []
    hurt = apart = speechless = 0
    for _ in tqdm(range(count), desc="conversations", mininterval=5):
        row = rng.randrange(len(faces))
        case = vary(faces.cases[row], rng)
        if model.prompter.style.told == "facts":
            case = draw_facts(case, rng)
        conversation = conversation_about(model, faces, row, case)
        before = found.total()
        for turn in _asked(case, rng, config.turns):
            reply = "".join(conversation.ask(turn.question, config.max_new_tokens, checked=checked))
            speechless += conversation.history[-1].composed
            spoilt += [{"answer": reply, "signs": signs} for signs in [garbled(reply)] if signs]
            problems = contradictions(reply, case, turn.question, check_regions=False)
            apart += len(contradictions(reply, case, turn.question)) > len(problems)
            for problem in problems:
                found[problem] += 1
                examples.append(
                    {"case": repr(case), "question": turn.question, "answer": reply, "problem": problem}
                )
        hurt += found.total() > before
    return {
        "conversations": count,
        "answers": count * config.turns,
        "answers_without_wording": speechless,
        "contradictions": found.total(),
        "conversations_with_contradiction": hurt,
        "answers_apart_from_heatmap": apart,
        "garbled_answers": len(spoilt),
        "garbled_examples": spoilt[:20],
        "kinds": dict(found.most_common(20)),
        "examples": examples[:20],
    }


def measure_asked(
    model: ForgeryLLM, faces: GroundedCases, config: EvaluateAssistantConfig
) -> dict[str, object]:
    """Conversations as people write them, about faces in turn: as in the app, and by the model alone.

    See llm.checks.asked.judged. Nothing is checked, redrawn or composed where the model is alone.
    """
    found = {}
    for name, checked in (("as_in_the_app", True), ("by_the_model_alone", False)):
        talks: list[Talk] = []
        for number, asked in enumerate(tqdm(read_conversations(config.asked), desc=name, mininterval=5)):
            row, rng = number % len(faces), random.Random(f"{config.seed}/{number}")
            facts = draw_facts(vary(faces.cases[row], rng), rng)
            conversation = conversation_about(model, faces, row, facts)
            for one in asked:
                "".join(conversation.ask(one.question, config.max_new_tokens, checked=checked))
            talks.append(Talk(facts, asked, conversation.history))
        found[name] = judged(talks)
    return found


def measure_general(
    model: ForgeryLLM, detector: Detector, config: EvaluateAssistantConfig, batch_size: int = 8
) -> dict[str, float]:
    """Perplexity of the answers in general data, as fine-tuned and with LoRA switched off."""
    records = read_general(config.general, config.general_images or None)
    data = GeneralData(tuple(records), embed_pictures(detector, records))
    sizes = batch_size, model.max_tokens
    figures = {"records": len(records), "perplexity": math.exp(general_loss(model, data, *sizes))}
    if model.info.adapter:
        with model.llm.disable_adapter():
            figures["perplexity_without_lora"] = math.exp(general_loss(model, data, *sizes))
    return figures


def main(args: list[str] | None = None) -> None:
    config = parse(EvaluateAssistantConfig, __doc__, args)
    try:
        with one_writer(config.out):
            run(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def run(config: EvaluateAssistantConfig) -> None:
    """Judge the faces, ask the questions, write the figures.

    Raises OSError or ValueError that says which input is of no use.
    """
    detector = Detector.from_pretrained(config.kfd, config.device, config.encoder)
    as_trained = trained_in_4_bits(config.assistant) if config.quantize is None else config.quantize
    model = ForgeryLLM.from_pretrained(config.assistant, device=config.device, quantize=as_trained)
    if model.info.kfd_digest not in ("", detector.digest):
        raise ValueError(
            f"{config.assistant} was trained with the detector {model.info.kfd_digest[:12]}, got "
            f"{detector.digest[:12]}: pass that detector's folder as --kfd, or fine-tune again"
        )
    out = Path(config.out)
    where = MeasureConfig(data=Path(config.data), split=config.split, allow_leaks=config.allow_leaks)
    split, leaks, left_out = without_leaks(FaceSet.open(config.data, config.split), where)
    kept = out.parent / f"{out.stem}-faces"
    faces = ground_once(kept, detector, config.data, config.split, config.faces, config.seed, split)
    figures = header(config, {"questions": config.seed}, "llm.evaluate")
    figures["checkpoint"] = {"folder": Path(config.assistant).name, "sha256": folder_digest(config.assistant)}
    figures["base_in_4_bits"] = as_trained
    figures["kfd"] = {"folder": Path(config.kfd).name, "sha256": detector.digest}
    figures["data"] = {"folder": Path(config.data).name, "split": config.split, "sha256": data_digest(split),
                       "leaks": leaks, "left_out": left_out}  # fmt: skip
    if config.general:
        figures["general"] = measure_general(model, detector, config)
        print("general", to_json(figures["general"]), flush=True)
    model.merge_adapter()
    if config.asked:
        figures["asked"] = measure_asked(model, faces, config)
        for column, measured in figures["asked"].items():
            shares = {name: value for name, value in measured.items() if name != "answers"}
            print("asked", column, to_json(shares), flush=True)
        write_text(out, to_json(figures, indent=2) + "\n")
    if config.only_asked:
        return
    known = known_fakes(detector, split, config.faces)
    for name, measure in (
        ("verdict", lambda: measure_verdicts(model, faces, config, random.Random(config.seed))),
        ("wordings", lambda: measure_wordings(model, faces, config, random.Random(config.seed))),
        ("regions", lambda: measure_all_regions(model, faces, known, config)),
        ("conversations", lambda: measure_conversations(model, faces, config, random.Random(config.seed))),
    ):
        figures[name] = measure()
        print(name, to_json(figures[name])[:2000], flush=True)
        write_text(out, to_json(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
