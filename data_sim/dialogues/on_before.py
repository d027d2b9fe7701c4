"""Answers to questions that lean on the one before: "is that high?", "and the other one?", "by how much?".

`asked` holds what was spoken of before, as keys of data_sim.dialogue.ASKABLE: one part, or two compared.
"""

from __future__ import annotations

from data_sim.dialogue import ASKABLE, format_score
from data_sim.dialogues.facts import CLOSE, EVEN, Facts
from data_sim.dialogues.on_map import needs_map, plural
from data_sim.dialogues.phrasing import Phrasing, at, capital, level, sentences


@needs_map
def that_high(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is that much?"""
    words, value = f"the {asked[0]}", facts.value(ASKABLE[asked[0]])
    return sentences(
        say.one(
            f"{format_score(value)} for {words} is {level(value)}, on a scale from 0 to 1.",
            f"On a scale from 0 to 1 that is {level(value)}: {format_score(value)} for {words}.",
            f"It is {level(value)}: {words} has {format_score(value)} of 1."
            if not plural(asked[0])
            else f"It is {level(value)}: {words} have {format_score(value)} of 1.",
        ),
        say.maybe(f"The highest of all is {at(*facts.parts[0])}.", often=0.4),
    )


@needs_map
def other_side(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """And the other one? asked: the part of which the other side is meant."""
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


@needs_map
def which_of_two(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which one is it, then? asked: the two parts compared before."""
    high, above, low, below = _higher_first(facts, asked)
    if float(above) - float(below) < CLOSE:
        return say.one(
            f"Neither: the {high} has {above} and the {low} {below}.",
            f"They are alike, with {above} for the {high} and {below} for the {low}.",
            f"A tie, near enough: {above} for the {high}, {below} for the {low}.",
        )
    return say.one(
        f"The {high}, at {above}.",
        f"The {high}: {above}, and {below} for the {low}.",
        f"It is the {high}. The {low} has only {below}.",
        f"The {high} of the two, {above} to {below}.",
    )


@needs_map
def by_how_much(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How far are the two apart? asked: the two parts compared before."""
    high, above, low, below = _higher_first(facts, asked)
    apart = float(above) - float(below)
    much, gap = ("Clearly", "a wide gap") if apart >= EVEN else ("A little", "a small gap")
    if apart < CLOSE:
        much, gap = "Hardly", "next to nothing"
    return say.one(
        f"{much}: {above} for the {high}, {below} for the {low}.",
        f"{much}, from {below} for the {low} to {above} for the {high}.",
        f"It is {gap}: {above} for the {high} and {below} for the {low}.",
        f"The {high} has {above}, the {low} {below}; that is {gap}.",
    )


@needs_map
def why_there(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Why that part, what is wrong with it?"""
    words, value = f"the {asked[0]}", facts.value(ASKABLE[asked[0]])
    return sentences(
        say.one(
            f"The map reads {format_score(value)} for {words}, which is {level(value)}.",
            f"Because the pixels over {words} read at {format_score(value)} of 1, which is {level(value)}.",
            f"{capital(words)} got {format_score(value)} of 1 on the map.",
        ),
        say.one(
            "What was done there the map does not tell.",
            "It shows where, not what was done.",
            "More than that number I do not have: the map does not explain itself.",
        ),
    )


@needs_map
def sure_of_part(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How sure is it about that part?"""
    words, value = f"the {asked[0]}", facts.value(ASKABLE[asked[0]])
    return sentences(
        say.one(
            f"The value for {words} is {format_score(value)}, and the map is rough.",
            f"As far as a rough map goes: {format_score(value)} for {words}.",
        ),
        say.maybe("How often single parts are misread was not measured.", often=0.7),
    )


def _higher_first(facts: Facts, asked: tuple[str, ...]) -> tuple[str, str, str, str]:
    """(the higher of two parts, its value, the lower one, its value), values as they are printed."""
    ranked = sorted(asked[:2], key=lambda words: -facts.value(ASKABLE[words]))
    high, low = ((words, format_score(facts.value(ASKABLE[words]))) for words in ranked)
    return *high, *low
