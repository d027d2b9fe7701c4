"""The narrative of a report: findings, both sides, limits and advice about a face, in connected sentences.

The language model writes it from the evidence, each sentence held against that like an answer's. What it does
not manage is composed out of the facts, and so is the whole where no model was asked.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.analysis import Passage
from data_sim.dialogue import Case
from data_sim.dialogues.conversation import FULL
from data_sim.dialogues.facts import Facts
from data_sim.dialogues.phrasing import Phrasing
from llm.checks.on_topic import is_of
from llm.checks.plain import plain_answer
from llm.serving.endpoint import EndpointError

if TYPE_CHECKING:
    from llm.conversation import Conversation
    from llm.serving.conversation import RemoteConversation

# Topic of data_sim.dialogues, the heading, and what the language model is asked.
PASSAGES = (
    ("findings", "Findings", "What are the findings?"),
    ("for_and_against", "For and against", "What speaks for and against it?"),
    ("limits_here", "Limits", "What are the limits of this finding?"),
    ("recommendation", "Recommendation", "What do you recommend?"),
)
MAX_TOKENS = 200  # of a passage; one that is longer ends with its last whole sentence
_UNFINISHED = re.compile(r"(?<=[.!?])\s+[^.!?]*$|^[^.!?]*$")


def composed_narrative(case: Case) -> tuple[Passage, ...]:
    """The narrative out of the facts, always the same for a case; empty where not all facts are known."""
    return tuple(_composed(topic, heading, case) for topic, heading, _ in PASSAGES if isinstance(case, Facts))


def written_narrative(conversation: Conversation | RemoteConversation, case: Case) -> Iterator[Passage]:
    """The passages of the narrative as the language model writes them, one by one, in a conversation that
    nothing else is asked in; none where not all facts are known.

    case: all that is known of the face, for what the model does not manage: fails to send, contradicts, or
    answers with something else than what stands above it.
    """
    for topic, heading, question in PASSAGES if isinstance(case, Facts) else ():
        plain = plain_answer(conversation.case, question, conversation.said)
        try:
            answer = "".join(conversation.ask(question, MAX_TOKENS, checked=True))
        except (EndpointError, ValueError):  # unreachable, or full
            answer = ""
        text = _UNFINISHED.sub("", answer) if not answer.endswith((".", "!", "?")) else answer
        own = answer != plain and is_of(text, case, [topic])
        yield Passage(heading, text, True) if own else _composed(topic, heading, case)


def _composed(topic: str, heading: str, facts: Facts) -> Passage:
    return Passage(heading, FULL.composed[topic][1](facts, (), Phrasing(random.Random(0))), False)
