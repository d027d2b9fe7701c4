"""Metrics against cases worked out by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from evaluation.metrics.classification import (
    auc_figure,
    figures,
    image_metrics,
    interval,
    resampled,
    verdict_metrics,
    weighted_metrics,
    wilson_interval,
)
from evaluation.metrics.localization import MapCounts, map_figures, map_metrics


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


def interval_of(labels, scores, units, **settings) -> tuple[float, float]:
    figure = auc_figure(labels, scores, units, **settings)
    return figure["low"], figure["high"]


def test_bootstrap_resamples_groups_not_frames():
    """FIELD trap 1: a hundred copies of a video's frame are no more evidence than one."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 12)
    scores = rng.normal(size=24) + labels
    groups, copies = np.arange(24), np.repeat(np.arange(24), 10)
    once = interval_of(labels, scores, groups, num_resamples=100)
    assert interval_of(labels, scores, groups, num_resamples=100) == once, "the seed fixes the interval"
    copied = interval_of(labels[copies], scores[copies], groups[copies], num_resamples=100)
    assert copied == pytest.approx(once)
    as_frames = interval_of(labels[copies], scores[copies], np.arange(240), num_resamples=100)
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


def drawn(count: int, apart: float, seed: int = 0, digits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """`count` real and as many fake scores, normals `apart` from each other; few digits make ties."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count)
    return labels, np.round(rng.normal(size=2 * count) + apart * labels, digits)


@pytest.mark.parametrize("digits", [8, 0])
def test_all_draws_at_once_agree_with_scikit_learn_one_by_one(digits):
    labels, scores = drawn(60, 1.0, digits=digits)
    weights = np.random.default_rng(1).integers(0, 4, (5, 120)).astype(float)
    found = weighted_metrics(labels, scores, weights)
    for k, weight in enumerate(weights):
        assert found["auc"][k] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weight))
        assert found["ap"][k] == pytest.approx(average_precision_score(labels, scores, sample_weight=weight))
        drawn_often = np.repeat(np.arange(120), weight.astype(int))
        plain = image_metrics(labels[drawn_often], scores[drawn_often])
        for name, value in plain.items():
            assert found[name][k] == pytest.approx(value), name


def verdicts_of(scores, fake_above: float, real_below: float) -> np.ndarray:
    scores = np.asarray(scores)
    return np.select([scores >= fake_above, scores <= real_below], ["fake", "real"], "inconclusive")


def test_rates_at_thresholds_are_those_counted_by_hand():
    """FIELD trap 3: the thresholds are given, and both ends count as decided."""
    labels, scores = np.repeat([0, 1], 4), np.array([0.1, 0.2, 0.5, 0.8, 0.2, 0.7, 0.8, 0.9])
    verdicts = verdicts_of(scores, 0.8, 0.2)
    found = verdict_metrics(labels, scores, 0.8, verdicts)
    assert found == {
        "acc": 5 / 8, "f1": pytest.approx(2 * 2 / (2 * 2 + 1 + 2)), "real_called_fake": 1 / 4,
        "inconclusive_real": 1 / 4, "fake_called_real": 1 / 4, "inconclusive_fake": 1 / 4,
    }  # fmt: skip
    every = figures(labels, scores, [str(i) for i in range(8)], 0.8, verdicts, num_resamples=50)
    assert {name: every[name]["value"] for name in found} == found


def test_each_figure_has_its_interval():
    labels, scores = drawn(150, 1.0)
    found = figures(
        labels, scores, [str(i) for i in range(300)], 1.0, verdicts_of(scores, 1, 0), num_resamples=300
    )
    for name, figure in found.items():
        assert figure["low"] <= figure["value"] <= figure["high"], name
        assert 0 < figure["high"] - figure["low"] < 1, name
        assert "reason" not in figure
    assert found["auc"]["value"] == pytest.approx(image_metrics(labels, scores)["auc"])


def test_what_cannot_be_known_is_none_with_a_reason():
    units = [str(i) for i in range(40)]
    line = np.linspace(0, 1, 40)
    reals = figures(np.zeros(40), line, units, 0.5, verdicts_of(line, 0.5, 0.2), num_resamples=20)
    assert reals["auc"] == {"value": None, "low": None, "high": None, "reason": "there are no fake items"}
    assert reals["fake_called_real"]["value"] is None and reals["real_called_fake"]["value"] == 0.5
    assert 0 < reals["real_called_fake"]["low"] < reals["real_called_fake"]["high"] < 1
    halves, order = np.repeat([0, 1], 20), np.arange(40.0)
    few = figures(halves, order, units, 30.0, verdicts_of(order, 30, 10), num_resamples=20)
    assert few["real_called_fake"]["value"] == few["real_called_fake"]["low"] == 0
    assert few["real_called_fake"]["high"] == pytest.approx(0.161, abs=1e-3), "none of 20 is no certainty"
    assert few["auc"]["value"] == 1
    assert few["tpr_at_fpr_1"]["value"] is None and "less than one item" in few["tpr_at_fpr_1"]["reason"]
    assert few["tpr_at_fpr_5"]["value"] == 1, "5 % of 20 real items is one"
    pairs = figures(halves, order, ["a", "b"] * 20, 30.0, verdicts_of(order, 30, 10), num_resamples=20)
    assert (
        pairs["auc"]["value"] == 1
        and pairs["auc"]["low"] is None
        and "2 independent" in pairs["auc"]["reason"]
    )
    flat = figures(halves, np.ones(40), units, 2.0, verdicts_of(np.ones(40), 2, 0), num_resamples=20)
    assert flat["auc"]["value"] == 0.5 and flat["eer_threshold"]["reason"] == "all scores are equal"
    assert interval(np.array([0.5] * 80 + [np.nan] * 20)) == (None, None), (
        "a fifth of the draws had one class"
    )


@pytest.mark.parametrize("frames", [1, 4])
def test_intervals_cover_the_truth_as_often_as_they_say(frames):
    """Videos of like frames: drawn by video the interval holds, drawn by frame it would be an invention."""
    truth, videos, hits, naive, runs = 0.76025, 40, 0, 0, 150  # AUC of normals one deviation apart
    member = np.arange(2 * videos).repeat(frames)
    for seed in range(runs):
        labels, scores = drawn(videos, 1.0, seed=seed)
        noise = np.random.default_rng(seed).normal(scale=0.01, size=2 * videos * frames)
        labels, scores = labels[member], scores[member] + noise
        low, high = interval_of(labels, scores, member, num_resamples=200, seed=seed)
        hits += low <= truth <= high
        low, high = interval_of(labels, scores, np.arange(len(member)), num_resamples=50, seed=seed)
        naive += low <= truth <= high
    assert 0.90 <= hits / runs <= 0.98
    assert naive / runs < 0.7 if frames > 1 else True


def test_draws_take_whole_units_and_do_not_depend_on_their_parts(monkeypatch):
    units = ["a", "a", "b", "c", "c", "c"]
    whole = np.concatenate(list(resampled(units, 40, seed=3)))
    assert whole.shape == (40, 6)
    assert (whole[:, 0] == whole[:, 1]).all() and (whole[:, 3:4] == whole[:, 4:]).all()
    assert (whole[:, [0, 2, 3]].sum(axis=1) == 3).all(), "as many units as there are"
    monkeypatch.setattr("evaluation.metrics.classification._CELLS", 18)
    assert np.array_equal(np.concatenate(list(resampled(units, 40, seed=3))), whole)


def test_a_thousand_draws_of_fifteen_hundred_items_take_seconds():
    labels, scores = drawn(750, 1.0)
    before = time.process_time()
    figures(labels, scores, [str(i) for i in range(1500)], 1.0, verdicts_of(scores, 1, 0), num_resamples=1000)
    assert time.process_time() - before < 5


def test_map_figures_are_map_metrics_with_intervals():
    rng = np.random.default_rng(0)
    masks = np.zeros((12, 16, 16))
    masks[:, 4:10, 4:10] = 1
    maps = np.clip(rng.uniform(size=masks.shape) * 0.6 + 0.3 * masks, 0, 1)
    counts = MapCounts.join([MapCounts.of(maps[:5], masks[:5]), MapCounts.of(maps[5:], masks[5:])])
    found = map_figures(counts, [str(i) for i in range(12)], num_resamples=100)
    values = map_metrics(maps, masks)
    assert {name: figure["value"] for name, figure in found.items()} == values
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in found.values())
    exact = roc_auc_score(masks.ravel(), maps.ravel())
    assert values["pixel_auc"] == pytest.approx(exact, abs=2e-3), "pixels are counted in bins"
    empty = map_figures(MapCounts.of(maps, 0 * masks), [str(i) for i in range(12)], num_resamples=10)
    assert empty["pixel_auc"]["value"] is None and empty["pixel_auc"]["reason"]


def test_wilson_interval_of_no_hit_is_not_zero():
    assert wilson_interval(0, 10) == (pytest.approx(0), pytest.approx(0.2775, abs=1e-4))
    assert wilson_interval(5, 10) == (pytest.approx(0.2366, abs=1e-4), pytest.approx(0.7634, abs=1e-4))
