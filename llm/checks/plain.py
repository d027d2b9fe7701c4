"""A plain answer out of the facts, for where no wording of the language model agrees with them."""

from __future__ import annotations

import random
import re

from data_sim.dialogue import ASKABLE, Case
from data_sim.dialogues import on_finding, on_map
from data_sim.dialogues.facts import Facts
from data_sim.dialogues.phrasing import Phrasing, sentences
from media.regions import REGION_NAMES

_PLACE = re.compile(r"\b(" + "|".join(sorted(ASKABLE, key=len, reverse=True)) + r")\b")
PREFACE = "Here is what the examination says."


def plain_answer(case: Case, question: str) -> str:
    """One or two sentences composed from the facts: on the parts asked about, else on the finding.

    Never empty, and the same for the same case and question.
    """
    say = Phrasing(random.Random(0), terse=True)
    if case.score is not None and {name for name, _ in case.heat} != set(REGION_NAMES):
        return sentences(PREFACE, _finding(case))
    facts = case if isinstance(case, Facts) else Facts.of(case)
    asked = tuple(dict.fromkeys(place[1] for place in _PLACE.finditer(question.lower())))
    if len(asked) > 1:
        return on_map.compare(facts, asked[:2], say)
    if asked:
        return on_map.region_value(facts, asked, say)
    return sentences(PREFACE, on_finding.verdict(facts, (), say))


def _finding(case: Case) -> str:
    words = {"fake": "Signs of manipulation were found", "real": "No signs of manipulation were found"}
    return f"{words.get(case.verdict, 'There is no verdict')}; the score is {case.score:.2f}."
