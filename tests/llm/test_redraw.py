"""Answers that are held against the case before they are said."""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from data_sim.dialogue import Turn
from data_sim.dialogues.conversation import FULL, wordings_of
from data_sim.dialogues.phrasing import Phrasing
from llm.checks.claims import MINOR, NO_FAULT, SEVERE, contradictions, fault
from llm.checks.on_topic import beside_the_point
from llm.checks.plain import plain_answer
from llm.checks.redraw import Draft, agreed
from llm.conversation import Conversation
from llm.prompt import question
from llm.questions.parts import parts_asked
from llm.questions.topics import plain_topics
from tests.llm.test_conversation import say, taught
from tests.llm.test_values import FACTS
from tests.tiny.llm import FAKE, detection

ASKED = "Is this a deepfake image?"
WRONG = "No. The face is genuine, and no sign of manipulation was found."
RIGHT = "Yes. The face is probably manipulated."


def test_faults_are_told_apart() -> None:
    assert fault(RIGHT, FAKE, ASKED) == NO_FAULT
    assert fault(WRONG, FAKE, ASKED) == SEVERE
    elsewhere = next(words for words in ("chin", "nose") if words not in FAKE.regions)
    assert fault(f"Yes. The map points at the {elsewhere}.", FAKE, ASKED) == MINOR


def test_a_contradicting_answer_is_never_said() -> None:
    """The model knows by heart that the face is genuine, and nothing else; the detector says it is not.

    What is said in its place is what the conversation goes on from, and what the user reads again.
    """
    model = taught([Turn(ASKED, WRONG, "verdict")])
    assert contradictions(say(Conversation(model, FAKE, detection()), ASKED, max_new_tokens=60), FAKE, ASKED)
    conversation = Conversation(model, FAKE, detection())
    reply = say(conversation, ASKED, max_new_tokens=60, checked=True)
    assert reply == plain_answer(FAKE, ASKED) and not contradictions(reply, FAKE, ASKED)
    assert conversation.history[0].composed
    assert [turn.answer for turn in conversation.history] == [reply]
    read = model.prompter.decode(conversation.input_ids + conversation._pending)
    assert reply in read and "genuine" not in read


def test_two_sentences_are_composed_and_counted_as_that() -> None:
    asked = "Explain it in two sentences."
    model = taught([Turn(asked, "Yes.", "two_sentences")])
    conversation = Conversation(model, FAKE, detection())
    reply = say(conversation, asked, max_new_tokens=120, checked=True)
    assert reply == plain_answer(FAKE, asked) and conversation.history[0].composed
    assert say(Conversation(model, FAKE, detection()), asked, max_new_tokens=60) == "Yes.", (
        "unchecked, its own"
    )


def test_checking_changes_nothing_where_nothing_is_wrong() -> None:
    model = taught([Turn(ASKED, RIGHT, "verdict")])
    plain, checked = (Conversation(model, FAKE, detection()) for _ in range(2))
    assert (
        say(plain, ASKED, max_new_tokens=60) == say(checked, ASKED, max_new_tokens=60, checked=True) == RIGHT
    )
    assert plain.input_ids + plain._pending == checked.input_ids + checked._pending


def test_after_rewording_the_cache_is_that_of_the_words_said() -> None:
    """Sentences are tried and taken back; what stays must be what a fresh reading gives."""
    model = taught([Turn(ASKED, f"{RIGHT} {WRONG}", "verdict")])
    found = detection()
    conversation = Conversation(model, FAKE, found)
    reply = say(conversation, ASKED, max_new_tokens=60, checked=True)
    assert reply.startswith(RIGHT)
    assert WRONG not in reply
    assert conversation._cache.get_seq_length() == len(conversation.input_ids)
    prompter = model.prompter
    ids = conversation.input_ids + conversation._pending
    ids += prompter.tokenise(question(prompter.markers, "Where?", first=False)).input_ids
    head = prompter.conversation(FAKE, []).soft_index
    soft = torch.tensor([head + [-1] * (len(ids) - len(head))])
    prompts = torch.cat(model.soft_prompts(found), dim=1)
    with torch.no_grad():
        embeds = model.embed(torch.tensor([ids]), soft, prompts)
        logits = model.llm(inputs_embeds=embeds, use_cache=False).logits[0, -1]
    fresh = float(torch.sigmoid(logits[prompter.yes_id] - logits[prompter.no_id]))
    assert abs(conversation.yes_probability("Where?") - fresh) < 1e-4


def test_an_answer_is_not_repeated_where_there_is_another() -> None:
    """Bug: one answer in ten to strangers' questions was an earlier one of the conversation."""
    drafts = [Draft(RIGHT, True), Draft("Yes. The detector finds signs of manipulation.", True)]
    assert agreed(drafts, FAKE, ASKED).text == RIGHT
    assert agreed(drafts, FAKE, ASKED, said=[RIGHT]).text == drafts[1].text
    assert agreed(drafts[:1], FAKE, ASKED, said=[RIGHT]).text == RIGHT, "said again rather than nothing"


def test_an_answer_that_begins_beside_the_point_is_not_said() -> None:
    """Bug: greetings, thanks and questions for privacy were answered with the verdict."""
    verdict = "No, no signs of manipulation were found; the score is 0.96."
    facts = replace(FACTS, verdict="real", regions=())
    for asked, good in (
        ("Good morning, I need some help.", "Hello. Ask me whatever you want to know about this face."),
        ("Thank you very much, goodbye.", "You are welcome."),
        ("Will you delete my photo afterwards?", "I keep nothing myself; ask whoever runs this page."),
    ):
        assert agreed([Draft(verdict, True, first=True)], facts, asked) is None, asked
        assert agreed([Draft(good, True, first=True)], facts, asked).text == good
        later = Draft(f"{good} The score is 0.96.", True)
        assert agreed([later], facts, asked) == later, "only the first sentence must be to the point"
        assert not beside_the_point(plain_answer(facts, asked), facts, asked)


def test_a_part_that_is_asked_about_is_spoken_of() -> None:
    asked = "and teh mouht?"
    assert parts_asked(asked) == ("mouth",)
    assert beside_the_point("The highest value is over the chin.", FACTS, asked)
    assert not beside_the_point("It is at 0.82 there.", FACTS, asked)
    assert "mouth" in plain_answer(FACTS, asked)


def test_what_is_in_doubt_is_of_no_topic() -> None:
    for asked in ("Hm.", "xyzzy plugh", "So what about it, then, in the end?"):
        assert plain_topics(asked) == [], asked
    assert plain_topics("How often does the detector raise a false alarm?")[0] == "rates"
    assert plain_topics("Is that high?") == ["score_meaning"], "the score, where no part was spoken of"


def test_composed_answers_are_of_their_own_topic() -> None:
    rng = random.Random(21)
    for topic in ("greeting", "thanks", "privacy", "identity", "legal", "rates", "method", "metadata"):
        answer = FULL.composed[topic][1](FACTS, (), Phrasing(rng))
        (asked, *_), *_ = wordings_of(topic)
        if plain_topics(asked)[:1] == [topic]:
            assert not beside_the_point(answer, FACTS, asked), (topic, asked, answer)


def test_a_plain_answer_is_worded_anew_where_it_was_said_before() -> None:
    first = plain_answer(FACTS, "Thank you very much.")
    assert plain_answer(FACTS, "Thank you very much.", said=[first]) != first
