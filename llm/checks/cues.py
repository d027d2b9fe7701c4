"""What a question asks for, by the words that people use for it: cues.yaml, first found first.

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

MOST = 2  # things that are answered at once
MANNERS = ("greeting", "thanks")
_AS_MEANT = {  # as typed on a telephone, or pulled together
    "u": "you", "ur": "your", "r": "are", "y": "why", "pls": "please", "plz": "please", "wat": "what",
    "wud": "would", "shud": "should", "cud": "could", "cuz": "because", "dis": "this", "da": "the",
    "ppl": "people", "wdym": "what do you mean", "whats": "what is", "hows": "how is", "wheres": "where is",
    "whos": "who is", "thats": "that is", "its": "it is", "im": "i am", "youre": "you are", "dont": "do not",
    "doesnt": "does not", "didnt": "did not", "isnt": "is not", "arent": "are not", "wasnt": "was not",
    "cant": "cannot", "couldnt": "could not", "wont": "will not", "wouldnt": "would not", "ive": "i have",
    "id": "id", "lets": "let us", "gonna": "going to", "wanna": "want to", "smth": "something",
    "thru": "through", "rly": "really", "abt": "about", "tho": "though", "n": "and", "em": "them",
    "dunno": "do not know", "ill": "i will", "theyre": "they are", "hes": "he is", "shes": "she is",
    "aint": "is not", "gimme": "give me", "k": "okay", "foto": "photo", "dat": "that",
}  # fmt: skip
_SHORT = (
    ("n't", " not"),
    ("'re", " are"),
    ("'m", " am"),
    ("'ve", " have"),
    ("'ll", " will"),
    ("'d", " would"),
)
_IS = re.compile(r"\b(what|who|where|when|how|why|that|this|it|he|she|there|here|which)'s\b")
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
    raw = yaml.safe_load((files("llm.checks") / "cues.yaml").read_text(encoding="utf-8"))
    words: dict[str, str] = {}
    for name, pattern in raw["words"].items():
        words[name] = _filled(pattern, words)
    return [
        (entry.split()[0], re.compile("|".join(f"(?:{_filled(pattern, words)})" for pattern in patterns)))
        for entry, patterns in raw["topics"].items()
    ]


def _filled(pattern: str, words: Mapping[str, str]) -> str:
    return re.sub(r"<(\w+)>", lambda name: words[name[1]], pattern)


def plain_spelling(text: str) -> str:
    """A text in lower case, without marks, with what is pulled together or shortened written out."""
    text = _IS.sub(
        r"\1 is", text.lower().replace("’", "'").replace("can't", "cannot").replace("won't", "will not")
    )
    for short, full in _SHORT:
        text = text.replace(short, full)
    text = re.sub(r"100\s*%", "100 percent", text).replace("deep fake", "deepfake").replace("%", " percent ")
    words = re.findall(r"[^\W_]+", text.replace("'", ""))
    return " ".join(_AS_MEANT.get(word, word) for word in words)


def cued_topics(question: str) -> list[str]:
    """The topics that a question asks for by its words, in its order, at most MOST; empty where none is."""
    pieces = [piece for piece in _PIECES.split(question) if piece.strip(" .?!")]
    found = [(topic, _ASKS.search(piece) is not None) for piece in pieces if (topic := _cued(piece))]
    if len(pieces) > 1 and not found:
        whole = _cued(question)
        return [whole] if whole else []
    found = [one for one in found if one[0] not in MANNERS] or found
    asked = [one for one in found if one[1]] or found
    return list(dict.fromkeys(topic for topic, _ in asked))[:MOST]


def _cued(piece: str) -> str | None:
    if len(_SCRIPT.findall(piece)) > 0:
        return "other_language"
    if _NAME.search(piece):
        return "identity"
    words = plain_spelling(piece)
    return next((topic for topic, pattern in load_cues() if pattern.search(words)), None)
