"""benchmarks.ablations: its commands are ones that the project has, and no table mixes settings."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks import ablations
from benchmarks.ablations import COMMANDS_FILE, ROWS, AblationConfig, commands, is_done, table
from common.cli import parse
from evaluation.detector import EvaluateDetectorConfig
from evaluation.results import SIMULATED
from kfd.training.config import TrainConfig
from llm.benchmark import BenchmarkConfig
from llm.training.config import FinetuneConfig
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.faces import add_known_fakes, save_tiny_faces

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "kfd.train": TrainConfig, "evaluation.detector": EvaluateDetectorConfig, "llm.finetune": FinetuneConfig,
    "llm.benchmark": BenchmarkConfig,
}  # fmt: skip


def understood(part: str, out: Path, **changes: object) -> list[tuple[object, object]]:
    """The settings of training and measurement of every row."""
    config = AblationConfig(Path("set"), out, part, steps=9, **changes)
    return [
        tuple(parse(CONFIGS[module], None, words) for module, words in commands(config, out / row, flags))
        for _, row, flags in ROWS[part]
    ]


def test_the_rows_of_the_detector_are_understood(tmp_path):
    rows = understood("detector", tmp_path)
    assert all(trained.steps == 9 and measured.split == "test" for trained, measured in rows)
    assert [trained.train_images for trained, _ in rows] == [500, 200, 100, 50, 500, 500]


def test_table_4_is_the_papers(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = understood("llm", tmp_path, test=Path("other"), most=7, sources=("a", "b"))
    assert [(trained.prompt_learner, trained.lora) for trained, _ in rows] == [
        (False, False), (False, True), (True, False), (True, True),
    ]  # fmt: skip
    for trained, measured in rows + understood("words", tmp_path):
        assert trained.taught == "truth" and trained.steps == 9 and trained.epochs == 0
        assert trained.max_turns == 1 and trained.verdict_weight == trained.align_steps == 0
        assert trained.untold_share == trained.blank_share == trained.where_share == trained.open_share == 0
        assert trained.simulation.seamless and trained.simulation.whole_face == 0 and not trained.degraded
        assert measured.split == "test" and measured.assistant == Path(trained.out)
    assert {trained.told for trained, _ in rows} == {"nothing"}
    assert {trained.told for trained, _ in understood("words", tmp_path)} == {"score"}
    assert len({trained.judged for trained, _ in rows}) == 1, "all rows read the same faces"
    for _, measured in rows:
        assert (measured.data, measured.trained_on, measured.most) == (Path("other"), Path("set"), 7)
        assert measured.sources == ("a", "b")


def test_table_4_runs(tmp_path, monkeypatch, capsys):
    """Its four rows at a tiny size, through the commands themselves."""
    save_tiny_checkpoint(tmp_path)
    add_known_fakes(save_tiny_faces(tmp_path / "set", faces=6, splits=("train", "val", "test")))
    recipe = yaml.safe_load((ROOT / AblationConfig.recipe).read_text())
    small = {"template": "vicuna", "rank": 2, "num_prompts": 3, "val_faces": 2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | small))
    words = {
        "data": tmp_path / "set", "out": tmp_path / "runs", "part": "llm", "steps": 2, "batch": 2, "faces": 4,
        "simulated": 3, "kfd": tmp_path / "kfd", "llm": tmp_path / "llm", "recipe": tmp_path / "recipe.yaml",
    }  # fmt: skip
    arguments = [str(word) for name, value in words.items() for word in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", ["ablations", *arguments])
    ran = []

    def here(module: str, given: list[str]) -> None:  # a process for each would take a minute
        ran.append(module)
        importlib.import_module(module).main(given)

    monkeypatch.setattr(ablations, "run", here)
    ablations.main()
    assert ran == ["llm.finetune", "llm.benchmark"] * 4
    heads = [line.split(" | ")[0].strip("| ") for line in (tmp_path / "runs/llm.md").read_text().splitlines()]
    assert heads[2:] == ["neither", "LoRA alone", "FPL alone", "FPL and LoRA"]
    for _, row, _ in ROWS["llm"]:
        trained = json.loads((tmp_path / "runs/llm" / row / "finetune.json").read_text())
        assert (trained["taught"], trained["told"], trained["steps"]) == ("truth", "nothing", 2)
    judged = json.loads((tmp_path / "runs/judged/train/cases.json").read_text())
    assert judged["labels"] == [0] * 4 + [1] * 4, "as many real faces as forged ones"
    ablations.main()
    assert len(ran) == 8, "what is done is not done again"


def test_a_row_made_with_other_settings_is_not_used(tmp_path):
    todo = list(commands(AblationConfig(Path("set"), tmp_path), tmp_path, ()))
    assert not is_done(tmp_path, todo)
    (tmp_path / COMMANDS_FILE).write_text(json.dumps(todo))
    assert is_done(tmp_path, todo)
    others = list(commands(AblationConfig(Path("set"), tmp_path, steps=7), tmp_path, ()))
    with pytest.raises(SystemExit, match="other settings"):
        is_done(tmp_path, others)


def test_the_table_has_a_column_for_each_source():
    figure = {"value": 0.7, "low": 0.6, "high": 0.8}
    missing = {"value": None, "low": None, "high": None, "reason": "no fakes"}
    frame = {SIMULATED: {"auc": figure}, "all b": {"auc": missing}, "all a": {"auc": figure}, "kind": {}}
    lines = table([("row", {"results": {"frame": frame}})]).splitlines()
    assert lines[0] == "| row | simulated | a | b |"
    assert lines[2] == "| row | 0.700 (0.600–0.800) | 0.700 (0.600–0.800) | no fakes |"
