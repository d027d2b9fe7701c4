"""Choosing among wordings, and the few words for values that all answers share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from common.enfsi import NO_SUPPORT
from data_sim.dialogue import format_score, region_words
from data_sim.dialogues.facts import PROPOSITIONS, Facts, percent

LEVELS = ((0.75, "very high"), (0.5, "high"), (0.25, "raised"), (0.1, "low"), (0.0, "very low"))
MARKED = 0.5  # from this heat on a region counts as marked, whether or not the finding names it


@dataclass(frozen=True)
class Phrasing:
    """Draws wordings. terse: leave out all that was not asked for."""

    rng: random.Random
    terse: bool = False

    def one(self, *wordings: str) -> str:
        """One of the wordings."""
        return self.rng.choice(wordings)

    def maybe(self, *wordings: str, often: float = 0.5) -> str:
        """One of the wordings, or nothing; always nothing in a terse answer."""
        return "" if self.terse or self.rng.random() >= often else self.one(*wordings)


# What answers a topic: the facts, the parts asked about (keys of ASKABLE), a way of wording it -> the answer.
Answer = Callable[[Facts, tuple[str, ...], Phrasing], str]


def sentences(*parts: str) -> str:
    """The parts that are not empty, one behind the other."""
    return " ".join(part for part in parts if part)


def level(value: float) -> str:
    """A heat value in [0, 1] in words, a word of LEVELS."""
    return next(words for least, words in LEVELS if value >= least)


def marked(facts: Facts, names: Iterable[str]) -> bool:
    """Does the map mark any of these regions?"""
    return any(facts.value([name]) >= MARKED for name in names)


def the(name: str) -> str:
    """ "left_eye" -> "the left eye"."""
    return region_words([name])


def at(name: str, value: float) -> str:
    """ "the left eye at 0.81"."""
    return f"{the(name)} at {format_score(value)}"


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def strength_line(facts: Facts, say: Phrasing) -> str:
    """The strength of the evidence of a fake or real face, in one sentence."""
    towards = PROPOSITIONS[facts.verdict]
    if facts.support == NO_SUPPORT:
        return f"The evidence gives no measurable support for {towards}."
    return say.one(
        f"The evidence for {towards} is {facts.support}.",
        f"That is {facts.support} evidence for {towards}.",
    )


def rates_line(facts: Facts) -> str:
    """The measured error rates for this kind of photograph, in one sentence."""
    if facts.rates is None:
        return "How often the detector errs on such photographs was not measured."
    wrong = f"On such photographs {percent(facts.rates.false_alarms)} of genuine faces are called fake"
    if facts.rates.found is None:
        return f"{wrong}."
    return f"{wrong}, and {percent(facts.rates.found)} of forged ones are found."
