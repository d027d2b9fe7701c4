"""The complete command line at a tiny size: fine-tune on 4-bit weights, reload, chat, evaluate, export.

Once on a model shaped as Vicuna is and once on a Qwen2, each with the real classes of model and tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from data_sim.dialogue import Case
from evaluation.results import read_results
from kfd.config import Decision
from kfd.detection import Detection
from kfd.detector import Detector
from llm import benchmark, evaluate, export, finetune
from llm.conversation import Conversation
from llm.model import ForgeryLLM
from llm.prompt import opening, question
from llm.tokens import NO_SOFT, collate
from llm.training.cases import ground_once
from llm.training.loop import ALONE, Data, validate
from media.regions import REGION_NAMES
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.faces import save_tiny_faces
from tests.tiny.general import save_general
from tests.tiny.llm import dialogue, save_qwen_base, save_vicuna_base

pytest.importorskip("bitsandbytes")

QUESTIONS = ("Is this a deepfake image?", "Where are the signs?", "How sure are you?")
TEMPERATURE = 2.0  # sampled with a seed: after 20 steps the likeliest answer is to end at once
CASE = Case("fake", 0.93, ("nose",), heat=tuple((name, 0.4) for name in REGION_NAMES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector whose thresholds let it say "fake" untrained, a face set and general data."""
    folder = tmp_path_factory.mktemp("pipeline")
    save_tiny_checkpoint(folder, Decision(fake_above=0.02, real_below=0.01, fitted_on="nothing"))
    save_tiny_faces(folder / "set")
    save_general(folder)
    return folder


def places(folder: Path) -> list[str]:
    return ["--kfd", str(folder / "kfd"), "--data", str(folder / "set")]


def check_against_uncached(model: ForgeryLLM, found: Detection) -> None:
    """Three turns over the KV cache, every token the one that a pass over all tokens before it gives."""
    prompter, soft = model.prompter, torch.cat(model.soft_prompts(found), dim=1)
    conversation = Conversation(model, CASE, found)
    head = prompter.tokenise(opening(prompter.style, prompter.markers, CASE))
    for seed, text in enumerate(QUESTIONS):
        asked = prompter.tokenise(question(prompter.markers, text, first=not conversation.history))
        before = (conversation.input_ids + conversation._pending) or head.input_ids
        list(conversation.ask(text, max_new_tokens=8, temperature=TEMPERATURE, seed=seed))
        written = conversation.input_ids + conversation._pending
        start, end = len(before) + len(asked), len(written) - len(prompter.end_ids)
        assert written[:start] == before + asked.input_ids and end > start
        places = head.soft_index + [NO_SOFT] * (len(written) - len(head))
        with torch.no_grad():
            embeds = model.embed(torch.tensor([written]), torch.tensor([places]), soft)
            logits = model.llm(inputs_embeds=embeds, use_cache=False).logits[0, start - 1 : end - 1]
        draw = torch.Generator().manual_seed(seed)
        probs = torch.softmax(logits / TEMPERATURE, dim=-1)
        assert [int(torch.multinomial(p, 1, generator=draw)) for p in probs] == written[start:end]
    assert len(conversation.history) == 3


@pytest.mark.parametrize(("save_base", "template"), [(save_vicuna_base, "vicuna"), (save_qwen_base, "chat")],
                         ids=["vicuna", "qwen2"])  # fmt: skip
def test_the_complete_command_line(
    folder: Path, tmp_path: Path, capsys, save_base: Callable[..., Path], template: str
) -> None:
    base, out, run = save_base(tmp_path / "base"), tmp_path / "assistant", tmp_path / "run"
    detector = Detector.from_pretrained(folder / "kfd")
    general = ["--general", str(folder / "general.json"), "--general-images", str(folder / "pictures")]

    # Fine-tune with NF4 weights, general data in every other step: both losses fall.
    finetune.main([
        "--llm", str(base), "--template", template, "--quantize", "--checkpointing", *places(folder),
        "--out", str(out), "--run", str(run), "--faces", "4", "--val-faces", "2", "--steps", "20",
        "--batch-size", "4", "--accumulate", "2", "--max-turns", "2", "--lr", "0.03", "--soft-lr", "0.01",
        "--warmup", "2", "--rank", "8", "--num-prompts", "3", "--align-steps", "5", "--val-every", "20",
        "--log-every", "1", "--val-general", "4", *general,
    ])  # fmt: skip
    printed = capsys.readouterr().out
    for name in ("loss", "general"):
        losses = [float(v) for v in re.findall(rf"step \d+/20 {name} (\S+)", printed)]
        assert len(losses) == 10 and sum(losses[-3:]) < sum(losses[:3]) - 0.15, (name, losses)

    # Reload: the validation figures of the trained model, and the same logits after another round of saving.
    model = ForgeryLLM.from_pretrained(out, quantize=True)
    assert model.llm.get_base_model().is_loaded_in_4bit
    val = ground_once(run / "val", detector, folder / "set", "val", 2, seed=0)
    settings = finetune.FinetuneConfig(llm="", kfd="", data="", out="", batch_size=4, max_turns=2)
    figures = re.search(r"step 20 validation (loss \S+ verdict \S+)", printed)[1]
    assert str(validate(settings, model, Data(val, val), ALONE)) == figures
    model.eval().save_pretrained(tmp_path / "again", base)
    again = ForgeryLLM.from_pretrained(tmp_path / "again", base, quantize=True)
    batch = collate([model.prompter.conversation(CASE, dialogue(CASE))])
    found = val.detection([0])
    losses = [m.eval()(batch, found).total for m in (model, again)]
    torch.testing.assert_close(*losses, rtol=0, atol=0)

    check_against_uncached(model, found)

    capsys.readouterr()
    evaluate.main([
        "--assistant", str(out), *places(folder), "--split", "val", "--faces", "2", "--conversations", "1",
        "--raw-conversations", "1", "--turns", "1", "--max-new-tokens", "4", *general,
        "--out", str(tmp_path / "figures.json"),
    ])  # fmt: skip
    measured = json.loads((tmp_path / "figures.json").read_text())["general"]
    assert measured["records"] == 40 and 1 < measured["perplexity"] < measured["perplexity_without_lora"]

    # Trained in 4 bits is measured in 4 bits, and its LoRA matrices are not rounded into them.
    benchmark.main([
        "--assistant", str(out), *places(folder), "--split", "val", "--simulated", "0",
        "--num-resamples", "5", "--most", "1", "--out", str(tmp_path / "benchmark.json"),
    ])  # fmt: skip
    assert read_results(tmp_path / "benchmark.json")[0]["base_in_4_bits"]
    model.merge_adapter()
    torch.testing.assert_close(model.eval()(batch, found).total, losses[0], rtol=0, atol=0)

    export.main(["--assistant", str(out), "--out", str(tmp_path / "merged")])
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.config.model_type == model.info.base_shape.model_type
