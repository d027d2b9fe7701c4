"""Reads `wordings.yaml`, whose head explains the notation, and checks that every answer can be filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from string import Formatter
from typing import Any

import yaml

REGION_INTENTS = ("region_check", "region_detail")  # they ask about a region
QUESTION_SLOTS = frozenset({"region", "is", "Is", "has", "Has", "Does"})

# The states that a case can be in, each with the groups of answers it shares with others.
GROUPS: dict[str, tuple[str, ...]] = {
    "fake_at": ("any", "scored", "fake"),
    "fake_nowhere": ("any", "scored", "fake"),
    "real": ("any", "scored"),
    "weak": ("any", "scored", "inconclusive"),
    "undecided": ("any", "scored", "inconclusive"),
    "unscored": ("any", "inconclusive"),
}
# Where regions are named, an answer about one region depends on whether it is among them.
REGION_GROUPS: dict[str, tuple[str, ...]] = {
    "fake_hit": (*GROUPS["fake_at"], "fake_at"),
    "fake_miss": (*GROUPS["fake_at"], "fake_at"),
    "weak_hit": (*GROUPS["weak"], "weak"),
    "weak_miss": (*GROUPS["weak"], "weak"),
    **{state: groups for state, groups in GROUPS.items() if state not in ("fake_at", "weak")},
}

_INNERMOST = re.compile(r"\[([^\[\]]*)\]")
_MACRO = re.compile(r"<(\w+)>")


@dataclass(frozen=True)
class Intent:
    """Questions and answers about one thing.

    train, heldout: the question patterns, each as the tuple of all its wordings.
    answers: for each state of a case the wordings that suit it.
    """

    train: tuple[tuple[str, ...], ...]
    heldout: tuple[tuple[str, ...], ...]
    answers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Wordings:
    """wordings.yaml in memory; the fields are explained there."""

    task_description: str
    first_question: str
    suggested_questions: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    synonyms: Mapping[str, tuple[str, ...]]
    openers: Mapping[str, tuple[str, ...]]
    closers: tuple[str, ...]
    intents: Mapping[str, Intent]


def expand(pattern: str) -> tuple[str, ...]:
    """Every wording of a pattern: "[Is|Was] it" -> ("Is it", "Was it"); brackets may nest."""
    match = _INNERMOST.search(pattern)
    if match is None:
        return (" ".join(pattern.split()),)
    before, after = pattern[: match.start()], pattern[match.end() :]
    nested = (expand(before + option + after) for option in match[1].split("|"))
    return tuple(dict.fromkeys(wording for wordings in nested for wording in wordings))


@lru_cache(maxsize=1)
def load_wordings() -> Wordings:
    """The shipped wordings. Raises ValueError naming the pattern that has no macro, no slot or no answer."""
    raw = yaml.safe_load((files("data_sim.dialogues") / "wordings.yaml").read_text(encoding="utf-8"))
    return Wordings(
        task_description=raw["task_description"],
        first_question=raw["first_question"],
        suggested_questions=tuple(raw["suggested_questions"]),
        groups=_tuples(raw["groups"]),
        synonyms=_tuples(raw["synonyms"]),
        openers=_tuples(raw["openers"]),
        closers=tuple(raw["closers"]),
        intents={name: read_intent(name, parts, raw["macros"]) for name, parts in raw["intents"].items()},
    )


def _tuples(lists: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(items) for name, items in lists.items()}


def read_intent(name: str, parts: dict[str, Any], macros: dict[str, str]) -> Intent:
    """One entry of `intents`, expanded and checked; ValueError names the pattern that cannot be used."""

    def wordings(pattern: str) -> tuple[str, ...]:
        unknown = set(_MACRO.findall(pattern)) - set(macros)
        if unknown:
            raise ValueError(f"wordings.yaml, {name}: no macro {sorted(unknown)} for {pattern!r}")
        return expand(_MACRO.sub(lambda match: f"[{macros[match[1]]}]", pattern))

    by_state = {
        state: tuple(w for pattern in patterns for w in wordings(pattern))
        for state, patterns in parts["answers"].items()
    }
    groups = REGION_GROUPS if name in REGION_INTENTS else GROUPS
    stray = set(by_state) - {key for state in groups for key in (state, *groups[state])}
    if stray:
        raise ValueError(f"wordings.yaml, {name}: no case is in {sorted(stray)}; states: {sorted(groups)}")
    answers = {state: sum((by_state.get(key, ()) for key in (state, *groups[state])), ()) for state in groups}
    questions = {kind: tuple(map(wordings, parts["questions"][kind])) for kind in ("train", "heldout")}
    for state, texts in answers.items():
        if not texts:
            raise ValueError(f"wordings.yaml, {name}: no answer for the state {state!r}")
        _check_slots(name, texts, _answer_slots(state))
    for patterns in questions.values():
        for texts in patterns:
            _check_slots(name, texts, QUESTION_SLOTS if name in REGION_INTENTS else frozenset())
    return Intent(questions["train"], questions["heldout"], answers)


def _answer_slots(state: str) -> frozenset[str]:
    """The slots that a case in this state can fill."""
    slots = {"asked", "does"} if state in REGION_GROUPS else set()
    slots |= {"score"} if state != "unscored" else set()
    slots |= {"regions"} if state in ("fake_at", "weak") or state.endswith(("hit", "miss")) else set()
    slots |= {"hit"} if state.endswith("hit") else set()
    slots |= {"strength", "distance"} if state.startswith(("fake", "real")) else {"reasons"}
    return frozenset(slots)


def _check_slots(intent: str, texts: tuple[str, ...], allowed: frozenset[str]) -> None:
    for text in texts:
        stray = {field for _, field, _, _ in Formatter().parse(text) if field is not None} - allowed
        if stray:
            raise ValueError(
                f"wordings.yaml, {intent}: nothing fills {sorted(stray)} in {text!r}; "
                f"allowed there: {sorted(allowed)}"
            )
