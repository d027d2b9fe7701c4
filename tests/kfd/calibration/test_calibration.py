"""Scores mean a probability, thresholds come from validation and leave room to abstain."""

from __future__ import annotations

import numpy as np
import pytest

from common.enfsi import NO_SUPPORT, verbal_of_score
from kfd.calibration.fit import FALSE_ALARM_RATE, MISS_RATE, fit_decision
from kfd.config import Decision


def drawn(count: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true log-odds at even classes are `apart * logit`: normals at -/+ apart / 2."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count)
    return rng.normal(size=2 * count) + (labels - 0.5) * apart, labels


def test_the_known_calibration_is_found():
    logits, labels = drawn(4000, apart=2.0)
    decision = fit_decision(logits, labels, "drawn logits")
    assert decision.slope == pytest.approx(2.0, rel=0.1)
    assert decision.intercept == pytest.approx(0.0, abs=0.1)
    assert decision.fitted_on == "drawn logits"


def test_the_balance_of_the_classes_does_not_move_the_score():
    logits, labels = drawn(4000, apart=2.0)
    rare = np.concatenate([np.arange(4000), np.arange(4000, 4400)])
    few = fit_decision(logits[rare], labels[rare], "")
    assert few.intercept == pytest.approx(0.0, abs=0.2)


def test_thresholds_keep_their_rates():
    """FIELD trap 3: the threshold is fitted on validation, not 0.5 by habit."""
    logits, labels = drawn(4000, apart=2.0)
    decision = fit_decision(logits, labels, "")
    scores = 1 / (1 + np.exp(-(decision.slope * logits + decision.intercept)))
    false_alarms = np.mean(scores[labels == 0] >= decision.fake_above)
    missed = np.mean(scores[labels == 1] <= decision.real_below)
    assert false_alarms == pytest.approx(FALSE_ALARM_RATE, abs=0.01)
    assert missed <= MISS_RATE + 0.01


@pytest.mark.parametrize("apart", [0.05, 12.0])
def test_thresholds_never_cross_nor_close_the_gap(apart):
    decision = fit_decision(*drawn(300, apart), "")
    assert 0 < decision.real_below < 0.5 < decision.fake_above < 1
    for threshold in (decision.real_below, decision.fake_above):
        assert verbal_of_score(threshold) != NO_SUPPORT, "a verdict for which nothing speaks"


def test_a_detector_that_points_the_wrong_way_is_refused():
    logits, labels = drawn(300, apart=2.0)
    with pytest.raises(ValueError, match="does not separate"):
        fit_decision(-logits, labels, "")


def test_a_decision_checks_itself():
    with pytest.raises(ValueError, match=r"got 0\.8 and 0\.7"):
        Decision(real_below=0.8)
    with pytest.raises(ValueError, match="slopes must be positive"):
        Decision(slope=-1.0)
