"""Answers about the heat map: each follows the values of the regions asked about, never the verdict."""

from __future__ import annotations

from functools import wraps

from data_sim.dialogue import ASKABLE, format_score, join_words, region_words
from data_sim.dialogues.facts import CLOSE, Facts
from data_sim.dialogues.phrasing import MARKED, Answer, Phrasing, at, capital, level, marked, sentences, the
from media.regions import WHOLE_FACE

# What people ask about that is no region of the map.
OTHER_PARTS = ("ears", "hair", "teeth", "skin", "beard", "neck", "glasses", "hairline", "wrinkles", "tongue")
NO_MAP = (
    "There is no map for this face, because it could not be read; I can tell you why if you ask.",
    "I have no map here: the face could not be read.",
    "Without a reading of the face there is no map, so nothing can be said of its parts.",
)


def needs_map(answer: Answer) -> Answer:
    """An answer about the map; of a face that could not be read, that there is none."""

    @wraps(answer)
    def of_any_face(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
        return say.one(*NO_MAP) if facts.score is None else answer(facts, asked, say)

    return of_any_face


@needs_map
def region_check(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is this part manipulated? asked: one key of ASKABLE."""
    names, words = ASKABLE[asked[0]], f"the {asked[0]}"
    value = format_score(facts.value(names))
    hot = marked(facts, names)
    is_, stays = ("are", "stay") if plural(asked[0]) else ("is", "stays")
    if hot:
        answer = say.one(
            f"Yes, the map marks {words}: {value} of 1.",
            f"Yes. {capital(words)} {is_} at {value} on the map, which is {level(float(value))}.",
            f"Yes, {words} {is_} among the places the map points at, with {value}.",
            f"Yes, by the map: {words} {is_} at {value}.",
        )
    else:
        answer = say.one(
            f"No, {words} {stays} at {value} on the map, which is {level(float(value))}.",
            f"No. The map gives {words} {value} of 1, so it does not point there.",
            f"No, the map does not mark {words}; the value there is {value}.",
            f"No sign of it there: {words} {is_} at {value}.",
        )
    return sentences(answer, _elsewhere(facts, names, hot, say))


@needs_map
def region_value(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How high is the map over this part?"""
    names, words = ASKABLE[asked[0]], f"the {asked[0]}"
    value = facts.value(names)
    each = ""
    if len(names) > 1:
        each = say.maybe(f"That is {join_words(at(name, facts.value([name])) for name in names)}.", often=0.7)
    return sentences(
        say.one(
            f"The map gives {words} {format_score(value)} of 1, which is {level(value)}.",
            f"{format_score(value)} for {words}; that is {level(value)}.",
            f"{capital(words)}: {format_score(value)}, a {level(value)} value.",
            f"Over {words} the map reaches {format_score(value)}.",
        ),
        each,
        say.maybe(f"The highest part is {at(*facts.parts[0])}.", often=0.4),
    )


@needs_map
def compare(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which of two parts reads as more manipulated? asked: two keys of ASKABLE."""
    values = [(words, facts.value(ASKABLE[words])) for words in asked[:2]]
    (high, above), (low, below) = sorted(values, key=lambda pair: -pair[1])
    numbers = f"{format_score(above)} for the {high}, {format_score(below)} for the {low}"
    if above - below < CLOSE:
        first = say.one(
            f"They read alike: {numbers}.",
            f"There is hardly a difference between them: {numbers}.",
            f"Neither stands out against the other: {numbers}.",
        )
    else:
        first = say.one(
            f"The {high} more than the {low}: {numbers}.",
            f"The map points more at the {high}: {numbers}.",
            f"It is higher over the {high}: {numbers}.",
            f"The {high}, with {format_score(above)} against {format_score(below)} for the {low}.",
        )
    return sentences(
        first,
        say.maybe(
            f"Both are {level(above)}." if level(above) == level(below) else
            f"In words, {level(above)} and {level(below)}."
        ),
    )  # fmt: skip


@needs_map
def each_of(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How do these parts read? asked: keys of ASKABLE, three or more."""
    listed = join_words(f"{format_score(facts.value(ASKABLE[words]))} for the {words}" for words in asked)
    return say.one(f"The map has {listed}.", f"One by one: {listed}.")


@needs_map
def strongest(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which part has the highest value?"""
    (name, value), (second, after) = facts.parts[:2]
    low = (
        "" if marked(facts, [name]) else f", though that is only {level(value)}"
    )  # no sign, but the most there is
    return sentences(
        say.one(
            f"{capital(the(name))}, with {format_score(value)} of 1{low}.",
            f"The highest value is over {the(name)}: {format_score(value)}{low}.",
            f"{capital(at(name, value))} is the strongest{low}.",
        ),
        say.maybe(f"Next comes {at(second, after)}.", often=0.7),
        "" if low else _how_much(facts, say),
    )


@needs_map
def weakest(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which part has the lowest value?"""
    name, value = facts.parts[-1]
    return sentences(
        say.one(
            f"{capital(the(name))}, with {format_score(value)} of 1.",
            f"The lowest value is over {the(name)}: {format_score(value)}.",
            f"The map is lowest over {the(name)}, at {format_score(value)}.",
        ),
        say.maybe(f"The highest is {at(*facts.parts[0])}."),
    )


@needs_map
def ranking(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Every part in order."""
    listed = join_words(f"{region_words([name])} {format_score(value)}" for name, value in facts.parts)
    return sentences(
        say.one(f"From high to low: {listed}.", f"In order: {listed}.", f"The map reads {listed}."),
        say.maybe(f"The whole face has a mean of {format_score(facts.value([WHOLE_FACE]))}."),
    )


@needs_map
def spread(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """How far do the parts differ?"""
    ends = f"from {at(*facts.parts[-1])} to {at(*facts.parts[0])}"
    if facts.even:
        return say.one(
            f"Little: the parts range {ends}, so none of them stands out.",
            f"They are close together, {ends}. The map singles out no part.",
        )
    return say.one(
        f"The values range {ends}, so {the(facts.parts[0][0])} stands out.",
        f"Clearly: they range {ends}.",
    )


@needs_map
def where(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Where are the signs?"""
    top = join_words(at(name, value) for name, value in facts.parts[:2])
    if facts.verdict == "real":
        return say.one(
            f"Nowhere: no sign of manipulation was found. The highest values of the map are {top}.",
            f"No place is named, since nothing was found; the map reaches {top}, and no more.",
        )
    if not facts.regions:
        return say.one(
            f"The map singles out no region. Its highest values are {top}.",
            f"I cannot place it: no region stands out, though the highest are {top}.",
        )
    listed = join_words(at(name, facts.value([name])) for name in facts.regions)
    hedge = "" if facts.verdict == "fake" else " There is no verdict, so this is only what the map shows."
    return (
        say.one(
            f"The map points at {listed}.",
            f"Mostly at {region_words(facts.regions)}: {listed}.",
            f"Look at {listed}.",
        )
        + hedge
    )


def colours(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """What do the colours of the map mean?"""
    meaning = say.one(
        "The warmer a place is coloured, the more it reads as manipulated; the values go from 0 to 1.",
        "Each pixel is coloured by how much it reads as manipulated, from 0 to 1, warm for high values.",
    )
    if facts.score is None:
        return sentences(say.one(*NO_MAP), meaning)
    here = say.one(
        f"Here the warmest part is {at(*facts.parts[0])}.",
        f"Here {at(*facts.parts[0])} is highest and {at(*facts.parts[-1])} lowest.",
    )
    return sentences(meaning, here)


def _elsewhere(facts: Facts, names: tuple[str, ...], hot: bool, say: Phrasing) -> str:
    name, value = facts.parts[0]
    if name in names:
        return say.maybe("No part of the face has more.", often=0.4) if facts.value(names) == value else ""
    if hot:
        return say.maybe(f"The highest part is {at(name, value)}.", often=0.4)
    return say.maybe(f"It is highest over {at(name, value)}.", often=0.5)


def _how_much(facts: Facts, say: Phrasing) -> str:
    value = facts.parts[0][1]
    if facts.even:
        return say.maybe("But the parts differ little, so this says not much.", often=0.8)
    return say.maybe(f"That is {level(value)}.", often=0.6)


def plural(words: str) -> bool:
    return len(ASKABLE[words]) > 1 or words == "lips"


@needs_map
def other_part(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Is something manipulated that has no value on the map? asked: one of OTHER_PARTS."""
    words, top = f"the {asked[0]}", at(*facts.parts[0])
    have = "have no places of their" if asked[0].endswith(("s", "teeth")) else "has no place of its"
    return say.one(
        f"I have no value for {words}. Of the parts that the map has, {top} is highest.",
        f"That I cannot say: {words} {have} own on the map. What it has is {top}, for example.",
        f"The map does not tell {words} apart. Its highest part is {top}.",
    )


@needs_map
def marked_parts(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which parts lie above the middle of the scale?"""
    above = [at(name, value) for name, value in facts.parts if value >= MARKED]
    if not above:
        return say.one(
            f"None of them: even {at(*facts.parts[0])} stays below 0.50.",
            f"No part reaches 0.50; the nearest is {at(*facts.parts[0])}.",
        )
    return say.one(f"Above the middle: {join_words(above)}.", f"At 0.50 or more: {join_words(above)}.")


@needs_map
def runner_up(facts: Facts, asked: tuple[str, ...], say: Phrasing) -> str:
    """Which part comes second?"""
    return say.one(
        f"{capital(at(*facts.parts[1]))}, behind {at(*facts.parts[0])}.",
        f"Second comes {at(*facts.parts[1])}.",
    )
