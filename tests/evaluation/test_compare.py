"""Two detectors on the same items: which is better, and what a verdict is worth where they disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.verdicts import Verdict
from evaluation.compare import agreement, compare_files, compare_items
from evaluation.metrics.levels import frame_level
from evaluation.results import SIMULATED, Item
from tests.evaluation.planted import DECISION, item, planted, saved


def test_a_planted_difference_is_found_and_a_null_one_is_not():
    weak, strong = planted(0.6), planted(2.0)
    found = compare_items(weak, strong, num_resamples=300)["swap"]["auc"]
    assert found["difference"]["value"] == pytest.approx(found["second"] - found["first"])
    assert found["difference"]["low"] > 0 and found["share"] == 0
    back = compare_items(strong, weak, num_resamples=300)["swap"]["auc"]
    assert back["difference"]["high"] < 0, "the sign is second minus first"
    noise = np.random.default_rng(5).normal(scale=0.3, size=160)
    shaken = [replace(i, logit=i.logit + float(n)) for i, n in zip(planted(1.0), noise, strict=True)]
    null = compare_items(planted(1.0), shaken, num_resamples=300)["swap"]
    assert null["auc"]["difference"]["low"] < 0 < null["auc"]["difference"]["high"]
    assert null["auc"]["share"] > 0.05
    same = compare_items(weak, weak, num_resamples=50)["swap"]["auc"]
    assert same["difference"]["value"] == same["difference"]["low"] == 0 and same["share"] == 1


def test_pairing_sees_what_two_intervals_cannot():
    """The same small gain on every item: far within either AUC's own interval, and certain all the same."""
    items = planted(1.0)
    better = [replace(i, logit=i.logit + 0.15 * (i.label == "fake")) for i in items]
    own = frame_level(items, DECISION, num_resamples=200)["swap"]["auc"]
    found = compare_items(items, better, num_resamples=200)["swap"]["auc"]
    assert own["low"] < found["second"] < own["high"] and found["difference"]["low"] > 0


def _told(names: str, label: str, start: int) -> list[Item]:
    """Items whose verdicts are F, R or ? of `names`, each a unit of its own."""
    verdicts = {"F": Verdict.FAKE, "R": Verdict.REAL, "?": Verdict.INCONCLUSIVE}
    kind = "swap" if label == "fake" else ""
    return [
        replace(
            item(f"{label}{start + k}.jpg", 0.0, label, kind, unit=f"{label}{start + k}"), verdict=verdicts[v]
        )
        for k, v in enumerate(names)
    ]


def test_a_verdict_is_supported_where_those_who_hear_both_are_right():
    """Where the second opinion says the opposite, as many are genuine as forged: no verdict should stand."""
    first = _told("F" * 80, "fake", 0) + _told("F" * 20 + "R" * 60, "real", 0)
    second = _told("F" * 60 + "R" * 20, "fake", 0) + _told("R" * 20 + "R" * 60, "real", 0)
    rows = {(row["verdict"], row["second"]): row for row in agreement(first, second, num_resamples=200)}
    assert len(rows) == 6
    agrees, differs = rows[Verdict.FAKE, "agrees"], rows[Verdict.FAKE, "says the opposite"]
    assert (agrees["real"], agrees["fake"], differs["real"], differs["fake"]) == (0, 60, 20, 20)
    assert agrees["log10_lr"]["value"] == pytest.approx(np.log10(60.5 / 0.5)) and agrees["supported"] is True
    assert differs["log10_lr"]["value"] == pytest.approx(0) and differs["supported"] is False
    genuine = rows[Verdict.REAL, "agrees"]
    assert genuine["log10_lr"]["value"] < 0 and genuine["supported"] is True
    silent = rows[Verdict.REAL, "gives none"]
    assert silent["log10_lr"]["value"] is None and silent["supported"] is None


def test_a_place_that_hardly_anything_fell_in_is_not_judged():
    """Bug: one right verdict where nothing else fell was called unsupported, and all such were withheld."""
    first = _told("F" * 80, "fake", 0) + _told("R" * 80, "real", 0)
    second = _told("F" * 79 + "R", "fake", 0) + _told("R" * 80, "real", 0)
    row = next(r for r in agreement(first, second, num_resamples=200) if r["second"] == "says the opposite")
    assert (row["real"], row["fake"]) == (0, 1) and row["log10_lr"]["value"] > 0
    assert row["supported"] is None and "1 units there" in row["log10_lr"]["reason"]


def test_agreement_does_not_depend_on_how_many_of_each_class_were_measured():
    first, second = _told("F" * 40, "fake", 0), _told("F" * 20 + "R" * 20, "fake", 0)
    real = [_told("F" * 10 * n + "R" * 10 * n, "real", 0) for n in (1, 8)]
    few, many = (agreement(first + r, second + r, num_resamples=50)[0]["log10_lr"]["value"] for r in real)
    assert few == pytest.approx(many, abs=0.05)


def test_runs_on_other_data_are_not_compared(tmp_path):
    items = planted(1.0)
    a, other = saved(tmp_path, "a.json", items), saved(tmp_path, "b.json", items, sha256="d2", split="test")
    with pytest.raises(ValueError, match="split: val against test; sha256: d1 against d2"):
        compare_files(a, other)


def test_only_what_both_scored_is_compared(tmp_path):
    items = planted(1.0)
    forged = [item("r0.jpg", 0.0, kind=SIMULATED), item("r0.jpg", 1.0, "fake", SIMULATED)]
    a = saved(tmp_path, "a.json", items + forged)
    b = saved(tmp_path, "b.json", items[1:] + forged, simulated={"sha256": "s2"})
    found = compare_files(a, b, num_resamples=20)
    assert set(found["differences"]) == {"swap", "all a"}, "the forgeries of the two runs were others"
    assert found["differences"]["swap"]["real"] == 79 and len(found["notes"]) == 2
    same = compare_files(a, saved(tmp_path, "c.json", items + forged), num_resamples=20)
    assert SIMULATED in same["differences"] and not same["notes"]
