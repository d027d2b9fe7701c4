"""Answers of a model that is told all facts, held against the values of these facts.

Such a model may name any region, whatever the verdict: what it says of one must be what the map shows there.
Numbers may be quoted as the prompt tells them, and no others.
"""

from __future__ import annotations

import re

from common.verdicts import Verdict
from data_sim.dialogue import ASKABLE, format_score
from data_sim.dialogues.facts import CLOSE, Facts, told
from data_sim.dialogues.phrasing import LEVELS, level, marked, the
from media.regions import WHOLE_FACE

_PLACES = {f"both {words}": names for words, names in ASKABLE.items() if len(names) > 1} | ASKABLE
_PLACE = re.compile(r"\b(" + "|".join(sorted(_PLACES, key=len, reverse=True)) + r")\b")
_NUMBER = re.compile(r"(?<![\w.:])(\d+(?:[.,]\d+)?)(?![\d:])(\s*(?:%|percent\b|per cent\b))?")
_TIME = re.compile(r"\b\d+:\d\d(?:\.\d)?\b")
_SCALE = re.compile(
    r"\b(?:of|to|out of) 1(?:\.0+)?\b(?![.:]\d)|\b(?:[Oo]f|[Ii]n) (?:every )?100\b(?! ?%)"
    r"|(?<![\d.:])0(?:\.0+)? (?:to|and) 1(?:\.0+)?\b(?![.:]\d)"
)
_PART = re.compile(
    r";|(?<!\d),(?!\d)|[.!?](?=\s|$)|:\s|\b(?:and|with|against|while|but|than)\b"
)  # parts of a sentence in which a number belongs to the only place named
_THERE = re.compile(  # said of the place of the part before: "the value there is 0.18", ", which is low"
    r"(?:value|figure|reading|\.\d\d(?: of 1)?) there\b|^\s*which (?:is|are)\b"
)
_UNKNOWN = re.compile(  # "the map does not mark the crunchy part"
    rf"\bmap (?:does not mark|marks) the (?!(?:whole |entire )?face\b|{_PLACE.pattern})([^.,;]+)"
)
_LEVELS = tuple(words for _, words in LEVELS)
_LEVEL_WORDS = "(" + "|".join(sorted(_LEVELS, key=len, reverse=True)) + r")\b"
_LEVEL = re.compile(r"(?<!not )(?<!too )\b" + _LEVEL_WORDS)
_SCORE_LEVEL = re.compile(  # "the score is 0.98, which is low"; "it has a low score"
    r"\bscore(?:,? (?:is|of|was|reads|at))?(?: only| just)?(?: [01]\.\d\d)?(?: (?:out )?of 1)?,?"
    r"(?: (?:which|that|this|it))?(?: (?:is|was|reads|counts as|lies))?"
    r"(?: (?:an?|quite|rather|fairly|clearly|so))? "
    + _LEVEL_WORDS
    + r"|\b(?:has|have|got|with) an? "
    + _LEVEL_WORDS
    + r" score\b"
)
_NO_VERDICT = re.compile(
    r"\b(?:not (?:\w+ )?enough|too (?:low|weak|close|little|high))"
    r" (?:for|to (?:reach|give|allow)) (?:a|any) verdict\b"
)
_HIGHEST = re.compile(r"(?<!second )(?<!third )(?<!next )\b(?:highest|strongest|most of all)\b")
_LOWEST = re.compile(r"\b(?:lowest|weakest|least)\b")
_EXTREME = r"(?<!second )(?<!third )(?<!next )(?<!not )\b(highest|strongest|lowest|weakest)\b"
# The place that is said to be the extreme one, before it ("the nose at 0.22 is the highest") and behind it.
_CALLED = (
    re.compile(
        _PLACE.pattern + r"(?:,? (?:at|with) [01]\.\d\d(?: of 1)?,?)?"
        r" (?:is|are|has|have|shows?)(?: the)? " + _EXTREME
    ),
    re.compile(
        _EXTREME + r"(?: (?:value|part|point|sign|place|region))?"
        r"(?:,? (?:is|over|in|at|on|around))* (?:the )?" + _PLACE.pattern
    ),
)
# What the map is said to point at: "Look at the nose at 0.81 and the chin", not "it points more at the nose".
_POINTED = re.compile(
    r"(?:\b(?:map|signs?) (?:mostly |mainly |clearly |weakly )?(?:points?|marks?) (?:mostly |weakly )?"
    r"(?:at |to )?|(?:^|[.:;] )(?:mostly at |look (?:first |mostly )?at |(?:the )?signs? (?:is|are) at ))"
    r"(?!no\b|more\b)([^.;:]*(?:\.\d[^.;:]*)*)"
)
_OTHERWISE = re.compile(r"\b(?:but|while|not|than|against|although|though|only)\b")
_OF_PARTS = re.compile(r"\b(?:parts?|values?|map|is|region|sign)\b")
_FIRST = re.compile(r"^\W*(yes|no)\b", re.IGNORECASE)
_CHECKED = re.compile(  # questions whose Yes or No says whether the map marks the part
    r"^(?:and |so |but )?(?:is|are|was|were|does|do|has|have|did)\b.*\b(?:manipulat|forg|fak|alter|chang|edit"
    r"|touch|mark|swap|tamper|replac|point|suspic)\w*"
)
_BLURRED = re.compile(r"\b(?:[Ii]t|face|picture|photograph|copy) is (?:too |very |quite )?blur(?:red|ry)\b")
_SHARP = re.compile(r"\bis (?:not blur(?:red|ry)|sharp(?: enough)?)\b")
# What answers say beside the facts: the middle of the scale, and the smallest face that is read.
CONSTANTS = ("0.5", "0.50", "50", "48")


def value_faults(answer: str, facts: Facts, question: str | None = None) -> list[str]:
    """List the numbers and statements about regions in an answer that are not those of the facts.

    question: the question answered, if known; it tells whether a leading Yes or No speaks of a region.
    Returns messages such as "number: ..." and "region: ...", none twice; empty where all agrees.
    """
    found = [*_numbers(answer, facts), *_sharpness(answer, facts)]
    if facts.score is not None:
        found += [*_places(answer, facts), *_pointed(answer, facts)]
        found += [*_first_word(answer, facts, question), *_score(answer, facts)]
    return list(dict.fromkeys(found))


def _numbers(answer: str, facts: Facts) -> list[str]:
    known = told(facts)
    times = set(_TIME.findall(known))
    allowed = {m[1] for m in _NUMBER.finditer(_TIME.sub("", known))} | set(CONSTANTS)
    allowed |= {f"{100 * float(words):.0f}" for words in allowed if re.fullmatch(r"[01]\.\d\d", words)}
    allowed |= {str(count) for count in range(len(facts.others) + 2)}  # faces are counted and numbered
    text = _SCALE.sub("", answer)
    wrong = [time for time in _TIME.findall(text) if time not in times]
    wrong += [
        m[0].strip() for m in _NUMBER.finditer(_TIME.sub("", text)) if m[1].replace(",", ".") not in allowed
    ]
    return [f"number: quotes {number}, which the facts do not hold" for number in wrong]


def _sharpness(answer: str, facts: Facts) -> list[str]:
    """What is wrong with how sharp the face is said to be."""
    if _BLURRED.search(answer) and not facts.is_blurred:
        return ["blur: calls the face blurred, it is not"]
    return ["blur: calls the face sharp, it is blurred"] if _SHARP.search(answer) and facts.is_blurred else []


def _score(answer: str, facts: Facts) -> list[str]:
    """What is wrong with the level that the score is said to have, or with a verdict said to be missing."""
    text, found = answer.lower(), []
    said = _SCORE_LEVEL.search(text)
    if said and _levels_apart(said[1] or said[2], [facts.score]) > 1:
        found.append(f"score: calls it {said[1] or said[2]}, it is {format_score(facts.score)}")
    if _NO_VERDICT.search(text) and facts.verdict != Verdict.INCONCLUSIVE:
        found.append(f"verdict: says that there is none, it is {facts.verdict}")
    return found


def _places(answer: str, facts: Facts) -> list[str]:
    found = _called(answer.lower(), facts)
    found += [f"region: the map has no {place}" for place in _UNKNOWN.findall(answer.lower())]
    (top, highest), (bottom, lowest) = facts.parts[0], facts.parts[-1]
    before: list[str] = []
    for part in _PART.split(_SCALE.sub("", answer.lower())):
        places = [place[1] for place in _PLACE.finditer(part)]
        if not places and _THERE.search(part):
            places = before
        before = places
        if len(places) != 1:
            continue
        words, own = places[0], [facts.value([name]) for name in _PLACES[places[0]]]
        quoted = [m[1].replace(",", ".") for m in _NUMBER.finditer(part) if not m[2]]
        decimals = [number for number in quoted if re.fullmatch(r"[01]\.\d\d", number)]
        values = {format_score(value) for value in own}
        if len(decimals) == 1 and decimals[0] not in values and "score" not in part:
            shown = ", ".join(sorted(values))
            found.append(f"region: gives the {words} {decimals[0]}, the map has {shown} there")
        said = _LEVEL.search(part)
        if said and "score" not in part and _levels_apart(said[1], own) > 1:
            found.append(f"region: calls the {words} {said[1]}, it is {level(max(own))}")
        if decimals or not _OF_PARTS.search(part):
            continue
        if _HIGHEST.search(part) and max(own) < highest - CLOSE:
            found.append(f"region: calls the {words} the highest, that is {the(top)}")
        if _LOWEST.search(part) and min(own) > lowest + CLOSE:
            found.append(f"region: calls the {words} the lowest, that is {the(bottom)}")
    return found


def _pointed(answer: str, facts: Facts) -> list[str]:
    """What is wrong with the places that the map is said to point at: to be told where to look accuses."""
    return [
        f"region: points at the {place}, where the map reaches {format_score(facts.value(_PLACES[place]))}"
        for pointed in _POINTED.findall(answer.lower())
        for place in _PLACE.findall(_OTHERWISE.split(pointed, maxsplit=1)[0])
        if not marked(facts, _PLACES[place]) and not {*_PLACES[place], WHOLE_FACE} & set(facts.regions)
    ]


def _levels_apart(said: str, values: list[float]) -> int:
    """By how many steps of LEVELS a word misses the nearest of some values."""
    return min(abs(_LEVELS.index(said) - _LEVELS.index(level(value))) for value in values)


def _called(text: str, facts: Facts) -> list[str]:
    """What is wrong with the places that a text names in one breath with "highest" or "lowest"."""
    (top, highest), (bottom, lowest) = facts.parts[0], facts.parts[-1]
    found = []
    for pattern in _CALLED:
        for words in pattern.findall(text):
            extreme, place = sorted(words, key=_PLACES.__contains__)
            own = [facts.value([name]) for name in _PLACES[place]]
            if extreme in ("highest", "strongest") and max(own) < highest - CLOSE:
                found.append(f"region: calls the {place} the highest, that is {the(top)}")
            elif extreme in ("lowest", "weakest") and min(own) > lowest + CLOSE:
                found.append(f"region: calls the {place} the lowest, that is {the(bottom)}")
    return found


def _first_word(answer: str, facts: Facts, question: str | None) -> list[str]:
    asked = question.lower().strip() if question else ""
    places, first = {place[1] for place in _PLACE.finditer(asked)}, _FIRST.match(answer)
    if len(places) != 1 or not first or not _CHECKED.search(asked):
        return []
    words = places.pop()
    hot = marked(facts, _PLACES[words])
    if (first[1].lower() == "yes") == hot:
        return []
    value = format_score(facts.value(_PLACES[words]))
    return [f"region: says {first[1]} of the {words}, where the map reaches {value}"]
