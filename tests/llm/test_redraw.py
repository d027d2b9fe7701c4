"""Answers that are held against the case before they are said."""

from __future__ import annotations

import torch

from data_sim.dialogue import Turn
from llm.checks.claims import MINOR, NO_FAULT, SEVERE, contradictions, fault
from llm.checks.plain import plain_answer
from llm.conversation import Conversation
from llm.prompt import question
from tests.llm.test_conversation import say, taught
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

    The test looked at the history only if nothing was said, and so passed whatever was remembered.
    """
    model = taught([Turn(ASKED, WRONG, "verdict")])
    assert contradictions(say(Conversation(model, FAKE, detection()), ASKED, max_new_tokens=60), FAKE, ASKED)
    conversation = Conversation(model, FAKE, detection())
    reply = say(conversation, ASKED, max_new_tokens=60, checked=True)
    assert reply == plain_answer(FAKE, ASKED) and not contradictions(reply, FAKE, ASKED)
    assert conversation.history == []


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
