"""A plain answer out of the facts, for where no wording of the language model agrees with them."""

from __future__ import annotations

import random
import re
from collections.abc import Collection

from data_sim.dialogue import Case
from data_sim.dialogues import on_before, on_finding, on_map
from data_sim.dialogues.conversation import answer_to
from data_sim.dialogues.facts import Facts
from data_sim.dialogues.phrasing import Phrasing, sentences
from llm.questions.cues import cued_topics
from llm.questions.likeness import Ear, by_letters
from llm.questions.parts import other_parts_asked, parts_spoken_of
from llm.questions.spelling import plain_spelling
from llm.questions.topics import asks_whether_fake, of_parts, plain_topics
from media.regions import REGION_NAMES

PREFACE = "Here is what the examination says."
WORDINGS = 8  # that are tried for one that was not said before
# What is asked about a part that the question names, by the topic that its words cue.
_OF_PART = {
    "why": on_before.why_there,
    "why_there": on_before.why_there,
    "how_sure": on_before.sure_of_part,
    "sure_of_part": on_before.sure_of_part,
    "score_meaning": on_before.that_high,
    "that_high": on_before.that_high,
    "other_side": on_before.other_side,
    "likelihood": on_map.region_value,
}
_YES_OR_NO = re.compile(
    r"^(?:(?:and|so|but|then|okay|ok|also|now|well|please|hey|tell me)\s)*"
    r"(?:is|are|was|were|does|do|did|has|have)\b|\b(?:too|as well|aswell|also|right|no|or not|yes or no)$"
)
_BARE = 4  # words of a question that does no more than name a part


def plain_answer(case: Case, question: str, said: Collection[str] = (), ear: Ear = by_letters) -> str:
    """One or two sentences composed from the facts: on the parts asked about, on what the question asks for,
    else on the finding. A choice or a yes or no that was asked for comes first.

    said: earlier answers of the conversation: what a short question leans on, and not to be repeated where
    there is another wording. ear: what hears which topic a question is most like.
    Never empty, and the same for the same arguments.
    """
    if case.score is not None and {name for name, _ in case.heat} != set(REGION_NAMES):
        return sentences(PREFACE, _finding(case))
    facts = case if isinstance(case, Facts) else Facts.of(case)
    for seed in range(WORDINGS):
        answer = _composed(facts, question, said, ear, Phrasing(random.Random(seed), terse=True))
        if answer not in said:
            break
    return answer


def is_counted(question: str, ear: Ear = by_letters) -> bool:
    """Is a number of sentences asked for? A small language model cannot count; such answers are composed."""
    return bool({"two_sentences", "three_sentences"} & set(cued_topics(question, ear=ear)))


def _composed(facts: Facts, question: str, said: Collection[str], ear: Ear, say: Phrasing) -> str:
    if asked := of_parts(question, ear):
        return _on_parts(facts, asked, question, ear, say)
    topics, others = plain_topics(question, said, ear), other_parts_asked(question)
    if others and not set(topics) - {"verdict", "where", "why"}:
        return on_map.other_part(facts, others[:1], say)
    if not topics:
        return sentences(PREFACE, on_finding.verdict(facts, (), say))
    if topics[0] == "verdict" and not asks_whether_fake(question):
        topics[0] = "authentic"
    spoken = parts_spoken_of(said)
    return sentences(*(answer_to(topic, facts, spoken, say) for topic in topics))


def _on_parts(facts: Facts, asked: tuple[str, ...], question: str, ear: Ear, say: Phrasing) -> str:
    if len(asked) > 2:
        return on_map.each_of(facts, asked, say)
    if len(asked) == 2:
        return on_map.compare(facts, asked, say)
    cued = next((topic for topic in cued_topics(question, ear=ear) if topic in _OF_PART), "")
    words = plain_spelling(question)
    if cued:
        return _OF_PART[cued](facts, asked, say)
    bare = len(words.split()) <= _BARE
    return (on_map.region_check if bare or _YES_OR_NO.search(words) else on_map.region_value)(
        facts, asked, say
    )


def _finding(case: Case) -> str:
    words = {"fake": "Signs of manipulation were found", "real": "No signs of manipulation were found"}
    return f"{words.get(case.verdict, 'There is no verdict')}; the score is {case.score:.2f}."
