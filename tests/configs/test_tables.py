"""The paper's tables: every file and every command of configs/tables is read as its command would read it."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

from common.cli import parse
from data_sim.simulate import SimulationConfig

TABLES = Path(__file__).parents[2] / "configs" / "tables"
README = (TABLES / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"`python -m ([^`]+)`", README)
CONFIGS = {
    "kfd.train": "TrainConfig", "evaluation.detector": "EvaluateDetectorConfig",
    "llm.finetune": "FinetuneConfig", "llm.benchmark": "BenchmarkConfig",
    "baselines.zero_shot": "ZeroShotConfig", "data_sim.frames": "FramesConfig",
    "data_sim.build": "BuildConfig",
}  # fmt: skip


def read(command: str) -> tuple[str, object]:
    """The module of a command, and its words as that module's dataclass."""
    module, *words = shlex.split(command)
    config_class = getattr(importlib.import_module(module), CONFIGS[module])
    return module, parse(config_class, None, words)


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch):
    monkeypatch.chdir(TABLES.parent.parent)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("data_sim.")])
def test_the_sets_are_made_by_commands_that_are_understood(command):
    module, config = read(command)
    assert str(config.out).endswith("ffpp")
    assert module == "data_sim.frames" or (config.size == 224 and config.val_every == 0)


@pytest.mark.parametrize("command", [c for c in COMMANDS if "--config " in c])
def test_each_command_is_understood(command):
    module, config = read(command)
    name = re.search(r"--config (\S+)", command).group(1)
    assert Path(name).name.split(".", 1)[1] == f"{module}.yaml", "a file's name says which command reads it"
    for field, value in yaml.safe_load(Path(name).read_text()).items():
        flag = "--" + field.replace("_", "-")
        found = getattr(config, field)
        if isinstance(value, dict):
            found = {name: getattr(found, name) for name in value}
        value = tuple(value) if isinstance(value, list) else value  # YAML knows no tuples
        assert flag in command or found == value, field


def test_each_file_has_a_row():
    named = set(re.findall(r"--config configs/tables/(\S+)", README))
    assert named == {path.name for path in TABLES.glob("*.yaml")}


def test_the_rows_are_the_papers():
    by_table = dict(zip(range(1, 7), README.split("## Table ")[1:], strict=True))
    assert [int(n) for n in re.findall(r"--train-images (\d+)", by_table[3])] == [50, 100, 200, 500]
    tuned = [read(c)[1] for c in re.findall(r"`python -m (llm\.finetune [^`]+)`", by_table[4])]
    assert [(c.prompt_learner, c.told, c.lora) for c in tuned] == [
        (False, "nothing", False), (False, "nothing", True), (True, "score", False),
        (True, "nothing", True), (False, "score", True),
    ]  # fmt: skip
    full = read(re.search(r"`python -m (llm\.finetune [^`]+)`", by_table[2]).group(1))[1]
    assert full.prompt_learner and full.lora and full.general and full.general_share == 0.5
    others = [read(c)[1] for c in re.findall(r"`python -m (llm\.finetune [^`]+)`", by_table[6])]
    assert [c.llm.rsplit("/", 1)[1] for c in others] == ["Llama-3.2-1B-Instruct", "Llama-3.2-3B-Instruct"]


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if re.match(r"(kfd.train|llm.finetune) --config ", c)]
)
def test_training_is_the_papers(command):
    """Section 4.1 and Eq. 3 to 6: what the paper says of its training, and nothing beside it."""
    _, config = read(command)
    rates = (config.lr, config.soft_lr) if hasattr(config, "soft_lr") else (config.head_lr,)
    assert config.optimizer == "adam" and config.schedule == "constant" and set(rates) == {1e-4}
    assert config.weight_decay == 1e-5 and config.clip == 0 and config.frames == 1
    assert config.epochs == 50 or config.train_images
    assert config.simulation == SimulationConfig(
        whole_face=0, swap=0, poisson=1, unaltered=1, elastic=0, opaque=True, seamless=True
    )
    if hasattr(config, "losses"):
        assert config.losses.pixel == config.losses.align == config.strength == config.ema == 0
        assert config.losses.cls == config.losses.loc == 1 and not config.mirror
    else:
        assert config.taught == "truth" and config.told in ("score", "nothing") and not config.degraded
        assert config.fpl == "grid"
        assert config.verdict_weight == config.align_steps == config.blank_share == config.untold_share == 0


def test_nothing_is_chosen_on_a_test_set():
    """FIELD trap 2: what is measured on `test` trains nothing, and what trains names no split."""
    for command in (c for c in COMMANDS if "--config " in c):
        module, config = read(command)
        measures = module in ("evaluation.detector", "llm.benchmark", "baselines.zero_shot")
        assert getattr(config, "split", None) == ("test" if measures else None)
