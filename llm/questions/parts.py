"""Which parts of a face a question asks about, and which an answer has spoken of."""

from __future__ import annotations

import re
from collections.abc import Collection

from data_sim.dialogue import ASKABLE
from data_sim.dialogues.facts import CLOSE, Facts
from data_sim.dialogues.on_map import OTHER_PARTS

PART = re.compile(r"\b(" + "|".join(sorted(ASKABLE, key=len, reverse=True)) + r")\b")
_WORD = re.compile(r"[^\W\d_]+")
# The words of parts, by their letters in order: "mouht" has those of "mouth".
_SPELT = {"".join(sorted(word)): word for part in ASKABLE for word in part.split() if len(word) > 3}
_PAIRED = r"(?:eye ?brow|brow|eye|cheek)"
_EITHER = re.compile(  # "left or right eye", "eyes: left or right", "left brow or the right one"
    rf"\b(?:(left|right)(?: (?:one|side|{_PAIRED}))? (?:or|vs|versus|and) (?:the |his |her )?(?:left|right)"
    rf"(?: (?:one|side))? ({_PAIRED})s?"
    rf"|({_PAIRED})s?\b.{{0,20}}?\b(left|right)(?: one| side)? or (?:the )?(?:left|right)"
    rf"|(left|right) ({_PAIRED}) or (?:the )?(?:left|right)(?: one| side)?)\b"
)
_ALONE = {
    "eye": "eyes",
    "eyebrow": "eyebrows",
    "brow": "brows",
    "cheek": "cheeks",
    "lip": "lips",
    "jawline": "jaw",
}
_NAKED = re.compile(r"\b(?:naked|human|my|in the blink of an|an eye on|keep an) eyes?\b")
_OTHER = re.compile(r"\b(" + "|".join([*OTHER_PARTS, "ear", "tooth"]) + r")\b")
_ON_FILE = re.compile(r"\bscore\b")


def parts_asked(question: str) -> tuple[str, ...]:
    """The parts of the face that a question names, keys of ASKABLE, also with two letters swapped.

    "Left or right eye?" asks for both eyes, "the eye" for the eyes.
    """
    words = _WORD.sub(lambda word: _SPELT.get("".join(sorted(word[0])), word[0]), question.lower())
    words = _NAKED.sub("", words)
    if either := _EITHER.search(words):
        first = either[1] or either[4] or either[5]
        part = (either[2] or either[3] or either[6]).replace("eye brow", "eyebrow")
        return f"{first} {part}", f"{'left' if first == 'right' else 'right'} {part}"
    found = PART.findall(words)
    rest = PART.sub(" ", words)
    found += [_ALONE[word] for word in _WORD.findall(rest) if word in _ALONE]
    return tuple(dict.fromkeys(found))


def other_parts_asked(question: str) -> tuple[str, ...]:
    """What a question names that has no value on the map, such as the hair; in the words of OTHER_PARTS."""
    plural = {"ear": "ears", "tooth": "teeth"}
    return tuple(dict.fromkeys(plural.get(word, word) for word in _OTHER.findall(question.lower())))


def names_of(part: str, in_words: bool = True) -> tuple[str, ...]:
    """The regions that words for a part mean: as in an answer ("left eye"), or as the map names them."""
    names = ASKABLE[part]
    return tuple(name.replace("_", " ") for name in names) if in_words else names


def parts_spoken_of(said: Collection[str]) -> tuple[str, ...]:
    """The parts that the last answer spoke of first, at most two, keys of ASKABLE.

    None where it gave the score: "is that high?" is then about that.
    """
    last = list(said)[-1:] or [""]
    if _ON_FILE.search(last[0].lower()):
        return ()
    return tuple(dict.fromkeys(PART.findall(last[0].lower())))[:2]


def names_extreme(answer: str, facts: Facts, highest: bool) -> bool:
    """Does an answer name first a part where the map is highest, or lowest, or as good as that?"""
    ordered = facts.parts if highest else facts.parts[::-1]
    near = [name for name, value in ordered if abs(value - ordered[0][1]) <= CLOSE]
    places = re.findall("|".join(name.replace("_", " ") for name, _ in facts.parts), answer.lower())
    return bool(places) and places[0].replace(" ", "_") in near
