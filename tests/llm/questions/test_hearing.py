"""An assistant hears what is asked by its own language model, beside the letters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_sim.dialogues.facts import Facts
from llm.checks.plain import plain_answer
from llm.conversation import Conversation
from llm.model import ForgeryLLM
from llm.questions.cues import cued_topics
from llm.questions.hearing import ModelEar, mean_states
from llm.questions.likeness import TOPICS_HEARD, Ear, learnt, likest_topic
from llm.training.hearing import fit_ear
from tests.llm.test_values import FACTS
from tests.tiny.llm import detection, tiny_model


@pytest.fixture(scope="module")
def model() -> ForgeryLLM:
    return tiny_model()


@pytest.fixture(scope="module")
def ear(model) -> ModelEar:
    return fit_ear(model)


def test_the_wordings_of_training_are_heard(ear) -> None:
    texts, topics = learnt(1)
    heard = [likest_topic(text, ear)[0] == topic for text, topic in zip(texts[::9], topics[::9], strict=True)]
    assert sum(heard) > 0.8 * len(heard)


def test_states_do_not_depend_on_what_is_read_beside(model) -> None:
    texts = ["is it fake", "how large is the face that you were shown, and is it large enough", "why"]
    together = mean_states(model.llm, model.prompter.tokenizer, texts)
    alone = [mean_states(model.llm, model.prompter.tokenizer, [text])[0] for text in texts]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_an_ear_is_saved_with_its_assistant(model, ear, tmp_path) -> None:
    ear.save(tmp_path)
    again = ModelEar.load(tmp_path, model)
    for asked in ("whats the catch", "who did this to her", "is the picture sharp enough"):
        assert again(asked) == pytest.approx(ear(asked), abs=0.01)
    assert ModelEar.load(tmp_path / "none", model) is None


def test_an_ear_of_another_model_or_of_other_topics_is_refused(model, ear) -> None:
    short = ear.tensors | {"weight": ear.tensors["weight"][1:], "bias": ear.tensors["bias"][1:]}
    with pytest.raises(ValueError, match=r"fit it anew: python -m llm\.training\.hearing"):
        ModelEar(model, short)


def hears(topic: str) -> Ear:
    return lambda question: 2.0 * (np.array(TOPICS_HEARD) == topic)


def test_what_the_ear_hears_decides_where_no_cue_does() -> None:
    """Bug: of a stranger's questions that no cue and no letters tell, three in five were misunderstood."""
    asked = "Whom do I have to thank for this masterpiece?"
    assert cued_topics(asked, ear=hears("maker")) == ["maker"]
    heard = plain_answer(FACTS, asked, ear=hears("maker"))
    assert heard == plain_answer(FACTS, "Who made it?") != plain_answer(FACTS, asked)


def test_a_conversation_goes_by_its_models_ear(model, monkeypatch) -> None:
    asked = "Whom do I have to thank for this masterpiece?"
    monkeypatch.setattr(model, "ear", hears("two_sentences"))
    conversation = Conversation(model, Facts.of(FACTS), detection())
    assert "".join(conversation.ask(asked, 8, checked=True)).count(".") >= 2
    assert conversation.history[-1].composed
