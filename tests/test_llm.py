"""The language model with soft prompts: losses, checkpoints, conversations."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llm import (
    FAKE,
    detection,
    dialogue,
    learner_config,
    llama_tokenizer,
    save_base,
    tiny_llama,
    tiny_model,
)
from torch.nn import functional as F

from data_sim.dialogue import Case, Turn
from llm.adapter import add_adapter
from llm.base import base_digest, load_base
from llm.conversation import Conversation
from llm.losses import language_loss, verdict_loss
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from llm.tokens import IGNORED, collate
from prompt_learner import ForgeryPromptLearner, VisualProjector


def batch_of(model: ForgeryLLM, count: int = 2):
    return collate([model.prompter.conversation(FAKE, dialogue(seed=seed)) for seed in range(count)])


def assistant(base, width: int = 32) -> ForgeryLLM:
    """A base model from disk with LoRA, prompt learner and projector, all a little trained."""
    llm, tokenizer = load_base(base)
    config = learner_config(width)
    torch.manual_seed(3)
    llm = add_adapter(llm, rank=2, alpha=4, dropout=0.0)
    model = ForgeryLLM(llm, tokenizer, PromptStyle(), ForgeryPromptLearner(config), VisualProjector(config))
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.05)
    model(batch_of(model), detection(faces=2)).total.backward()
    optimizer.step()
    return model.eval()


# ---------------------------------------------------------------- losses


def test_language_loss_is_the_mean_over_targets() -> None:
    logits = torch.randn(2, 5, 7)
    labels = torch.tensor([[IGNORED, 3, IGNORED, 1, 2], [IGNORED, IGNORED, 6, IGNORED, IGNORED]])
    expected = torch.stack([F.cross_entropy(logits[b, t - 1], labels[b, t])
                            for b, t in ((0, 1), (0, 3), (0, 4), (1, 2))]).mean()  # fmt: skip
    torch.testing.assert_close(language_loss(logits, labels), expected)
    assert language_loss(logits, torch.full_like(labels, IGNORED)) == 0


def test_verdict_loss_is_binary_cross_entropy_of_yes_against_no() -> None:
    logits = torch.randn(1, 4, 7)
    targets = torch.tensor([[-1.0, -1.0, 0.8, -1.0]])
    p = torch.softmax(logits[0, 1, [2, 5]], dim=0)[0]
    expected = -(0.8 * p.log() + 0.2 * (1 - p).log())
    torch.testing.assert_close(verdict_loss(logits, targets, yes_id=2, no_id=5), expected)
    assert verdict_loss(logits, torch.full_like(targets, -1), 2, 5) == 0


def test_padding_and_neighbours_do_not_change_a_conversation() -> None:
    """There is no attention mask: what stands on the right must not matter."""
    model = tiny_model()
    short, long = (model.prompter.conversation(FAKE, dialogue(turns=n)) for n in (1, 3))
    found = detection(faces=2)
    alone = model(collate([short]), found[0]).total
    both = model.losses(collate([short, long]), torch.cat(model.soft_prompts(found), dim=1))
    only_short = collate([short, long])
    only_short.labels[1] = IGNORED
    only_short.yes_targets[1] = -1.0
    torch.testing.assert_close(model(only_short, found).total, alone)
    assert not torch.isclose(both.total, alone)


def test_soft_prompts_stand_where_the_template_says() -> None:
    model = tiny_model()
    batch = batch_of(model)
    soft = torch.cat(model.soft_prompts(detection(faces=2)), dim=1)
    embeds = model.embed(batch.input_ids, batch.soft_index, soft)
    places = (batch.soft_index[0] >= 0).nonzero().flatten()
    torch.testing.assert_close(embeds[0, places], soft[0])
    words = model.llm.get_input_embeddings()(batch.input_ids)
    rest = batch.soft_index < 0
    torch.testing.assert_close(embeds[rest], words[rest])
    assert model.embed(batch.input_ids, batch.soft_index, None)[0, places].abs().max() == 0


def test_only_adapter_prompt_learner_and_projector_train(tmp_path) -> None:
    llm, tokenizer = load_base(save_base(tmp_path))
    llm = add_adapter(llm, rank=2, alpha=4, dropout=0.0)
    config = learner_config()
    model = ForgeryLLM(llm, tokenizer, PromptStyle(), ForgeryPromptLearner(config), VisualProjector(config))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=10.0)
    for _ in range(2):  # LoRA's A gets a gradient only once B is not zero
        optimizer.zero_grad()
        model(batch_of(model), detection(faces=2)).total.backward()
        optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    expected = {name for name in before if "lora_" in name or not name.startswith("llm.")}
    assert changed == expected


# ---------------------------------------------------------------- checkpoints


def test_save_and_load_give_identical_logits(tmp_path) -> None:
    model = assistant(save_base(tmp_path / "base"))
    model.save_pretrained(tmp_path / "assistant", tmp_path / "base", kfd_digest="abc", seed=3)
    again = ForgeryLLM.from_pretrained(tmp_path / "assistant")
    batch, found = batch_of(model), detection(faces=2)
    torch.testing.assert_close(again(batch, found).total, model(batch, found).total, rtol=0, atol=0)
    assert again.info.base == "../base" and again.info.kfd_digest == "abc" and again.info.facts == {"seed": 3}
    assert again.prompter.style == model.prompter.style
    assert sorted(p.name for p in (tmp_path / "assistant").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "assistant.json", "projector", "prompt_learner",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_merging_the_adapter_changes_nothing(tmp_path) -> None:
    model = assistant(save_base(tmp_path))
    batch, found = batch_of(model), detection(faces=2)
    before = model(batch, found).total
    model.merge_adapter()
    assert not any("lora_" in name for name, _ in model.named_parameters())
    torch.testing.assert_close(model(batch, found).total, before)


def test_half_precision_storage_computes_in_float32(tmp_path) -> None:
    save_base(tmp_path)
    llm, _ = load_base(tmp_path)
    llm.to(torch.bfloat16).save_pretrained(tmp_path)
    again, _ = load_base(tmp_path)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert base_digest(again) == base_digest(llm)


@pytest.mark.parametrize(("width", "seed", "message"), [
    (48, 0, "hidden_size=32.*got.*hidden_size=48"),
    (32, 9, "other weights of the same shape"),
])  # fmt: skip
def test_an_adapter_for_another_base_model_is_refused(tmp_path, width: int, seed: int, message: str) -> None:
    assistant(save_base(tmp_path / "base")).save_pretrained(tmp_path / "assistant", tmp_path / "base")
    other = save_base(tmp_path / "other", width, seed)
    if seed:  # normalisation weights of an untrained model are all ones
        llm, _ = load_base(other)
        torch.nn.init.normal_(llm.model.norm.weight)
        llm.save_pretrained(other)
    with pytest.raises(ValueError, match=message):
        ForgeryLLM.from_pretrained(tmp_path / "assistant", base=other)


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_an_adapter_with_other_keys_is_refused(tmp_path, change: str) -> None:
    """PEFT only warns, and goes on with untrained matrices."""
    assistant(save_base(tmp_path / "base")).save_pretrained(tmp_path / "assistant", tmp_path / "base")
    path = tmp_path / "assistant" / "adapter_model.safetensors"
    state = load_file(path)
    name = sorted(state)[0]
    if change == "missing":
        del state[name]
    else:
        state["base_model.model.extra.lora_A.weight"] = torch.zeros(2, 2)
    save_file(state, path)
    with pytest.raises(ValueError, match=f"does not fit the model: {change}"):
        ForgeryLLM.from_pretrained(tmp_path / "assistant")


def test_a_prompt_learner_of_another_width_is_refused(tmp_path) -> None:
    assistant(save_base(tmp_path / "base")).save_pretrained(tmp_path / "assistant", tmp_path / "base")
    ForgeryPromptLearner(learner_config(48)).save_pretrained(tmp_path / "assistant" / "prompt_learner")
    with pytest.raises(ValueError, match=r"ForgeryPromptLearner was made .* width 48, got one of width 32"):
        ForgeryLLM.from_pretrained(tmp_path / "assistant")


def test_missing_parts_are_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no assistant\.json"):
        ForgeryLLM.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a language model"):
        load_base(tmp_path / "nothing")
    assistant(save_base(tmp_path / "base")).save_pretrained(tmp_path / "assistant", tmp_path / "base")
    (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="pass base="):
        ForgeryLLM.from_pretrained(tmp_path / "assistant")
    ForgeryLLM.from_pretrained(tmp_path / "assistant", base=tmp_path / "moved")
    (tmp_path / "assistant" / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no adapter_model\.safetensors"):
        ForgeryLLM.from_pretrained(tmp_path / "assistant", base=tmp_path / "moved")


def test_another_format_version_is_refused(tmp_path) -> None:
    assistant(save_base(tmp_path / "base")).save_pretrained(tmp_path / "assistant", tmp_path / "base")
    path = tmp_path / "assistant" / "assistant.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(ValueError, match="expected format version 1, got 99"):
        ForgeryLLM.from_pretrained(tmp_path / "assistant")


# ---------------------------------------------------------------- conversations

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
    """LVLM-DFD feeds its score as two tokens in training and as one in chat."""
    turns = dialogue(turns=3)
    model = taught(turns, chat)
    conversation = Conversation(model, FAKE, detection())
    for turn in turns:
        assert say(conversation, turn.question, max_new_tokens=200) == turn.answer
    trained = model.prompter.conversation(FAKE, turns).input_ids
    assert conversation.input_ids + conversation._pending == trained
    assert [exchange.answer for exchange in conversation.history] == [turn.answer for turn in turns]


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


def test_width_mismatch_is_refused_at_construction() -> None:
    tokenizer = llama_tokenizer()
    config = learner_config(48)
    with pytest.raises(ValueError, match="width 48, got one of width 32"):
        ForgeryLLM(tiny_llama(len(tokenizer)), tokenizer, PromptStyle(), ForgeryPromptLearner(config))
