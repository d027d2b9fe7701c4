"""Sentences that are no English any more, by signs that one can count.

A small language model that loses its way stutters, breaks off, or puts marks into the text. `garbled` names
these signs; it knows nothing of grammar or of invented words, and a dull or wrong sentence is not garbled.
"""

from __future__ import annotations

import re

STUTTER = re.compile(r"\b(\w+(?: \w+){0,3})(?:[ ,]+\1\b){1,}", re.IGNORECASE)  # "the the", "of the of the"
MARKS = re.compile(r"<[^>]*>|###|\||\{|\}|\[|\]|�|\\u|https?:")
BROKEN = re.compile(r"[,;:]\s*[.!?]|\s[,.;!?]|\(\s*\)|[a-z][.!?]\s*[a-z]{2}|(?:^|\s)[,;:]")
ENDINGS = (".", "!", "?")
_REPEATABLE = {"that", "had", "very", "no", "so"}  # "that that" is English at times


def garbled(text: str) -> list[str]:
    """The signs found in a text: "stutter: ...", "marks: ...", "broken: ..." or "unfinished"."""
    found = [
        f"stutter: {match[0]}" for match in STUTTER.finditer(text) if match[1].lower() not in _REPEATABLE
    ]
    found += [f"marks: {match[0]}" for match in MARKS.finditer(text)]
    found += [f"broken: {match[0].strip()!r}" for match in BROKEN.finditer(text)]
    if not text.rstrip("\"')”").endswith(ENDINGS):
        found.append("unfinished")
    return found
