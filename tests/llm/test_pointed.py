"""The conversations for measuring, and the rules that judge answers to them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from data_sim.dialogue import INTENTS, questions
from data_sim.dialogues.conversation import _topics
from llm.checks.pointed import Asked, read_conversations, states_a_fact, to_the_point
from tests.llm.test_values import FACTS

ASKED = Path(__file__).parents[2] / "docs" / "conversations.yaml"
MEASURED = (ASKED, ASKED.with_name("strangers.yaml"))
UNSCORED = replace(FACTS, verdict="inconclusive", score=None, regions=(), heat=(), reasons=("blurred",))


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


@pytest.mark.parametrize("path", MEASURED)
def test_forty_conversations_hold_two_hundred_questions_and_none_is_trained_on(path: Path) -> None:
    conversations = read_conversations(path)
    asked = [plain(one.question) for turns in conversations for one in turns]
    assert len(conversations) == 40 and len(asked) == len(set(asked)) == 200
    trained = {plain(text) for intent in INTENTS for text in questions(intent, heldout=False)}
    for kinds in _topics().values():
        trained |= {plain(text) for kind in ("train", "after") for p in kinds.get(kind, ()) for text in p}
    assert trained.isdisjoint(asked)


def test_no_wording_of_training_is_nearly_one_of_those_measured_on() -> None:
    """Longer questions that share three words in four are the same question to a language model."""
    asked = [set(plain(one.question).split())
             for path in MEASURED for turns in read_conversations(path) for one in turns]  # fmt: skip
    asked = [words for words in asked if len(words) > 4]
    trained = {frozenset(plain(text).split()) for kinds in _topics().values()
               for kind in ("train", "after") for p in kinds.get(kind, ()) for text in p}  # fmt: skip
    near = [(words, one) for words in asked for one in trained
            if 4 * len(words & one) >= 3 * len(words | one)]  # fmt: skip
    assert not near


@pytest.mark.parametrize(("rule", "detail", "good", "bad"), [
    ("part", "mouth", "Yes, the mouth is at 0.82.", "Signs of manipulation were found."),
    ("compare", "mouth nose", "The mouth, with 0.82 against 0.61.", "The mouth is at 0.82."),
    ("which", "mouth nose", "The mouth.", "The chin."),
    ("part", "ears", "I have no value for the ears.", "The mouth is highest."),
    ("otherside", "right eye", "0.22 for the left eye.", "The right eye is at 0.10."),
    ("top", "", "The mouth at 0.82 is the strongest.", "The left eye is the strongest, then the mouth."),
    ("bottom", "", "The chin at 0.10.", "The mouth at 0.82."),
    ("score", "", "The score is 0.96.", "The score is high."),
    ("sentences", "2", "The score is 0.96. It is no proof.", "The score is 0.96."),
    ("maker", "", "Who did it cannot be read from pixels.", "The map is highest over the mouth."),
    ("privacy", "", "I keep nothing myself.", "The evidence for manipulation is weak, keep the file."),
    ("meaning", "", "It means that signs were found.", "The score is 0.96."),
    ("faces", "", "Only one face was found.", "Signs of manipulation were found in the face."),
    ("greeting", "", "Hello. Ask me about this face.", "The original file would help most."),
    ("metadata", "", "I read the pixels of the face alone.", "The face is 240 pixels wide."),
    ("proof", "", "A score is an indication, not proof.", "The evidence for manipulation is weak."),
    ("clarify", "", "Put simply, the face looks changed.", "Signs of manipulation were found."),
    ("language", "", "I answer in English only.", "Die Antwort ist ja."),
])  # fmt: skip
def test_an_answer_to_the_point_speaks_of_what_was_asked(rule: str, detail: str, good: str, bad: str) -> None:
    asked = Asked(rule, detail, "?")
    assert to_the_point(asked, good, FACTS) and not to_the_point(asked, bad, FACTS)


def test_of_a_face_without_a_score_the_point_is_that_there_is_none() -> None:
    asked = Asked("part", "mouth", "?")
    assert to_the_point(asked, "I have no map here: the face could not be read.", UNSCORED)
    assert not to_the_point(asked, "The mouth is at 0.82.", UNSCORED)


def test_undecided_is_to_the_point_only_where_there_is_no_verdict() -> None:
    """Bug: "I cannot tell" was no answer to whether a face is manipulated, also where nobody could tell."""
    asked, said = Asked("verdict", "", "?"), "I cannot tell, because the score lies in between."
    assert to_the_point(asked, said, UNSCORED) and not to_the_point(asked, said, FACTS)


def test_a_fact_of_the_case_is_a_number_a_part_a_reason_or_the_verdict() -> None:
    for said in ("The face is 240 pixels wide.", "Look at the nose.", "No verdict, so far.", "Yes."):
        assert states_a_fact(said, FACTS), said
    assert states_a_fact("Because the face is too blurred.", UNSCORED)
    for said in ("You are welcome.", "I do not identify persons.", "A score runs from 0 to 1."):
        assert not states_a_fact(said, FACTS), said


def test_a_rule_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "asked.yaml").write_text("- - verdikt: is it fake\n")
    with pytest.raises(ValueError, match="verdikt"):
        read_conversations(tmp_path / "asked.yaml")
