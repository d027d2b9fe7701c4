"""Answers to questions that lean on the one before: "is that high?", "and the other one?", "by how much?".

`asked` holds what was spoken of before, as keys of data_sim.dialogue.ASKABLE: one part, or two compared.
"""

from __future__ import annotations

from data_sim.dialogue import ASKABLE, format_score
from data_sim.dialogues import on_map
from data_sim.dialogues.facts import CLOSE, Facts
from data_sim.dialogues.phrasing import Phrasing, at, capital, level, sentences


def that_high(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is that much?"""
    if facts.score is None:
        return say.one(*on_map.NO_MAP)
    words, value = f"the {asked[0]}", facts.value(ASKABLE[asked[0]])
    return sentences(
        say.one(
            f"{format_score(value)} for {words} is {level(value)}, on a scale from 0 to 1.",
            f"On a scale from 0 to 1 that is {level(value)}: {format_score(value)} for {words}.",
            f"It is {level(value)}: {words} has {format_score(value)} of 1."
            if not on_map.plural(asked[0])
            else f"It is {level(value)}: {words} have {format_score(value)} of 1.",
        ),
        say.maybe(f"The highest of all is {at(*facts.parts[0])}.", often=0.4),
    )


def other_side(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """And the other one? asked: the part of which the other side is meant."""
    if facts.score is None:
        return say.one(*on_map.NO_MAP)
    other = opposite(asked[0])
    if not other:
        return sentences(f"There is only one {asked[0]}, at {format_score(facts.value(ASKABLE[asked[0]]))}.")
    mine, theirs = facts.value(ASKABLE[asked[0]]), facts.value(ASKABLE[other])
    value = format_score(theirs)
    against = f"for the {asked[0]} it is {format_score(mine)}"
    return say.one(
        f"The {other} is at {value}, which is {level(theirs)}; {against}.",
        f"{value} for the {other}; {against}.",
        f"The map gives the {other} {value} of 1.",
    )


def opposite(words: str) -> str:
    """ "left eye" -> "right eye"; "" for what has no other side."""
    first, _, rest = words.partition(" ")
    sides = {"left": "right", "right": "left"}
    return f"{sides[first]} {rest}" if first in sides else ""


def which_of_two(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which one is it, then? asked: the two parts compared before."""
    if facts.score is None:
        return say.one(*on_map.NO_MAP)
    (high, above), (low, below) = _ordered(facts, asked)
    if above - below < CLOSE:
        return say.one(
            f"Neither: the {high} has {format_score(above)} and the {low} {format_score(below)}.",
            f"They are alike, with {format_score(above)} and {format_score(below)}.",
        )
    return say.one(
        f"The {high}, at {format_score(above)}.",
        f"The {high}: {format_score(above)}, and {format_score(below)} for the {low}.",
    )


def by_how_much(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How far are the two apart? asked: the two parts compared before."""
    if facts.score is None:
        return say.one(*on_map.NO_MAP)
    (high, above), (low, below) = _ordered(facts, asked)
    much = "Hardly" if above - below < CLOSE else "A little" if above - below < 0.15 else "Clearly"
    return say.one(
        f"{much}: {format_score(above)} for the {high}, {format_score(below)} for the {low}.",
        f"{much}, from {format_score(below)} for the {low} to {format_score(above)} for the {high}.",
    )


def why_there(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Why that part, what is wrong with it?"""
    if facts.score is None:
        return say.one(*on_map.NO_MAP)
    words, value = f"the {asked[0]}", facts.value(ASKABLE[asked[0]])
    return sentences(
        say.one(
            f"The map reads {format_score(value)} for {words}, which is {level(value)}.",
            f"Because the pixels there read at {format_score(value)} of 1, which is {level(value)}.",
            f"{capital(words)} got {format_score(value)} of 1 on the map.",
        ),
        say.one(
            "What was done there the map does not tell.",
            "It shows where, not what was done.",
            "More than that number I do not have: the map does not explain itself.",
        ),
    )


def sure_of_part(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How sure is it about that part?"""
    if facts.score is None:
        return say.one(*on_map.NO_MAP)
    words, value = f"the {asked[0]}", facts.value(ASKABLE[asked[0]])
    return sentences(
        say.one(
            f"The value for {words} is {format_score(value)}, and the map is rough.",
            f"As far as a rough map goes: {format_score(value)} for {words}.",
        ),
        say.maybe("How often single parts are misread was not measured.", often=0.7),
    )


def _ordered(facts: Facts, asked: tuple[str, ...]) -> list[tuple[str, float]]:
    values = [(words, facts.value(ASKABLE[words])) for words in asked[:2]]
    return sorted(values, key=lambda pair: -pair[1])
