"""Answers of a model that is told all facts are held against these facts, and good ones pass."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from data_sim.dialogue import Case, random_case
from data_sim.dialogues.conversation import make_conversation
from data_sim.dialogues.drawn import draw_facts
from data_sim.dialogues.facts import Facts, OtherFace
from llm.checks.claims import SEVERE, contradictions, fault
from llm.checks.plain import plain_answer
from llm.conversation import Conversation
from llm.tokens import PromptTokenizer
from media.regions import REGION_NAMES
from tests.tiny.llm import detection, tiny_model

HOT = {"mouth": 0.82, "nose": 0.61, "left_eye": 0.22, "whole_face": 0.35}
HEAT = dict.fromkeys(REGION_NAMES, 0.1) | HOT
FACTS = Facts("fake", 0.96, ("mouth", "nose"), (), tuple(HEAT.items()), "moderate", face_pixels=240)
TWO = replace(FACTS, place="on the left", others=(OtherFace(2, "on the right", "real"),))
REAL = replace(FACTS, verdict="real", score=0.08, regions=())


def drawn(seed: int) -> Facts:
    """Random facts of a random face, with a value for every region where it has a score."""
    rng = random.Random(seed)
    case = random_case(rng)
    heat = () if case.score is None else tuple((name, round(rng.random(), 2)) for name in REGION_NAMES)
    return draw_facts(replace(case, heat=heat), rng)


def test_what_training_teaches_is_no_contradiction() -> None:
    """A check that redraws good answers leaves a model speechless."""
    wrong = []
    for seed in range(400):
        facts = drawn(seed)
        for turn in make_conversation(facts, random.Random(seed), turns=8, opening=None):
            wrong += [
                (p, turn.question, turn.answer) for p in contradictions(turn.answer, facts, turn.question)
            ]
    assert wrong == [], f"{len(wrong)}: {wrong[:12]}"


@pytest.mark.parametrize(("facts", "asked", "said"), [
    (FACTS, "How high is the mouth?", "The map gives the mouth 0.61 of 1."),
    (FACTS, "Sharp or blurry?", "It is blurred."),
    (FACTS, "For a child?", "The computer looked and found nothing that looks changed."),
    (REAL, "For a child?", "Some dots of the face look as if someone changed them."),
    (replace(FACTS, blurred=True), "Sharp or blurry?", "Yes, the face is sharp enough to be read."),
    (FACTS, "Is the left eye manipulated?", "Yes, the map marks the left eye."),
    (FACTS, "Is the mouth manipulated?", "No, the map does not mark the mouth."),
    (FACTS, "Which part is highest?", "The left eye is the strongest."),
    (FACTS, "Which part is lowest?", "The lowest value is over the mouth."),
    (FACTS, "And the chin?", "No, the map does not mark the chin; the value there is 0.22."),
    (FACTS, "And the chin?", "The map gives the chin 0.10 of 1, which is very high."),
    (FACTS, "So?", "The score of 0.96 lies so low that few forged faces are found there."),
    (FACTS, "Is it crunchy?", "No, the map does not mark the crunchy part."),
    (FACTS, "Compare them", "The map is highest over the nose at 0.61 and the left eye at 0.22."),
    (FACTS, "And the eye?", "The left eye at 0.22 is highest over the mouth at 0.82."),
    (FACTS, "Where are the signs?", "Look at the mouth at 0.82 and the left eye at 0.22."),
    (REAL, "Where are the signs?", "The map points at the left eye."),
    (TWO, "And the other?", "Face 2 on the right reads as manipulated."),
    (TWO, "Who?", "Face 1 on the left: no signs of manipulation and face 2 on the right: no signs either."),
    (FACTS, "And the nose?", "The nose at 0.61 is very low and not enough for a conviction."),
    (FACTS, "So?", "The lowest is over the nose, 0.61."),
    (FACTS, "Shorter", "The computer looked at every dot, but it could not tell whether someone changed it."),
    (FACTS, "How large is the face?", "The face is 300 pixels wide."),
    (FACTS, "What is the score?", "The score is 0.91."),
    (REAL, "Is the mouth manipulated?", "Yes, the mouth is at 0.28 on the map."),
    (FACTS, "Is it fake?", "Yes, the score is 0.96, which is low."),
    (FACTS, "So?", "The score is 0.96 of 1, so it is not enough for a verdict."),
    (REAL, "So?", "It has a very high score."),
    (REAL, "So?", "The score of 0.08 is high."),
    (FACTS, "When?", "It reads as manipulated from 0:02.1 to 0:03.8."),
])  # fmt: skip
def test_what_the_facts_do_not_hold_is_found(facts: Facts, asked: str, said: str) -> None:
    assert fault(said, facts, asked) == SEVERE, contradictions(said, facts, asked)


@pytest.mark.parametrize(("facts", "asked", "said"), [
    (FACTS, "And the eye?", "The left eye is at 0.22, the mouth at 0.82."),
    (REAL, "Is the mouth manipulated?", "Yes, by the map: the mouth is at 0.82."),
    (REAL, "Why?", "No signs of manipulation were found; the map is highest over the mouth."),
    (FACTS, "And the nose?", "The nose has the second highest value, 0.61; the highest is over the mouth."),
    (FACTS, "Where?", "The map is highest over the mouth at 0.82 and the nose at 0.61."),
    (TWO, "And the other?", "No signs of manipulation were found in face 2 on the right."),
    (TWO, "All?", "In full, face 1 on the left: signs of manipulation and face 2: no signs of manipulation."),
    (FACTS, "Is the chin fake?", "No sign of it there: the chin is at 0.10."),
    (FACTS, "And the eye?", "The left eye is at 0.22, which is low."),
    (FACTS, "How likely?", "The score is 0.96 of 1, that is 96 %."),
    (FACTS, "Is it high?", "The score is 0.96 of 1, which is very high; the nose is at 0.61, which is high."),
    (REAL, "Is it high?", "The score is 0.08, which is very low."),
])  # fmt: skip
def test_what_the_facts_hold_may_be_said_whatever_the_verdict(facts: Facts, asked: str, said: str) -> None:
    assert contradictions(said, facts, asked) == []


def test_where_no_wording_agrees_the_facts_speak() -> None:
    """The page once said that it had found no wording, whatever was asked."""
    assert "0.82" in plain_answer(FACTS, "And the mouth?")
    compared = plain_answer(FACTS, "Compare the mouth and the nose")
    assert "0.82" in compared and "0.61" in compared
    assert "0.96" in plain_answer(Case("fake", 0.96), "Why?")
    for seed in range(60):
        facts = drawn(seed)
        for asked in ("Why?", "Is the chin fake?", "Compare the nose and the left eye."):
            answer = plain_answer(facts, asked)
            assert answer and contradictions(answer, facts, asked) == []


def test_a_model_that_is_told_facts_is_held_against_them_whatever_it_is_given() -> None:
    """Bug: measured on plain cases, answers were redrawn for naming a region that the prompt told of."""
    model = tiny_model(max_tokens=2048)
    old = model.prompter
    model.prompter = PromptTokenizer(old.tokenizer, replace(old.style, told="facts"), old.num_prompts)
    plain = Case(FACTS.verdict, FACTS.score, FACTS.regions, heat=FACTS.heat, strength=FACTS.strength)
    assert Conversation(model, plain, detection()).case == Facts.of(plain)
    assert Conversation(model, FACTS, detection()).case is FACTS
