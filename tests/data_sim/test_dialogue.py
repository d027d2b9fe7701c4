"""The hand-written language: what is asked, what is answered, and that answers never outrun their case."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import FrozenInstanceError

import pytest

from common.verdicts import FACE_REASONS, Verdict
from data_sim.dialogue import (
    ASKABLE,
    FIRST_QUESTION,
    INTENTS,
    SUGGESTED_QUESTIONS,
    TASK_DESCRIPTION,
    Case,
    answers,
    distance_from_even,
    evidence_text,
    evidential_strength,
    format_score,
    kfd_result,
    make_dialogue,
    questions,
    random_case,
    reasons_in_words,
    region_words,
)
from data_sim.dialogues.wordings import REGION_INTENTS, expand, load_wordings, read_intent
from media.regions import REGION_NAMES

FAKE = Case("fake", 0.93, ("left_eye", "nose", "mouth"))
FAKE_NOWHERE = Case("fake", 0.71)
REAL = Case("real", 0.07)
WEAK = Case("inconclusive", 0.52, ("chin",), ("score_between_thresholds",))
UNDECIDED = Case("inconclusive", 0.5, (), ("blurred", "heavy_compression"))
UNSCORED = Case("inconclusive", None, (), ("face_too_small",))
CASES = (FAKE, FAKE_NOWHERE, REAL, WEAK, UNDECIDED, UNSCORED)


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def asked_by(intent: str) -> tuple[str, ...]:
    return tuple(ASKABLE) if intent in REGION_INTENTS else ("",)


def test_the_prompt_is_worded_as_in_the_paper() -> None:
    assert TASK_DESCRIPTION.startswith(
        "This is a facial image designed for deepfake detection, and it should"
    )
    assert FIRST_QUESTION == "Is this a deepfake image?" == SUGGESTED_QUESTIONS[0]
    assert kfd_result(FAKE) == (
        "According to KFD prediction, the forgery score is 0.93 and the verdict is fake."
    )
    assert kfd_result(UNSCORED) == (
        "According to KFD prediction, there is no forgery score and the verdict is inconclusive, because the "
        "face is too small in the picture."
    )


def test_evidence_in_words() -> None:
    assert evidence_text(FAKE) == "The heat map points at the left eye, the nose and the mouth."
    assert evidence_text(WEAK) == "The heat map points weakly at the chin."
    assert evidence_text(REAL) == "The heat map points at no region."
    assert evidence_text(UNSCORED) == "There is no heat map."
    heat = (("nose", 0.624), ("chin", 0.4), ("whole_face", 0.31))
    assert evidence_text(Case("fake", 0.93, ("nose",), heat=heat)) == (
        "The heat map points at the nose. "
        "From 0 to 1, its mean is 0.31 over the whole face and 0.62 over the nose."
    )
    assert "chin" not in evidence_text(Case("real", 0.07, heat=heat))
    assert region_words(("whole_face",)) == "the whole face"
    assert (
        reasons_in_words(UNDECIDED.reasons)
        == "the face is too blurred and the image is too heavily compressed"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("forged", 0.9), "verdict"),
        (("fake", None), "needs a score"),
        (("fake", 1.2), r"\[0, 1\]"),
        (("fake", 0.9, ("ear",)), "ear"),
        (("fake", 0.9, ("nose", "nose")), "different names"),
        (("real", 0.1, ("nose",)), "has none"),
        (("inconclusive", None, ("nose",), ("blurred",)), "has none"),
        (("inconclusive", 0.5), "reasons"),
        (("fake", 0.9, (), ("blurred",)), "reasons"),
        (("inconclusive", 0.5, (), ("too_dark",)), "expected some of .*, got .'too_dark'"),
    ],
)
def test_a_case_that_does_not_fit_together_is_refused(fields: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Case(*fields)


def test_a_case_is_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        FAKE.score = 0.1
    assert Case("real", 0.07) == REAL


@pytest.mark.parametrize(
    ("verdict", "score", "strength"),
    [
        ("fake", 0.908, "moderate"),  # shown as 0.91, odds of ten; what is shown decides
        ("fake", 0.90, "weak"),
        ("fake", 1.0, "moderate"),  # no more than the odds of 0.99, the last that two decimals tell
        ("fake", 0.55, "weak"),
        ("fake", 0.45, "weak"),
        ("real", 0.09, "moderate"),
        ("real", 0.10, "weak"),
        ("real", 0.31, "weak"),
    ],
)
def test_strength_follows_the_score_as_shown(verdict: str, score: float, strength: str) -> None:
    assert evidential_strength(Case(verdict, score)) == strength


def test_a_known_likelihood_ratio_decides_its_strength() -> None:
    """A score of 0.95 was called strong evidence beside a likelihood ratio of moderate support."""
    assert evidential_strength(Case("fake", 0.95, strength="moderately strong")) == "moderately strong"
    assert evidential_strength(Case("real", 0.3, strength="no")) == "weak"


def test_the_distance_from_an_even_score_is_of_the_score() -> None:
    words = [distance_from_even(Case("fake", score)) for score in (0.9, 0.897, 0.89, 0.7, 0.69, 0.5)]
    assert words == ["far from", "far from", *["at some distance from"] * 2, "close to", "close to"]


def test_an_undecided_case_has_no_strength() -> None:
    with pytest.raises(ValueError, match="fake or real"):
        evidential_strength(WEAK)


def test_patterns_expand_also_when_nested() -> None:
    assert expand("[Is|Was] it [|really ]so?") == (
        "Is it so?",
        "Is it really so?",
        "Was it so?",
        "Was it really so?",
    )
    assert expand("[a|[b|c] d]") == ("a", "b d", "c d")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("<shape>", "no macro"), ("in {regions}", "nothing fills"), ("by {author}", "nothing fills")],
)
def test_a_wording_that_cannot_be_filled_is_refused_at_loading(pattern: str, message: str) -> None:
    parts = {"questions": {"train": ["Where?"], "heldout": ["And where?"]}, "answers": {"any": [pattern]}}
    with pytest.raises(ValueError, match=message):
        read_intent("where", parts, macros={"thing": "face"})


def test_a_missing_or_unknown_state_is_refused_at_loading() -> None:
    asked = {"train": ["Where?"], "heldout": ["And where?"]}
    with pytest.raises(ValueError, match="no answer for the state 'weak'"):
        read_intent("where", {"questions": asked, "answers": {"fake": ["Here."], "real": ["No."]}}, macros={})
    with pytest.raises(ValueError, match="no case is in"):
        read_intent(
            "where", {"questions": asked, "answers": {"any": ["Here."], "fke": ["There."]}}, macros={}
        )


@pytest.mark.parametrize("intent", INTENTS)
def test_every_intent_has_many_wordings_and_a_quarter_is_held_out(intent: str) -> None:
    wordings = load_wordings().intents[intent]
    total = len(wordings.train) + len(wordings.heldout)
    assert total >= 16
    assert 0.2 <= len(wordings.heldout) / total <= 0.32


def test_no_question_is_both_trained_and_held_out_or_asks_two_things() -> None:
    """Compared without case and punctuation, so a held-out wording is new beyond its dress."""
    meanings: dict[str, tuple[str, bool]] = {}
    for intent in INTENTS:
        for heldout in (False, True):
            for question in questions(intent, heldout):
                meaning = meanings.setdefault(" ".join(words_of(question)), (intent, heldout))
                assert meaning == (intent, heldout), question


def test_held_out_questions_are_new_compositions_of_known_words() -> None:
    known = {
        word for intent in INTENTS for question in questions(intent, False) for word in words_of(question)
    }
    asked = {
        word for intent in INTENTS for question in questions(intent, True) for word in words_of(question)
    }
    assert asked - known == set()


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_answers_are_varied_short_and_filled(case: Case) -> None:
    for intent in INTENTS:
        for asked in asked_by(intent):
            drawn = answers(intent, case, asked)
            assert len(set(drawn)) >= 6, (intent, asked)
            for answer in drawn:
                assert not re.search(r"[{}<>\[\]|]|  | [.,;]|\.\.", answer), answer
                assert answer[-1] in ".?" and answer[0].isupper(), answer
                assert 1 <= len(re.split(r"(?<=[.!?])\s+", answer)) <= 4, answer


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_only_the_score_is_quoted_and_only_where_there_is_one(case: Case) -> None:
    allowed = set() if case.score is None else {format_score(case.score)}
    for intent in INTENTS:
        for asked in asked_by(intent):
            for answer in answers(intent, case, asked):
                assert set(re.findall(r"\d+(?:\.\d+)?", answer)) <= allowed, answer


def test_verdict_answers_open_with_their_verdict_and_other_answers_do_not() -> None:
    """The language model's Yes/No probability is read at the first token."""
    opening = re.compile(r"(Yes|No|Inconclusive)[.,]")
    expected = {"fake": "Yes", "real": "No", "inconclusive": "Inconclusive"}
    for case in CASES:
        assert {opening.match(answer)[1] for answer in answers("verdict", case)} == {expected[case.verdict]}
        for intent in set(INTENTS) - {"verdict", "region_check"}:
            for asked in asked_by(intent):
                assert not any(opening.match(answer) for answer in answers(intent, case, asked)), intent


def test_an_inconclusive_map_points_only_weakly() -> None:
    for intent in INTENTS:
        for asked in asked_by(intent):
            for answer in answers(intent, WEAK, asked):
                for clause in re.split(r"[.,;]", answer):
                    denied = re.search(r"\b(not|cannot|no|nothing)\b", clause)
                    assert "the chin" not in clause or "weakly" in clause or denied, answer


@pytest.mark.parametrize(
    ("case", "asked", "first"),
    [
        (FAKE, "nose", "Yes"),
        (FAKE, "lips", "Yes"),
        (FAKE, "eyes", "Yes"),
        (FAKE, "chin", "No"),
        (FAKE, "whole face", "No"),
        (Case("fake", 0.8, ("whole_face",)), "chin", "Yes"),
        (FAKE_NOWHERE, "nose", "No"),
        (REAL, "nose", "No"),
    ],
)
def test_a_region_is_confirmed_only_where_the_map_points(case: Case, asked: str, first: str) -> None:
    assert {re.match(r"\w+", answer)[0] for answer in answers("region_check", case, asked)} == {first}


def test_synonyms_are_answered_in_the_words_of_the_region_list() -> None:
    said = " ".join(answers("region_check", FAKE, "jaw") + answers("region_check", FAKE, "brows"))
    assert "the chin does not" in said and "the eyebrows do not" in said
    assert "jaw" not in said and "the brows" not in said


def test_a_dialogue_opens_with_the_verdict_and_does_not_repeat_itself() -> None:
    rng = random.Random(0)
    openings = Counter()
    for _ in range(200):
        dialogue = make_dialogue(random_case(rng), rng, turns=6)
        openings[dialogue[0].question] += 1
        later = [turn.intent for turn in dialogue[1:]]
        assert dialogue[0].intent == "verdict" and len(dialogue) == 6
        assert all(count == 1 or intent in REGION_INTENTS for intent, count in Counter(later).items())
    assert 30 < openings[FIRST_QUESTION] < 90  # a quarter of the time in the paper's words


def test_the_same_seed_gives_the_same_dialogue() -> None:
    assert make_dialogue(FAKE, random.Random(3), 8) == make_dialogue(FAKE, random.Random(3), 8)
    assert make_dialogue(FAKE, random.Random(3), 8) != make_dialogue(FAKE, random.Random(4), 8)


def test_a_dialogue_may_open_otherwise_and_must_have_a_turn() -> None:
    assert make_dialogue(REAL, random.Random(0), 1, opening="map")[0].intent == "map"
    opened = {make_dialogue(REAL, random.Random(seed), 1, opening=None)[0].intent for seed in range(40)}
    assert len(opened) > 10
    with pytest.raises(ValueError, match="turns"):
        make_dialogue(REAL, random.Random(0), turns=0)


def test_held_out_dialogues_ask_nothing_that_training_asks() -> None:
    trained = {" ".join(words_of(q)) for intent in INTENTS for q in questions(intent, False)}
    rng = random.Random(1)
    for _ in range(100):
        for turn in make_dialogue(random_case(rng), rng, heldout=True):
            assert " ".join(words_of(turn.question)) not in trained, turn


def test_random_cases_cover_what_the_detector_can_say() -> None:
    rng = random.Random(0)
    cases = [random_case(rng) for _ in range(2000)]
    assert {case.verdict for case in cases} == set(Verdict)
    assert all(case.score >= 0.5 for case in cases if case.verdict == "fake")
    assert all(case.score <= 0.5 for case in cases if case.verdict == "real")
    assert any(case.score is None for case in cases)
    assert {name for case in cases for name in case.regions} == set(REGION_NAMES)
    assert {code for case in cases for code in case.reasons} == set(FACE_REASONS)
    assert all(len(case.regions) <= 3 for case in cases)


def test_the_language_is_large() -> None:
    rng = random.Random(0)
    pairs = {(t.question, t.answer) for _ in range(2000) for t in make_dialogue(random_case(rng), rng)}
    assert len(pairs) > 8500  # of 10,000 turns: little is said twice
