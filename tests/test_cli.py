"""One command line for every command: default < YAML < flag, and no word is silently ignored."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common.cli import parse


@dataclass(frozen=True)
class Inner:
    share: float = 0.5  # of something
    count: int = 1  # of something


@dataclass(frozen=True)
class Settings:
    data: Path  # required
    steps: int = 10  # batches
    taps: tuple[int, ...] = (1, 2)  # layers
    guided: bool = True  # a switch
    out: Path | None = None  # optional file
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be positive, got {self.steps}")


@pytest.fixture
def yaml_file(tmp_path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("data: from/yaml\nsteps: 20\ntaps: [3, 4, 5]\nguided: false\n", encoding="utf-8")
    return path


def run(*words: str | Path) -> Settings:
    return parse(Settings, "Help.", [str(word) for word in words])


def refused(capsys, *words: str | Path) -> str:
    """Print of a refused command line; the exit status must be 2."""
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_default_is_beaten_by_yaml_and_yaml_by_flags(yaml_file):
    assert run("--data", "d") == Settings(Path("d"))
    assert run("--config", yaml_file) == Settings(Path("from/yaml"), 20, (3, 4, 5), False)
    assert run(f"--config={yaml_file}", "--steps", "30").steps == 30
    mixed = run("--steps", "30", "--config", yaml_file, "--data", "d", "--guided")
    assert mixed == Settings(Path("d"), 30, (3, 4, 5), True)


def test_yaml_values_have_their_fields_types(tmp_path):
    """Paths of a YAML file once stayed strings, and a nested mapping a dict."""
    path = tmp_path / "run.yaml"
    path.write_text("data: d\nout: o.json\ninner: {share: 0.25}\n")
    settings = run("--config", path, "--inner.count", "3")
    assert settings == Settings(Path("d"), out=Path("o.json"), inner=Inner(0.25, 3))
    assert isinstance(settings.data, Path) and isinstance(settings.out, Path)


def test_booleans_are_flag_and_no_flag():
    assert run("--data", "d", "--no-guided").guided is False
    assert run("--data", "d", "--guided").guided is True


def test_required_settings_may_stand_in_either_place(tmp_path, capsys):
    assert "data" in refused(capsys)
    partial = tmp_path / "partial.yaml"
    partial.write_text("steps: 5\n")
    assert "data" in refused(capsys, "--config", partial)
    assert run("--config", partial, "--data", "d").steps == 5


def test_unknown_words_are_refused(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("setps: 5\n")
    text = refused(capsys, "--config", path)
    assert "setps" in text and "steps" in text, "the message names the stranger and the known settings"
    assert "setps" in refused(capsys, "--data", "d", "--setps", "5")
    path.write_text("data: d\ninner: {shear: 1}\n")
    assert "shear" in refused(capsys, "--config", path)
    assert "many" in refused(capsys, "--data", "d", "--steps", "many")


def test_a_bad_file_is_said_not_traced(tmp_path, capsys):
    assert "missing.yaml" in refused(capsys, "--config", tmp_path / "missing.yaml")
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n- 2\n")
    assert "got list" in refused(capsys, "--config", path)
    path.write_text("steps: [1\n")
    assert "error: --config" in refused(capsys, "--config", path)


def test_values_from_yaml_are_checked_with_the_flags(tmp_path):
    """A YAML value that only the flags make right must not be refused before they are read."""
    path = tmp_path / "run.yaml"
    path.write_text("data: d\nsteps: 0\n")
    assert run("--config", path, "--steps", "3").steps == 3


def test_the_command_line_is_the_default_source(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prog", "--data", "d", "--steps", "7"])
    assert parse(Settings, None).steps == 7
