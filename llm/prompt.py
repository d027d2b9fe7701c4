"""The one place where a conversation becomes a prompt.

Pretraining, fine-tuning, evaluation and chat all build their prompts from `opening`, `question` and
`answer`, so a model is never asked in other words than it was taught. A conversation is a list of
segments; each segment is tokenised alone (llm/tokens.py), so that a chat that grows segment by segment
holds exactly the tokens of a conversation rendered at once.

    vicuna  ###Human: <Img>E_visual</Img>E_forgery [task] [KFD result] question ###Assistant: answer ###
    chat    the same between the marks of the tokenizer's own chat template (Qwen, Llama 3.2, ...)

The head, from <Img> to the KFD result, stands in the first turn only. Conversations of general instruction
data go through the same functions (`render_general`); of the head they have the picture at most.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from common.verdicts import Verdict
from data_sim.dialogue import (
    TASK_DESCRIPTION,
    Case,
    evidence_text,
    evidential_strength,
    kfd_result,
    score_result,
)
from data_sim.dialogues.facts import Facts, told

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = ("vicuna", "chat")
MODES = ("soft_prompts", "picture", "evidence_text")
TOLD = ("finding", "facts", "score", "nothing")
# In place of the one that chat templates bring along, which names another assistant.
SYSTEM = "You are Unmask. You explain what a deepfake detector found in a face, and say no more than that."
IMAGE_OPEN, IMAGE_CLOSE = "<Img>", "</Img>"
TURN_MARK = "###"
MAX_QUESTION = 1000  # characters

# What chat templates ask for beside the messages. Llama 3.2's writes today's date into the prompt, so that a
# model would read another prompt tomorrow than it was trained on; Qwen 3's would let the model think aloud.
_TEMPLATE_SETTINGS = {"date_string": "26 Jul 2024", "enable_thinking": False}
# Stand in for the words while a chat template is taken apart. Plain letters: templates may trim spaces.
_PLACEHOLDERS = ("FIRSTQUESTIONHERE", "FIRSTANSWERHERE", "SECONDQUESTIONHERE")


class SaidTurn(Protocol):
    """One question and its answer; data_sim.dialogue.Turn is one."""

    question: str
    answer: str
    intent: str


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt that is tokenised on its own.

    kind: "text", "visual" (E_visual goes here) or "forgery" (E_forgery goes here).
    text: the words of a text segment.
    target: True where the model is trained to write these tokens: answers and their end marks.
    verdict: True for an answer whose first word is the verdict (Yes, No or Inconclusive).
    """

    kind: str
    text: str = ""
    target: bool = False
    verdict: bool = False


@dataclass(frozen=True)
class PromptStyle:
    """The wording of prompts; saved with the weights because they were trained on it.

    template: one of TEMPLATES. mode: one of MODES: "soft_prompts" is the paper's; "picture" lacks E_forgery
    (the paper's Table 4 without FPL, where nothing is told either); "evidence_text" has words only.
    task: the description of the task at the head of the first turn.
    told: one of TOLD, what stands in the place of the paper's KFD result: score and verdict in words; all
    that is known of the face and its file (data_sim.dialogues.facts); the score alone, as the paper words
    it; or nothing, so that E_forgery alone carries the finding.
    system: the system prompt of a chat template; "" leaves what the template brings.
    """

    template: str = "vicuna"
    mode: str = "soft_prompts"
    task: str = TASK_DESCRIPTION
    told: str = "finding"
    system: str = ""

    def __post_init__(self) -> None:
        problems = []
        if self.template not in TEMPLATES:
            problems.append(f"template: expected one of {TEMPLATES}, got {self.template!r}")
        if self.mode not in MODES:
            problems.append(f"mode: expected one of {MODES}, got {self.mode!r}")
        if self.told not in TOLD:
            problems.append(f"told: expected one of {TOLD}, got {self.told!r}")
        if self.mode == "evidence_text" and self.told == "nothing":
            problems.append("told: a model that reads words only must be told something, got 'nothing'")
        if self.system and self.template == "vicuna":
            problems.append(f"system: the template vicuna has no system prompt, got {self.system!r}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def has_soft_prompts(self) -> bool:
        """Whether prompts of this style need the detection of a face, beside its case."""
        return self.mode != "evidence_text"


@dataclass(frozen=True)
class TemplateMarkers:
    """The marks of a template around questions and answers.

    start: before the first turn. reply: from a question to its answer. end: closes an answer, written by
    the model. again: from an end mark to the next question. lead: stands between a mark and words.
    """

    start: str
    reply: str
    end: str
    again: str
    lead: str


def make_markers(template: str, tokenizer: PreTrainedTokenizerBase, system: str = "") -> TemplateMarkers:
    """The marks of `template`; a chat template is read from the tokenizer, system prompt included.

    system: put in place of the template's own system prompt, unless empty.

    Raises ValueError when the tokenizer has no chat template, one that does not take question, answer and
    question as they are, or one without an end mark.
    """
    if template == "vicuna":
        start = (tokenizer.bos_token or "") + f"{TURN_MARK}Human:"
        return TemplateMarkers(start, f" {TURN_MARK}Assistant:", f" {TURN_MARK}", "Human:", " ")
    if tokenizer.chat_template is None:
        raise ValueError("the tokenizer has no chat template: use template='vicuna' or an instruct model")
    first, answered, second = _PLACEHOLDERS
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": "user", "content": first},
        {"role": "assistant", "content": answered},
        {"role": "user", "content": second},
    ]
    text = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, **_TEMPLATE_SETTINGS
    )
    parts = re.fullmatch(f"(.*){first}.*{answered}(.*){second}(.*)", text, re.DOTALL)
    if parts is None:
        raise ValueError(
            f"expected a chat template that repeats question, answer and question, got {text!r}: "
            "use template='vicuna' or another model"
        )
    start, between, reply = parts.groups()
    marks = sorted(special_marks(tokenizer), key=len, reverse=True)
    end = next((mark for mark in marks if between.startswith(mark)), None)
    if end is None:
        raise ValueError(
            f"expected a chat template that closes answers with a special token, got {between!r}"
        )
    return TemplateMarkers(start, reply, end, between.removeprefix(end), "")


def special_marks(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Every text that the tokenizer reads as a single reserved token."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    return {mark for mark in added | set(tokenizer.all_special_tokens) if mark.strip()}


def without_marks(text: str, marks: Iterable[str] = ()) -> str:
    """The text less everything a template could mistake for its own marks, whatever its case.

    marks: reserved texts besides TURN_MARK and the image marks, see `special_marks`.
    """
    reserved = sorted({TURN_MARK, IMAGE_OPEN, IMAGE_CLOSE, *marks}, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(mark) for mark in reserved), re.IGNORECASE)
    while pattern.search(text):  # removing one mark may close the gap inside another
        text = pattern.sub("", text)
    return text


def clean_question(text: str, marks: Iterable[str] = (), longest: int | None = MAX_QUESTION) -> str:
    """A user's words, free of anything the template could mistake for its own marks.

    marks: see `without_marks`. longest: most characters; None for any number.
    Compatibility characters are folded first and invisible ones dropped, because a tokenizer may fold them
    too and turn full-width signs into a mark. Returns text on one line.
    Raises ValueError when nothing is left or the question is too long.
    """
    if longest is not None and len(text) > longest:
        raise ValueError(f"expected a question of at most {longest} characters, got {len(text)}: shorten it")
    text = unicodedata.normalize("NFKC", re.sub(r"\s+", " ", text))
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs"))
    text = re.sub(r"\s+", " ", without_marks(text, marks)).strip()
    if not text:
        raise ValueError("expected a question, got an empty one: write what you want to know")
    return text


def opening(style: PromptStyle, markers: TemplateMarkers, case: Case) -> list[Segment]:
    """The head of the first turn: the evidence, the task description and the KFD result."""
    words = " ".join(part for part in (style.task, _result(style, case)) if part)
    if style.mode == "evidence_text":
        maps = "" if style.told == "facts" else f"{evidence_text(case)} "
        return [Segment("text", f"{markers.start}{markers.lead}{maps}{words}")]
    forgery = [Segment("forgery")] if style.mode == "soft_prompts" else []
    return [*_picture(markers), *forgery, Segment("text", f" {words}")]


def _result(style: PromptStyle, case: Case) -> str:
    """The finding in words, as far as the style tells it."""
    if style.told == "nothing":
        return ""
    if style.told == "facts":
        return told(case if isinstance(case, Facts) else Facts.of(case))
    if style.told == "score":
        return score_result(case)
    if case.verdict == Verdict.INCONCLUSIVE:
        return kfd_result(case)
    # In words, so that a small model need not work out from the digits how strong a score is.
    return f"{kfd_result(case)} This is {evidential_strength(case)} evidence."


def _picture(markers: TemplateMarkers) -> list[Segment]:
    """From the start of a conversation to the end of its picture."""
    return [
        Segment("text", f"{markers.start}{markers.lead}{IMAGE_OPEN}"),
        Segment("visual"),
        Segment("text", IMAGE_CLOSE),
    ]


def question(markers: TemplateMarkers, text: str, first: bool) -> list[Segment]:
    """A question up to the mark after which the model answers.

    text: the cleaned question. first: True directly behind `opening`.
    """
    before = " " if first else markers.again + markers.lead
    return [Segment("text", before + text), Segment("text", markers.reply)]


def answer(markers: TemplateMarkers, text: str, verdict: bool) -> list[Segment]:
    """An answer and its end mark, both targets."""
    return [
        Segment("text", markers.lead + text, target=True, verdict=verdict),
        Segment("text", markers.end, target=True),
    ]


def render_conversation(
    style: PromptStyle,
    markers: TemplateMarkers,
    case: Case,
    turns: Sequence[SaidTurn],
    marks: Iterable[str] = (),
) -> list[Segment]:
    """A whole conversation about one face; the head stands in the first turn only.

    marks: reserved texts of the tokenizer, kept out of the questions.
    """
    marks = tuple(marks)
    segments = opening(style, markers, case)
    for position, turn in enumerate(turns):
        segments += question(markers, clean_question(turn.question, marks), first=position == 0)
        segments += answer(markers, turn.answer, verdict=turn.intent == "verdict")
    return segments


def render_general(
    markers: TemplateMarkers, turns: Sequence[tuple[str, str]], pictured: bool, marks: Iterable[str] = ()
) -> list[Segment]:
    """A conversation of general instruction data: no face, no detector, no task description.

    turns: (question, answer), of any length and raw. pictured: E_visual stands before the first question.
    marks: reserved texts of the tokenizer, kept out of questions and answers.
    Raises ValueError when a question has nothing but marks.
    """
    marks = tuple(marks)
    segments: list[Segment] = _picture(markers) if pictured else []
    for position, (asked, said) in enumerate(turns):
        asked = clean_question(asked, marks, longest=None)
        before, reply = question(markers, asked, first=position == 0)
        if position == 0 and not pictured:
            before = Segment("text", markers.start + markers.lead + asked)
        segments += [before, reply, *answer(markers, without_marks(said, marks).strip(), verdict=False)]
    return segments
