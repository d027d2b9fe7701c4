"""Conversations as people write them, judged: docs/conversations.yaml by the rules of llm.checks.pointed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_sim.dialogues.facts import Facts, told
from evaluation.metrics.classification import share_of
from llm.checks.claims import contradictions
from llm.checks.garbled import garbled
from llm.checks.pointed import Asked, states_a_fact, to_the_point


class Answered(Protocol):
    """A question and what was answered. composed: the answer is not the language model's, but by rules."""

    question: str
    answer: str
    composed: bool


@dataclass(frozen=True)
class Talk:
    """One conversation: the facts of the face, the questions, and the answers, one for each."""

    facts: Facts
    asked: Sequence[Asked]
    turns: Sequence[Answered]


def judged(talks: Iterable[Talk]) -> dict[str, object]:
    """The shares of all answers, each with its interval, and the answers themselves.

    to_the_point, facts (of this case), repeated (word for word), contradiction, garbled, composed;
    to_the_point_in_own_words: of the answers that were not composed. answers: each with what was found.
    """
    answers = [one for number, talk in enumerate(talks) for one in _judged(number, talk)]
    shares = {
        name: share_of([bool(one[name]) for one in answers])
        for name in ("to_the_point", "facts", "repeated", "contradiction", "garbled", "composed")
    }
    own = [bool(one["to_the_point"]) for one in answers if not one["composed"]]
    return {**shares, "to_the_point_in_own_words": share_of(own), "answers": answers}


def _judged(number: int, talk: Talk) -> Iterable[dict[str, object]]:
    said: list[str] = []
    for asked, turn in zip(talk.asked, talk.turns, strict=True):
        reply = turn.answer
        yield {
            "conversation": number,
            "rule": f"{asked.rule} {asked.detail}".strip(),
            "question": asked.question,
            "answer": reply,
            "to_the_point": to_the_point(asked, reply, talk.facts),
            "facts": states_a_fact(reply, talk.facts),
            "repeated": reply in said,
            "contradiction": contradictions(reply, talk.facts, asked.question, check_regions=False),
            "garbled": garbled(reply),
            "composed": turn.composed,
            "told": told(talk.facts),
        }
        said.append(reply)
