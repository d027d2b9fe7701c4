"""Answers read clause by clause: where one ends, what it denies, and what it does not claim at all."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BREAK = re.compile(
    r"(?<=[.;:!?])\s+|,?\s+(?:but|although|though|whereas)\s+|,\s+(?:and|so|yet|because|since|while|which)\s+"
)
FIRST = re.compile(r"^\W*(yes|no|inconclusive)\b(?=\s*(?:[,.;:!]|$))\W*", re.IGNORECASE)
NEGATION = re.compile(
    r"\b(?:no|not|never|nothing|none|nobody|neither|nor|nowhere|without|cannot|against|lacks?|free of"
    r"|absence)\b|n't\b"
)
# Before a claim these take it back into the realm of the possible, the general or the merely spoken about.
OPEN = re.compile(
    r"\b(?:if|whether|would|could|might|may|can|cannot|can't|unless|until|before|how|prov\w+|proof|establish\w*"
    r"|certif\w+|guarantee\w*|means?|rules? out|exclud\w+|estimate|about|looks? for|separates?|i examine"
    r"|neither|for or against|not (?:even )?settled|leans? towards)\b|^(?:please )?(?:do not|don't)\b"
)
_GENERAL = re.compile(
    r"\b(?:deepfakes|forgeries|manipulations|faces|photographs|photos|images|pictures or videos|people|values"
    r"|every|usually|the word|a deepfake (?:is|shows|means)|a place|from zero|to one"
    r"|a (?:convincing|forged|careful) \w+)\b"
)
_COMPOUND = re.compile(
    r"\b(?:knowledge-guided )?(?:forgery|deepfake|manipulation) (?:score|detector|detection|map)s?\b"
)
# Words of a claim that claim nothing of this face: which proposition is supported, other people's pictures.
_NEUTRAL = re.compile(
    r"(?<=support for )(?:a )?(?:manipulation|genuine photograph)|\bforged (?:ones|faces)\b|\bgenuine faces\b"
    r"|\bno sign of it there\b|\ba forgery can be missed\b|\blittle in it reads like a manipulation\b"
    r"|\bframes from [\d:.]+ to [\d:.]+(?: and [\d:.]+ to [\d:.]+)* read as manipulated\b"
    r"|\bno stretch of the video reads as manipulated\b"
)


@dataclass(frozen=True)
class Clause:
    """One clause; words: lower case, names of our own instruments blanked. text: as written."""

    text: str
    words: str

    def negated(self, end: int) -> bool:
        """Tell whether what comes before `end` denies what stands there. Two negations cancel out."""
        return len(NEGATION.findall(self.words[:end])) % 2 == 1

    def asserted(self, end: int) -> bool:
        """Tell whether the clause claims what stands at `end`, rather than asks, supposes or generalises."""
        return not (OPEN.search(self.words[:end]) or _GENERAL.search(self.words) or self.text.endswith("?"))


def split_clauses(answer: str) -> list[Clause]:
    """The clauses of a text, its leading Yes, No or Inconclusive left out."""
    body = FIRST.sub("", answer.strip().replace("’", "'"))
    parts = [part for part in _BREAK.split(body) if part.strip()]
    return [Clause(part, _NEUTRAL.sub("it", _COMPOUND.sub("measure", part.lower()))) for part in parts]


def first_word(answer: str) -> str | None:
    """The Yes, No or Inconclusive that an answer opens with, in lower case; None where it does not."""
    first = FIRST.match(answer.strip())
    return first[1].lower() if first else None
