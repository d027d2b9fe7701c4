"""What strangers' questions ask for is recognised, and an answer composed from the facts opens with that."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from data_sim.dialogue import INTENTS, questions
from data_sim.dialogues.conversation import AFTER_REGIONS, TOPICS, _topics
from data_sim.dialogues.facts import Clip, ErrorRates, OtherFace
from llm.checks.claims import contradictions
from llm.checks.on_topic import beside_the_point
from llm.checks.plain import PREFACE, is_counted, plain_answer
from llm.checks.pointed import read_conversations, states_a_fact
from llm.checks.redraw import Draft, agreed
from llm.questions.cues import cued_topics, load_cues
from llm.questions.parts import other_parts_asked, parts_asked, parts_spoken_of
from llm.questions.spelling import plain_spelling
from llm.questions.topics import plain_topics
from tests.llm.test_pointed import ASKED, plain
from tests.llm.test_values import FACTS, REAL

QUESTIONS = yaml.safe_load((Path(__file__).parent / "questions.yaml").read_text(encoding="utf-8"))
STRANGERS = [(topic, asked) for half in ("looked_at", "set_aside")
             for topic, texts in QUESTIONS[half].items() for asked in texts]  # fmt: skip
SAME = (  # topics that answer each other's questions
    {"verdict", "authentic", "yes_or_no", "leaning"}, {"limits", "limits_here"},
    {"dispute", "insult", "broken"}, {"strength", "how_sure", "could_be_wrong"},
    {"score_meaning", "likelihood"}, {"findings", "for_and_against"},
)  # fmt: skip
RATES = ErrorRates(0.04, 0.11)
FAKE = replace(FACTS, rates=RATES)
GENUINE = replace(REAL, rates=RATES)
OPEN = replace(FAKE, verdict="inconclusive", score=0.61, regions=(), reasons=("blurred",), strength="")
UNSCORED = replace(OPEN, score=None, heat=())
SPOKEN = "The nose is at 0.61 on the map, which is high."


def recognised(topic: str, asked: str) -> bool:
    found = plain_topics(asked)[:1]
    return bool(found) and (found[0] == topic or any({topic, found[0]} <= group for group in SAME))


@pytest.mark.parametrize(("half", "least"), [("looked_at", 0.95), ("set_aside", 0.9)])
def test_what_strangers_ask_for_is_recognised(half: str, least: float) -> None:
    """Bug: one question in six was recognised; beside the others any answer passed."""
    asked = [(topic, text) for topic, texts in QUESTIONS[half].items() for text in texts]
    missed = [(topic, text, plain_topics(text)) for topic, text in asked if not recognised(topic, text)]
    assert len(asked) >= 70 and len(missed) <= (1 - least) * len(asked), missed


def test_the_questions_are_nobodys_wordings() -> None:
    mine = {plain(asked) for _, asked in STRANGERS}
    assert len(mine) == len(STRANGERS) and {topic for topic, _ in STRANGERS} <= set(TOPICS)
    trained = {plain(text) for intent in INTENTS for text in questions(intent, heldout=False)}
    for kinds in _topics().values():
        trained |= {plain(text) for kind in ("train", "after") for p in kinds.get(kind, ()) for text in p}
    measured = {plain(one.question) for turns in read_conversations(ASKED) for one in turns}
    assert mine.isdisjoint(trained) and mine.isdisjoint(measured)


def test_questions_of_training_are_recognised_by_their_cues() -> None:
    """Nine in ten of those that a cue finds at all; a list that finds little would be of no use either."""
    found = right = total = 0
    for topic, kinds in _topics().items():
        for pattern in kinds.get("train", ()):
            total += 1
            cued = cued_topics(pattern[0])
            found += bool(cued)
            right += topic in cued or any(topic in group and group & set(cued) for group in SAME)
    assert found > 0.85 * total and right > 0.75 * total, (right, found, total)


def test_every_cue_is_of_a_topic_and_none_is_empty() -> None:
    assert {topic for topic, _ in load_cues()} <= set(TOPICS)
    assert not [topic for topic, pattern in load_cues() if pattern.search("")]


def test_spelling_is_made_plain() -> None:
    assert plain_spelling("What's ur proof, r u 100% sure?") == "what is your proof are you 100 percent sure"


def test_two_questions_are_two_topics_and_context_is_none() -> None:
    assert plain_topics("Who made it, and how sure are you?") == ["maker", "how_sure"]
    assert plain_topics("Hello. Is it fake?") == ["verdict"]
    assert plain_topics("I took it myself. Why do you say so?") == ["why"]
    answer = plain_answer(FAKE, "Who made it, and how often are you wrong?")
    assert "4" in answer and not beside_the_point(answer, FAKE, "Who made it?")


def test_what_leans_on_a_part_is_about_the_part_spoken_of_last() -> None:
    for topic, texts in QUESTIONS["after_parts"].items():
        assert topic in AFTER_REGIONS
        for asked in texts:
            assert plain_topics(asked, [SPOKEN]) == [topic], asked
            assert plain_topics(asked) != [topic], asked
            assert "nose" in plain_answer(FAKE, asked, [SPOKEN]), asked
    assert parts_spoken_of(["The score is 0.96, and the nose is high."]) == (), "then it is about the score"
    assert "0.96" in plain_answer(FAKE, "Is that a lot?", ["The score is 0.96."])


def test_parts_are_read_from_few_words() -> None:
    for asked, parts in QUESTIONS["of_parts"].items():
        assert parts_asked(asked) == tuple(parts), asked
    assert parts_asked("Can one see it with the naked eye?") == ()
    assert other_parts_asked("His hair is odd.") == ("hair",)


def test_a_choice_opens_the_answer() -> None:
    """Bug: "Left or right?" was answered with No."""
    higher = plain_answer(FAKE, "Left or right eye?").partition(":")[0].partition(" than ")[0]
    higher = higher.partition(" against ")[0]
    assert "left eye" in higher and "right" not in higher
    level = plain_answer(FAKE, "Left or right cheek?")
    assert level.startswith(("They read alike", "There is hardly", "Neither"))
    assert plain_answer(FAKE, "Real or fake?").startswith(("Manipulated", "Not genuine", "I would not rely"))
    assert beside_the_point(
        "Yes, the detector finds signs of manipulation.", FAKE, "Genuine or forged? Guess."
    )
    assert plain_answer(GENUINE, "Real or fake?").startswith(("Genuine", "No signs", "Nothing speaks"))
    assert plain_answer(replace(FAKE, strength="weak"), "Flimsy or solid?").startswith(
        ("Weak", "As evidence")
    )


def test_the_strongest_is_not_answered_with_the_weakest() -> None:
    """Bug: the most prominent part was said to be the lowest of the map, the least natural one as well."""
    highest, lowest = (name.replace("_", " ") for name, _ in (FAKE.parts[0], FAKE.parts[-1]))
    for most in ("Which part is the most noticeable?", "Which region is the least believable?"):
        assert beside_the_point(f"The map is lowest over the {lowest}.", FAKE, most)
        assert not beside_the_point(f"The {highest} has the highest value.", FAKE, most)
        assert highest in plain_answer(FAKE, most)
    assert beside_the_point(f"The {highest} is the strongest.", FAKE, "Which part looks most natural?")


def test_the_strongest_part_of_a_face_without_signs_is_called_low() -> None:
    """Bug: "The left eye at 0.16 is the strongest." was all that was said of a face without signs."""
    facts = replace(GENUINE, heat=tuple((name, 0.1 + 0.1 * (name == "nose")) for name, _ in GENUINE.heat))
    asked = "Which part is the most suspicious?"
    assert beside_the_point("The nose at 0.20 is the strongest.", facts, asked)
    assert "though that is only low" in (answer := plain_answer(facts, asked))
    assert not beside_the_point(answer, facts, asked)


def test_whether_it_is_genuine_is_not_answered_no_because_nothing_was_found() -> None:
    asked = "check it please, is it legit"
    assert beside_the_point("No, no signs of manipulation were found.", GENUINE, asked)
    assert beside_the_point("Yes, signs of manipulation were found.", FAKE, asked)
    assert not beside_the_point("No, signs of manipulation were found.", FAKE, asked)
    for facts in (GENUINE, FAKE, OPEN):
        assert not beside_the_point(plain_answer(facts, asked), facts, asked), plain_answer(facts, asked)


@pytest.mark.parametrize(("facts", "word"), [(FAKE, "Yes"), (GENUINE, "No"), (OPEN, "Inconclusive")])
def test_yes_or_no_opens_with_it_and_the_strength_alone_is_no_answer(facts, word: str) -> None:
    """Bug: "The evidence for a genuine photograph is weak." was said where a plain yes or no was asked."""
    asked = "Did anybody retouch this portrait?"
    assert plain_answer(facts, asked).startswith(word)
    strength = "The evidence for a genuine photograph is weak."
    for question in (asked, "Real or fake?", "So what did you find?", "Where is it?", "Why?", "What now?",
                     "Draft a statement for the judge.", "Is the matter proven, then?"):  # fmt: skip
        assert beside_the_point(strength, facts, question), question
    assert not beside_the_point(strength, facts, "Flimsy or robust?")
    assert not beside_the_point(f"{word}. So it reads.", facts, asked)
    assert beside_the_point("The score is 0.96.", facts, asked)


def test_out_of_a_hundred_is_answered_in_hundreds_or_per_cent() -> None:
    asked = "If I showed you 100 of them, how many would be wrong?"
    answer = plain_answer(FAKE, asked)
    assert "4" in answer and not contradictions(answer, FAKE, asked)
    assert contradictions("About 7 of 100 genuine faces are called fake.", FAKE, asked)


def test_a_tool_called_broken_is_answered_with_how_often_it_errs_or_what_it_measured() -> None:
    answer = plain_answer(FAKE, "Come on, your detector is broken.")
    assert "0.96" in answer or "4" in answer
    assert beside_the_point("I am glad that it helped.", FAKE, "Come on, your detector is broken.")


def test_more_than_two_parts_are_told_one_by_one() -> None:
    answer = plain_answer(FAKE, "nose, mouth and chin?")
    assert all(value in answer for value in ("0.61", "0.82", "0.10"))


def test_sentences_are_counted() -> None:
    """Bug: a request for two sentences got one."""
    for count, asked in ((2, "Boil it down to two sentences please."), (3, "3 sentences about it, go")):
        for facts in (FAKE, GENUINE, OPEN, UNSCORED):
            said = plain_answer(facts, asked)
            assert len(re.findall(r"[.!?](?=\s|$)", said)) == count, said
        assert is_counted(asked)
    assert not is_counted("One of these sentences is odd.")


def test_one_spot_or_the_entire_face_is_no_question_about_the_entire_face() -> None:
    answer = plain_answer(FAKE, "Is it only one spot or the entire face?")
    assert "0.82" in answer and "0.10" in answer, "from the lowest part to the highest"


def test_times_are_told_where_there_are_any() -> None:
    clip = replace(FAKE, clip=Clip(12.0, 16, ((2.1, 3.8),)))
    assert "0:02.1" in plain_answer(clip, "at what second does it look wrong")
    assert "photograph" in plain_answer(FAKE, "at what second does it look wrong").lower() or "single" in \
        plain_answer(FAKE, "at what second does it look wrong")  # fmt: skip


def test_of_several_people_the_manipulated_one_is_named() -> None:
    two = replace(FAKE, place="on the left", others=(OtherFace(2, "on the right", "real"),))
    assert plain_answer(two, "the guy or the girl, which one's off").startswith("Face 1 on the left")


@pytest.mark.parametrize("facts", [FAKE, GENUINE, OPEN, UNSCORED], ids=["fake", "real", "open", "unscored"])
def test_what_is_composed_is_to_the_point_without_fault_and_says_a_fact_of_the_case(facts) -> None:
    general = stated = 0
    for topic, asked in STRANGERS:
        answer = plain_answer(facts, asked)
        assert not contradictions(answer, facts, asked, check_regions=False), (asked, answer)
        if plain_topics(asked):
            assert not answer.startswith(PREFACE) and not beside_the_point(answer, facts, asked), (
                topic,
                asked,
                answer,
            )
        if topic not in (
            "greeting",
            "thanks",
            "privacy",
            "out_of_scope",
            "identity",
            "person",
            "legal",
            "metadata",
        ):
            general += 1
            stated += states_a_fact(answer, facts)
    assert stated > 0.7 * general, (stated, general)


def test_a_model_that_is_to_the_point_keeps_its_own_words() -> None:
    mine = "Which technique it was I cannot say, but the score is 0.96."
    drafts = [
        Draft("The evidence for manipulation is moderate.", True, first=True),
        Draft(mine, True, first=True),
    ]
    assert agreed(drafts, FAKE, "How was it faked?").text == mine
