"""Conversations composed from facts: every topic can be asked and answered, with nothing but the facts."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import pytest

from data_sim.dialogue import ASKABLE, FIRST_QUESTION
from data_sim.dialogues import on_before, on_map
from data_sim.dialogues.conversation import (
    TOPICS,
    UNTOLD,
    _topics,
    make_conversation,
    manner,
    slip,
)
from data_sim.dialogues.drawn import draw_facts
from data_sim.dialogues.facts import Clip, ErrorRates, Facts, OtherFace, clock, percent, told
from data_sim.dialogues.phrasing import MARKED, Phrasing
from data_sim.dialogues.written import fillable, load_answers, state_of, written
from media.regions import REGION_NAMES

CLIP = Clip(12.0, 16, ((2.1, 3.8),))


def facts(rng: random.Random, verdict: str | None = None, clip: Clip | None = None) -> Facts:
    """A face with random values; verdict and map need not agree, so neither can stand for the other."""
    verdict = verdict or rng.choice(("fake", "real", "inconclusive", "unscored"))
    if verdict == "unscored":
        return Facts("inconclusive", None, reasons=("face_too_small",), face_pixels=31, clip=clip)
    heat = tuple((name, rng.random()) for name in REGION_NAMES)
    return Facts(
        verdict,
        {"fake": 0.97, "real": 0.08, "inconclusive": 0.61}[verdict],
        strength=rng.choice(("weak", "moderate", "no")),
        reasons=("score_between_thresholds",) if verdict == "inconclusive" else (),
        heat=heat,
        regions=() if verdict == "real" else tuple(rng.sample(REGION_NAMES[:-1], 2)),
        face_pixels=rng.randint(48, 900),
        traces=rng.randrange(4),
        blurred=rng.random() < 0.2,
        rates=ErrorRates(0.01, 0.34) if rng.random() < 0.7 else None,
        others=(OtherFace(2, "on the right", "fake"),) if rng.random() < 0.5 else (),
        place="on the left",
        clip=clip,
    )


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("verdict", ["fake", "real", "inconclusive", "unscored"])
def test_every_topic_is_asked_and_answered(topic: str, verdict: str) -> None:
    rng = random.Random(f"{topic}/{verdict}")
    for heldout in (False, True):
        for clip in (None, CLIP):
            (turn,) = make_conversation(facts(rng, verdict, clip), rng, 1, heldout, opening=topic)
            assert turn.intent == topic and turn.question.strip() and re.search(r"[.!?]$", turn.answer)
            assert not re.search(r"[{}\[\]|]|  |\.\.", turn.answer), turn.answer


def test_answers_quote_no_number_that_was_not_told() -> None:
    rng = random.Random(5)
    for _ in range(400):
        known = facts(rng, clip=CLIP if rng.random() < 0.3 else None)
        allowed = _numbers(told(known)) | {"0", "1", "48", "0.50", f"{known.spread:.2f}"}
        if known.score is not None:
            allowed |= {percent(known.score).removesuffix(" %")}
            allowed |= {f"{known.value(names):.2f}" for names in ASKABLE.values()}
        for turn in make_conversation(known, rng, 8, opening=None):
            assert _numbers(turn.answer) <= allowed, (turn, told(known))


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:[.:]\d+)*", re.sub(r"\b(?:[Oo]f|in) 100\b", "", text)))  # a scale, no fact


def test_a_region_is_answered_by_its_own_value_and_not_by_the_verdict() -> None:
    """Bug: asked for seven regions in turn, the assistant said Yes seven times, six of them wrongly."""
    rng = random.Random(2)
    for verdict in ("fake", "real", "inconclusive"):
        for words, names in ASKABLE.items():
            known = facts(rng, verdict)
            answer = on_map.region_check(known, (words,), Phrasing(rng))
            hot = max(known.value([name]) for name in names) >= MARKED
            assert answer.startswith("Yes" if hot else "No"), (answer, told(known))
            assert f"{known.value(names):.2f}" in answer


def test_a_comparison_names_the_higher_of_the_two() -> None:
    rng = random.Random(3)
    known = facts(rng, "fake")
    high, low = known.parts[0][0].replace("_", " "), known.parts[-1][0].replace("_", " ")
    for asked in ((high, low), (low, high)):
        answer = on_map.compare(known, asked, Phrasing(rng, terse=True))
        assert answer.index(high) < answer.index(low)


def test_held_out_questions_are_never_trained_on() -> None:
    for topic, kinds in _topics().items():
        trained = {text for pattern in kinds.get("train", ()) for text in pattern}
        assert trained.isdisjoint(text for pattern in kinds.get("heldout", ()) for text in pattern), topic


def test_every_wording_can_be_said_of_some_face_and_one_of_every_face() -> None:
    """A wording whose slots nothing fills would never be said, and nobody would notice."""
    rng, usable = random.Random(13), {topic: set() for topic in load_answers()}
    for verdict in ("fake", "real", "inconclusive", "unscored"):
        bare = Facts.of(facts(rng, verdict), face_pixels=0, rates=None, others=(), clip=None, regions=())
        for topic in usable:
            assert written(topic)(bare, (), Phrasing(rng)), (topic, verdict)
    known = [facts(rng, verdict, CLIP) for verdict in ("fake", "real", "inconclusive", "unscored")]
    for topic, states in load_answers().items():
        for one in known:
            usable[topic] |= {text for text in states[state_of(one)] if fillable(text, one)}
        assert usable[topic] == {text for texts in states.values() for text in texts}, topic


def test_a_terse_answer_leaves_out_what_may_be_left_out() -> None:
    known = facts(random.Random(14), "fake")
    answers = [written("thanks")(known, (), Phrasing(random.Random(seed), terse=True)) for seed in range(40)]
    assert len(set(answers)) > 4 and all("[" not in answer and "report" not in answer for answer in answers)


def test_the_verdict_is_not_the_answer_to_everything() -> None:
    """Bug: whatever was asked, greetings and thanks too, the assistant said the verdict and the score."""
    rng, beside = (
        random.Random(15),
        ("greeting", "thanks", "privacy", "person", "legal", "help", "not_checked"),
    )
    known = facts(rng, "real")
    for topic in beside:
        for _ in range(30):
            answer = written(topic)(known, (), Phrasing(rng))
            assert "0.08" not in answer and "no signs of manipulation were found" not in answer.lower(), (
                answer
            )


def test_questions_are_typed_in_many_ways_and_stay_questions() -> None:
    rng = random.Random(16)
    typed = {manner("Would you please tell me what the picture is about?", rng) for _ in range(300)}
    assert len(typed) > 60 and all(len(text) > 20 for text in typed)
    assert any(" u " in text for text in typed)


def test_a_question_of_marks_alone_stays_one() -> None:
    """Typed without its marks, "??" was nothing, and a training that drew it ended with an error."""
    rng = random.Random(0)
    assert all(manner(question, rng).strip() for question in ("??", "?", "Why?") for _ in range(200))


def test_the_same_state_draws_the_same_conversation() -> None:
    known = facts(random.Random(1), "fake")
    assert make_conversation(known, random.Random(9), 6) == make_conversation(known, random.Random(9), 6)


def test_topics_can_be_kept_out() -> None:
    rng, out = random.Random(4), ("compare", "obey")
    seen = {
        t.intent for _ in range(60) for t in make_conversation(facts(rng), rng, 8, opening=None, without=out)
    }
    assert seen.isdisjoint(out) and len(seen) > 30
    with pytest.raises(ValueError, match="weather"):
        make_conversation(facts(rng), rng, opening="weather")
    assert len(set(TOPICS)) == len(TOPICS)


def test_a_question_that_leans_on_another_is_answered_for_the_part_spoken_of() -> None:
    """Bug: "and the other one?" was answered with the highest part of the map, whatever had been asked."""
    rng, leant = random.Random(11), 0
    for _ in range(500):
        known = facts(rng, "fake")
        turns = make_conversation(known, rng, 8, opening=None)
        for before, turn in pairwise(turns):
            if before.intent in ("region_check", "region_value") and turn.intent == "why_there":
                named = re.search(
                    rf"\bthe ({'|'.join(sorted(ASKABLE, key=len, reverse=True))})\b", before.answer.lower()
                )
                leant += 1
                assert named[1] in turn.answer.lower(), (before, turn)
    assert leant > 10


def test_the_other_side_and_the_higher_of_two_follow_their_values() -> None:
    rng = random.Random(12)
    known, say = facts(rng, "real"), Phrasing(random.Random(0))
    value = dict(known.parts)["right_eye"]
    assert f"{value:.2f}" in on_before.other_side(known, ("left eye",), say)
    assert on_before.opposite("mouth") == ""
    high, low = known.parts[0][0].replace("_", " "), known.parts[-1][0].replace("_", " ")
    assert on_before.which_of_two(known, (low, high), say).startswith(f"The {high}")


def test_a_strength_is_called_by_its_own_word() -> None:
    """Bug: what speaks against a finding was "the evidence is weak", also where it was moderate."""
    for seed in range(200):
        rng = random.Random(seed)
        known = facts(rng, rng.choice(("fake", "real")))
        for turn in make_conversation(known, rng, 6, opening="against"):
            said = re.findall(r"evidence[^.]* is (weak|moderate|strong)", turn.answer)
            assert set(said) <= {known.support, "weak" if known.support == "no" else known.support}, turn


def test_facts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a score"):
        Facts("fake", None)
    with pytest.raises(ValueError, match="heat"):
        Facts("real", 0.1)
    with pytest.raises(ValueError, match="reasons"):
        Facts("inconclusive", None)


def test_times_shares_and_slips() -> None:
    assert (clock(62.04), clock(3.8), percent(0.034)) == ("1:02.0", "0:03.8", "3 %")
    assert slip("eye", random.Random(0)) == "eye"
    assert slip("Is this manipulated?", random.Random(0)) != "Is this manipulated?"


def test_a_model_that_is_told_nothing_learns_no_number_and_no_word_for_strength() -> None:
    rng = random.Random(6)
    for _ in range(200):
        known = facts(rng, rng.choice(("fake", "real", "inconclusive")))
        for turn in make_conversation(known, rng, 6, repertoire=UNTOLD):
            assert not re.search(r"\d|weak|moderate|strong|pixels|frames", turn.answer), turn
    with pytest.raises(ValueError, match="quality"):
        make_conversation(known, rng, opening="quality", repertoire=UNTOLD)


def test_drawn_facts_keep_the_face_and_vary_the_file() -> None:
    rng = random.Random(7)
    known = facts(rng, "real")
    drawn = [draw_facts(known, rng) for _ in range(300)]
    assert {(one.score, one.heat, one.verdict, one.strength) for one in drawn} == {
        (known.score, known.heat, known.verdict, known.strength)
    }
    assert len({told(one) for one in drawn}) == 300
    assert {bool(one.others) for one in drawn} == {one.clip is None for one in drawn} == {True, False}
    assert all(other.number != one.number for one in drawn for other in one.others)
    assert not any(one.clip.stretches for one in drawn if one.clip), "a genuine face has no such stretch"
    assert draw_facts(known, random.Random(1)) == draw_facts(known, random.Random(1))


def test_nothing_is_said_of_a_file_that_is_not_known() -> None:
    known = Facts.of(facts(random.Random(8), "fake"), face_pixels=0, rates=None, others=(), clip=None)
    assert "pixels" not in told(known) and "Map: " in told(known)


def test_a_quarter_of_conversations_open_with_the_question_that_the_page_asks() -> None:
    rng = random.Random(9)
    opened = [make_conversation(facts(rng), rng, 1)[0].question == FIRST_QUESTION for _ in range(400)]
    assert 70 < sum(opened) < 150
    assert make_conversation(facts(rng), rng, 1, heldout=True)[0].question != FIRST_QUESTION
