"""Sentences of the parts of a report that a court reads first and last."""

from __future__ import annotations

from collections.abc import Sequence

# The pair between which a likelihood ratio weighs; ENFSI's guideline asks a report to state both.
PROPOSITIONS = ("The face was manipulated.", "The face was not manipulated.")
PROPOSITIONS_LABEL = "Propositions"
OPINION_NOTE = (
    "This opinion is the examiner's own, and the examiner answers for it. Unmask neither wrote nor checked "
    "it; what Unmask found stands above and is not changed by it."
)
PHOTO_HEADING = "What was examined"
SIGNATURE_HEADING = "Signature"
SIGNATURE_LABELS = ("Place and date", "Signature")
ANNEX = "Annex: questions and answers"
FRAMES_HEADING = "Face {number}, frame by frame"


def propositions_words(propositions: Sequence[str] = PROPOSITIONS) -> str:
    """A pair of propositions as one row of the first page."""
    return " ".join(f"({number}) {text}" for number, text in enumerate(propositions, start=1))


def left_out_words(exchanges: int) -> str:
    """That a conversation took place which is not annexed; "" where there was none."""
    if not exchanges:
        return ""
    asked = "1 question was" if exchanges == 1 else f"{exchanges} questions were"
    return f"{asked} put to the language model; at the examiner's wish the conversation is not annexed."
