"""The one rule that turns a score into a verdict, and who must follow it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.storage import read_config
from common.verdicts import Reason, Verdict
from kfd.calibrate import Reading, verdicts
from kfd.calibration.decision import (
    decide,
    decide_track,
    evidence_of,
    log_odds,
    logit_of,
    may_be_scored,
    score_of,
)
from kfd.calibration.error_rates import ROBUSTNESS_FILE, digest_of_decision
from kfd.calibration.likelihood_ratio import STEP
from kfd.checkpoint import DECISION_FILE
from kfd.config import Decision
from kfd.detection import Quality

FITTED = Decision(fake_above=0.8, real_below=0.1, min_face=48, min_sharpness=4, fitted_on="a test")
LIMITED = replace(FITTED, max_jpeg_loss=0.3, max_video_loss=0.2, min_jpeg_quality=30, max_views_gap=5.0)
GOOD = Quality(100, 50.0, 0.2, 0.1, 80)
UNDECIDED = Verdict.INCONCLUSIVE


def test_the_thresholds_decide_both_ends_included():
    """FIELD traps 3 and 5: fitted thresholds on the score decide, and nothing else."""
    assert decide(FITTED, 0.8) == decide(FITTED, 1.0) == (Verdict.FAKE, ())
    assert decide(FITTED, 0.1) == decide(FITTED, 0.0) == (Verdict.REAL, ())
    for score in (0.79, 0.11):
        assert decide(FITTED, score) == (UNDECIDED, (Reason.BETWEEN_THRESHOLDS,))


@pytest.mark.parametrize("score", [0.0, 0.99])
@pytest.mark.parametrize(
    ("quality", "gap", "reason"),
    [
        (replace(GOOD, face_pixels=47), 0.0, Reason.FACE_TOO_SMALL),
        (replace(GOOD, sharpness=3.9), 0.0, Reason.BLURRED),
        (replace(GOOD, jpeg_loss=0.4), 0.0, Reason.HEAVY_COMPRESSION),
        (replace(GOOD, video_loss=0.4), 0.0, Reason.HEAVY_COMPRESSION),
        (replace(GOOD, jpeg_quality=20), 0.0, Reason.HEAVY_COMPRESSION),
        (GOOD, 5.1, Reason.VIEWS_DISAGREE),
    ],
)
def test_a_photograph_beyond_a_limit_gets_no_verdict_whatever_its_score(score, quality, gap, reason):
    assert decide(LIMITED, score, quality, gap) == (UNDECIDED, (reason,))


def test_no_limit_no_reason():
    assert decide(LIMITED, 0.9, GOOD, 5.0) == decide(LIMITED, 0.9, Quality(100, 50.0)) == (Verdict.FAKE, ())
    assert decide(FITTED, 0.9, Quality(100, 50.0, 0.9, 0.9, 5), 80.0) == (Verdict.FAKE, ()), "none was fitted"


def test_all_reasons_are_told_and_those_of_the_face_first():
    poor = Quality(10, 1.0, 0.9, 0.9, 5)
    limits = (Reason.FACE_TOO_SMALL, Reason.BLURRED, Reason.HEAVY_COMPRESSION)
    doubts = [Reason.FACE_UNCERTAIN]
    assert decide(LIMITED, None, poor, also=doubts) == (UNDECIDED, (Reason.FACE_UNCERTAIN, *limits))
    assert decide(LIMITED, 0.5, poor, 9.0) == (
        UNDECIDED,
        (*limits, Reason.VIEWS_DISAGREE, Reason.BETWEEN_THRESHOLDS),
    )


def test_no_verdict_without_calibration():
    assert decide(Decision(), 0.99) == decide(Decision(), 0.01) == (UNDECIDED, (Reason.NOT_CALIBRATED,))
    assert evidence_of(Decision(), 3.0, 0.95) is None and evidence_of(FITTED, 3.0, 0.95) is None
    assert evidence_of(replace(FITTED, min_log10_lr=-1.0, max_log10_lr=1.0), 3.0, 0.95).log10_lr == 1.0


@settings(max_examples=300, deadline=None)
@given(
    bounds=st.tuples(st.floats(-3, 0), st.floats(0, 3)),
    thresholds=st.tuples(st.floats(0.001, 0.49), st.floats(0.51, 0.999)),
    logits=st.lists(st.floats(-9, 9), min_size=2, max_size=20),
)
def test_equal_strength_means_equal_verdicts(bounds, thresholds, logits):
    """The strength was cut at a bound below the threshold: of two faces told to be equally strong, log10 LR
    +0.94, one was called fake and the other got no verdict. Now equal in the two decimals that are told means
    the same verdict, and a higher score never means a weaker sign of manipulation.
    """
    decision = replace(
        FITTED, real_below=thresholds[0], fake_above=thresholds[1],
        min_log10_lr=min(bounds[0], -2 * STEP), max_log10_lr=max(bounds[1], 2 * STEP),
    )  # fmt: skip
    near = [float(logit_of(decision, t)) + d for t in thresholds for d in (-1e-3, -1e-12, 0.0, 1e-12, 1e-3)]
    verdicts: dict[float, set[Verdict]] = {}
    told = []
    for logit in sorted([*logits, *near]):
        for score in (float(score_of(decision, logit)), float(np.float32(score_of(decision, logit)))):
            strength = evidence_of(decision, logit, score).log10_lr
            verdicts.setdefault(round(strength, 2) + 0.0, set()).add(decide(decision, score)[0])
        told.append(evidence_of(decision, logit, float(score_of(decision, logit))).log10_lr)
        assert decision.min_log10_lr <= strength <= decision.max_log10_lr
    assert all(len(found) == 1 for found in verdicts.values()), verdicts
    assert (np.diff(told) >= -1e-9).all()


def test_a_strength_is_only_ever_lowered():
    """Before a threshold beyond the bound a score tells less than it is worth, never more."""
    decision = replace(FITTED, fake_above=0.95, real_below=0.2, min_log10_lr=-1.0, max_log10_lr=0.9)
    for logit in np.linspace(-5, 5, 101):
        found = evidence_of(decision, float(logit), float(score_of(decision, logit)))
        assert abs(found.log10_lr) <= abs(logit / np.log(10)) + 1e-12
        assert found.limited == (not -1.0 <= logit / np.log(10) <= 0.9)


def test_a_face_below_the_least_size_is_not_scored():
    assert may_be_scored(FITTED, Quality(48, 50.0)) and not may_be_scored(FITTED, Quality(47.9, 50.0))


def test_frames_that_disagree():
    even = replace(FITTED, fake_above=0.7, real_below=0.3)
    fake, real = [3.0] * 4, [-3.0] * 4
    assert decide_track(even, np.array(fake))[1:] == (Verdict.FAKE, ())
    assert decide_track(even, np.array(real))[1:] == (Verdict.REAL, ())
    assert Reason.FRAMES_DISAGREE in decide_track(even, np.array(fake + real[:1]))[2]
    assert Reason.FRAMES_DISAGREE not in decide_track(even, np.array(fake * 2 + real[:1]))[2]
    score, verdict, reasons = decide_track(even, np.array(fake), [Reason.BLURRED])
    assert (score, verdict, reasons) == (score_of(even, 3.0), UNDECIDED, (Reason.BLURRED,))


@pytest.mark.parametrize(
    "decision",
    [
        Decision(slope=3.0, intercept=-0.5),
        Decision(slope=2.0, method="isotonic", knot_logits=(-1.0, 1.0), knot_log_odds=(-2.0, 0.5)),
    ],
)
def test_the_score_is_the_probability_of_the_log_odds(decision):
    logits = np.linspace(-6, 6, 13)
    odds, scores = log_odds(decision, logits), score_of(decision, logits)
    np.testing.assert_allclose(np.log(scores / (1 - scores)), odds, rtol=1e-9)
    assert (np.diff(scores) > 0).all()
    assert logit_of(decision, float(scores[4])) == pytest.approx(logits[4])


def test_the_robustness_grid_gives_the_verdicts_of_the_rule():
    """The grid had a copy of the rule and a reason "views" of its own; without the copy all tests passed."""
    qualities = [GOOD, replace(GOOD, jpeg_loss=0.9), replace(GOOD, sharpness=0.0), GOOD, GOOD, GOOD]
    scores, gaps = np.array([0.9, 0.9, 0.9, 0.9, 0.05, 0.5]), np.array([0.0, 0.0, 0.0, 9.0, 0.0, 0.0])
    losses = np.array([[q.jpeg_loss, q.video_loss] for q in qualities])
    logits, sharp = (
        np.array([logit_of(LIMITED, s) for s in scores]),
        np.array([q.sharpness for q in qualities]),
    )
    reading = Reading(logits, gaps, losses, sharp, doubts=((),) * 6)
    expected = [Verdict.FAKE, UNDECIDED, UNDECIDED, UNDECIDED, Verdict.REAL, UNDECIDED]
    assert [verdict for verdict, _ in verdicts(LIMITED, reading)] == expected
    alone = replace(reading, gaps=None)  # each crop read once
    assert verdicts(LIMITED, alone)[3] == (Verdict.FAKE, ())
    drawn = replace(reading, doubts=((Reason.NOT_A_PHOTOGRAPH,),) * 6)
    assert verdicts(LIMITED, drawn)[0] == (UNDECIDED, (Reason.NOT_A_PHOTOGRAPH,))


def test_the_shipped_grid_belongs_to_the_shipped_decision():
    """New fields of Decision, at values that change nothing, once made every grid measured before them stale:
    the page refused the shipped detector.
    """
    folder = Path(__file__).parents[3] / "checkpoints" / "embedded" / "kfd"
    stored = json.loads((folder / ROBUSTNESS_FILE).read_text())
    decision = read_config(Decision, folder / DECISION_FILE)
    assert digest_of_decision(decision) == stored["decision"]
    for change in ({"clip_slope": 1.1}, {"map_share": 0.6}, {"fake_above": 0.999}):
        assert digest_of_decision(replace(decision, **change)) != stored["decision"]
