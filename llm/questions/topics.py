"""What a question asks for: topics of the dialogues (llm.questions.cues), or parts of the face."""

from __future__ import annotations

import re
from collections.abc import Collection

from data_sim.dialogue import ASKABLE
from data_sim.dialogues.conversation import AFTER_REGIONS, OF_REGIONS
from llm.questions.cues import cued_topics
from llm.questions.likeness import Ear, by_letters
from llm.questions.parts import parts_asked, parts_spoken_of
from llm.questions.spelling import plain_spelling
from media.regions import WHOLE_FACE

# What a question that leans on parts means where none was spoken of.
_WITHOUT_PARTS = {"that_high": "score_meaning", "why_there": "why", "sure_of_part": "how_sure",
                  "by_how_much": "spread", "other_side": "which_face"}  # fmt: skip
# What is asked of the whole case although a part is named: "who edited the mouth?"
_BESIDE_PARTS = ("maker", "identity", "legal", "privacy", "other_language", "obey", "for_child", "metadata",
                 "one_sentence", "two_sentences", "three_sentences", "rates", "takedown",
                 "method")  # fmt: skip
_ASKED_FAKE = re.compile(
    r"\b(?:is|was|are|were|has|have|did|do|does) "
    r"(?:it|this|that|he|she|they|the|my|our|his|her|any\w*|some\w*)\b(?!.* or (?!not\b))"
    r".*\b(?:fak|forg|manipulat|edit|alter|doctor|tamper|photoshop|deepfake|retouch|chang)"
)
_ASKED_REAL = re.compile(
    r"\b(?:is|was|are|were) (?:(?:it|this|that|these|he|she|they)|(?:the|my|our|his|her) \w+)\b"
    r"(?!.* or (?!not\b))(?!.*\bnot\b).* (?:real|genuine|authentic|legit|legitimate|untouched|original)\b"
)


def plain_topics(question: str, said: Collection[str] = (), ear: Ear = by_letters) -> list[str]:
    """The topics that a question asks for, in its order; empty where none is plain.

    said: earlier answers of the conversation. A question that leans on the parts spoken of in the last one is
    of a topic of data_sim.dialogues.conversation.AFTER_REGIONS.
    """
    spoken = parts_spoken_of(said)
    topics = (_in_context(topic, spoken) for topic in cued_topics(question, ear=ear))
    return list(dict.fromkeys(topic for topic in topics if topic))


def _in_context(topic: str, spoken: tuple[str, ...]) -> str | None:
    """The topic, or what it means where the parts that it leans on were not spoken of; None where nothing."""
    if topic in OF_REGIONS or topic == "other_part":
        return None
    if len(spoken) >= AFTER_REGIONS.get(topic, 0):
        return topic
    return _WITHOUT_PARTS.get(topic)


def of_parts(question: str, ear: Ear = by_letters) -> tuple[str, ...]:
    """The parts that a question is about, keys of ASKABLE; () where it asks something else of the case."""
    asked, topics = parts_asked(question), set(cued_topics(question, likely=False, ear=ear))
    whole = all(WHOLE_FACE in ASKABLE[part] for part in asked) and "spread" in topics  # "or the entire face?"
    return () if whole or topics & set(_BESIDE_PARTS) else asked


def asks_whether_fake(question: str) -> bool:
    """Is yes or no asked for, where yes means that the face is manipulated?"""
    return _ASKED_FAKE.search(plain_spelling(question)) is not None


def asks_whether_real(question: str) -> bool:
    """Is yes or no asked for, where yes means that the face is genuine?"""
    return _ASKED_REAL.search(plain_spelling(question)) is not None
