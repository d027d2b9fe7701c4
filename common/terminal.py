"""Text of others, such as names of files, as a terminal can show it without obeying it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Write out what a terminal would obey or hide: control and escape characters, changes of the writing
    direction, halves of surrogate pairs. A line break becomes "\\n", so that one name stays on one line."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )
