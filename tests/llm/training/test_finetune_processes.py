"""Fine-tuning on several processes: the losses of one, resumption on another number, and ready settings."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.cli import parse
from llm import finetune
from llm.model import ForgeryLLM
from llm.training import loop as fit

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs"


def words(folder: Path, out: Path) -> list[str]:
    """Without dropout, which every process draws for itself; batches of 3, which two cannot halve."""
    values = {
        "llm": folder / "llm", "kfd": folder / "kfd", "data": folder / "set", "out": out, "run": f"{out}-run",
        "faces": 4, "val-faces": 3, "steps": 6, "batch-size": 3, "accumulate": 2, "max-turns": 3, "rank": 2,
        "val-every": 3, "save-every": 3, "log-every": 1, "num-prompts": 3, "align-steps": 3, "dropout": 0.0,
        "lr": 0.01, "warmup": 1, "general": folder / "general.json", "general-images": folder / "pictures",
        "val-general": 5,
    }  # fmt: skip
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def launch(settings: str, arguments: list[str]) -> str:
    """Run llm.finetune as two CPU processes with ready settings; returns what they print.

    Not with `--cpu`: accelerate would start one process only.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file",
               str(CONFIGS / "accelerate" / settings), "--main_process_port", port, "-m", "llm.finetune",
               *arguments]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[:6000]
    return done.stdout


def losses(printed: str) -> dict[str, list[float]]:
    """By step, then by validation: every number that is printed."""
    lines = re.findall(r"(step \d+(?:/\d+| validation)) (.*?)(?: lr .*)?$", printed, re.MULTILINE)
    return {place: [float(v) for v in re.findall(r"\d+\.\d+", values)] for place, values in lines}


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, list[float]]:
    """The losses of one process from the first step to the last."""
    import contextlib
    import io

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        finetune.main(words(folder, folder / "alone"))
    found = losses(printed.getvalue())
    assert len(found) == 8, "six steps and two validations"
    return found


@pytest.mark.slow
def test_two_processes_continue_what_one_began(folder: Path, alone, monkeypatch) -> None:
    """Every later step depends on the gradients of the steps before it, summed over both processes."""
    save = fit.save_state

    def save_and_break_off(state: dict, path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "save_state", save_and_break_off)
    with pytest.raises(KeyboardInterrupt):
        finetune.main(words(folder, folder / "two"))
    printed = launch("two_gpus.yaml", words(folder, folder / "two"))
    assert printed.count("continuing at step 3 of 6, on 2 processes") == 1, "one speaks for both"
    found = losses(printed)
    assert len(found) == 4
    for place, values in found.items():
        assert values == pytest.approx(alone[place], abs=2e-3), place


@pytest.mark.slow
def test_a_base_model_split_over_two_processes_learns_the_same(folder: Path, alone) -> None:
    printed = launch("fsdp.yaml", words(folder, folder / "split"))
    assert losses(printed).keys() == alone.keys()
    for place, values in losses(printed).items():
        assert values == pytest.approx(alone[place], abs=2e-3), place
    assert "base model split over 2 processes" in printed
    whole, split = (ForgeryLLM.from_pretrained(folder / name) for name in ("alone", "split"))
    assert split.info.base_digest == whole.info.base_digest, "of the whole weights, not of a process's part"
    for name, value in whole.prompt_learner.state_dict().items():
        torch.testing.assert_close(split.prompt_learner.state_dict()[name], value, atol=1e-3, rtol=1e-2)


def test_what_cannot_be_distributed_is_refused(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(SystemExit, match=r"FSDP, got DeepSpeed: .*configs/accelerate/fsdp\.yaml"):
        finetune.main(words(folder, folder / "refused"))


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").iterdir()), ids=lambda path: path.stem)
def test_accelerate_reads_the_ready_settings(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    settings = load_config_from_file(str(path))
    kinds = {"one_gpu": "NO", "two_gpus": "MULTI_GPU", "fsdp": "FSDP"}
    assert settings.distributed_type.value == kinds[path.stem]
    arguments = launch_command_parser().parse_args(["--config_file", str(path), "-m", "llm.finetune"])
    arguments, _, _ = _validate_launch_command(arguments)
    assert arguments.num_processes == (1 if path.stem == "one_gpu" else 2)
    assert bool(arguments.use_fsdp) is (path.stem == "fsdp")
    assert not arguments.use_deepspeed and arguments.mixed_precision == "no"


@pytest.mark.parametrize("path", sorted((CONFIGS / "finetune").iterdir()), ids=lambda path: path.stem)
def test_ready_settings_of_a_run_are_complete_but_for_the_folders(path: Path) -> None:
    arguments = ["--config", str(path), "--kfd", "kfd", "--data", "set", "--out", "out"]
    config = parse(finetune.FinetuneConfig, None, arguments)
    assert config.device == "cuda" and config.checkpointing
    assert (config.template == "vicuna") is ("vicuna" in config.llm)
