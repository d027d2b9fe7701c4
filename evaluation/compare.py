"""Compare two detectors on the same resamples of the same items: is one better?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluation.metrics.classification import (
    FALSE_POSITIVE_RATES,
    NUM_RESAMPLES,
    draw,
    figure_of,
    image_metrics,
    weighted_metrics,
)
from evaluation.metrics.levels import SEED, comparisons, labels_of
from evaluation.results import SIMULATED, Item, read_results

COMPARED = ("auc", "tpr_at_fpr_5")


def compare_files(first: Path, second: Path, num_resamples: int = NUM_RESAMPLES) -> dict[str, object]:
    """Differences second - first of two files of results, by kind; see `compare_items`.

    Raises ValueError, which says what differs, when the two were measured on different data.
    """
    (a, a_items), (b, b_items) = read_results(first), read_results(second)
    if problems := different_data(a["data"], b["data"]):
        raise ValueError(
            f"{first} and {second} were measured on different data ({'; '.join(problems)}): "
            "measure both on the same split of the same set"
        )
    notes = []
    if a["data"].get("simulated") != b["data"].get("simulated"):
        # The forgeries are made anew by each run; the photographs they are made of are the same.
        notes.append("simulated forgeries are left out: the two runs made different ones")
        a_items, b_items = ([i for i in items if i.kind != SIMULATED] for items in (a_items, b_items))
    left_out = len({i.key for i in a_items} ^ {i.key for i in b_items})
    if left_out:
        notes.append(f"{left_out} items scored by one of the two alone are left out")
    return {
        "first": _named(first, a),
        "second": _named(second, b),
        "notes": notes,
        "differences": compare_items(a_items, b_items, num_resamples),
    }


def _named(path: Path, results: Mapping[str, object]) -> dict[str, object]:
    return {"file": path.name, "checkpoint": results["checkpoint"], "command": results["command"]}


def different_data(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    """Tell two `data` sections apart, in words; empty for the same data."""
    return [
        f"{name}: {first.get(name)} against {second.get(name)}"
        for name in ("split", "size", "sha256")
        if first.get(name) != second.get(name)
    ]


def compare_items(
    first: Sequence[Item], second: Sequence[Item], num_resamples: int = NUM_RESAMPLES
) -> dict[str, dict[str, object]]:
    """Paired bootstrap of AUC and TPR at 5 % FPR on the items that both hold, by kind.

    Each metric has `first`, `second` and `difference` (a figure with interval), and `share`: twice the share
    of draws on the rarer side of zero, at most 1; small where a difference is unlikely to be chance.
    """
    by_key = {item.key: item for item in second}
    # A unit is a fact of the data; the first file's stands for both.
    pairs = [(item, replace(by_key[item.key], unit=item.unit)) for item in first if item.key in by_key]
    items = [a for a, _ in pairs]
    logits = np.array([[a.logit, b.logit] for a, b in pairs]).reshape(-1, 2)
    return {
        one.name: _compare([items[i] for i in one.positions], logits[one.positions], num_resamples)
        for one in comparisons(items)
    }


def _compare(items: Sequence[Item], logits: np.ndarray, num_resamples: int) -> dict[str, object]:
    labels, units = labels_of(items), [item.unit for item in items]
    counts = {"real": int((labels == 0).sum()), "fake": int((labels == 1).sum())}
    if not all(counts.values()):
        return {**counts, **{name: _missing("one class alone") for name in COMPARED}}

    def statistics(weights: np.ndarray) -> dict[str, np.ndarray]:
        a, b = (weighted_metrics(labels, logits[:, k], weights) for k in (0, 1))
        return {name: b[name] - a[name] for name in COMPARED}

    spread, few = draw(statistics, labels, units, num_resamples, SEED)
    a, b = (image_metrics(labels, logits[:, k]) for k in (0, 1))
    result: dict[str, object] = dict(counts)
    for name in COMPARED:
        if counts["real"] * FALSE_POSITIVE_RATES.get(name, 1.0) < 1 - 1e-9:
            result[name] = _missing(f"too few real items: {counts['real']}")
            continue
        found = spread.get(name)
        result[name] = {
            "first": a[name],
            "second": b[name],
            "difference": figure_of(b[name] - a[name], None, found, few),
            "share": None if found is None else _share(found),
        }
    return result


def _missing(reason: str) -> dict[str, object]:
    return {"first": None, "second": None, "difference": figure_of(None, reason, None), "share": None}


def _share(spread: np.ndarray) -> float:
    known = spread[np.isfinite(spread)]
    return float(min(1.0, 2 * min(np.mean(known <= 0), np.mean(known >= 0))))
