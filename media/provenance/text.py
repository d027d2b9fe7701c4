"""Texts out of strangers' files."""

from __future__ import annotations

MAX_TEXT = 160  # characters


def clean(value: object) -> str:
    """A value as one short line without control characters."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    text = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_TEXT]).split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
