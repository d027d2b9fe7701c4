"""Questions and answers about a case (paper, section 3.3): the only language the small model learns from.

The sentences live in `dialogues/wordings.yaml`; here they are chosen and filled in.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from common.enfsi import NO_SUPPORT, verbal_of_score
from common.verdicts import FACE_REASONS, Reason, Verdict
from data_sim.dialogues.wordings import REGION_INTENTS, load_wordings
from media.regions import PART_NAMES, REGION_NAMES, REGIONS, WHOLE_FACE

_WORDINGS = load_wordings()
TASK_DESCRIPTION = _WORDINGS.task_description
FIRST_QUESTION = _WORDINGS.first_question
SUGGESTED_QUESTIONS = _WORDINGS.suggested_questions
INTENTS = tuple(_WORDINGS.intents)
_REGION_WORDS = {region.name: region.words for region in REGIONS}


def _askable() -> dict[str, tuple[str, ...]]:
    named = {words: (name,) for name, words in _REGION_WORDS.items()} | dict(_WORDINGS.groups)
    by_key = {name: (name,) for name in REGION_NAMES} | dict(_WORDINGS.groups)
    return named | {words: by_key[key] for key, synonyms in _WORDINGS.synonyms.items() for words in synonyms}


ASKABLE = _askable()  # what people may ask about, in words -> the regions meant; "eyes", "lips", "nose"

_CHATTER = ("greeting", "thanks")  # their questions take no opener and no closer
FIRST_QUESTION_SHARE = 0.25  # of opening verdict questions asked in the paper's own words, the app's default
DISTANCES = ((0.4, "far from"), (0.2, "at some distance from"), (0.0, "close to"))  # of a score from one half


@dataclass(frozen=True)
class Case:
    """The facts about one face before anybody asks.

    score: calibrated P(fake) in [0, 1]; None only when inconclusive.
    regions: names out of REGION_NAMES, strongest first; empty for `real` and without a score.
    reasons: at least one when inconclusive, otherwise none.
    heat: (region, mean P(fake) by the heat map) pairs, values in [0, 1]; only language models that read
        evidence as text are told them.
    strength: the word for its likelihood ratio, see common.enfsi; "" where none is known.
    Raises ValueError when these do not fit together.
    """

    verdict: Verdict
    score: float | None
    regions: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    heat: tuple[tuple[str, float], ...] = ()
    strength: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in list(Verdict):
            raise ValueError(f"verdict: expected one of {[*map(str, Verdict)]}, got {self.verdict!r}")
        if self.score is None and self.verdict != Verdict.INCONCLUSIVE:
            raise ValueError(f"a {self.verdict} verdict needs a score; without one it is inconclusive")
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"score: expected a number in [0, 1], got {self.score}")
        unknown = [name for name in self.regions if name not in REGION_NAMES]
        if unknown or len(set(self.regions)) < len(self.regions):
            raise ValueError(f"regions: expected different names out of {REGION_NAMES}, got {self.regions}")
        if self.regions and (self.verdict == Verdict.REAL or self.score is None):
            raise ValueError(f"regions: a real or unscored face has none, got {self.regions}")
        if bool(self.reasons) != (self.verdict == Verdict.INCONCLUSIVE):
            raise ValueError(f"reasons: given for an inconclusive verdict and only then, got {self.reasons}")
        stray = [reason for reason in self.reasons if reason not in FACE_REASONS]
        if stray:
            raise ValueError(f"reasons: expected some of {[*map(str, FACE_REASONS)]}, got {stray}")
        if any(name not in REGION_NAMES or not 0 <= value <= 1 for name, value in self.heat):
            raise ValueError(f"heat: expected regions with a mean in [0, 1], got {self.heat}")
        if self.heat and self.score is None:
            raise ValueError(f"heat: an unscored face has no heat map, got {self.heat}")

    @property
    def told_heat(self) -> tuple[tuple[str, float], ...]:
        """The part of `heat` that evidence as text tells: of the whole face and of the named regions.

        Others are left out, because an answer must not speak of regions the map does not point at.
        """
        named = (WHOLE_FACE, *(name for name in self.regions if name != WHOLE_FACE))
        means = dict(self.heat)
        return tuple((name, means[name]) for name in named if name in means)


@dataclass(frozen=True)
class Turn:
    """One question with its answer; intent: one of INTENTS."""

    question: str
    answer: str
    intent: str


def format_score(score: float) -> str:
    """The one way a score is written in text: two decimals, "0.93"."""
    return f"{score:.2f}"


def evidential_strength(case: Case) -> str:
    """Name how strongly a fake or real case supports its verdict: a word of common.enfsi.VERBAL_SCALE.

    That of its likelihood ratio; where the case does not tell it, that of the score's odds. Never less than
    "weak": what supports a verdict at all is not called nothing.
    """
    if case.score is None or case.verdict == Verdict.INCONCLUSIVE:
        raise ValueError(f"only a fake or real case has an evidential strength, got {case}")
    # What the reader sees decides, not hidden decimals.
    word = case.strength or verbal_of_score(float(format_score(case.score)))
    return "weak" if word == NO_SUPPORT else word


def distance_from_even(case: Case) -> str:
    """Tell how far the score of a fake or real case lies from one half; fills the `distance` slot."""
    gap = round(abs(float(format_score(case.score)) - 0.5), 2)
    return next(words for least, words in DISTANCES if gap >= least)


def join_words(items: Iterable[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"; nothing -> ""."""
    *head, last = [*items] or [""]
    return f"{', '.join(head)} and {last}" if head else last


def region_words(regions: Iterable[str]) -> str:
    """("left_eye", "nose") -> "the left eye and the nose"."""
    return join_words(f"the {_REGION_WORDS[name]}" for name in regions)


def reasons_in_words(reasons: Iterable[Reason | str]) -> str:
    """Join reasons, or their codes, to a clause: "the face is too small in the picture and ...".

    Raises ValueError for an unknown code.
    """
    return join_words(Reason(reason).words for reason in reasons)


def kfd_result(case: Case) -> str:
    """The [KFD result] part of the prompt: score and verdict in words, and the reasons of an abstention."""
    scored = case.score is not None
    score = f"the forgery score is {format_score(case.score)}" if scored else "there is no forgery score"
    reasons = f", because {reasons_in_words(case.reasons)}" if case.reasons else ""
    return f"According to KFD prediction, {score} and the verdict is {case.verdict}{reasons}."


def score_result(case: Case) -> str:
    """The [KFD result] as the paper words it: the score, and no verdict."""
    if case.score is None:
        why = reasons_in_words(case.reasons)
        return f"According to KFD prediction, there is no forgery score, because {why}."
    return f"According to KFD prediction, the forgery score is {format_score(case.score)}."


def evidence_text(case: Case) -> str:
    """Tell what the heat map says, for language models that read no soft prompts."""
    if case.score is None:
        return "There is no heat map."
    weakly = "weakly " if case.verdict == Verdict.INCONCLUSIVE else ""
    where = region_words(case.regions) if case.regions else "no region"
    pointed = f"The heat map points {weakly if case.regions else ''}at {where}."
    if not case.told_heat:
        return pointed
    means = join_words(f"{format_score(mean)} over {region_words([name])}" for name, mean in case.told_heat)
    return f"{pointed} From 0 to 1, its mean is {means}."


def untuned_task(sees_face: bool = False) -> str:
    """The description of the task for language models that were not fine-tuned on answers like ours.

    sees_face: the picture of the face is shown to the model beside the text.
    """
    sight = (
        "You are shown the face, but judge nothing by it" if sees_face else "You have not seen the photograph"
    )
    return (
        "You answer an examiner's questions about the finding of a deepfake detector on one face. "
        f"{sight}: all that is known of it is what this message says. Name no number, region, person, tool "
        "or motive that it does not name, call nothing certain, and say so when it leaves a question open. "
        "Write at most four sentences of plain text, without lists or headings. Begin the answer to whether "
        "the face is manipulated with Yes, No or Inconclusive, as the verdict is fake, real or inconclusive."
    )


def questions(intent: str, heldout: bool) -> tuple[str, ...]:
    """Every wording of the questions of an intent: the held-out ones, or those for training."""
    asked = ASKABLE if intent in REGION_INTENTS else ("",)
    wordings = (wording for pattern in question_patterns(intent, heldout) for wording in pattern)
    filled = (text.format_map(_question_slots(words)) for text in wordings for words in asked)
    return tuple(dict.fromkeys(filled))


def answers(intent: str, case: Case, asked: str = "") -> tuple[str, ...]:
    """Every answer to an intent that suits the case.

    asked: the words that a question about a region asks about, a key of ASKABLE ("nose", "eyes", "lips");
        unused by other intents.
    """
    state, slots = _state(case), _answer_slots(case)
    if intent in REGION_INTENTS:
        hit = _hit(case, asked)
        if case.regions:
            state = f"{'fake' if case.verdict == 'fake' else 'weak'}_{'hit' if hit else 'miss'}"
        slots |= {
            "asked": f"the {_canonical(asked)}",
            "hit": region_words(hit),
            "does": "do" if len(ASKABLE[asked]) > 1 else "does",
        }
    return tuple(text.format_map(slots) for text in _WORDINGS.intents[intent].answers[state])


def make_turn(intent: str, case: Case, rng: random.Random, heldout: bool = False) -> Turn:
    """Draw a question of the intent, in a random manner of speaking, and an answer that suits the case."""
    asked = _draw_region(case, rng) if intent in REGION_INTENTS else ""
    question = rng.choice(rng.choice(question_patterns(intent, heldout))).format_map(_question_slots(asked))
    return Turn(_casual(question, intent, rng), rng.choice(answers(intent, case, asked)), intent)


def make_dialogue(
    case: Case, rng: random.Random, turns: int = 5, heldout: bool = False, opening: str | None = "verdict"
) -> list[Turn]:
    """Draw a conversation about a case; the same `rng` state gives the same conversation.

    turns: number of question-answer pairs, at least 1.
    heldout: ask only in wordings that training never uses.
    opening: intent of the first turn; None draws it like the others.
    No intent comes twice before all have come, except the questions about a region, which may concern two.
    """
    if turns < 1:
        raise ValueError(f"turns: expected at least 1, got {turns}")
    pool = [*INTENTS, *REGION_INTENTS]
    intents = [] if opening is None else [opening]
    while len(intents) < turns:
        intents += rng.sample(pool, len(pool))
    dialogue = [make_turn(intent, case, rng, heldout) for intent in intents[:turns]]
    if opening == "verdict" and not heldout and rng.random() < FIRST_QUESTION_SHARE:
        dialogue[0] = Turn(FIRST_QUESTION, dialogue[0].answer, opening)
    return dialogue


def random_case(rng: random.Random) -> Case:
    """A plausible case for pretraining on text alone, where no image is seen."""
    kind = rng.choices(("fake", "real", "between", "poor", "unscored"), (42, 34, 12, 5, 7))[0]
    if kind == "fake":
        regions = _random_regions(rng) if rng.random() < 0.94 else ()
        return Case(Verdict.FAKE, 0.5 + 0.5 * rng.betavariate(1.6, 0.8), regions)
    if kind == "real":
        return Case(Verdict.REAL, 0.5 * rng.betavariate(0.8, 1.6))
    if kind == "between":
        regions = _random_regions(rng) if rng.random() < 0.6 else ()
        return Case(Verdict.INCONCLUSIVE, rng.uniform(0.25, 0.75), regions, (Reason.BETWEEN_THRESHOLDS,))
    flaws = [reason for reason in FACE_REASONS if reason != Reason.BETWEEN_THRESHOLDS]
    reasons = tuple(rng.sample(flaws, rng.choice((1, 1, 2))))
    if kind == "poor":
        regions = _random_regions(rng) if rng.random() < 0.6 else ()
        return Case(Verdict.INCONCLUSIVE, rng.random(), regions, reasons)
    return Case(Verdict.INCONCLUSIVE, None, (), reasons)


def _random_regions(rng: random.Random) -> tuple[str, ...]:
    return (WHOLE_FACE,) if rng.random() < 0.2 else tuple(rng.sample(PART_NAMES, rng.choice((1, 2, 2, 3))))


def _draw_region(case: Case, rng: random.Random) -> str:
    """Words to ask about: half of the time a region the case names, so that yes and no are balanced."""
    if case.regions and rng.random() < 0.5:
        return rng.choice([words for words in ASKABLE if _hit(case, words)])
    return rng.choice([*ASKABLE])


def _casual(question: str, intent: str, rng: random.Random) -> str:
    """The question as people type it: half of the time with an opener, in lower case, without its mark."""
    if rng.random() < 0.5:
        return question
    if intent not in _CHATTER and rng.random() < 0.4:
        suited = ("any", "question") if question.endswith("?") else ("any",)
        opener = rng.choice([opener for kind in suited for opener in _WORDINGS.openers[kind]])
        keeps_capital = re.match(r"I\b|[A-Z]{2}", question)
        question = opener + (question if keeps_capital else question[0].lower() + question[1:])
    elif intent not in _CHATTER and rng.random() < 0.15:
        question += rng.choice(_WORDINGS.closers)
    if rng.random() < 0.4:
        question = question.lower()
    return question.rstrip("?.") if rng.random() < 0.4 else question


def _state(case: Case) -> str:
    if case.verdict == Verdict.REAL:
        return "real"
    if case.score is None:
        return "unscored"
    at, nowhere = ("fake_at", "fake_nowhere") if case.verdict == Verdict.FAKE else ("weak", "undecided")
    return at if case.regions else nowhere


def _hit(case: Case, asked: str) -> tuple[str, ...]:
    """List the case's regions that the words asked about fall into; the whole face holds every region."""
    if WHOLE_FACE in case.regions:
        return (WHOLE_FACE,)
    return tuple(name for name in ASKABLE[asked] if name in case.regions)


def _canonical(asked: str) -> str:
    """The first words that stand for the same regions: "lips" -> "mouth"."""
    return next(words for words, names in ASKABLE.items() if names == ASKABLE[asked])


def _question_slots(asked: str) -> dict[str, str]:
    if not asked:
        return {}
    plural = len(ASKABLE[asked]) > 1 or asked == "lips"
    verbs = ("are", "have", "Do") if plural else ("is", "has", "Does")
    return {
        "region": f"the {asked}",
        "is": verbs[0],
        "Is": verbs[0].title(),
        "has": verbs[1],
        "Has": verbs[1].title(),
        "Does": verbs[2],
    }


def _answer_slots(case: Case) -> dict[str, str]:
    slots = {"reasons": reasons_in_words(case.reasons)}
    if case.score is not None:
        slots["score"] = format_score(case.score)
    if case.regions:
        slots["regions"] = region_words(case.regions)
    if case.verdict != Verdict.INCONCLUSIVE:
        slots["strength"] = evidential_strength(case)
        slots["distance"] = distance_from_even(case)
    return slots


def question_patterns(intent: str, heldout: bool) -> tuple[tuple[str, ...], ...]:
    """The patterns of the questions of an intent, each as the tuple of its wordings, slots unfilled."""
    wordings = _WORDINGS.intents[intent]
    return wordings.heldout if heldout else wordings.train
