"""Answers held against the case sentence by sentence, wherever the language model runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from data_sim.dialogue import Case
from data_sim.dialogues.facts import Facts
from llm.checks.claims import MINOR, NO_FAULT, SEVERE, fault
from llm.checks.on_topic import beside_the_point
from llm.questions.likeness import Ear, by_letters

DRAWS = 6  # wordings of a sentence that are tried before it is given up
FIRST_DRAWS = 3  # of an answer's first sentence, for which a composed one can stand
REDRAW_TEMPERATURE = 0.7  # of every wording after the first

_END = r"(?:[^\d\s]|\d\d)[.!?]"  # not after a single digit: that may be the 0 of a score
_SENTENCE_END = re.compile(_END + "$")
_INNER_END = re.compile(_END + r"[\"')\]*]*(?=\s)")


@dataclass(frozen=True)
class Draft:
    """One way of going on with an answer by a sentence.

    text: the whole answer so far, the new sentence included. ended: the model closed the answer there.
    state: what the writer needs to go on from here. first: the sentence is the answer's first.
    """

    text: str
    ended: bool
    state: Any = None
    first: bool = False


def agreed(
    drafts: Iterable[Draft],
    case: Case,
    question: str,
    said: Collection[str] = (),
    ear: Ear = by_letters,
) -> Draft | None:
    """The first draft without fault, else the one that is least at fault.

    drafts: drawn one by one, only as many as are needed. said: earlier answers of the conversation; to say
    one of them again word for word is a fault that can be borne. ear: what hears what a question asks for.
    Returns None when none can be borne: each contradicts the case (llm.checks.claims.fault), or begins an
    answer that is beside the point (llm.checks.on_topic).
    """
    tries: list[tuple[int, Draft]] = []
    for draft in drafts:
        tries.append((_grade(draft, case, question, said, ear), draft))
        if tries[-1][0] == NO_FAULT:
            break
    found, best = min(tries, key=lambda one: one[0])
    return None if found == SEVERE else best


def _grade(draft: Draft, case: Case, question: str, said: Collection[str], ear: Ear) -> int:
    judged = draft.first and isinstance(case, Facts)
    if judged and beside_the_point(draft.text, case, question, said, ear):
        return SEVERE
    return max(fault(draft.text, case, question), MINOR if draft.text in said else NO_FAULT)


def ends_sentence(text: str) -> bool:
    """Tell whether a text that grows token by token ends a sentence here."""
    return _SENTENCE_END.search(text) is not None


def sentence_length(text: str) -> int | None:
    """Find where the first sentence of a text ends; None when more may belong to it.

    For text that arrives in pieces of any size: only a space behind the mark shows that it ends a sentence.
    """
    end = _INNER_END.search(text)
    return None if end is None else end.end()
