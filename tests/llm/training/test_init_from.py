"""A run that goes on from an assistant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llm import finetune
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.faces import save_tiny_faces


def flags(folder: Path, out: Path, **changes: object) -> list[str]:
    values = {
        "llm": folder / "llm", "kfd": folder / "kfd", "data": folder / "set", "out": out, "run": f"{out}-run",
        "faces": 2, "val-faces": 2, "steps": 2, "batch-size": 2, "max-turns": 2, "rank": 2, "num-prompts": 3,
        "align-steps": 0, "told": "finding",
    }  # fmt: skip
    return [word for name, value in (values | changes).items() for word in (f"--{name}", str(value))]


def test_a_run_goes_on_from_an_assistant_with_prompts_of_the_same_style(tmp_path: Path) -> None:
    save_tiny_checkpoint(tmp_path)
    save_tiny_faces(tmp_path / "set")
    first, second = tmp_path / "first", tmp_path / "second"
    finetune.main(flags(tmp_path, first))
    finetune.main(flags(tmp_path, second, lr=0, **{"soft-lr": 0, "init-from": first}))
    adapters = [load_file(out / "adapter_model.safetensors") for out in (first, second)]
    assert all(torch.equal(value, adapters[1][name]) for name, value in adapters[0].items())
    with pytest.raises(SystemExit, match="init_from"):
        finetune.main(flags(tmp_path, tmp_path / "third", told="facts", **{"init-from": first}))
