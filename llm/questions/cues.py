"""What a question asks for: by the words that people use for it (cues.yaml, first found first) and by its
likeness to the wordings of training (llm.questions.likeness), weighed against each other.

A question is cut into its sentences, and where "and" joins two questions, there as well: each may ask for
something else. What stands beside a question ("I took it myself. Why do you say so?") is context, and a
greeting or thanks beside anything else is manners.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

import yaml

from llm.questions.likeness import LIKELY, SURE, Ear, by_letters, likest_topic
from llm.questions.spelling import plain_spelling

MOST = 2  # things that are answered at once
MANNERS = ("greeting", "thanks")
# What these cue is never taken for the question that it resembles: an order, and which end of the map.
_PRECISE = ("obey", "other_language", "strongest", "weakest")
_PIECES = re.compile(
    r"(?<=[.?!;])\s+|\s+and\s+(?=(?:what|who|where|when|how|why|is|are|does|should|which)\b)"
)
_ASKS = re.compile(
    r"\?\W*$|^\W*(?:and |so |but )?(?:what|who|whose|where|when|how|why|which|is|are|does|do|did|can|could"
    r"|would|should|was|were|will|has|have)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b(?:[Ii]s|[Ww]as) (?:it|this|that|he|she) (?:really |actually )?[A-Z][a-z]+ [A-Z]")
_SCRIPT = re.compile(
    r"[\u0370-\u05ff\u0600-\u06ff\u0900-\u097f\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af¿¡]"
)


@lru_cache(maxsize=1)
def load_cues() -> list[tuple[str, re.Pattern[str]]]:
    """cues.yaml: (topic, a pattern that finds its cues in plain spelling), in the order of the file."""
    raw = yaml.safe_load((files("llm.questions") / "cues.yaml").read_text(encoding="utf-8"))
    words: dict[str, str] = {}
    for name, pattern in raw["words"].items():
        words[name] = _filled(pattern, words)
    return [
        (entry.split()[0], re.compile("|".join(f"(?:{_filled(pattern, words)})" for pattern in patterns)))
        for entry, patterns in raw["topics"].items()
    ]


def _filled(pattern: str, words: Mapping[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda name: words[name[1]], pattern)


def cued_topics(question: str, likely: bool = True, ear: Ear = by_letters) -> list[str]:
    """The topics that a question asks for, in its order, at most MOST; empty where none is plain.

    likely: also where one topic is no more than likely. ear: what hears likeness.
    """
    pieces = [piece for piece in _PIECES.split(question) if piece.strip(" .?!")]
    found = [
        (topic, _ASKS.search(piece) is not None) for piece in pieces if (topic := _cued(piece, likely, ear))
    ]
    if len(pieces) > 1 and not found:
        whole = _cued(question, likely, ear)
        return [whole] if whole else []
    found = [one for one in found if one[0] not in MANNERS] or found
    asked = [one for one in found if one[1]] or found
    return list(dict.fromkeys(topic for topic, _ in asked))[:MOST]


def _cued(piece: str, likely: bool, ear: Ear) -> str | None:
    if len(_SCRIPT.findall(piece)) > 0:
        return "other_language"
    if _NAME.search(piece):
        return "identity"
    words = plain_spelling(piece)
    cued = next((topic for topic, pattern in load_cues() if pattern.search(words)), None)
    if cued in _PRECISE or " " not in words:  # one word is too little to be like anything
        return cued
    likest, lead = likest_topic(piece, ear, cued)
    return likest if lead >= (LIKELY if likely else SURE) else None
