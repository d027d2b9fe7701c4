"""The language model with soft prompts: losses and checkpoints."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from llm.adapter import add_adapter
from llm.base import base_digest, load_base
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from llm.tokens import IGNORED, collate, count_targets
from llm.training.losses import language_loss, verdict_loss
from prompt_learner import ForgeryPromptLearner, VisualProjector
from tests.tiny.llm import (
    FAKE,
    detection,
    dialogue,
    learner_config,
    llama_tokenizer,
    save_base,
    tiny_llama,
    tiny_model,
)


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
    expected = torch.stack([F.cross_entropy(logits[b, t], labels[b, t])
                            for b, t in ((0, 1), (0, 3), (0, 4), (1, 2))]).mean()  # fmt: skip
    torch.testing.assert_close(language_loss(logits, labels), expected)
    torch.testing.assert_close(language_loss(logits, labels, count=8), expected / 2)
    assert language_loss(logits, torch.full_like(labels, IGNORED)) == 0


def test_verdict_loss_is_binary_cross_entropy_of_yes_against_no() -> None:
    logits = torch.randn(1, 4, 7)
    targets = torch.tensor([[-1.0, -1.0, 0.8, -1.0]])
    p = torch.softmax(logits[0, 2, [2, 5]], dim=0)[0]
    expected = -(0.8 * p.log() + 0.2 * (1 - p).log())
    torch.testing.assert_close(verdict_loss(logits, targets, yes_id=2, no_id=5), expected)
    assert verdict_loss(logits, torch.full_like(targets, -1), 2, 5) == 0


def test_each_target_is_predicted_from_the_tokens_before_it() -> None:
    """Only the logits of targets are computed; they must be those of the whole conversation."""
    model, found = tiny_model(), detection(faces=2)
    batch = batch_of(model)
    embeds = model.embed(batch.input_ids, batch.soft_index, torch.cat(model.soft_prompts(found), dim=1))
    logits = model.llm(inputs_embeds=embeds).logits[:, :-1]
    labels, targets = batch.labels[:, 1:], batch.yes_targets[:, 1:]
    losses = model(batch, found)
    torch.testing.assert_close(losses.language, F.cross_entropy(logits.flatten(0, 1), labels.flatten()))
    expected = verdict_loss(logits, targets, model.prompter.yes_id, model.prompter.no_id)
    torch.testing.assert_close(losses.verdict, expected)


def test_the_parts_of_a_step_add_up_to_the_whole() -> None:
    """Means of parts of unequal length, averaged, would weigh a short conversation's words more."""
    model, found = tiny_model(), detection(faces=3)
    items = [model.prompter.conversation(FAKE, dialogue(turns=n)) for n in (1, 4, 2)]
    counts = count_targets(items, max_tokens=300)
    soft = torch.cat(model.soft_prompts(found), dim=1)
    whole = model.losses(collate(items, 300), soft)
    parts = [model.losses(collate(items[p], 300), soft[p], counts=counts) for p in (slice(0, 1), slice(1, 3))]
    for name in ("total", "language", "verdict"):
        torch.testing.assert_close(sum(getattr(part, name) for part in parts), getattr(whole, name))


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


@pytest.mark.parametrize("change", ["missing", "unexpected"])
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


@pytest.mark.parametrize("part", ["prompt_learner", "projector"])
@pytest.mark.parametrize("change", ["missing", "unexpected key"])
def test_soft_prompt_weights_with_other_keys_are_refused(tmp_path, part: str, change: str) -> None:
    assistant(save_base(tmp_path / "base")).save_pretrained(tmp_path / "assistant", tmp_path / "base")
    path = tmp_path / "assistant" / part / "model.safetensors"
    state = load_file(path)
    name = sorted(state)[0] if change == "missing" else "extra.weight"
    state = {k: v for k, v in state.items() if k != name} | (
        {} if change == "missing" else {name: torch.ones(1)}
    )
    save_file(state, path)
    message = (
        rf"{part}.*does not fit the model: {change} {name}.*Use the checkpoint this model was saved with"
    )
    with pytest.raises(ValueError, match=message):
        ForgeryLLM.from_pretrained(tmp_path / "assistant")


def test_a_missing_soft_prompt_part_is_named(tmp_path) -> None:
    """A style that needs the prompt learner must not load without it."""
    assistant(save_base(tmp_path / "base")).save_pretrained(tmp_path / "assistant", tmp_path / "base")
    shutil.rmtree(tmp_path / "assistant" / "prompt_learner")
    with pytest.raises(FileNotFoundError, match=r"prompt_learner.config\.json is missing"):
        ForgeryLLM.from_pretrained(tmp_path / "assistant")


def test_under_a_half_precision_base_what_trains_is_full_precision(tmp_path) -> None:
    llm, tokenizer = load_base(save_base(tmp_path), dtype=torch.bfloat16)
    llm = add_adapter(llm, rank=2, alpha=4, dropout=0.0)
    config = learner_config()
    model = ForgeryLLM(llm, tokenizer, PromptStyle(), ForgeryPromptLearner(config), VisualProjector(config))
    model(batch_of(model), detection(faces=2)).total.backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert {p.grad.dtype for p in trained.values()} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}


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


def test_width_mismatch_is_refused_at_construction() -> None:
    tokenizer = llama_tokenizer()
    config = learner_config(48)
    with pytest.raises(ValueError, match="width 48, got one of width 32"):
        ForgeryLLM(tiny_llama(len(tokenizer)), tokenizer, PromptStyle(), ForgeryPromptLearner(config))
