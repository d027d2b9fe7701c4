"""Likelihood ratios: known values come out, bounds hold, nothing says more than the faces support."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from common.enfsi import verbal_of
from common.storage import read_config
from kfd.calibration import likelihood_ratio as evidence
from kfd.calibration.decision import decide, log_odds, logit_of
from kfd.calibration.fit import (
    FALSE_ALARM_RATE,
    OWN_RATE,
    choose,
    false_alarm_limit,
    fit_decision,
    fit_isotonic,
    left_out_alarms,
    ratio_bounds,
)
from kfd.config import NOT_FITTED, Decision
from kfd.detector import Detector

EMBEDDED = Path(__file__).parents[3] / "checkpoints" / "embedded" / "kfd"


def drawn(count: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True natural log LRs of two normals `apart` from each other, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count)
    return (rng.normal(size=2 * count) + (labels - 0.5) * apart) * apart, labels


def test_cllr_of_known_ratios():
    """Brümmer and du Preez: no information costs one bit; LRs of 3 on the right side log2(4/3)."""
    labels = np.array([0, 0, 1, 1])
    assert evidence.cllr(np.zeros(4), labels) == pytest.approx(1.0)
    right = np.log10(3.0) * np.array([-1, -1, 1, 1])
    assert evidence.cllr(right, labels) == pytest.approx(math.log2(4 / 3))
    assert evidence.cllr(-right, labels) == pytest.approx(math.log2(4))


def test_classes_count_equally():
    values, labels = drawn(2000, 2.0)
    few = np.concatenate([np.arange(2000), np.arange(2000, 2100)])
    whole = evidence.cllr(values / evidence.LN10, labels)
    assert evidence.cllr(values[few] / evidence.LN10, labels[few]) == pytest.approx(whole, abs=0.06)


def test_calibrated_ratios_cost_hardly_more_than_their_separation():
    values, labels = drawn(4000, 2.0)
    assert evidence.cllr_min(values, labels) <= evidence.cllr(values / evidence.LN10, labels)
    assert evidence.cllr(values / evidence.LN10, labels) == pytest.approx(
        evidence.cllr_min(values, labels), abs=0.02
    )
    # Too bold and too timid ratios cost more, and PAV does not mind: it reads the order alone.
    for factor in (3.0, 0.3):
        assert evidence.cllr(factor * values / evidence.LN10, labels) > 1.1 * evidence.cllr_min(
            values, labels
        )
        assert evidence.cllr_min(factor * values, labels) == pytest.approx(evidence.cllr_min(values, labels))


def test_brier_and_calibration_error():
    labels = np.array([0, 1])
    assert evidence.brier(np.array([0.5, 0.5]), labels) == 0.25
    assert evidence.brier(np.array([0.0, 1.0]), labels) == 0.0
    assert evidence.expected_calibration_error(np.array([0.2, 0.8]), labels) == pytest.approx(0.2)
    values, many = drawn(20_000, 1.5)
    scores = 1 / (1 + np.exp(-values))
    assert evidence.expected_calibration_error(scores, many) < 0.01
    assert evidence.expected_calibration_error(scores**4, many) > 0.1


@pytest.mark.parametrize("measure", [evidence.cllr, evidence.brier, evidence.cllr_min])
def test_one_class_alone_is_no_measurement(measure):
    with pytest.raises(ValueError, match="both real"):
        measure(np.array([0.1, 0.2]), np.array([1, 1]))


@pytest.mark.parametrize("count", [20, 100, 1000])
def test_bounds_are_what_the_faces_support(count):
    """However sure the detector: with n real faces an LR beyond about n is extrapolation (ELUB)."""
    labels = np.repeat([0, 1], count)
    sure = np.where(labels == 1, 50.0, -50.0) + np.linspace(0, 1, 2 * count)
    least, most = evidence.empirical_bounds(sure, labels)
    assert most == pytest.approx(math.log10(count), abs=0.02) and least == pytest.approx(-most, abs=0.02)


def test_bounds_count_groups_not_frames():
    labels = np.repeat([0, 1], 200)
    sure = np.where(labels == 1, 50.0, -50.0)
    groups = np.array([f"person {i // 20}" for i in range(400)])
    assert evidence.empirical_bounds(sure, labels, groups)[1] == pytest.approx(1.0, abs=0.03)


def test_misleading_faces_lower_the_bounds():
    values, labels = drawn(1000, 2.0)
    before = evidence.empirical_bounds(values / evidence.LN10, labels)
    misled = values.copy()
    misled[:20] = 20.0  # two in a hundred real faces look fake beyond doubt
    after = evidence.empirical_bounds(misled / evidence.LN10, labels)
    assert after[1] < before[1] < math.log10(1000) and after[1] < 2.0
    assert evidence.empirical_bounds(-values / evidence.LN10, labels) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("log10_lr", "word"),
    [(0, "no"), (0.2, "no"), (0.31, "weak"), (1.0, "moderate"), (-1.5, "moderate"), (2, "moderately strong"),
     (3, "strong"), (-4.2, "very strong"), (6, "extremely strong")],
)  # fmt: skip
def test_the_verbal_scale(log10_lr, word):
    assert verbal_of(log10_lr) == word


def test_evidence_stays_within_its_bounds():
    bounds = (-1.2, 1.8)
    for odds in np.linspace(-40, 40, 81):
        found = evidence.weigh(float(odds), bounds)
        assert bounds[0] <= found.log10_lr <= bounds[1]
        assert found.limited == (not bounds[0] <= odds / evidence.LN10 <= bounds[1])
    assert (
        evidence.weigh(40.0, bounds).verbal == "moderate" and evidence.weigh(40.0, bounds).support == "fake"
    )
    assert evidence.weigh(0.1, bounds).support is None


def test_coverage_and_accuracy():
    scores, labels = np.array([0.02, 0.99, 0.45, 0.4]), np.array([0, 1, 0, 1])
    coverage, accuracy = evidence.coverage_accuracy(scores, labels)
    assert coverage == pytest.approx([0.25, 0.5, 0.75, 1.0]) and accuracy == pytest.approx(
        [1, 1, 2 / 3, 0.75]
    )


def test_equal_scores_are_decided_together():
    """The order of the file once decided among equals: reals stand first, so that misses looked unsure."""
    scores, labels = np.array([1.0, 1.0, 1.0, 0.4]), np.array([0, 1, 1, 0])
    coverage, accuracy = evidence.coverage_accuracy(scores, labels)
    assert coverage == pytest.approx([0.75, 1]) and accuracy == pytest.approx([2 / 3, 0.75])


class TestCalibration:
    def test_logistic_stays_where_it_is_right(self):
        values, labels = drawn(1500, 2.0)
        decision = fit_decision(values, labels, "x")
        assert decision.method == "logistic" and decision.measured["cllr"] >= decision.measured["cllr_min"]
        assert decision.measured["real"] == 1500 and decision.min_log10_lr < 0 < decision.max_log10_lr

    def test_isotonic_is_chosen_where_the_logits_bend(self):
        values, labels = drawn(1500, 2.0)
        bent = np.sign(values) * np.abs(values) ** 4
        decision, held_out = choose(bent, labels, np.arange(3000).astype(str))
        assert decision.method == "isotonic"
        platt = fit_decision(values, labels, "x").measured["cllr"]
        assert evidence.cllr(held_out / evidence.LN10, labels) == pytest.approx(platt, abs=0.03)

    def test_the_line_rises_and_has_an_inverse(self):
        values, labels = drawn(800, 2.0)
        decision = fit_isotonic(values, labels)
        grid = np.linspace(-60, 60, 4001)
        odds = log_odds(decision, grid)
        assert decision.method == "isotonic" and (np.diff(odds) > 0).all()
        for logit in (-50.0, -1.3, 0.0, 0.7, 50.0):
            score = float(1 / (1 + np.exp(-log_odds(decision, logit))))
            if 1e-9 < score < 1 - 1e-9:
                assert logit_of(decision, score) == pytest.approx(logit, abs=1e-3)

    def test_a_flat_block_is_read_as_flat(self):
        """Bug: between two steps, an LR was told up to three times as high as the faces there bear out."""
        logits = np.linspace(0, 1, 1200)
        share = np.select([logits < 0.22, logits < 0.5, logits < 0.78], [1, 6, 4], 9)  # fakes of ten
        labels = (np.arange(1200) % 10 < share).astype(int)
        odds = log_odds(fit_isotonic(logits, labels), np.array([0.1, 0.35, 0.5, 0.65, 0.9]))
        assert odds == pytest.approx(np.log([1 / 9, 1, 1, 1, 9]), abs=0.1)

    def test_every_large_source_keeps_its_rate_of_false_alarms(self):
        """A mean over sources hid one whose real people were called fake in 45 of 100 cases."""
        values, labels = drawn(600, 2.0)
        sources = np.where(np.arange(1200) % 6 == 0, "compressed", "plain")
        values = values + 2.0 * (sources == "compressed")
        decision = fit_decision(values, labels, "x", sources=sources)
        scores = 1 / (1 + np.exp(-log_odds(decision, values)))
        own = (labels == 0) & (sources == "compressed")
        assert own.sum() >= OWN_RATE and np.mean(scores[own] >= decision.fake_above) <= FALSE_ALARM_RATE
        pooled = fit_decision(values, labels, "x")
        assert np.mean(scores[own] >= pooled.fake_above) > 3 * FALSE_ALARM_RATE

    def test_bounds_hold_for_the_worst_source_by_itself(self):
        values, labels = drawn(600, 3.0)
        groups, plain = np.arange(1200).astype(str), np.zeros(1200, dtype=int)
        sources = np.where(np.arange(1200) % 6 == 0, "compressed", "plain")
        shifted = values + 2.0 * ((sources == "compressed") & (labels == 0))
        together = ratio_bounds(shifted, labels, groups, plain)
        apart = ratio_bounds(shifted, labels, groups, sources)
        assert apart[1] < together[1] - 0.2, "real faces of one source look manipulated"
        assert apart[0] == together[0]
        few = np.where(np.arange(1200) < 2 * OWN_RATE - 10, "few", "rest")
        assert ratio_bounds(shifted, labels, groups, few)[1] <= together[1] + 1e-9

    def test_what_a_source_never_seen_would_suffer_is_measured(self):
        """Of four sources one looks forged: left out, its people are accused; others lose nothing."""
        rng = np.random.default_rng(0)
        sources, groups = np.repeat(["a", "b", "c", "d"], 500), np.arange(2000)
        odds = rng.normal(0, 1, 2000) + 3.0 * (sources == "d")
        alarms = left_out_alarms(odds, groups, sources)
        assert alarms["d"] == pytest.approx(
            np.mean(odds[1500:] >= false_alarm_limit(odds[:1500], groups[:1500], sources[:1500]))
        )
        assert alarms["d"] > 0.7 and max(alarms[name] for name in "abc") == 0.0
        assert left_out_alarms(odds, groups) == {}

    def test_small_sources_keep_the_rate_together(self):
        """Ten webs of twenty faces each were no large source, and nobody asked how they fared."""
        odds = np.concatenate([np.linspace(-3, 0, 1000), np.linspace(-3, 3, 200)])
        sources = np.concatenate([np.repeat("studio", 1000), np.repeat([f"web {n}" for n in range(10)], 20)])
        limit = false_alarm_limit(odds, np.arange(1200), sources)
        assert np.mean(odds[1000:] >= limit) <= FALSE_ALARM_RATE + 0.005
        assert false_alarm_limit(odds, np.arange(1200)) < limit

    def test_the_bends_of_a_calibration_do_not_move_it(self):
        """Taken in log-odds, the bound lay where the isotonic line was steep; few fakes were found."""
        logits, labels = drawn(1500, 3.0)
        bent = np.sign(logits) * np.abs(logits) ** 3
        sources = np.tile(["a", "b", "c"], 500 * 2)[: len(labels)]
        decision = fit_decision(bent, labels, "x", sources=sources)
        assert decision.method == "isotonic"
        real = labels == 0
        limit = false_alarm_limit(bent[real], np.arange(real.sum()), sources[real])
        score = 1 / (1 + np.exp(-log_odds(decision, limit)))
        assert decision.fake_above == pytest.approx(max(score, 2 / 3), abs=1e-3)

    @pytest.mark.parametrize("count", [2, 3, 4, 7])
    def test_a_handful_of_faces(self, count):
        """A rehearsal's few validation faces left bins of the isotonic line empty."""
        decision = fit_decision(*drawn(count, 9.0), "x")
        assert decision.slope > 0 and decision.max_log10_lr <= math.log10(count + 1)

    def test_a_group_is_never_on_both_sides(self):
        with pytest.raises(ValueError, match="at least 2 groups"):
            fit_decision(*drawn(10, 2.0), "x", groups=np.repeat(["a", "b"], 10))


def test_a_decision_of_before_loads(tmp_path):
    """decision.json files written before likelihood ratios: seven fields; verdicts as they were, no ratio."""
    old = {
        "slope": 0.7, "intercept": 0.06, "fake_above": 0.731, "real_below": 0.35, "min_face": 48.0,
        "min_sharpness": 4.0, "fitted_on": "validation part of set, recipe all",
    }  # fmt: skip
    (tmp_path / "decision.json").write_text(json.dumps(old))
    decision = read_config(Decision, tmp_path / "decision.json")
    assert decision.is_fitted and decision.max_log10_lr is None and not decision.flip
    assert log_odds(decision, 2.0) == pytest.approx(1.46)


def test_an_isotonic_decision_survives_the_file(tmp_path):
    from common.storage import save_config

    decision = fit_decision(*drawn(100, 2.0), "x")
    knots = {"method": "isotonic", "knot_logits": (-1.0, 2.0), "knot_log_odds": (-2.0, 1.0)}
    decision = Decision(**{**vars(decision), **knots})
    save_config(decision, tmp_path / "decision.json")
    assert read_config(Decision, tmp_path / "decision.json") == decision


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "isotonic"}, "two or more knots"),
        ({"knot_logits": (0.0, 1.0), "knot_log_odds": (0.0, 1.0)}, "two or more knots"),
        ({"method": "isotonic", "knot_logits": (0.0, 0.0), "knot_log_odds": (0.0, 1.0)}, "must rise"),
        ({"min_log10_lr": -1.0}, "together"),
        ({"min_log10_lr": 0.5, "max_log10_lr": 1.0}, "enclose 0"),
    ],
)
def test_an_impossible_decision_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Decision(**changes)


def test_the_shipped_detector_is_calibrated():
    detector = Detector.from_pretrained(EMBEDDED)
    assert detector.decision.is_fitted and detector.decision.fitted_on != NOT_FITTED
    assert decide(detector.decision, 1.0)[0] == "fake" and decide(detector.decision, 0.0)[0] == "real"


def test_tippett_and_coverage_plots_show_what_misleads():
    from matplotlib.figure import Figure

    from evaluation.plots import Curve, _coverage, _tippett

    lrs, labels = np.array([-1.0, -0.5, 0.4, 0.2, 1.0, -0.3]), np.array([0, 0, 0, 1, 1, 1])
    curve = Curve("planted", labels, 1 / (1 + 10**-lrs))
    axes = Figure().subplots()
    _tippett(axes, [curve])
    real, fake = axes.lines[:2]
    assert real.get_xdata() == pytest.approx([-1.0, -0.5, 0.4])
    assert real.get_ydata()[-1] == pytest.approx(1 / 3)
    assert fake.get_xdata() == pytest.approx([-0.3, 0.2, 1.0]) and fake.get_ydata()[0] == 1.0
    axes = Figure().subplots()
    _coverage(axes, [curve])
    assert axes.lines[0].get_xdata()[-1] == pytest.approx(1)
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(4 / 6)
