"""What must be true of what a command of the day left behind; a check raises ValueError that says why not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from benchmarks.cost.rows import load_rows
from common.storage import read_tensors
from evaluation.results import read_results
from llm.serving.exported import load_exported

GIB = 2**30
SAME = {"cpu": 0.0, "cuda": 0.02}  # relative distance of weights after a resumption; GPUs sum in any order


@dataclass(frozen=True)
class Outcome:
    """What a command left behind. place: what it wrote. printed: all that it said. day: settings of the day.

    memory: most bytes that tensors had on the GPU; None on a CPU.
    """

    place: Path
    printed: str
    device: str
    memory_gib: float
    memory: int | None = None

    def bounded(self) -> str:
        """Say how much memory it took. Raises ValueError where that is above the bound."""
        if self.memory is None:
            return "no GPU"
        if self.memory > self.memory_gib * GIB:
            raise ValueError(f"took {self.memory / GIB:.1f} GiB, expected at most {self.memory_gib:g}")
        return f"{self.memory / GIB:.1f} GiB"


Check = Callable[[Outcome], str]


def learned(found: Outcome) -> str:
    """The loss falls: its mean over the last third of what was printed is below that of the first."""
    losses = [float(value) for value in re.findall(r"^step \d+(?:/\d+)? loss (\S+)", found.printed, re.M)]
    if len(losses) < 3 or not all(map(math.isfinite, losses)):
        raise ValueError(f"expected three losses or more, all finite, got {losses}")
    third = len(losses) // 3
    first, last = mean(losses[:third]), mean(losses[-third:])
    if not last < first:
        raise ValueError(f"the loss does not fall: {first:.4f} at first, {last:.4f} at last")
    return f"loss {first:.3f} to {last:.3f}, {found.bounded()}"


def resumed(other: str) -> Check:
    """The weights are those of the run `other`, which nothing broke off."""

    def check(found: Outcome) -> str:
        if not re.search(r"^(resuming after|continuing at) step", found.printed, re.M):
            raise ValueError("it began anew instead of going on")
        whole = found.place.with_name(other)
        files = sorted(path.relative_to(whole) for path in whole.rglob("*.safetensors"))
        distance = max(_distance(whole / path, found.place / path) for path in files)
        if distance > SAME[torch.device(found.device).type]:
            raise ValueError(f"its weights lie {distance:.2g} of their length from those of {other}")
        return f"weights within {distance:.2g} of those of {other}, {found.bounded()}"

    return check


def _distance(one: Path, other: Path) -> float:
    """The largest relative distance of the tensors of two files."""
    first, second = read_tensors(one), read_tensors(other)
    if first.keys() != second.keys():
        raise ValueError(f"{other} has other tensors than {one}")
    pairs = [(first[name].float(), second[name].float()) for name in first]
    return max(float((a - b).norm() / a.norm().clamp(min=1e-9)) for a, b in pairs)


def costs(found: Outcome) -> str:
    """Every model of the table was measured, each within the memory."""
    rows, facts = load_rows(found.place)
    peaks = [row.peak_bytes for row in rows if row.peak_bytes is not None]
    if not rows or any(row.seconds is None for row in rows):
        raise ValueError("a row was not measured")
    if peaks and max(peaks) > found.memory_gib * GIB:
        raise ValueError(f"took {max(peaks) / GIB:.1f} GiB, expected at most {found.memory_gib:g}")
    return f"{len(rows)} rows on {facts['machine']}"


def figures(found: Outcome) -> str:
    """There is an AUC of known fakes, a number between 0 and 1."""
    results = read_results(found.place / "results.json")[0]["results"]
    levels = {name: results[name] for name in ("frame", "video") if name in results}
    values = {
        f"{level} {name}": value["auc"]["value"]
        for level, kinds in levels.items()
        for name, value in kinds.items()
        if name.startswith("all ") and value["auc"]["value"] is not None
    }
    if not values or not all(0 <= value <= 1 for value in values.values()):
        raise ValueError(f"expected an AUC between 0 and 1, got {values or 'none'}")
    return ", ".join(f"AUC {name} {value:.3f}" for name, value in values.items()) + f", {found.bounded()}"


def scored(found: Outcome) -> str:
    """Every line has a score, or a reason for none."""
    lines = [json.loads(line) for line in found.place.read_text(encoding="utf-8").splitlines()]
    if not lines or not all(isinstance(line["score"], float) for line in lines):
        raise ValueError(f"expected lines with a score, got {lines}")
    return f"{len(lines)} scores, {found.bounded()}"


def read(found: Outcome) -> str:
    """The report has faces, and an answer to the question."""
    answers = list(_answers(json.loads(found.place.read_text(encoding="utf-8"))))
    if not any(answers):
        raise ValueError("the report holds no answer")
    return f"{len(answers)} answers, {found.bounded()}"


def _answers(value: object) -> Iterator[str]:
    """Every answer in a report, however deep."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inside:
        yield from _answers(part)
    if isinstance(value, dict) and isinstance(value.get("answer"), str):
        yield value["answer"]


def exported(found: Outcome) -> str:
    """What was exported loads, and has the prompt learner with it."""
    model = load_exported(found.place)
    if model.prompt_learner is None:
        raise ValueError("the prompt learner is missing")
    return f"loads, {sum(p.numel() for p in model.parameters()):,} parameters"
