"""A folder of models that was tampered with, or that a disk has damaged, is refused in one sentence that
names the file. Never a traceback, never code out of a pickle, never a verdict out of a NaN."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.report.__main__ import main as report
from kfd import score
from kfd.config import Decision
from kfd.detector import Detector
from media.images import read_image
from tests.tiny.checkpoint import save_tiny_checkpoint

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
Tamper = Callable[[Path], None]


class Bomb:
    """What a pickle of a stranger can do."""

    def __reduce__(self):
        return print, ("A PICKLE RAN",)


def with_values(**changes: object) -> Tamper:
    """Change values of a JSON file; with None for a value, its key goes."""

    def tamper(path: Path) -> None:
        values = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))

    return tamper


def with_tensor(change: Callable[[torch.Tensor], torch.Tensor], which: int = 0) -> Tamper:
    def tamper(path: Path) -> None:
        state = load_file(path)
        name = sorted(state)[which]
        save_file(state | {name: change(state[name]).contiguous()}, path)

    return tamper


def renamed(path: Path) -> None:
    state = load_file(path)
    name = sorted(state)[0]
    state["other"] = state.pop(name)
    save_file(state, path)


def one_nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.clone().float()
    tensor.view(-1)[0] = math.nan
    return tensor


def content(data: bytes) -> Tamper:
    return lambda path: path.write_bytes(data)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def twice(path: Path) -> None:
    first = next(iter(json.loads(path.read_text())))
    path.write_text(path.read_text().replace("{", f'{{"{first}": 1, ', 1))


BYTES: dict[str, Tamper] = {
    "empty": content(b""), "half": half, "zeros": content(bytes(500)), "list": content(b"[1, 2]"),
    "text": content(b"hello"), "no UTF-8": content(b"\xff\xfe{}"), "deep": content(b"[" * 100_000),
    "pickle": content(pickle.dumps(Bomb())), "missing": Path.unlink,
}  # fmt: skip
TAMPERED: list[tuple[str, str, Tamper]] = [
    *((file, name, tamper)
      for file in ("kfd/config.json", "kfd/decision.json", "kfd/tokenizer.json", "kfd/model.safetensors")
      for name, tamper in BYTES.items()),
    *(("kfd/decision.json", name, with_values(**{name: value})) for name, value in (
        ("slope", math.nan), ("slope", math.inf), ("slope", "1"), ("slope", -1), ("slope", True),
        ("intercept", math.nan), ("fake_above", math.nan), ("real_below", -math.inf), ("fake_above", 2),
        ("min_face", math.nan), ("min_sharpness", "none"), ("fitted_on", 5), ("method", "magic"),
        ("knot_logits", [0.0, math.nan]), ("max_views_gap", math.nan), ("min_log10_lr", -1),
        ("flip", "yes"), ("measured", {"cllr": math.nan}), ("surplus", 1),
    )),
    ("kfd/decision.json", "overflow", content(b'{"slope": 1e999, "fitted_on": "a"}')),
    ("kfd/decision.json", "twice", twice),
    ("kfd/config.json", "twice", twice),
    *(("kfd/config.json", name, with_values(**{name: value})) for name, value in (
        ("align_dim", 10**9), ("align_dim", "16"), ("hidden", 9), ("num_context", 10**8), ("surplus", 1),
        ("encoder", "other"), ("encoder_settings", [1]), ("encoder_settings", {"image_size": 10**6}),
        ("encoder_settings", {"vocab_size": 10**12}), ("map_scale", math.nan), ("system", "os"),
    )),
    *(("kfd/model.safetensors", name, tamper) for name, tamper in (
        ("one NaN", with_tensor(one_nan)), ("last NaN", with_tensor(one_nan, -1)),
        ("infinite", with_tensor(lambda t: t.float() / 0)), ("shape", with_tensor(lambda t: t[None])),
        ("renamed", renamed),
    )),
]  # fmt: skip
OF_ASSISTANT: list[tuple[str, str, Tamper]] = [
    *((file, name, tamper)
      for file in ("assistant/assistant.json", "assistant/projector/model.safetensors",
                   "assistant/prompt_learner/config.json")
      for name, tamper in BYTES.items()),
    *((file, name, BYTES[name]) for file in ("llm/config.json", "llm/model.safetensors")
      for name in ("empty", "half", "list", "missing") if (file, name) != ("llm/config.json", "list")),
    ("assistant/assistant.json", "twice", twice),
    *(("assistant/assistant.json", name, with_values(**{name: value})) for name, value in (
        ("base", 5), ("base_shape", 5), ("base_shape", {"model_type": "llama"}), ("style", None),
        ("adapter", "yes"), ("facts", []), ("format_version", 9), ("kfd_digest", "0" * 64),
        ("base_digest", "0" * 64),
    )),
    ("assistant/prompt_learner/config.json", "llm_dim", with_values(llm_dim=10**9)),
    ("assistant/prompt_learner/config.json", "token_rms", with_values(token_rms=math.nan)),
    ("assistant/projector/model.safetensors", "NaN", with_tensor(one_nan)),
    ("llm/model.safetensors", "NaN", with_tensor(one_nan)),
]  # fmt: skip


def label(case: object) -> str:
    return case if isinstance(case, str) else ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    decision = Decision(fitted_on="a test", min_sharpness=0.0)
    return save_tiny_checkpoint(tmp_path_factory.mktemp("whole"), decision)


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "models")
    return tmp_path / "models"


@pytest.mark.parametrize(("file", "how", "tamper"), TAMPERED, ids=label)
def test_a_tampered_detector_is_refused(folder, file, how, tamper, monkeypatch, capsys):
    tamper(folder / file)
    monkeypatch.setattr(sys, "argv", ["kfd.score", str(EXAMPLE), "--checkpoint", str(folder / "kfd")])
    with pytest.raises(SystemExit) as caught:
        score.main()
    told = str(caught.value.code)
    assert told.startswith("error: ") and told.count("\n") == 0
    near = {"config.json", "decision.json", "tokenizer.json", "model.safetensors"}
    assert Path(file).name in told or (Path(file).name == "config.json" and any(n in told for n in near))
    assert capsys.readouterr().out == "", "a line was written, or a pickle ran"


@pytest.mark.parametrize(("file", "how", "tamper"), OF_ASSISTANT, ids=label)
def test_a_tampered_assistant_is_refused(folder, file, how, tamper, tmp_path, monkeypatch, capsys):
    tamper(folder / file)
    out = tmp_path / "r.json"
    words = ["app.report", str(EXAMPLE), "-o", str(out), "--checkpoint", str(folder)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as caught:
        report()
    said = capsys.readouterr()
    assert caught.value.code == 2 and not out.exists()
    assert "error: " in said.err and str(folder) in said.err and "Traceback" not in said.err
    assert "A PICKLE RAN" not in said.out


def test_weights_that_overflow_give_no_verdict(whole):
    """Each number was finite, the sum was not: NaN lies below every threshold and read as real."""
    detector = Detector.from_pretrained(whole / "kfd")
    with torch.no_grad():
        for parameter in detector.model.parameters():
            parameter.mul_(1e30)
    with pytest.raises(FloatingPointError, match="not finite"):
        detector.examine(read_image(EXAMPLE))
