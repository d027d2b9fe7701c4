"""Conversations: streamed, cached, and holding exactly the tokens of training."""

from __future__ import annotations

import pytest
import torch

from data_sim.dialogue import Case, Turn
from llm.conversation import Conversation, FinishedTurn
from llm.model import ForgeryLLM
from llm.tokens import collate
from tests.tiny.llm import FAKE, detection, dialogue, save_base, tiny_model

QUESTIONS = ("Is this a deepfake image?", "Where are the signs?", "How sure are you?")


def say(conversation: Conversation, text: str, **settings) -> str:
    return "".join(conversation.ask(text, **{"max_new_tokens": 12, **settings}))


def taught(turns: list[Turn], chat: bool = False) -> ForgeryLLM:
    """A tiny model that has learnt one conversation by heart."""
    model = tiny_model(width=64, chat=chat)
    batch = collate([model.prompter.conversation(FAKE, turns)])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(120):
        optimizer.zero_grad()
        loss = model(batch, detection()).language
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    return model.eval()


@pytest.mark.parametrize("chat", [False, True])
def test_a_chat_holds_the_tokens_it_was_trained_on(chat: bool) -> None:
    """FIELD trap 6: LVLM-DFD feeds its score as two tokens in training and as one in chat."""
    turns = dialogue(turns=3)
    model = taught(turns, chat)
    conversation = Conversation(model, FAKE, detection())
    for turn in turns:
        assert say(conversation, turn.question, max_new_tokens=200) == turn.answer
    trained = model.prompter.conversation(FAKE, turns).input_ids
    assert conversation.input_ids + conversation._pending == trained
    assert [exchange.answer for exchange in conversation.history] == [turn.answer for turn in turns]
    recalled = Conversation(model, FAKE, detection())
    recalled.recall(conversation.history)
    assert recalled.input_ids + recalled._pending == trained and recalled.history == conversation.history


def test_of_a_long_conversation_the_last_turns_are_recalled() -> None:
    model = tiny_model(max_tokens=512)
    turns = [FinishedTurn(f"Question {number}?", "It is said. " * 3) for number in range(40)]
    conversation = Conversation(model, FAKE, detection())
    conversation.recall(turns)
    assert 1 < len(conversation.history) < 40 and conversation.history == turns[-len(conversation.history) :]
    assert len(conversation.input_ids + conversation._pending) <= 256
    assert say(conversation, "Why?") and len(conversation.said) == len(conversation.history)


def test_cached_tokens_equal_uncached_over_three_turns() -> None:
    model, found = tiny_model(), detection()
    conversation = Conversation(model, FAKE, found)
    for text in QUESTIONS:
        say(conversation, text)
        ids = conversation.input_ids
        soft = [-1] * len(ids)
        head = model.prompter.conversation(FAKE, []).soft_index
        soft[: len(head)] = head
        prompts = torch.cat(model.soft_prompts(found), dim=1)
        with torch.no_grad():
            embeds = model.embed(torch.tensor([ids]), torch.tensor([soft]), prompts)
            logits = model.llm(inputs_embeds=embeds, use_cache=False).logits[0, -1]
        torch.testing.assert_close(conversation._logits, logits, atol=1e-4, rtol=1e-4)
        assert conversation._cache.get_seq_length() == len(ids)


def test_a_follow_up_pays_only_for_its_own_tokens() -> None:
    model = tiny_model()
    lengths: list[int] = []
    model.llm.model.register_forward_pre_hook(
        lambda _, args, kwargs: lengths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    conversation = Conversation(model, FAKE, detection())
    say(conversation, QUESTIONS[0])
    first = len(lengths)
    say(conversation, QUESTIONS[1])
    head = len(model.prompter.conversation(FAKE, []))
    assert lengths[0] == head
    assert max(lengths[first:]) < 30 < head


def test_yes_probability_leaves_the_conversation_as_it_was() -> None:
    plain, asked = (Conversation(tiny_model(), FAKE, detection()) for _ in range(2))
    probabilities = []
    for text in QUESTIONS:
        probabilities.append(asked.yes_probability())
        assert asked.yes_probability() == pytest.approx(probabilities[-1])
        assert say(plain, text) == say(asked, text)
    assert plain.input_ids == asked.input_ids
    assert all(0 < p < 1 for p in probabilities)


def test_yes_probability_is_that_of_the_training_prompt() -> None:
    model, found = tiny_model(), detection()
    prompter = model.prompter
    tokens = prompter.conversation(FAKE, [Turn(QUESTIONS[0], "Yes.", "verdict")])
    batch = collate([tokens])
    soft = torch.cat(model.soft_prompts(found), dim=1)
    logits = model.llm(inputs_embeds=model.embed(batch.input_ids, batch.soft_index, soft)).logits[0]
    first = tokens.labels.index(prompter.yes_id) - 1
    expected = torch.sigmoid(logits[first, prompter.yes_id] - logits[first, prompter.no_id])
    assert Conversation(model, FAKE, found).yes_probability() == pytest.approx(float(expected), abs=1e-5)


def test_an_answer_left_unread_is_kept_as_far_as_it_was_written() -> None:
    model = tiny_model()
    conversation = Conversation(model, FAKE, detection())
    pieces = conversation.ask(QUESTIONS[0], max_new_tokens=40)
    heard = next(pieces)
    pieces.close()
    assert conversation.history[0].question == QUESTIONS[0]
    assert conversation.history[0].answer.startswith(heard)
    say(conversation, QUESTIONS[1])
    assert len(conversation.history) == 2
    assert conversation._cache.get_seq_length() == len(conversation.input_ids)


def test_asking_again_ends_the_answer_being_written() -> None:
    conversation = Conversation(tiny_model(), FAKE, detection())
    first = conversation.ask(QUESTIONS[0], max_new_tokens=40)
    next(first)
    second = conversation.ask(QUESTIONS[1])
    next(second)
    assert len("".join(first)) < 100, "the first answer goes no further"
    list(second)
    assert [exchange.question for exchange in conversation.history] == list(QUESTIONS[:2])


def test_a_question_that_was_never_answered_leaves_no_trace() -> None:
    conversation = Conversation(tiny_model(), FAKE, detection())
    conversation.ask(QUESTIONS[0])  # a generator that nobody starts
    assert conversation.history == [] and conversation.input_ids == []


def test_an_error_while_reading_leaves_the_conversation_usable(monkeypatch) -> None:
    model = tiny_model()
    clean, hurt = (Conversation(model, FAKE, detection()) for _ in range(2))
    say(hurt, QUESTIONS[0])
    with monkeypatch.context() as patch:

        def fail(*args, **kwargs):
            raise RuntimeError("out of memory")

        patch.setattr(model.llm.model.layers[1], "forward", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            say(hurt, QUESTIONS[1])
    for text in QUESTIONS[:1]:
        say(clean, text)
    assert say(hurt, QUESTIONS[2]) == say(clean, QUESTIONS[2])
    assert hurt.input_ids == clean.input_ids


def test_a_full_conversation_says_so_and_stays_usable() -> None:
    conversation = Conversation(tiny_model(max_tokens=256), FAKE, detection())
    with pytest.raises(ValueError, match=r"of 256 tokens.*Start a new one"):
        for _ in range(50):
            say(conversation, QUESTIONS[0], max_new_tokens=30)
    assert 0 < len(conversation.input_ids) <= 256
    told = list(conversation.history)
    with pytest.raises(ValueError, match="Start a new one"):
        conversation.yes_probability()
    assert conversation.history == told and told[-1].question == QUESTIONS[0]


@pytest.mark.parametrize("text", ["", "   ", "###", "a" * 2000])
def test_bad_questions_are_refused_before_anything_is_written(text: str) -> None:
    conversation = Conversation(tiny_model(), FAKE, detection())
    with pytest.raises(ValueError, match="expected a question"):
        conversation.ask(text)
    assert conversation.input_ids == []


def test_sampling_follows_its_seed() -> None:
    model = tiny_model()
    answers = [
        say(Conversation(model, FAKE, detection()), QUESTIONS[0], temperature=2.0, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_evidence_as_text_needs_no_detection(tmp_path) -> None:
    model = ForgeryLLM.untuned(save_base(tmp_path), template="vicuna")
    conversation = Conversation(model, Case("real", 0.1))
    assert say(conversation, QUESTIONS[0]) == conversation.history[0].answer
    with pytest.raises(ValueError, match="expected no detection"):
        Conversation(model, FAKE, detection())


def test_soft_prompts_need_the_detection_of_one_face() -> None:
    with pytest.raises(ValueError, match="got none"):
        Conversation(tiny_model(), FAKE)
    with pytest.raises(ValueError, match="got one of 2 faces"):
        Conversation(tiny_model(), FAKE, detection(faces=2))


def test_a_face_without_a_score_has_blank_prompts() -> None:
    model = tiny_model()
    conversation = Conversation(model, Case("inconclusive", None, reasons=("face_too_small",)))
    assert say(conversation, QUESTIONS[0]) == conversation.history[0].answer
    assert 0 < conversation.yes_probability() < 1
