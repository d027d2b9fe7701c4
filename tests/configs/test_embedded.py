"""configs/embedded: the paper's recipe and ours differ in the recipe alone, and their commands run."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from common.cli import parse
from kfd.training.config import TrainConfig
from tests.test_commands import joined
from tests.tiny.faces import add_known_fakes, save_tiny_faces

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8").split("## Both recipes")[1]
SECTION = SECTION.split("Table 4 at this size")[0]
COMMANDS = re.findall(r"^python -m (.+)$", joined(SECTION), re.M)
SHAPE = {"encoder", "recipe", "frames", "steps", "batch", "val_every", "data", "out"}


def settings(name: str) -> dict[str, object]:
    """A file's settings, with the defaults of all that it does not name."""
    words = ["--config", str(ROOT / "configs" / name), "--data", "set", "--out", "out"]
    return asdict(parse(TrainConfig, None, words))


def differing(one: dict[str, object], other: dict[str, object]) -> set[str]:
    return {name for name, value in one.items() if other[name] != value}


def test_the_papers_recipe_is_that_of_table_1_with_a_small_tower(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    paper, table = settings("embedded/paper.kfd.train.yaml"), settings("tables/table1.kfd.train.yaml")
    assert differing(paper, table) <= SHAPE | {"lr", "epochs", "device"}
    assert paper["lr"] == paper["head_lr"] == table["head_lr"]


def test_ours_is_what_the_command_does_by_itself():
    paper, ours = settings("embedded/paper.kfd.train.yaml"), settings("embedded/ours.kfd.train.yaml")
    assert not differing(paper, ours) & SHAPE
    usual = asdict(TrainConfig(Path("set"), Path("out")))
    assert differing(ours, usual) <= SHAPE | {"warmup", "ema"}
    assert {"losses", "simulation", "optimizer", "schedule", "mirror", "strength"} <= differing(paper, ours)


def test_the_commands_of_the_page_run(tmp_path, monkeypatch, capsys):
    """As they stand there, at two steps on a tiny set, without ImageNet's weights."""
    for name in ("worlds128", "worlds128-test"):
        add_known_fakes(save_tiny_faces(tmp_path / "runs" / name, splits=("train", "val", "test")))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    small = {
        "kfd.train": ["--steps", "2", "--batch", "2", "--val-every", "2", "--val-images", "2"],
        "evaluation.detector": ["--simulated", "2", "--num-resamples", "4", "--allow-leaks"],
    }
    assert len(COMMANDS) == 5
    for command in COMMANDS:
        module, *words = shlex.split(command)
        if "--start" in words:
            del words[words.index("--start") : words.index("--start") + 2]
        words += [] if "--compare" in words else small[module]
        monkeypatch.setattr(sys, "argv", [module, *words])
        importlib.import_module(module).main()
    assert "b: ours.json" in capsys.readouterr().out
