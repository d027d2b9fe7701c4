"""Whole conversations: questions in many people's manners, answers composed from the facts.

The same `rng` state gives the same conversation. Questions of wordings.yaml, topics.yaml and voices.yaml are
asked; answers come from the functions below, or, where they need no more than the state of the face, from
answers.yaml.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import yaml

from data_sim.dialogue import (
    ASKABLE,
    FIRST_QUESTION,
    FIRST_QUESTION_SHARE,
    INTENTS,
    Turn,
    answers,
    question_patterns,
    questions,
)
from data_sim.dialogues import on_before, on_file, on_finding, on_map, on_report, untold
from data_sim.dialogues.facts import Facts
from data_sim.dialogues.phrasing import Answer, Phrasing
from data_sim.dialogues.wordings import expand
from data_sim.dialogues.written import load_answers, written

# topic -> (where its questions stand: an intent of wordings.yaml, "" for none; what answers it)
COMPOSED: Mapping[str, tuple[str, Answer]] = {
    "verdict": ("verdict", on_finding.verdict),
    "authentic": ("authentic", on_finding.real_or_fake),
    "score_meaning": ("score_meaning", on_finding.score_meaning),
    "why": ("evidence", on_finding.why),
    "against": ("against", on_finding.against),
    "likelihood": ("", on_finding.likelihood),
    "where": ("where", on_map.where),
    "region_check": ("region_check", on_map.region_check),
    "region_value": ("region_detail", on_map.region_value),
    "compare": ("", on_map.compare),
    "left_or_right": ("", on_map.compare),
    "strongest": ("", on_map.strongest),
    "weakest": ("", on_map.weakest),
    "ranking": ("", on_map.ranking),
    "spread": ("", on_map.spread),
    "colours": ("map", on_map.colours),
    "quality": ("quality", on_file.quality),
    "size": ("", on_file.size),
    "compression": ("", on_file.compression),
    "blur": ("", on_file.blur),
    "which_face": ("other_face", on_file.which_face),
    "how_many_faces": ("", on_file.how_many_faces),
    "when": ("when", on_file.when),
    "frames": ("", on_file.frames),
    "other_part": ("", on_map.other_part),
    "marked_parts": ("", on_map.marked_parts),
    "runner_up": ("", on_map.runner_up),
    "findings": ("", on_report.findings),
    "for_and_against": ("", on_report.for_and_against),
    "recommendation": ("next_steps", on_report.recommendation),
    "that_high": ("", on_before.that_high),
    "other_side": ("", on_before.other_side),
    "why_there": ("", on_before.why_there),
    "sure_of_part": ("", on_before.sure_of_part),
    "which_of_two": ("", on_before.which_of_two),
    "by_how_much": ("", on_before.by_how_much),
}
_ASKED_AS = {"one_sentence": "summary", "article": "newsroom_summary", "for_court": "court_summary"}
WRITTEN = {
    topic: (_ASKED_AS.get(topic, topic if topic in INTENTS else ""), written(topic))
    for topic in load_answers()
}
# Intents whose answers in wordings.yaml need nothing but the verdict.
FIXED = ("what_is_deepfake",)
TOPICS = (*COMPOSED, *WRITTEN, *FIXED)
HELD_OUT_TOPICS = ("runner_up", "marked_parts", "for_police")  # never trained on, for measuring


@dataclass(frozen=True)
class Repertoire:
    """What can be talked about. composed: as COMPOSED; fixed: as FIXED."""

    composed: Mapping[str, tuple[str, Answer]]
    fixed: tuple[str, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        return (*self.composed, *self.fixed)


FULL = Repertoire({**COMPOSED, **WRITTEN}, FIXED)
# For a model that sees the maps but is told no finding: answers without a number.
UNTOLD = Repertoire(
    {
        "verdict": ("verdict", untold.verdict),
        "where": ("where", untold.where),
        "region_check": ("region_check", untold.region_check),
        "compare": ("", untold.compare),
        "strongest": ("", untold.strongest),
        "weakest": ("", untold.weakest),
        "leaning": ("", untold.leaning),
        "likelihood": ("", untold.likelihood),
        "shorter": ("", untold.shorter),
        "for_child": WRITTEN["for_child"],
    }
)
# For a model that is taught what is true of the face: the paper's own answer to its own question.
TRUTHS = Repertoire(UNTOLD.composed | {"verdict": ("verdict", untold.true_verdict)})
OF_REGIONS = {
    "region_check": 1,
    "region_value": 1,
    "compare": 2,
    "left_or_right": 2,
}  # topics that ask about so many regions
# Topics that lean on the parts spoken of before: how many those must be.
AFTER_REGIONS = {"that_high": 1, "other_side": 1, "why_there": 1, "sure_of_part": 1,
                 "which_of_two": 2, "by_how_much": 2}  # fmt: skip
_PAIRED = ("eye", "eyebrow", "cheek")  # parts of which there is a left and a right one
_EXTREMES = {"strongest": 0, "weakest": -1}  # topics of one part, by its place among Facts.parts
OF_CLIPS = ("when", "frames")
# Asked more often than others, by people as here; and what is easily mistaken for a question of the verdict.
_OFTEN = ("why", "where", "compare", "compare", "strongest", "weakest", "region_check", "how_sure", "quality",
          "change_mind", "maker", "clarify", "which_face", "dispute", "weakest", "rates", "rates", "privacy",
          "identity", "leaning", "for_child", "other_language", "metadata", "technique", "legal", "strength",
          "recommendation", "limits", "method", "out_of_scope", "likelihood", "when", "frames",
          "limits", "technique", "why", "when", "score_meaning", "dispute", "left_or_right", "broken",
          "authentic", "proof", "could_be_wrong", "against", "not_checked")  # fmt: skip
_ABOUT_MANNERS = ("greeting", "thanks", "other_language")  # asked as they stand
_ALONE = (
    *_ABOUT_MANNERS,
    *AFTER_REGIONS,
    "obey",
    "shorter",
    "verdict",
    "authentic",
    "yes_or_no",
    "clarify",
    "findings",
    "for_and_against",
)  # never asked together with something else
_SECOND = ("where", "how_sure", "quality", "size", "strongest", "weakest", "maker", "rates")  # asked along
_TERSE = 0.3  # share of terse conversations
_LEAD = 0.35  # share of questions behind another of the same kind that lean on it ("And the nose?")
_FOLLOW = 0.5  # share of questions about a part that are followed by one more about the same part
_DOUBLE = 0.08  # share of turns that ask two things at once
_GREETED = 0.15  # share of conversations open to any question that begin with a greeting
_THANKED = 0.15  # share of conversations that end with thanks


@lru_cache(maxsize=1)
def _topics() -> Mapping[str, Mapping[str, tuple[tuple[str, ...], ...]]]:
    """topics.yaml and voices.yaml: topic -> kind of pattern -> patterns, each the tuple of its wordings."""
    found: dict[str, dict[str, tuple[tuple[str, ...], ...]]] = {}
    for name in ("topics.yaml", "voices.yaml"):
        raw = yaml.safe_load((files("data_sim.dialogues") / name).read_text(encoding="utf-8"))
        if stray := set(raw) - set(TOPICS):
            raise ValueError(f"{name}: nothing answers {sorted(stray)}; topics: {TOPICS}")
        for topic, kinds in raw.items():
            own = found.setdefault(topic, {})
            for kind, patterns in kinds.items():
                own[kind] = (*own.get(kind, ()), *map(expand, patterns))
    return found


def wordings_of(topic: str) -> list[tuple[str, ...]]:
    """The training questions of a topic: patterns, each as the tuple of its wordings."""
    own = _topics().get(topic, {})
    intent = FULL.composed[topic][0] if topic in FULL.composed else topic
    return [
        *own.get("train", ()),
        *own.get("after", ()),
        *(question_patterns(intent, heldout=False) if intent else ()),
    ]


def make_conversation(
    facts: Facts,
    rng: random.Random,
    turns: int = 6,
    heldout: bool = False,
    opening: str | None = "verdict",
    without: tuple[str, ...] = (),
    repertoire: Repertoire = FULL,
) -> list[Turn]:
    """A conversation of `turns` questions about one face.

    heldout: ask only in wordings that training never uses. opening: topic of the first turn, None for any.
    without: topics that are not asked, for measuring on topics never trained on. repertoire: what can be
    talked about.
    Raises ValueError for fewer than one turn or an unknown topic.
    """
    unknown = ({opening} - {None} | set(without)) - set(repertoire.topics)
    if turns < 1 or unknown:
        raise ValueError(
            f"expected at least one turn and topics out of {repertoire.topics}, "
            f"got {turns}, {sorted(unknown)}"
        )
    say = Phrasing(rng, terse=rng.random() < _TERSE)
    offered = [topic for topic in repertoire.topics if topic not in without]
    pool = [
        topic
        for topic in (*offered, *(topic for topic in _OFTEN if topic in offered))
        if topic not in AFTER_REGIONS and (facts.clip or topic not in OF_CLIPS or rng.random() < 0.2)
    ]
    done: list[Turn] = []
    polite = {topic: topic in offered and rng.random() < share
              for topic, share in (("greeting", _GREETED), ("thanks", _THANKED))}  # fmt: skip
    topic, about = opening or ("greeting" if polite["greeting"] else rng.choice(pool)), ()
    while True:
        about = _spoken_of(topic, facts, about, rng)
        done.append(_turn(topic, facts, about, say, heldout, done[-1].intent if done else "", repertoire))
        if len(done) == turns:
            break
        last = len(done) == turns - 1
        topic = "thanks" if last and polite["thanks"] else _next(topic, about, offered, pool, rng)
    if opening == "verdict" and not heldout and rng.random() < FIRST_QUESTION_SHARE:
        done[0] = Turn(FIRST_QUESTION, done[0].answer, opening)
    return done


def _spoken_of(topic: str, facts: Facts, before: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    """The parts that a question is about, in words; where it leans on the one before, those of that one."""
    if topic in AFTER_REGIONS:
        count = AFTER_REGIONS[topic]
        return before if len(before) == count else _drawn_regions(count, facts, rng)
    if topic == "other_part":
        return (rng.choice(on_map.OTHER_PARTS),)
    if topic == "left_or_right":
        part, first = rng.choice(_PAIRED), rng.choice(("left", "right"))
        return f"{first} {part}", f"{'right' if first == 'left' else 'left'} {part}"
    if topic in _EXTREMES and facts.heat:
        return (facts.parts[_EXTREMES[topic]][0].replace("_", " "),)
    return _drawn_regions(OF_REGIONS.get(topic, 0), facts, rng)


def _next(topic: str, about: tuple[str, ...], offered: list[str], pool: list[str], rng: random.Random) -> str:
    """What is asked behind a question on a topic about some parts."""
    if about:
        follow = [name for name, count in AFTER_REGIONS.items() if count == len(about) and name in offered]
        if topic not in (*AFTER_REGIONS, "other_part") and follow and rng.random() < _FOLLOW:
            return rng.choice(follow)
        if rng.random() < 0.35:
            return "region_check"
    return rng.choice(pool)


def _turn(
    topic: str,
    facts: Facts,
    asked: tuple[str, ...],
    say: Phrasing,
    heldout: bool,
    before: str,
    repertoire: Repertoire,
) -> Turn:
    leaning = before in (*OF_REGIONS, "verdict") and say.rng.random() < _LEAD
    patterns = _topics().get(topic, {}).get("after", ()) if leaning and not heldout else ()
    question = _question(topic, asked, patterns, heldout, say.rng)
    answer = answer_to(topic, facts, asked, say, repertoire)
    if topic not in _ALONE and not heldout and say.rng.random() < _DOUBLE:
        other = say.rng.choice(_SECOND)
        if other != topic and other in repertoire.composed:
            question = f"{question.rstrip('.?')}? {_question(other, (), (), heldout, say.rng)}"
            answer = f"{answer} {answer_to(other, facts, (), say, repertoire)}"
    return Turn(question if topic in _ABOUT_MANNERS else manner(question, say.rng), answer, topic)


def _question(topic: str, asked: tuple[str, ...], patterns: tuple, heldout: bool, rng: random.Random) -> str:
    kind = "heldout" if heldout else "train"
    own = patterns or _topics().get(topic, {}).get(kind, ())
    intent = FULL.composed[topic][0] if topic in FULL.composed else topic
    if own and (patterns or not intent or rng.random() < 0.5):
        names = [f"the {words}" for words in asked] + ["", ""]
        part = asked[0].split()[-1] if asked else ""
        text = rng.choice(rng.choice(own)).format(region=names[0], other=names[1], part=part)
        return text[:1].upper() + text[1:]
    wordings = questions(intent, heldout)
    if asked:
        wordings = tuple(text for text in wordings if re.search(rf"\bthe {asked[0]}\b", text)) or wordings
    return rng.choice(wordings)


def answer_to(
    topic: str, facts: Facts, asked: tuple[str, ...], say: Phrasing, repertoire: Repertoire = FULL
) -> str:
    """What is said of a topic about a face. asked: the parts of it that are asked about, keys of ASKABLE."""
    if topic in repertoire.composed:
        return repertoire.composed[topic][1](facts, asked, say)
    return say.rng.choice(answers(topic, facts))


def _drawn_regions(count: int, facts: Facts, rng: random.Random) -> tuple[str, ...]:
    """Regions to ask about, in words; half of the time one with a high value, to balance Yes and No."""
    if not count:
        return ()
    first = rng.choice([*ASKABLE])
    if facts.heat and rng.random() < 0.5:
        best = {name for name, _ in facts.parts[:2]}
        first = rng.choice([words for words, names in ASKABLE.items() if best & set(names)])
    rest = [words for words, names in ASKABLE.items() if not set(names) & set(ASKABLE[first])]
    return (first, *rng.sample(rest, count - 1))


def manner(question: str, rng: random.Random) -> str:
    """The question as somebody types it: chatty, angry, in a hurry, with slips, or as it stands."""
    draw = rng.random()
    if draw < 0.35:
        return question
    if draw < 0.45:
        return rng.choice(_OPENERS) + question[:1].lower() + question[1:]
    if draw < 0.52:
        return question + rng.choice(_TAILS)
    if draw < 0.55:
        return question.upper() + rng.choice(("", "!", "!!"))
    if draw < 0.62:
        return re.sub(r"\b(?:[Tt]he|[Aa]n?|[Ii]s|[Aa]re|[Dd]oes|[Dd]o) ", "", question) or question
    question = question.lower().rstrip("?.") or question  # some ask with "??" alone
    if draw < 0.74:
        question = re.sub(r"\w+", lambda word: _TYPED.get(word[0], word[0]), question)
    return slip(question, rng) if draw > 0.7 else question


# As typed on a telephone.
_TYPED = {"you": "u", "your": "ur", "are": "r", "please": "pls", "what": "wat", "because": "cuz", "for": "4",
          "would": "wud", "with": "w", "this": "dis", "the": "da", "why": "y", "picture": "pic", "to": "2",
          "photo": "foto", "about": "abt", "really": "rly", "people": "ppl", "thanks": "thx"}  # fmt: skip
_OPENERS = ("Sorry, ", "Hey, ", "OK so ", "Look, ", "One more thing: ", "My boss wants to know: ",
            "For the file: ", "I'm not an expert, but ", "Honestly, ", "Right. ", "Dear Unmask, ",
            "Please tell me, ", "um, ", "btw ", "Your honour asks: ", "And then, ", "Moment. ", "lol ok ",
            "Back to the face. ", "That aside, ", "Wow. ")  # fmt: skip
_TAILS = (
    " Thanks.",
    " Please be honest.",
    " I need this today.",
    " Seriously.",
    " thx",
    " lol",
    "??",
    " I am quite worried.",
    " In your own words.",
    " If you do not mind.",
    " This is important to us.",
)


def slip(text: str, rng: random.Random) -> str:
    """One typing error inside a word of five or more letters: two swapped, one lost or one doubled."""
    words = [match for match in re.finditer(r"[a-z]{5,}", text)]
    if not words:
        return text
    word = rng.choice(words)
    place = rng.randrange(word.start() + 1, word.end() - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + text[place + 1 :] if kind == 1 else text[:place] + text[place] + text[place:]
