"""Compare two detectors on the same resamples of the same items: is one better, and what is a verdict worth
where they disagree?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.verdicts import Verdict
from evaluation.metrics.classification import (
    FALSE_POSITIVE_RATES,
    MIN_UNITS,
    NUM_RESAMPLES,
    draw,
    figure_of,
    image_metrics,
    weighted_metrics,
)
from evaluation.metrics.levels import SEED, comparisons, labels_of
from evaluation.results import SIMULATED, Item, read_results
from evaluation.tables import NOTHING, Cell, Table
from kfd.scoring.withheld import ANSWERS, answer_of

COMPARED = ("auc", "tpr_at_fpr_5")
SUPPORT = math.log10(2)  # least log10 likelihood ratio of a verdict, as in kfd.calibration
PRIOR = 0.5  # added to each count of a ratio, so that none is infinite (Jeffreys)


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
        "agreement": agreement(a_items, b_items, num_resamples),
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
    pairs = _paired(first, second)
    items = [a for a, _ in pairs]
    logits = np.array([[a.logit, b.logit] for a, b in pairs]).reshape(-1, 2)
    return {
        one.name: _compare([items[i] for i in one.positions], logits[one.positions], num_resamples)
        for one in comparisons(items)
    }


def agreement(
    first: Sequence[Item], second: Sequence[Item], num_resamples: int = NUM_RESAMPLES
) -> list[dict[str, object]]:
    """What a verdict of the first is worth where the second agrees, is silent, or says the opposite.

    Each row has `verdict` of the first, `second` (one of ANSWERS), how many `real` and `fake` items fall
    there, and `log10_lr`: of falling there if forged over if genuine, a figure with interval, which does not
    depend on how many of each were measured. `supported`: whether the whole interval speaks for the verdict
    by a likelihood ratio of two at least, which is what a verdict needs; False says that it should be
    withheld there (evaluation.withhold), None that too few units were measured, of a class or there, to say.
    """
    pairs = _paired(first, second)
    labels, units = labels_of([a for a, _ in pairs]), np.array([a.unit for a, _ in pairs])
    if set(labels.tolist()) != {0, 1}:
        return []
    places = {}
    for verdict in (Verdict.FAKE, Verdict.REAL):
        for name in ANSWERS:
            places[verdict, name] = np.array(
                [a.verdict == verdict and answer_of(verdict, b.verdict) == name for a, b in pairs]
            )

    def statistics(weights: np.ndarray) -> dict[object, np.ndarray]:
        return {place: _log10_lr(weights, labels, there) for place, there in places.items()}

    spread, few = draw(statistics, labels, units, num_resamples, SEED)
    alone, rows = statistics(np.ones((1, len(labels)))), []
    for (verdict, name), there in places.items():
        place, sign = (verdict, name), 1 if verdict == Verdict.FAKE else -1
        none, found = None if there.any() else "no item", len(np.unique(units[there]))
        # PRIOR keeps the ratio of even one item finite in every draw: an interval of it would be invented.
        lacking = few or (
            "" if found >= MIN_UNITS else f"no interval: {found} units there, at least {MIN_UNITS} are needed"
        )
        figure = figure_of(float(alone[place][0]), none, None if lacking else spread[place], lacking)
        bounds = [figure["low"], figure["high"]]
        known = None not in bounds
        rows.append({
            "verdict": verdict, "second": name,
            "real": int((there & (labels == 0)).sum()), "fake": int((there & (labels == 1)).sum()),
            "log10_lr": figure,
            "supported": min(sign * b for b in bounds) >= SUPPORT if known else None,
        })  # fmt: skip
    return rows


def _log10_lr(weights: np.ndarray, labels: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(D,) log10 likelihood ratios of an event under D weightings (D, N); NaN without one of the classes."""
    shares = []
    for label in (1, 0):
        total = weights @ (labels == label).astype(np.float64)
        hits = weights @ (there & (labels == label)).astype(np.float64)
        shares.append(np.where(total > 0, (hits + PRIOR) / (total + 1), np.nan))
    return np.log10(shares[0] / shares[1])


def _paired(first: Sequence[Item], second: Sequence[Item]) -> list[tuple[Item, Item]]:
    """The items that both hold. A unit is a fact of the data; the first file's stands for both."""
    by_key = {item.key: item for item in second}
    return [(item, replace(by_key[item.key], unit=item.unit)) for item in first if item.key in by_key]


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


def compared(found: Mapping[str, object]) -> list[Table]:
    """The tables of what `compare_files` found."""
    rows = []
    for kind, one in found["differences"].items():
        row: list[Cell] = [kind, one["real"], one["fake"]]
        for name in ("auc", "tpr_at_fpr_5"):
            values = (one[name]["first"], one[name]["second"], one[name]["share"])
            first, second, share = (NOTHING if v is None else f"{v:.3f}" for v in values)
            row += [first, second, one[name]["difference"], share]
        rows.append(tuple(row))
    note = " ".join(
        (
            f"a: {found['first']['file']}, b: {found['second']['file']}. b − a on the same items, paired "
            "bootstrap; share: twice the share of draws on the rarer side of zero.",
            *(f"Note: {note}." for note in found["notes"]),
        )
    )
    columns = ("kind", "real", "fake", "AUC a", "AUC b", "b − a", "share", "TPR at 5 % a", "TPR at 5 % b",
               "b − a", "share")  # fmt: skip
    return [Table("Comparison", note, columns, tuple(rows)), _agreement(found["agreement"])]


def _agreement(found: Sequence[Mapping[str, object]]) -> Table:
    supported = {True: "yes", False: "no", None: NOTHING}
    rows = tuple(
        (
            one["verdict"],
            one["second"],
            one["real"],
            one["fake"],
            one["log10_lr"],
            supported[one["supported"]],
        )
        for one in found
    )
    note = (
        "What a's verdict is worth by what b says of the same item. log10 LR: of both being so if forged, "
        "over if genuine. A verdict is supported where the whole interval speaks for it by two to one at "
        "least; where it is not, it should be withheld."
    )
    return Table("Agreement", note, ("a says", "b", "real", "fake", "log10 LR", "supported"), rows)
