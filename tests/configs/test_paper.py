"""docs/paper.md has every statement once, each with its mark, and names files that are there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| ([A-K])(\d+) \| ([^|]+) \| (\S+) \| ([^|]*)\|$",
    (ROOT / "docs" / "paper.md").read_text(encoding="utf-8"),
    re.M,
)
COUNTS = {"A": 6, "B": 20, "C": 14, "D": 12, "E": 14, "F": 8, "G": 11, "H": 11, "I": 13, "J": 14, "K": 4}


def test_every_statement_is_there_once_with_its_mark():
    assert Counter(part for part, *_ in ROWS) == COUNTS
    for part, count in COUNTS.items():
        assert [int(n) for letter, n, *_ in ROWS if letter == part] == list(range(1, count + 1))
    assert {mark for *_, mark, _ in ROWS} == {"✓", "○", "–"}


def test_what_differs_says_how():
    assert all(len(said.split()) > 3 for *_, mark, said in ROWS if mark == "○")


def test_the_files_it_names_are_there():
    named = {path for *_, said in ROWS for path in re.findall(r"`([a-z_]+/[\w./-]+)`", said)}
    assert len(named) > 50 and [path for path in sorted(named) if not (ROOT / path).exists()] == []
