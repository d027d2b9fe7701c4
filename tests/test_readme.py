"""The README and docs name files, commands and words that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from common.layers import PACKAGES
from common.verdicts import Reason
from docs.architecture import BOXES, OUT, draw

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "configs/tables/README.md"]
SHOWN = (".py", ".yaml")  # of a room's files; what they read lies beside them


def tree() -> dict[str, set[str]]:
    """What the README's tree names: the files and sub-folders of each room."""
    rooms: dict[str, set[str]] = {}
    room = ""
    for line in README.split("```\n")[-2].splitlines():
        name = line.split()[0]
        if line[0] != " ":
            room = name.rstrip("/")
            rooms[room] = set()
        else:
            rooms[room].add(name)
    return rooms


def on_disk(room: str) -> set[str]:
    inside = [path for path in (ROOT / room).iterdir() if path.name not in ("__pycache__", "__init__.py")]
    return {f"{path.name}/" for path in inside if path.is_dir() and next(path.rglob("*.*"), None)} | {
        path.name for path in inside if path.suffix in SHOWN
    }


@pytest.mark.parametrize("room", PACKAGES)
def test_the_tree_names_each_file_and_folder_on_a_line_of_its_own(room):
    """The tree named three to six files a line, and after a move files that were elsewhere."""
    named = tree()[room]
    if named or room not in ("baselines", "benchmarks"):  # these two have one line for all
        assert named == on_disk(room)


def test_the_tree_names_every_room():
    assert set(PACKAGES) <= tree().keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    for target in targets:
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_modules_that_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"python -m ([a-z_.]+)", text)) - {"pip"}:
        assert importlib.util.find_spec(name), name
        assert "__main__" in Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8") or (
            importlib.util.find_spec(f"{name}.__main__")
        ), name
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z-]+)", text)) & {
        "chat",
        "test",
        "lint",
        "pictures",
        "train-embedded",
    }:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_files_named_in_the_walk_hold_what_it_says():
    walk = README.split("**Where to start reading:**")[1].split("\n## ")[0]
    named = re.findall(r"`([\w.]+)`, ([\w/]+\.py)", walk)
    assert len(named) == 4
    for symbol, path in named:
        assert re.search(rf"def {symbol.split('.')[-1]}\b", (ROOT / path).read_text(encoding="utf-8")), symbol
    for path in re.findall(r"\b[a-z_/]+\.py\b", walk):
        assert (ROOT / path).is_file(), path


def test_the_reasons_in_the_docs_are_those_of_the_program():
    text = (ROOT / "docs/verdicts.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", text, re.M)).items() >= {
        (reason.value, reason.words) for reason in Reason
    }


def test_the_figure_is_the_one_that_the_code_draws():
    """`make pictures` draws it; a room that is renamed would keep its old name in the picture."""
    assert OUT.read_text(encoding="utf-8") == draw()
    rooms = {box.title.split("/")[0] for box in BOXES if "/" in box.title}
    assert rooms <= set(PACKAGES) and {"media", "kfd", "llm", "app"} <= rooms
