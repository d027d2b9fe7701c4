"""Conversations are counted as they were led: what is to the point, and who worded it."""

from __future__ import annotations

import pytest

from llm.checks.asked import Talk, judged
from llm.checks.pointed import Asked
from llm.conversation import FinishedTurn
from tests.llm.test_values import FACTS

ASKED = [
    Asked("score", "", "How high is it?"),
    Asked("maker", "", "Who did it?"),
    Asked("top", "", "Where most?"),
]


def test_answers_by_rules_and_answers_of_the_model_are_counted_apart() -> None:
    """A model that is never to the point looked well in an app that composes everything."""
    turns = [
        FinishedTurn("How high is it?", "The score is 0.96."),
        FinishedTurn("Who did it?", "Who did it cannot be read from pixels.", composed=True),
        FinishedTurn("Where most?", "The score is 0.96."),
    ]
    found = judged([Talk(FACTS, ASKED, turns)])
    shares = {name: figure["value"] for name, figure in found.items() if name != "answers"}
    assert shares == {
        "to_the_point": pytest.approx(2 / 3),
        "facts": pytest.approx(2 / 3),
        "repeated": pytest.approx(1 / 3),
        "contradiction": 0.0,
        "garbled": 0.0,
        "composed": pytest.approx(1 / 3),
        "to_the_point_in_own_words": 0.5,
    }
    assert [one["to_the_point"] for one in found["answers"]] == [True, True, False]


def test_a_question_without_an_answer_is_an_error_and_no_shorter_list() -> None:
    with pytest.raises(ValueError, match="argument"):
        judged([Talk(FACTS, ASKED, [FinishedTurn("How high is it?", "0.96")])])
