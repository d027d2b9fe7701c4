"""Every system through its commands, on tiny towers: train, resume, calibrate, measure, score, report."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from app.report import __main__ as report
from baselines import train
from baselines.checkpoint import load_system
from baselines.config import BaselineTrainConfig
from baselines.convnets import ConvConfig, MesoNet4, Sbi
from baselines.sam import sam_gradients
from baselines.system import count_trained
from baselines.train import rate_at
from common.cli import parse
from evaluation import detector as evaluate
from kfd import calibrate, score
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.openai_server import serving
from tests.tiny.qwen import save_qwen

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "app/example.jpg"
VLA = {"num_queries": 4, "width": 24, "blocks": 1, "hidden": 16, "mask_dim": 8}
SIDE = 56  # of tiny CLIP and tiny Qwen
# System: learning rate, its settings, the side of its crops, and the tower underneath.
SYSTEMS = {
    "clip-probe": (0.3, {}, SIDE, "clip"),
    "clip-lora": (0.02, {"rank": 4, "alpha": 8}, SIDE, "clip"),
    "clip-vp": (0.3, {"prompt_size": 40}, SIDE, "clip"),
    "clip-coop": (0.1, {"num_context": 4}, SIDE, "clip"),
    "vlaforge": (0.01, VLA, SIDE, "clip"),
    "qwen-vl": (0.02, {"image_size": SIDE, "quantize": False, "rank": 4}, SIDE, "qwen"),
    "sbi": (0.05, {"width": 0.25, "depth": 0.1, "dropout": 0.0}, 64, None),
    "mesonet4": (0.01, {}, 64, None),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    splits = ("train", "val", "test")
    return {
        side: add_known_fakes(save_tiny_faces(folder / str(side), side, 24, splits), side)
        for side in (SIDE, 64)
    }


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen"))


def run(monkeypatch, module, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_goes_through_every_command(
    system, sets, clip_folder, qwen_folder, tmp_path, monkeypatch, capsys
):
    rate, settings, side, tower = SYSTEMS[system]
    weights = {"clip": clip_folder, "qwen": qwen_folder, None: None}[tower]
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps({"settings": settings, "optimizer": "sam" if system == "sbi" else "adam"}))
    out, steps = tmp_path / "run", 6 if system == "qwen-vl" else 25
    words = ["--config", config, "--system", system, "--data", sets[side], "--out", out, "--batch", 6,
             "--steps", steps, "--lr", rate, "--strength", 0, "--val-every", steps, "--val-images", 8,
             "--no-mirror"]  # fmt: skip
    if weights is not None:
        words += ["--encoder-weights", weights]
    losses = []
    real = train.backward

    def watched(*args):
        terms = real(*args)
        losses.append(terms["loss"])
        return terms

    monkeypatch.setattr(train, "backward", watched)
    run(monkeypatch, train, *words)
    assert np.mean(losses[-4:]) < np.mean(losses[:2])
    assert re.search(r"trainable and [\d,]+ frozen parameters", capsys.readouterr().out)
    assert {"config.json", "decision.json", "model.safetensors", "state.pt", "train.json",
            "trained_on.json"} <= {path.name for path in out.iterdir()}  # fmt: skip

    encoder = [] if weights is None else ["--encoder", weights]
    first, _ = load_system(out, weights)
    second, _ = load_system(out, weights)
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(first(images).logit, second(images).logit, rtol=0, atol=0)

    found = tmp_path / "test.json"
    words = ["--data", sets[side], "--split", "test", "--checkpoint", out, *encoder, "--simulated", 0,
             "--num-resamples", 10, "--allow-leaks", "--out", found]  # fmt: skip
    evaluate.main([str(word) for word in words])
    assert "square" in json.loads(found.read_text())["results"]["frame"]
    scores = tmp_path / "scores.jsonl"
    run(monkeypatch, score, EXAMPLE, "--checkpoint", out, *encoder, "--out", scores)
    assert json.loads(scores.read_text().splitlines()[0])["score"] is not None
    with serving(lambda body: ["The detector examined this face."]) as server:
        run(monkeypatch, report, EXAMPLE, "-o", tmp_path / "report.json", "--kfd", out, *encoder,
            "--llm-url", server.url)  # fmt: skip
    assert json.loads((tmp_path / "report.json").read_text())


def test_a_killed_run_ends_with_the_same_weights(sets, tmp_path, monkeypatch):
    """Dropout, batch norm, SAM and the schedule go on where they stood."""
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps({"settings": {"width": 0.25, "depth": 0.1}, "recipe": "simulated"}))
    words = ["--config", config, "--system", "sbi", "--data", sets[64], "--batch", 3, "--steps", 5,
             "--optimizer", "sam", "--schedule", "late", "--val-images", 4, "--save-every", 2]  # fmt: skip
    run(monkeypatch, train, *words, "--out", tmp_path / "whole")

    class Killed(Exception):
        pass

    def dies(model, batch, micro, seed):
        if seed == 3:
            raise Killed
        return real(model, batch, micro, seed)

    real = train.backward
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(train, "backward", dies)
        run(patch, train, *words, "--out", tmp_path / "killed")
    run(monkeypatch, train, *words, "--out", tmp_path / "killed")
    whole, killed = (torch.load(tmp_path / n / "state.pt", weights_only=True) for n in ("whole", "killed"))
    assert all(torch.equal(tensor, killed["model"][name]) for name, tensor in whole["model"].items())
    with pytest.raises(SystemExit, match="lr"):
        run(monkeypatch, train, *words, "--out", tmp_path / "killed", "--lr", 0.5)


def test_what_is_meant_to_be_unseen_is_calibrated_on_neither(sets, tmp_path, monkeypatch):
    """Bug: trained with --kinds, a system was calibrated on the other kinds, too, which tests call unseen."""
    data = shutil.copytree(sets[64], tmp_path / "set")
    lines = (data / "manifest.csv").read_text().splitlines()
    fakes = [place for place, line in enumerate(lines) if ",square," in line]
    for place in fakes[::2]:
        lines[place] = lines[place].replace(",square,", ",unseen,")
    (data / "manifest.csv").write_text("\n".join(lines) + "\n")
    words = ["--system", "mesonet4", "--data", data, "--batch", 6, "--steps", 2, "--val-images", 8, "--kinds",
             "square", "--out", tmp_path / "out"]  # fmt: skip
    asked = []

    def watched(detector, faces, settings):
        asked.extend(calibrate._chosen(faces, settings)[0])
        raise ValueError("two steps are no training")

    monkeypatch.setattr(train, "calibrate", watched)
    run(monkeypatch, train, *words)
    assert asked == ["real", "simulated", "square"]


def test_a_run_on_other_faces_is_not_continued(sets, tmp_path, monkeypatch):
    """Bug: a set that was built anew in the same place was trained on as if it were the old one."""
    data = shutil.copytree(sets[64], tmp_path / "set")
    words = ["--system", "mesonet4", "--data", data, "--batch", 6, "--steps", 2, "--val-images", 8, "--out",
             tmp_path / "out"]  # fmt: skip
    run(monkeypatch, train, *words)
    np.save(data / "crops.npy", 255 - np.load(data / "crops.npy"))
    with pytest.raises(SystemExit, match=r"other settings \(data_digest: "):
        run(monkeypatch, train, *words)


@pytest.mark.parametrize(("system", "count"), [("sbi", 17_552_202), ("mesonet4", 27_977)])
def test_as_many_parameters_train_as_the_papers_say(system, count):
    with torch.device("meta"):
        model = {"sbi": Sbi, "mesonet4": MesoNet4}[system](ConvConfig(system))
    assert count_trained(model) == count


def test_sam_takes_the_gradient_uphill():
    """f(x) = x^2 / 2 at 3 with rho 0.5: the gradient at 3.5."""
    x = torch.nn.Parameter(torch.tensor([3.0]))

    def backward():
        x.grad = None
        (x**2 / 2).sum().backward()

    backward()
    sam_gradients([x], backward, 0.5)
    assert x.item() == 3.0 and x.grad.item() == pytest.approx(3.5)


def test_parts_of_a_batch_give_the_gradient_of_the_whole(clip_folder):
    from baselines.checkpoint import new_system
    from baselines.clip import ClipConfig
    from data_sim.dataset import TrainingBatch

    model = new_system(ClipConfig("clip-probe"), clip_folder, say=lambda note: None)
    images = torch.rand(6, 3, SIDE, SIDE)
    batch = TrainingBatch(
        images[:3], images[3:], torch.ones(3, 1, SIDE, SIDE), torch.ones(3, dtype=torch.bool)
    )
    whole = train.backward(model, batch, 0, 0)
    gradient = model.head.weight.grad.clone()
    assert train.backward(model, batch, 4, 0)["loss"] == pytest.approx(whole["loss"], abs=1e-6)
    torch.testing.assert_close(model.head.weight.grad, gradient)


def test_the_late_schedule_falls_in_the_last_quarter():
    config = BaselineTrainConfig("sbi", Path("a"), Path("b"), schedule="late")
    assert [round(rate_at(config, step, 100), 2) for step in (0, 75, 80, 99)] == [1.0, 1.0, 0.8, 0.04]


@pytest.mark.parametrize("path", sorted((ROOT / "configs/baselines").glob("*.yaml")), ids=lambda p: p.stem)
def test_each_config_is_understood(path, monkeypatch):
    from baselines.checkpoint import config_class
    from evaluation.detector import EvaluateDetectorConfig

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    if path.stem.startswith("evaluation"):
        parse(EvaluateDetectorConfig, None, ["--config", str(path), "--data", "x"])
        return
    config = parse(BaselineTrainConfig, None, ["--config", str(path), "--data", "x", "--out", "y"])
    config_class(config.system)(system=config.system, **(config.settings or {}))


def test_what_cannot_be_is_refused(sets, clip_folder, tmp_path, monkeypatch):
    words = ["--data", sets[64], "--out", tmp_path]
    with pytest.raises(SystemExit, match="kinds of fakes are"):
        run(monkeypatch, train, "--system", "mesonet4", *words, "--kinds", "nothing")
    with pytest.raises(SystemExit, match=f"sees crops of {SIDE} pixels, those of .* have 64"):
        run(monkeypatch, train, "--system", "clip-probe", *words, "--encoder-weights", clip_folder)
