"""Questions as they are typed, put into plain spelling."""

from __future__ import annotations

import re

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
