"""Pretraining, fine-tuning and evaluation of the language model, each through its command."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from common.schedule import cosine_rate
from data_sim.dataset import FaceSet
from data_sim.dialogue import Case, region_words
from kfd.config import Decision
from kfd.detector import Detector
from llm import evaluate, finetune
from llm.checks.regions import best_constant, region_f1, regions_in
from llm.conversation import Conversation
from llm.model import ForgeryLLM
from llm.tokens import collate
from llm.training.cases import GroundedCases, ground, ground_once, mirror_maps
from llm.training.examples import Example, face_example
from llm.training.loop import ALONE, Data, batch_losses, validate
from llm.training.schedule import FLOOR, Log
from media.regions import REGION_NAMES
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.general import save_general
from tests.tiny.llm import save_base


def flags(folder: Path, out: Path, **changes: object) -> list[str]:
    values = {
        "llm": folder / "llm", "kfd": folder / "kfd", "data": folder / "set", "out": out, "run": f"{out}-run",
        "faces": 4, "val-faces": 2, "steps": 6, "batch-size": 2, "max-turns": 2, "rank": 2, "val-every": 3,
        "save-every": 2, "log-every": 1, "num-prompts": 3, "align-steps": 3,
        "told": "finding",
    }  # fmt: skip
    return [word for name, value in (values | changes).items() for word in (f"--{name}", str(value))]


def weights(out: Path) -> dict[str, torch.Tensor]:
    files = sorted(out.rglob("*.safetensors"))
    return {f"{path.relative_to(out)}/{k}": v for path in files for k, v in load_file(path).items()}


def kill_after(module: str, words: list[str], line: str) -> str:
    """Start a command and kill it, without warning, as soon as it prints `line`; returns what it printed."""
    command, root = [sys.executable, "-m", module, *words], Path(__file__).parents[3]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    printed = ""
    for text in process.stdout:
        printed += text
        if line in text:
            process.kill()
            break
    process.wait()
    assert process.returncode == -9, "the run must not have finished"
    return printed


def curve(printed: str) -> dict[int, str]:
    """The logged values of every step, as printed, without the seconds."""
    return {int(step): values for step, values in re.findall(r"step (\d+)/\d+ (.*) seconds", printed)}


# ---------------------------------------------------------------- fine-tuning


def test_finetune_writes_an_assistant_that_chats(folder: Path, tmp_path: Path, capsys) -> None:
    finetune.main(flags(folder, tmp_path / "assistant"))
    printed = capsys.readouterr().out
    assert re.search(r"[\d,]+ trainable and [\d,]+ frozen parameters; 8 judged faces", printed)
    rates = [float(rate) for rate in re.findall(r"lr (\S+) seconds", printed)]
    assert len(rates) == 6 and rates == sorted(rates), "six steps lie within the warm-up"
    assert sorted(path.name for path in (tmp_path / "assistant").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "assistant.json", "finetune.json", "projector",
        "prompt_learner", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    model = ForgeryLLM.from_pretrained(tmp_path / "assistant")
    detector = Detector.from_pretrained(folder / "kfd")
    assert model.info.kfd_digest == detector.digest
    found = detector(torch.rand(1, 3, 64, 64))
    conversation = Conversation(model, Case("fake", 0.9), found)
    assert "".join(conversation.ask("Is it fake?", max_new_tokens=5)) == conversation.history[0].answer


@pytest.mark.parametrize("changes", [
    {"told": "facts"}, {"told": "score", "taught": "truth"}, {"told": "nothing"},
])  # fmt: skip
def test_what_is_told_and_taught_is_a_setting(folder: Path, tmp_path: Path, changes: dict) -> None:
    out = tmp_path / "assistant"
    finetune.main(flags(folder, out, **changes))
    model = ForgeryLLM.from_pretrained(out)
    assert model.prompter.style.told == changes["told"]
    detector = Detector.from_pretrained(folder / "kfd")
    found = ground_once(f"{out}-run" / Path("val"), detector, folder / "set", "val", 2, seed=0)
    conversation = Conversation(model, found.cases[0], found.detection([0]))
    assert "".join(conversation.ask("Is it fake?", max_new_tokens=5)) == conversation.history[0].answer


def test_the_truth_cannot_be_taught_beside_a_verdict_in_words() -> None:
    with pytest.raises(ValueError, match="the truth would contradict the verdict that told='facts'"):
        finetune.FinetuneConfig(llm="", kfd="", data="", out="", taught="truth")
    with pytest.raises(ValueError, match="add up to at most 1"):
        finetune.FinetuneConfig(llm="", kfd="", data="", out="", untold_share=0.7, blank_share=0.5)


def test_the_truth_is_that_of_the_labels(folder: Path) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    faces = ground(detector, FaceSet.open(folder / "set", "train"), num_faces=2, seed=0)
    truths = faces.truths()
    assert [case.verdict for case in truths.cases] == ["real", "real", "fake", "fake"]
    assert [case.regions for case in truths.cases] == list(faces.forged)
    assert [truths.yes_target(row, case) for row, case in enumerate(truths.cases)] == [0, 0, 1, 1]
    assert [case.score for case in truths.cases] == [case.score for case in faces.cases]


def test_a_share_of_conversations_is_told_nothing_and_a_share_sees_nothing(folder: Path) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    faces = ground(detector, FaceSet.open(folder / "set", "train"), num_faces=2, seed=0)
    model = ForgeryLLM.from_pretrained(folder / "assistant")
    rng, shares = random.Random(0), {"untold-share": 0.4, "blank-share": 0.4}
    words = {name.replace("-", "_"): value for name, value in shares.items()}
    config = finetune.FinetuneConfig(llm="", kfd="", data="", out="", told="finding", max_turns=1, **words)
    drawn = [face_example(config, model, faces, rng.randrange(4), rng) for _ in range(200)]
    told = ["KFD" in model.prompter.decode(example.tokens.input_ids) for example in drawn]
    seen = [example.row is not None for example in drawn]
    assert 50 < told.count(False) < 110 and 50 < seen.count(False) < 120
    assert all(t or s for t, s in zip(told, seen, strict=True)), "something must be known"


@pytest.mark.slow
def test_a_killed_run_resumes_with_the_same_losses_to_the_same_weights(
    folder: Path, tmp_path: Path, capsys
) -> None:
    """With general data in alternation: the resumed run must also find its place in that."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    save_general(tmp_path)
    changes = {"general": tmp_path / "general.json", "general-images": tmp_path / "pictures",
               "val-general": 4, "steps": 8}  # fmt: skip
    finetune.main(flags(folder, whole, **changes))
    expected_curve = curve(capsys.readouterr().out)
    before = curve(kill_after("llm.finetune", flags(folder, broken, **changes), "step 5/8"))
    finetune.main(flags(folder, broken, **changes))
    printed = capsys.readouterr().out
    resumed = curve(printed)
    assert "continuing at step" in printed and min(resumed) > 1 and len(expected_curve) == 8
    assert before | resumed == expected_curve
    assert all(values == expected_curve[step] for step, values in before.items())
    expected = weights(whole)
    assert expected
    for name, value in weights(broken).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)


def test_the_papers_prompt_learner_trains_and_resumes_with_its_statistics(
    folder: Path, tmp_path: Path, monkeypatch
) -> None:
    """The running statistics of its batch norms are no parameters, and yet training changes them."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finetune.main(flags(folder, whole, fpl="grid"))
    add = Log.add

    def stop(log: Log, step: int, *values: float, **named: float) -> None:
        if step == 4:
            raise KeyboardInterrupt
        add(log, step, *values, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Log, "add", stop)
        finetune.main(flags(folder, broken, fpl="grid"))
    finetune.main(flags(folder, broken, fpl="grid"))
    expected, found = weights(whole), weights(broken)
    assert expected.keys() == found.keys() and any("running_mean" in name for name in found)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)
    with pytest.raises(SystemExit, match="has fpl 'grid', this run wants 'places'"):
        finetune.main(flags(folder, tmp_path / "other", **{"init-from": whole}))


def test_a_run_with_other_settings_is_not_continued(folder: Path, tmp_path: Path) -> None:
    finetune.main(flags(folder, tmp_path / "assistant", steps=2))
    with pytest.raises(SystemExit, match=r"other settings \(lr: expected 0.001, got 0.5\)"):
        finetune.main(flags(folder, tmp_path / "assistant", steps=2, lr=0.5))


def test_a_run_on_other_faces_is_not_continued(folder: Path, tmp_path: Path) -> None:
    """Bug: with the set or the detector exchanged in its place, a run went on as if nothing had happened.

    The state of a run that began before their content was noted is continued.
    """
    data, words = shutil.copytree(folder / "set", tmp_path / "set"), {"steps": 2}
    finetune.main(flags(folder, tmp_path / "assistant", data=data, **words))
    file = tmp_path / "assistant-run" / "state.pt"
    state = torch.load(file)
    np.save(data / "crops.npy", 255 - np.load(data / "crops.npy"))
    with pytest.raises(SystemExit, match=r"other settings \(data_digest: "):
        finetune.main(flags(folder, tmp_path / "assistant", data=data, **words))
    assert state["settings"].pop("kfd_digest") == Detector.from_pretrained(folder / "kfd").digest
    del state["settings"]["data_digest"]
    torch.save(state, file)
    finetune.main(flags(folder, tmp_path / "assistant", data=data, **words))


def blank_and_seen(folder: Path, fpl: str) -> tuple[ForgeryLLM, GroundedCases, list[Example], list[Example]]:
    """A model in training, judged faces, three conversations about them, and three in words alone."""
    detector = Detector.from_pretrained(folder / "kfd")
    faces = ground(detector, FaceSet.open(folder / "set", "train"), num_faces=2, seed=0)
    config = finetune.FinetuneConfig(
        llm=str(folder / "llm"), kfd="", data="", out="", told="finding", fpl=fpl, num_prompts=3
    )
    model = finetune.build(config, Data(faces, faces), ALONE).train()
    rng = random.Random(0)
    drawn = [face_example(config, model, faces, row, rng) for row in (1, 2, 3)]
    seen = [replace(example, row=row) for example, row in zip(drawn, (1, 2, 3), strict=True)]
    return model, faces, seen, [replace(example, row=None) for example in drawn]


def test_a_conversation_in_words_alone_shows_no_face(folder: Path) -> None:
    """Bug: with --fpl grid each put the first face into the statistics of the prompt learner's norms."""
    model, faces, seen, blank = blank_and_seen(folder, "grid")
    apart = deepcopy(model)
    batch_losses(model, faces, [blank[0], *seen, *blank[1:]], 512)
    for part in (seen, blank):
        assert batch_losses(apart, faces, part, 512).total.isfinite()
    means = {name: value for name, value in apart.prompt_learner.named_buffers() if "running" in name}
    assert means
    for name, value in model.prompt_learner.named_buffers():
        if name in means:
            torch.testing.assert_close(value, means[name])


def test_what_is_blank_is_blanked_as_ever(folder: Path) -> None:
    """Losses and gradients are those of prompts computed for every conversation, then set to zero."""
    model, faces, seen, blank = blank_and_seen(folder, "places")
    for examples in ([blank[0], *seen, *blank[1:]], blank):
        found = batch_losses(model, faces, examples, 512, 0.5)
        mirrored = torch.tensor([example.mirrored for example in examples])
        maps = mirror_maps(faces.detection([example.row or 0 for example in examples]), mirrored)
        shown = torch.tensor([example.row is not None for example in examples])[:, None, None]
        soft = torch.cat(model.soft_prompts(maps), dim=1) * shown
        expected = model.losses(collate([example.tokens for example in examples], 512), soft, 0.5)
        torch.testing.assert_close(found.total, expected.total)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        ours, theirs = (torch.autograd.grad(losses.total, trainable) for losses in (found, expected))
        torch.testing.assert_close(ours, theirs)


def test_four_bit_base_weights_train_on_a_cpu(folder: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("bitsandbytes")
    base = save_base(tmp_path / "base", width=64)  # 4-bit blocks are 64 weights long
    words = flags(
        folder, tmp_path / "assistant", llm=base, steps=50, **{"val-every": 25, "lr": 0.05, "warmup": 2}
    )
    finetune.main([*words, "--quantize"])
    losses = [float(loss) for loss in re.findall(r"step \d+/\d+ loss (\S+)", capsys.readouterr().out)]
    assert sum(losses[-10:]) < sum(losses[:10]) - 0.5, "a batch of two conversations is a noisy measure"
    model = ForgeryLLM.from_pretrained(tmp_path / "assistant", quantize=True)
    assert model.llm.get_base_model().is_loaded_in_4bit
    assert model.prompt_learner.base.dtype == torch.float32


def test_each_rate_is_set_once_per_optimizer_step(folder: Path, tmp_path: Path, capsys) -> None:
    """DeepfakeBench steps its schedule after the loop; with accumulation one may also step it too often."""
    changes = {"steps": 7, "accumulate": 3, "warmup": 2, "lr": 0.02, "soft-lr": 0.5, "log-every": 1}
    finetune.main(flags(folder, tmp_path / "assistant", **changes))
    rates = [float(rate) for rate in re.findall(r"lr (\S+) seconds", capsys.readouterr().out)]
    assert rates == [pytest.approx(0.02 * cosine_rate(step, 7, 2, FLOOR), rel=0.01) for step in range(7)]
    assert rates[:2] == [0.01, 0.02] and rates[2:] == sorted(rates[2:], reverse=True)
    groups = torch.load(tmp_path / "assistant-run" / "state.pt")["optimizer"]["param_groups"]
    assert [group["lr"] / group["peak"] for group in groups] == [
        pytest.approx(cosine_rate(6, 7, 2, FLOOR))
    ] * 2
    assert [group["peak"] for group in groups] == [0.02, 0.5]


def test_the_papers_optimizer_keeps_its_rate_and_decays_in_the_gradient(
    folder: Path, tmp_path: Path, capsys
) -> None:
    """Adam at a constant rate over epochs of the judged faces; with AdamW the first step would be another."""
    changes = {"optimizer": "adam", "schedule": "constant", "lr": 0.02, "soft-lr": 0.02, "clip": 0,
               "weight-decay": 10.0, "align-steps": 0, "epochs": 1.5}  # fmt: skip
    finetune.main(flags(folder, tmp_path / "adam", **changes))
    printed = capsys.readouterr().out
    assert re.findall(r"step (\d+)/6 .*lr (\S+) seconds", printed) == [
        (str(step), "2.00e-02") for step in range(1, 7)
    ], "1.5 times 8 faces in twos"
    finetune.main(flags(folder, tmp_path / "adamw", **(changes | {"optimizer": "adamw"})))
    state = [torch.load(tmp_path / f"{name}-run" / "state.pt")["optimizer"] for name in ("adam", "adamw")]
    first = [found["state"][0]["exp_avg"] for found in state]
    assert not torch.allclose(*first), "only Adam's moments hold the decay"


def test_gradient_checkpointing_changes_nothing_but_memory(folder: Path, tmp_path: Path, capsys) -> None:
    words = flags(folder, tmp_path / "plain", steps=3, dropout=0.0)
    finetune.main(words)
    plain = curve(capsys.readouterr().out)
    finetune.main([*flags(folder, tmp_path / "thrifty", steps=3, dropout=0.0), "--checkpointing"])
    assert curve(capsys.readouterr().out) == plain


# ---------------------------------------------------------------- ablations


@pytest.mark.parametrize(("flag", "mode", "adapter", "trains"), [
    ("--no-prompt-learner", "picture", True, {"lora_A", "lora_B", "linear"}),
    ("--no-lora", "soft_prompts", False, {"linear", "base", "map_tokens", "cons_tokens", "fuse", "norm"}),
])  # fmt: skip
def test_an_ablation_trains_saves_and_chats(
    folder: Path, tmp_path: Path, capsys, flag: str, mode: str, adapter: bool, trains: set[str]
) -> None:
    out = tmp_path / "assistant"
    finetune.main([*flags(folder, out), flag])
    last = re.findall(r"step 6 validation (.*)", capsys.readouterr().out)[0]
    state = torch.load(tmp_path / "assistant-run" / "state.pt")["trained"]
    assert {part for name in state for part in trains if f".{part}." in f".{name}."} == trains
    assert any("lora_" in name for name in state) is adapter
    model = ForgeryLLM.from_pretrained(out)
    assert model.prompter.style.mode == mode and model.info.adapter is adapter
    assert (model.prompt_learner is None) is (mode == "picture")
    detector = Detector.from_pretrained(folder / "kfd")
    val = ground_once(tmp_path / "assistant-run" / "val", detector, folder / "set", "val", 2, seed=0)
    config = finetune.FinetuneConfig(
        llm="", kfd="", data="", out="", batch_size=2, max_turns=2, told="finding"
    )
    assert str(validate(config, model, Data(val, val), ALONE)) == last, "the checkpoint is the trained model"
    model.eval()
    conversation = Conversation(model, Case("fake", 0.9), detector(torch.rand(1, 3, 64, 64)))
    assert 0 < conversation.yes_probability() < 1
    text = model.prompter.decode(
        conversation.input_ids or model.prompter.conversation(Case("fake", 0.9), []).input_ids
    )
    assert "KFD" in text, "what is told in words is another setting"


def test_the_base_model_and_the_detector_stay_as_they_were(folder: Path, tmp_path: Path) -> None:
    before = weights(folder)
    finetune.main(flags(folder, tmp_path / "assistant", steps=3))
    for name, value in weights(folder).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


# ---------------------------------------------------------------- evaluation


def test_evaluate_writes_the_figures(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    # Thresholds that let an untrained detector say "fake" of everything.
    save_tiny_checkpoint(tmp_path / "models", Decision(fake_above=0.02, real_below=0.01, fitted_on="a test"))
    models = tmp_path / "models"
    evaluate.main([
        "--assistant", str(models / "assistant"), "--kfd", str(models / "kfd"), "--data", str(folder / "set"),
        "--split", "val", "--faces", "2", "--conversations", "2", "--raw-conversations", "1", "--turns", "2",
        "--max-new-tokens", "6", "--out", str(out),
    ])  # fmt: skip
    figures = json.loads(out.read_text())
    assert {"schema", "config", "checkpoint", "kfd", "data", "environment", "seeds"} <= set(figures)
    assert {"verdict", "regions", "conversations"} <= set(figures)
    assert figures["verdict"]["yes_no_agreement"].keys() >= {"value", "low", "high"}
    assert {"sighted", "blind", "checked", "heatmap", "best_constant"} <= set(
        figures["regions"]["simulated"]["all"]
    )
    assert set(figures["regions"]["simulated"]["of_heatmap"]) == {"sighted", "blind", "checked"}
    assert figures["wordings"]["wordings"] == 20
    assert figures["wordings"]["faces"] == 4 and 0 <= figures["wordings"]["agreement"] <= 1
    assert figures["conversations"]["checked"]["answers"] == 4
    assert figures["conversations"]["raw"]["answers"] == 2


def test_regions_are_read_out_of_a_sentence() -> None:
    assert regions_in("It marks the left eyebrow, the Nose and the left eye; the nose most.") == (
        "left_eyebrow", "nose", "left_eye",
    )  # fmt: skip
    for name in REGION_NAMES:
        assert regions_in(f"It points at {region_words([name])}.") == (name,)


def test_region_f1_is_the_closed_form() -> None:
    named = [("nose", "mouth"), (), ("chin",)]
    forged = [("nose",), ("chin",), ("mouth", "nose")]
    precision, recall = 1 / 3, 1 / 4
    assert region_f1(named, forged) == pytest.approx(2 * precision * recall / (precision + recall))
    assert region_f1([()], [()]) == 0


def test_best_constant_answer_is_found() -> None:
    forged = [("nose",), ("nose",), ("nose",), ("mouth",)]
    assert best_constant(forged) == (("nose",), 0.75)
