"""Metrics against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kfd.metrics import bootstrap_interval, image_metrics, map_metrics


def test_perfect_inverted_and_undecided_scores():
    labels = np.array([0, 0, 1, 1])
    perfect = image_metrics(labels, np.array([0.1, 0.2, 0.8, 0.9]))
    assert perfect["auc"] == perfect["ap"] == perfect["tpr_at_fpr_1"] == 1 and perfect["eer"] == 0
    assert 0.2 < perfect["eer_threshold"] <= 0.8
    assert image_metrics(labels, np.array([0.9, 0.8, 0.2, 0.1]))["auc"] == 0
    assert image_metrics(labels, np.full(4, 0.5))["auc"] == 0.5


def test_hand_made_case():
    """14 of 16 comparisons are won, one error on each side at the crossing.

    scikit-learn's default leaves collinear points of the ROC out; the EER was once read off the rest.
    """
    real, fake = [0.1, 0.2, 0.3, 0.7], [0.4, 0.8, 0.9, 0.6]
    figures = image_metrics(np.repeat([0, 1], 4), np.array(real + fake))
    assert figures["auc"] == pytest.approx(14 / 16)
    assert figures["eer"] == pytest.approx(0.25)
    assert figures["tpr_at_fpr_1"] == figures["tpr_at_fpr_5"] == 0.5, "two fakes lie above every real"


def test_metrics_do_not_depend_on_the_scale():
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, 200), rng.normal(size=200)
    plain, squashed = image_metrics(labels, logits), image_metrics(labels, 1 / (1 + np.exp(-3 * logits)))
    for name in ("auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5"):
        assert plain[name] == pytest.approx(squashed[name])


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_one_class_alone_has_no_metrics(labels):
    with pytest.raises(ValueError, match=r"need real \(0\) and fake \(1\)"):
        image_metrics(np.array(labels), np.zeros(len(labels)))


def test_bootstrap_resamples_groups_not_frames():
    """FIELD trap 1: a hundred copies of a video's frame are no more evidence than one."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 12)
    scores = rng.normal(size=24) + labels
    groups, copies = np.arange(24), np.repeat(np.arange(24), 10)
    once = bootstrap_interval(labels, scores, groups, draws=100)
    assert bootstrap_interval(labels, scores, groups, draws=100) == once, "the seed fixes the interval"
    copied = bootstrap_interval(labels[copies], scores[copies], groups[copies], draws=100)
    assert copied == pytest.approx(once)
    as_frames = bootstrap_interval(labels[copies], scores[copies], np.arange(240), draws=100)
    assert as_frames[1] - as_frames[0] < 0.5 * (once[1] - once[0])
    assert once[0] < image_metrics(labels, scores)["auc"] < once[1]


def test_map_metrics_of_a_perfect_a_half_and_an_inverted_map():
    mask = np.zeros((1, 4, 4))
    mask[:, :2] = 1
    assert map_metrics(0.9 * mask, mask) == {"pixel_auc": 1, "iou": 1, "pointing": 1}
    half = np.zeros((1, 4, 4))
    half[:, 0] = 0.9
    figures = map_metrics(half, mask)
    assert figures["iou"] == 0.5 and figures["pointing"] == 1
    assert figures["pixel_auc"] == pytest.approx(0.75)
    assert map_metrics(1 - mask, mask) == {"pixel_auc": 0, "iou": 0, "pointing": 0}
