"""Answers written in answers.yaml: chosen by the state of a face, and filled in from its facts."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from string import Formatter

import yaml

from common.enfsi import NO_SUPPORT
from data_sim.dialogue import format_score, reasons_in_words, region_words
from data_sim.dialogues.facts import PROPOSITIONS, TRACES, Facts, clock, percent
from data_sim.dialogues.phrasing import Answer, Phrasing, at, capital, rates_line, strength_line, the

STATES = {  # of a face: the groups of wordings that suit it
    "fake": ("any", "scored", "decided", "fake"),
    "real": ("any", "scored", "decided", "real"),
    "open": ("any", "scored", "undecided", "open"),
    "unscored": ("any", "undecided", "unscored"),
}
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@lru_cache(maxsize=1)
def load_answers() -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """answers.yaml: topic -> state -> the wordings that suit it.

    Raises ValueError naming a group that is none, or a topic with nothing to say in some state.
    """
    raw = yaml.safe_load((files("data_sim.dialogues") / "answers.yaml").read_text(encoding="utf-8"))
    known = {group for groups in STATES.values() for group in groups}
    found = {}
    for topic, groups in raw.items():
        if stray := set(groups) - known:
            raise ValueError(f"answers.yaml, {topic}: no face is {sorted(stray)}; groups: {sorted(known)}")
        found[topic] = {
            state: tuple(text for group in suited for text in groups.get(group, ()))
            for state, suited in STATES.items()
        }
        if empty := [state for state, texts in found[topic].items() if not texts]:
            raise ValueError(f"answers.yaml, {topic}: nothing to say of a face that is {empty}")
    return found


def written(topic: str) -> Answer:
    """The function that answers a topic of answers.yaml."""

    def answer(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
        return _drawn(topic, facts, say)

    return answer


def state_of(facts: Facts) -> str:
    """One of STATES."""
    if facts.score is None:
        return "unscored"
    return {"fake": "fake", "real": "real"}.get(facts.verdict, "open")


def _drawn(topic: str, facts: Facts, say: Phrasing) -> str:
    """A wording of which every slot can be filled; {said} is the finding in one sentence."""
    wordings, slots = load_answers()[topic][state_of(facts)], _slots(facts, say)
    for pattern in say.rng.sample(wordings, len(wordings)):
        if _fields(pattern) <= {*slots, "said"}:
            text = _chosen(pattern, say)
            if "{said}" in text:
                text = text.replace("{said}", _drawn("one_sentence", facts, say))
            return " ".join(text.format_map(slots).split())
    raise ValueError(f"answers.yaml, {topic}: no wording suits {facts}")


def fillable(pattern: str, facts: Facts) -> bool:
    """Is everything that a wording speaks of known of this face?"""
    return _fields(pattern) <= {*_slots(facts, Phrasing(random.Random(0))), "said"}


def _fields(pattern: str) -> set[str]:
    """The slots of a wording, those of all its choices."""
    return {field for _, field, _, _ in Formatter().parse(pattern) if field}


def _chosen(pattern: str, say: Phrasing) -> str:
    """The pattern with one of each [a|b]; a terse answer leaves out what may be left out."""
    while choice := _CHOICE.search(pattern):
        options = choice[1].split("|")
        one = "" if say.terse and "" in options else say.one(*options)
        pattern = pattern[: choice.start()] + one + pattern[choice.end() :]
    return pattern


def _support(word: str) -> dict[str, str]:
    return {"support": word, "Support": capital(word)}


def _slots(facts: Facts, say: Phrasing) -> dict[str, str]:
    """What is known of a face, by the names that answers.yaml explains; what is not known is left out."""
    slots = {"rates": rates_line(facts), "faces": str(len(facts.others) + 1), "number": str(facts.number)}
    if facts.rates is not None:
        slots["alarms"] = percent(facts.rates.false_alarms).removesuffix(" %")
        slots |= {} if facts.rates.found is None else {"found": percent(facts.rates.found).removesuffix(" %")}
    if facts.reasons:
        slots["why"] = reasons_in_words(facts.reasons)
    if facts.verdict in PROPOSITIONS:
        slots |= {"towards": PROPOSITIONS[facts.verdict], "strength": strength_line(facts, say)}
        slots |= {} if facts.support == NO_SUPPORT else _support(facts.support)
    if facts.score is not None:
        score, (top, second, *_, bottom) = format_score(facts.score), facts.parts
        slots |= {"score": score, "share": percent(facts.score)}
        slots |= {"top": at(*top), "second": at(*second), "bottom": at(*bottom)}
        slots |= {"highest": the(top[0]), "lowest": the(bottom[0])}
        slots["side"] = "manipulated" if float(score) > 0.5 else "genuine"
    if facts.regions:
        slots["regions"] = region_words(facts.regions)
    if facts.face_pixels:
        slots |= {"pixels": str(facts.face_pixels), "traces": TRACES[facts.traces]}
    if facts.clip:
        slots |= {"frames": str(facts.clip.frames), "length": clock(facts.clip.seconds)}
    if facts.others:
        slots["place"] = facts.place
    return slots
