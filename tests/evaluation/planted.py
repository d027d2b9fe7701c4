"""Planted scores with known answers, and files of results that hold them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from evaluation.metrics.levels import frame_level
from evaluation.results import SCHEMA, Item, write_results
from kfd.config import Decision

DECISION = Decision(slope=2.0, intercept=0.5, fake_above=0.8, real_below=0.3, fitted_on="planted")


def item(path: str, logit: float, label: str = "real", kind: str = "", **changes: str) -> Item:
    score = 1 / (1 + np.exp(-(DECISION.slope * logit + DECISION.intercept)))
    above, below = score >= DECISION.fake_above, score <= DECISION.real_below
    verdict = "fake" if above else "real" if below else "inconclusive"
    values = {"source": "a", "unit": path, "video": "", "track": "", "verdict": verdict} | changes
    return Item(path, label, kind, logit=float(logit), score=float(score), local=0.5, **values)


def planted(apart: float, count: int = 80, seed: int = 0, kind: str = "swap") -> list[Item]:
    """`count` real and as many fake photographs of one source, normals `apart` from each other."""
    rng = np.random.default_rng(seed)
    reals = [item(f"r{i}.jpg", x) for i, x in enumerate(rng.normal(size=count))]
    fakes = [item(f"f{i}.jpg", x, "fake", kind) for i, x in enumerate(rng.normal(size=count) + apart)]
    return reals + fakes


def results_of(items: list[Item], **data: object) -> dict[str, object]:
    found = {
        "folder": "set",
        "split": "val",
        "size": 64,
        "sha256": "d1",
        "simulated": {"sha256": "s1"},
    } | data
    return {
        "schema": SCHEMA, "command": "python", "created": "now", "note": "A note.",
        "checkpoint": {"folder": "kfd", "sha256": "c1"}, "data": found, "seeds": {"bootstrap": 0},
        "environment": {"commit": "x", "python": "3", "platform": "p", "device": "d", "threads": 1,
                        "packages": {}},
        "decision": asdict(DECISION),
        "failures": [],
        "results": {"frame": frame_level(items, DECISION, num_resamples=20)},
    }  # fmt: skip


def saved(folder: Path, name: str, items: list[Item], **data: object) -> Path:
    write_results(folder / name, results_of(items, **data), items)
    return folder / name
