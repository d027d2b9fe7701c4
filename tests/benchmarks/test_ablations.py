"""benchmarks.ablations: its commands are ones that the project has, and no table mixes settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.ablations import (
    COMMANDS_FILE,
    DETECTOR_ROWS,
    LLM_ROWS,
    AblationConfig,
    commands,
    is_done,
    table,
)
from common.cli import parse
from evaluation.detector import EvaluateDetectorConfig
from evaluation.results import SIMULATED
from kfd.training.config import TrainConfig
from llm.benchmark import BenchmarkConfig
from llm.training.config import FinetuneConfig

CONFIGS = {
    "kfd.train": TrainConfig, "evaluation.detector": EvaluateDetectorConfig, "llm.finetune": FinetuneConfig,
    "llm.benchmark": BenchmarkConfig,
}  # fmt: skip


@pytest.mark.parametrize(("part", "rows"), [("detector", DETECTOR_ROWS), ("llm", LLM_ROWS)])
def test_every_command_is_understood(part, rows, tmp_path):
    config = AblationConfig(Path("set"), tmp_path, part, steps=9)
    understood = [
        [
            parse(CONFIGS[module], None, words)
            for module, words in commands(config, tmp_path / folder, changes)
        ]
        for _, folder, changes in rows
    ]
    assert all(trained.steps == 9 and measured.split == "test" for trained, measured in understood)
    if part == "llm":
        assert {(trained.prompt_learner, trained.lora) for trained, _ in understood} == {
            (True, True), (True, False), (False, True), (False, False),
        }  # fmt: skip
        assert len({trained.judged for trained, _ in understood}) == 1, "all rows read the same faces"
    else:
        assert [trained.train_images for trained, _ in understood] == [500, 200, 100, 50, 500, 500]


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
