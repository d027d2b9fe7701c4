"""Signs of a language model that lost its way."""

from __future__ import annotations

import random

import pytest

from data_sim.dialogues.conversation import make_conversation
from llm.checks.garbled import garbled
from tests.data_sim.test_dialogues import CLIP, facts


@pytest.mark.parametrize(("text", "sign"), [
    ("The map map is highest over the mouth.", "stutter: map map"),
    ("It is of the of the face.", "stutter: of the of the"),
    ("The score is <|im_end|> 0.93.", "marks"),
    ("The score is 0.93 ###", "marks"),
    ("The score is 0.93, .", "broken"),
    ("It is fake.the nose is high.", "broken"),
    ("The map points at the", "unfinished"),
    ("", "unfinished"),
])  # fmt: skip
def test_a_garbled_answer_shows_a_sign(text: str, sign: str) -> None:
    assert any(found.startswith(sign) for found in garbled(text)), garbled(text)


def test_plain_english_shows_none() -> None:
    for text in (
        "Yes. The face reads as manipulated, with a score of 0.93.",
        "From 0:02.1 to 0:03.8 the frames stand out; 3 % of genuine ones are called fake.",
        "It had had no chance, and that that was so is very, very clear.",
    ):
        assert garbled(text) == [], text


def test_no_answer_of_training_is_garbled() -> None:
    rng = random.Random(3)
    for _ in range(250):
        for turn in make_conversation(
            facts(rng, None, CLIP if rng.random() < 0.3 else None), rng, 8, opening=None
        ):
            assert garbled(turn.answer) == [], turn
