"""A plain answer out of the facts, for where no wording of the language model agrees with them."""

from __future__ import annotations

import random
from collections.abc import Collection

from data_sim.dialogue import Case
from data_sim.dialogues import on_finding, on_map
from data_sim.dialogues.conversation import FULL
from data_sim.dialogues.facts import Facts
from data_sim.dialogues.phrasing import Phrasing, sentences
from llm.checks.topics import parts_asked, plain_topics
from media.regions import REGION_NAMES

PREFACE = "Here is what the examination says."
WORDINGS = 8  # that are tried for one that was not said before


def plain_answer(case: Case, question: str, said: Collection[str] = ()) -> str:
    """One or two sentences composed from the facts: on the parts asked about, on what the question is plainly
    about, else on the finding.

    said: earlier answers of the conversation, not to be repeated where there is another wording.
    Never empty, and the same for the same arguments.
    """
    if case.score is not None and {name for name, _ in case.heat} != set(REGION_NAMES):
        return sentences(PREFACE, _finding(case))
    facts = case if isinstance(case, Facts) else Facts.of(case)
    for seed in range(WORDINGS):
        answer = _composed(facts, question, Phrasing(random.Random(seed), terse=True))
        if answer not in said:
            break
    return answer


def _composed(facts: Facts, question: str, say: Phrasing) -> str:
    asked = parts_asked(question)
    if len(asked) > 1:
        return on_map.compare(facts, asked[:2], say)
    if asked:
        return on_map.region_value(facts, asked, say)
    if likest := plain_topics(question):
        return FULL.composed[likest[0]][1](facts, (), say)
    return sentences(PREFACE, on_finding.verdict(facts, (), say))


def _finding(case: Case) -> str:
    words = {"fake": "Signs of manipulation were found", "real": "No signs of manipulation were found"}
    return f"{words.get(case.verdict, 'There is no verdict')}; the score is {case.score:.2f}."
