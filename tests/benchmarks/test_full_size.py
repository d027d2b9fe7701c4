"""What is computed from shapes is what the real modules do, and the measuring script measures them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmarks import full_size, table
from benchmarks.cost import build, computed
from benchmarks.cost.rows import TASKS, load_rows
from benchmarks.cost.sizes import SIZES, Size
from data_sim.dialogue import FIRST_QUESTION
from llm.base import count_parameters
from llm.conversation import Conversation
from tests.tiny.live_bytes import LiveBytes

FULL, TINY = SIZES["full"], SIZES["tiny"]


def wider(**changes: object) -> Size:
    """The tiny size with another language model, wide enough for its matrices to outweigh the rest."""
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4} | changes
    return dataclasses.replace(
        TINY, llms={"llm": {**TINY.llms["tiny Qwen2"], **sizes}}, conversations=4, tokens=256
    )


def test_parameters_of_the_full_shapes() -> None:
    """The published counts, and the formula from which the bytes of quantised weights follow."""
    assert count_parameters(build.build_kfd(FULL, "meta"))[1] == 986_868_010 - 77 * 77  # the mask is a buffer
    for name, published in (("Vicuna-7B", 6_738_415_616), ("Qwen2.5-7B", 7_615_616_512)):
        config = FULL.llm_config(name)
        llm = build.build_base(FULL, name, "meta")
        assert sum(count_parameters(llm)) == published
        matrices = sum(p.numel() for n, p in llm.named_parameters() if "layers" in n and p.ndim == 2)
        assert matrices == config.num_hidden_layers * computed.layer_parameters(config)


def test_flops_of_the_detector_at_full_shape() -> None:
    """The image tower is ViT-H/14, published with 167 GFLOPs, a product with its sum counted once."""
    row, training = computed.computed_rows(FULL, TASKS[:2], computed.Machine())
    assert row.flops / FULL.images == pytest.approx(2 * 167.3e9, rel=0.03)
    images = 2 * FULL.pairs
    assert images == FULL.images and training.flops > 1.01 * row.flops, "the heads and texts learn"


def test_flops_of_a_language_model_at_full_shape() -> None:
    """Reading a token takes two operations a weight, and attention little beside it at a short length."""
    for name in FULL.llms:
        llm = build.build_base(FULL, name, "meta")
        weights = sum(count_parameters(llm)) - 2 * llm.config.hidden_size * llm.config.vocab_size
        head = 2 * llm.config.hidden_size * llm.config.vocab_size
        assert computed._flops_of_tokens(llm, 64) == pytest.approx(64 * 2 * weights + head, rel=0.01)


def test_flops_of_a_finetuning_step() -> None:
    """On the meta device as many as in the real step, losses included."""
    size = wider()
    model = build.build_assistant(size, "llm", "cpu", quantize=False, adapter=True).train()
    batch = build.training_batch(model.prompter, size)
    soft = torch.cat(model.soft_prompts(build.detections(size, 4, "cpu")), dim=1).detach().requires_grad_()
    got = computed.counted(lambda: model.losses(batch, soft).total.backward())
    row = computed._finetune_row(size, "llm", computed.Machine())
    assert row.flops == pytest.approx(got, rel=0.01)
    assert batch.input_ids.shape == (4, 256) and (batch.labels >= 0).float().mean() > 0.3


@pytest.mark.parametrize(
    "changes", [{}, {"vocab_size": 16000}, {"hidden_size": 512, "intermediate_size": 512}]
)
def test_bytes_of_a_finetuning_step(monkeypatch, changes: dict[str, int]) -> None:
    """The three cases have their highest point in the MLP, in the logits and in the attention."""
    monkeypatch.setattr(build, "compute_dtype", lambda device: torch.bfloat16)
    size = wider(**changes)
    model = build.build_assistant(size, "llm", "cpu", quantize=True, adapter=True).train()
    batch, found = build.training_batch(model.prompter, size), build.detections(size, 4, "cpu")
    model(batch, found).total.backward()  # gradients take their place
    with LiveBytes() as memory:
        model(batch, found).total.backward()
    assert computed.finetune_bytes(size.llm_config("llm"), batch) == pytest.approx(memory.peak, rel=0.25)


def test_bytes_of_the_detector(monkeypatch) -> None:
    monkeypatch.setattr(build, "compute_dtype", lambda device: torch.bfloat16)
    encoder = dataclasses.replace(TINY.encoder, vision_dim=256, embed_dim=256, vision_blocks=4)
    size = dataclasses.replace(TINY, encoder=encoder)
    model, images = build.build_kfd(size, "cpu"), torch.rand(16, 3, 56, 56)
    with torch.inference_mode(), LiveBytes() as memory:
        model.encoder.image_features(images)
    assert computed.tower_bytes(encoder, 16) == pytest.approx(memory.peak, rel=0.2)
    for _ in range(2):
        with LiveBytes() as memory:
            output = model.train()(images)
            (output.logit.sum() + output.mask_logits.sum()).backward()
    texts, tokens = model.alignment.input_ids.shape
    tokens = texts * (tokens + model.config.num_context)
    assert computed.heads_bytes(encoder, 16, tokens) == pytest.approx(memory.peak, rel=0.25)


def test_bytes_of_weights_and_cache(monkeypatch) -> None:
    monkeypatch.setattr(build, "compute_dtype", lambda device: torch.bfloat16)
    name, config = "tiny Qwen2", TINY.llm_config("tiny Qwen2")
    stored = parameters = 0
    model = build.build_assistant(TINY, name, "cpu", quantize=True, adapter=False).eval()
    for parameter in model.llm.parameters():
        stored += parameter.numel() * parameter.element_size()
        if (state := getattr(parameter, "quant_state", None)) is not None:
            assert state.nested and state.quant_type == "nf4"
            stored += state.absmax.numel() + 4 * state.state2.absmax.numel()
            parameters += state.shape.numel()
        else:
            parameters += parameter.numel()
    assert parameters == sum(count_parameters(build.build_base(TINY, name, "meta")))
    assert computed.weight_bytes(config, parameters, quantize=True) == pytest.approx(stored, rel=0.01)

    build.only_words(model)
    conversation = Conversation(model, build.scored_case(), build.detections(TINY, 1, "cpu"))
    assert len("".join(conversation.ask(FIRST_QUESTION, max_new_tokens=12)).strip()) > 0
    cached = len(conversation.input_ids)
    assert cached == computed.prompt_tokens() + 11, "the answer must be as long as was asked for"
    held = sum(
        t.numel() * t.element_size()
        for layer in conversation._cache.layers
        for t in (layer.keys, layer.values)
    )
    assert held == computed.cache_bytes(config, cached)


def test_the_script_measures_every_task(tmp_path: Path, capsys) -> None:
    measured, shapes = tmp_path / "measured.json", tmp_path / "shapes.json"
    full_size.main(["--size", "tiny", "--device", "cpu", "--out", str(measured)])
    full_size.main(["--size", "tiny", "--computed", "--tflops", "100", "--out", str(shapes)])
    rows, facts = load_rows(measured)
    assert [row.task for row in rows] == ["kfd-inference", "kfd-training", *2 * ["qlora", "chat", "chat"]]
    assert facts["matrix_tflops"] > 0 and facts["command"]["size"] == "tiny"
    for row in rows:
        assert row.source == "measured" and row.seconds > 0 and row.least_seconds is None and not row.bytes
        assert all(rate > 0 for rate in row.rates.values()) and row.peak_bytes is None
        assert row.task == "chat" or 0 < row.share < 2
    for row in load_rows(shapes)[0]:
        assert row.source == "computed from shapes" and row.seconds is None and row.share is None
        assert row.least_seconds >= row.flops / 100e12 and sum(row.bytes.values()) > 0

    capsys.readouterr()
    table.main([str(measured), str(shapes)])
    lines = capsys.readouterr().out.splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert sum("| measured |" in line for line in lines) == len(rows)
    bounds = [line for line in lines if "computed from shapes" in line]
    assert bounds and all("≥" in line and "≤" in line for line in bounds)


def test_wrong_requests_say_what_to_do(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for words, advice in (
        ([], "--computed"),
        (["--device", "cpu"], "--size tiny"),
        (["--bandwidth", "0"], "rates"),
    ):
        with pytest.raises(SystemExit):
            full_size.main(words)
        assert advice in " ".join(capsys.readouterr().err.split())
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"schema": "other"}))
    with pytest.raises(SystemExit, match=r"error: .*benchmarks\.full_size"):
        table.main([str(other)])
