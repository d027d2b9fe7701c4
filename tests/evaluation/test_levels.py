"""Planted scores with known answers: figures by kind, comparisons, fairness, plots, and files of results."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evaluation.metrics.fairness import fairness, labels_of_name
from evaluation.metrics.levels import (
    aggregations,
    calibration_level,
    comparisons,
    frame_level,
    has_videos,
    video_level,
)
from evaluation.plots import _panels, _video_panels, draw_plots
from evaluation.results import SCHEMA, SIMULATED, Item, environment, read_results, write_results
from evaluation.tables import tables, to_markdown
from kfd.calibration import likelihood_ratio as evidence
from kfd.calibration.decision import logit_of
from tests.evaluation.planted import DECISION, item, planted, results_of, saved


def names_of(items: list[Item], found: np.ndarray) -> set[str]:
    return {items[i].path for i in found}


def test_each_kind_meets_the_reals_of_its_own_source():
    items = [
        item("a-real", 0), item("b-real", 0, source="b"), item("a-swap", 1, "fake", "swap"),
        item("a-morph", 1, "fake", "morph"), item("b-swap", 1, "fake", "swap", source="b"),
        item("c-gan", 1, "fake", "gan", source="c"), item("d-real", 0, source="d"),
        item("a-real", 0, "real", SIMULATED), item("a-real", 0, "fake", SIMULATED),
    ]  # fmt: skip
    found = {one.name: one.positions for one in comparisons(items)}
    assert list(found) == ["gan", "morph", "swap", "all a", "all b", "all c", "all d", SIMULATED]
    assert names_of(items, found["morph"]) == {"a-real", "a-morph"}
    assert names_of(items, found["swap"]) == {"a-real", "b-real", "a-swap", "b-swap"}
    assert names_of(items, found["all d"]) == {"d-real"}, "a source without fakes has a false positive rate"
    assert names_of(items, found["gan"]) == {"a-real", "b-real", "d-real", "c-gan"}, "no reals of its own"
    assert [items[i].kind for i in found[SIMULATED]] == [SIMULATED] * 2


def test_frame_figures_are_those_of_the_planted_scores():
    """Thresholds apply to the calibrated score: 0.8 is a logit of 0.443 here, 0.3 one of -0.674."""
    items = [item(f"r{i}", x) for i, x in enumerate([-2, -1, -0.6, 0, 0.5, -3])]
    items += [item(f"f{i}", x, "fake", "swap") for i, x in enumerate([-1, 0.2, 0.4, 1, 2, 3])]
    found = frame_level(items, DECISION, num_resamples=50)["swap"]
    assert (found["real"], found["fake"], found["units"]) == (6, 6, 12)
    assert found["real_called_fake"]["value"] == pytest.approx(1 / 6)
    assert found["inconclusive_real"]["value"] == pytest.approx(2 / 6)
    assert found["fake_called_real"]["value"] == pytest.approx(1 / 6)
    assert found["acc"]["value"] == pytest.approx(8 / 12)
    assert found["auc"]["value"] == pytest.approx((2.5 + 5 + 5 + 6 + 6 + 6) / 36)
    assert logit_of(DECISION, 0.8) == pytest.approx(0.443, abs=1e-3)
    sure = frame_level([replace(i, logit=50 * i.logit) for i in items], DECISION, num_resamples=20)["swap"]
    assert sure["auc"]["value"] == found["auc"]["value"], "scores that round to 1 keep their order"


def test_calibration_is_measured_on_what_users_are_told():
    """A score that means what it says has the least Cllr; bounds cut what it may claim."""
    rng = np.random.default_rng(0)
    odds = rng.normal(size=4000) * 2
    fakes = rng.random(4000) < 1 / (1 + np.exp(-odds))
    logits = (odds - DECISION.intercept) / DECISION.slope
    items = [
        item(f"{i}", x, "fake" if f else "real", "swap" if f else "")
        for i, (x, f) in enumerate(zip(logits, fakes, strict=True))
    ]
    found = calibration_level(items, DECISION, num_resamples=50)["swap"]
    assert (
        found["ece"]["value"] < 0.03 and found["cllr"]["low"] < found["cllr"]["value"] < found["cllr"]["high"]
    )
    values, labels = 1 / (1 + np.exp(-odds)), fakes.astype(int)
    assert found["cllr"]["value"] == pytest.approx(evidence.cllr(odds / evidence.LN10, labels))
    assert found["ece"]["value"] == pytest.approx(evidence.expected_calibration_error(values, labels))
    assert found["brier"]["value"] == pytest.approx(evidence.brier(values, labels))
    coverage, accuracy = evidence.coverage_accuracy(values, labels)
    told = [found[f"acc_of_{share}"]["value"] for share in (25, 50, 75, 100)]
    expected = [accuracy[np.searchsorted(coverage, share + 1e-9) - 1] for share in (0.25, 0.5, 0.75, 1.0)]
    assert told == pytest.approx(expected) and told == sorted(told, reverse=True)
    bold = calibration_level(items, replace(DECISION, slope=8.0, intercept=2.0), num_resamples=5)["swap"]
    assert bold["cllr"]["value"] > found["cllr"]["value"] and bold["ece"]["value"] > 0.1
    careful = replace(DECISION, slope=8.0, intercept=2.0, min_log10_lr=-0.5, max_log10_lr=0.5)
    assert calibration_level(items, careful, num_resamples=5)["swap"]["cllr"]["value"] < bold["cllr"]["value"]
    cut = calibration_level(items, replace(DECISION, min_log10_lr=-0.5, max_log10_lr=0.5), num_resamples=5)[
        "swap"
    ]
    assert cut["acc_of_25"]["value"] == told[0], "cut at the bounds, the surest quarter would be any quarter"
    assert calibration_level([i for i in items if i.label == "real"], DECISION, num_resamples=5) == {}


def test_four_methods_of_one_video_name_are_four_videos():
    """FIELD trap 1, through all of the benchmark: each method has its own video-level AUC."""
    items = []
    for video in range(12):
        rng = np.random.default_rng(video)
        items += [
            item(f"r{video}-{f}", rng.normal() - 3, video=str(video), unit=str(video)) for f in range(3)
        ]
        for kind, logit in (("deepfakes", 3.0), ("face2face", -6.0)):
            items += [
                item(f"{kind}{video}-{f}", logit, "fake", kind, video=str(video), unit=str(video))
                for f in range(3)
            ]
    assert has_videos(items) and not has_videos(items[::3])
    found = video_level(items, DECISION, "mean", num_resamples=50)
    assert (found["deepfakes"]["real"], found["deepfakes"]["fake"]) == (12, 12)
    assert found["deepfakes"]["auc"]["value"] == 1 and found["face2face"]["auc"]["value"] == 0
    assert found["all a"]["fake"] == 24 and found["all a"]["auc"]["value"] == 0.5
    assert found["deepfakes"]["real_called_fake"]["value"] == 0 and found["deepfakes"]["acc"]["value"] == 1
    every = aggregations(items, DECISION, num_resamples=20)
    assert set(every) == {"mean", "median", "vote", "fusion", "top"}
    assert every["vote"]["deepfakes"]["value"] == 1
    without = aggregations([replace(i, local=None) for i in items], DECISION, num_resamples=20)
    assert "fusion" not in without


def test_a_mean_is_the_same_in_table_list_and_plot():
    """Bug: a video's mean had one AUC in the table and another in the list of aggregations and in the ROC."""
    line = replace(DECISION, clip_frames=2, clip_slope=1.0, clip_intercept=-5.0, map_share=0.4)
    items = [item(f"r{k}", 0.1 * k, video=f"r{k}", unit=f"r{k}") for k in range(6)]
    items += [item(f"f{k}-{n}", 3.0 + k, "fake", "swap", video=f"f{k}", unit=f"f{k}")
              for k in range(6) for n in range(2)]  # fmt: skip
    table = video_level(items, line, "mean", num_resamples=20)
    found = aggregations(items, line, num_resamples=20)["mean"]["swap"]["value"]
    (curve,) = _video_panels(items, line, "mean")["a"]
    assert table["swap"]["auc"]["value"] == found == roc_auc_score(curve.labels, curve.values) < 1
    results = results_of(items) | {"decision": asdict(line), "aggregation": "mean", "aggregations": {}}
    places = {"pixel_auc": None, "iou": None, "pointing": None}
    results["results"] = {"frame": results["results"]["frame"], "video": {"swap": table["swap"] | places}}
    told = to_markdown(tables(results))
    assert "a mean of 2 frames or more first goes through the line fitted on clips" in told
    assert "cut at 0.4 of its own peak" in told and "none was fitted for videos" not in told


def test_the_environment_names_the_device_that_computed(monkeypatch):
    """A GPU that merely was there once stood in the report of a run on the CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device=None: f"a GPU, {device}")
    assert environment("cpu")["device"] == platform.machine()
    assert environment("cuda:1")["device"] == "a GPU, cuda:1"


def test_a_file_gives_back_every_score(tmp_path):
    items = [replace(i, logit=float(np.float32(i.logit))) for i in planted(1.0, count=5)]
    path = saved(tmp_path, "a.json", items)
    results, back = read_results(path)
    assert back == items and "items" not in results and results["data"]["sha256"] == "d1"
    assert sum(line.startswith('  {"path"') for line in path.read_text().splitlines()) == len(items)
    write_results(path, results, [])
    assert read_results(path)[1] == []


def test_a_file_holds_no_nan_and_a_stranger_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(tmp_path / "a.json", {"schema": SCHEMA, "auc": float("nan")}, [])
    assert not (tmp_path / "a.json").exists()
    for text in (
        '{"schema": "other"}',
        "[]",
        "no json",
        f'{{"schema": "{SCHEMA}", "items": [{{"path": "x"}}]}}',
    ):
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(ValueError, match=r"is not an unmask\.results/1 file"):
            read_results(tmp_path / "b.json")
    with pytest.raises(FileNotFoundError, match=r"evaluation\.detector"):
        read_results(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x/8_0_0_20170110215640027.jpg.chip.jpg", ("0-9", "male", "White")),
        ("34_1_3_20170110215640027.jpg", ("30-39", "female", "Indian")),
        ("110_1_4_20170110215640027.jpg", ("70+", "female", "other")),
        ("39_1_20170116174525125.jpg", None),  # such names without a race exist in UTKFace
        ("0_005_010.jpg", None),
        ("34_2_3_20170110215640027.jpg", None),
    ],
)
def test_labels_of_a_utkface_name(path, expected):
    found = labels_of_name(path)
    assert (None if found is None else tuple(found.values())) == expected
    if expected:
        assert labels_of_name("0.png", "utk_" + Path(path).name.split(".")[0]) == found, (
            "the group may keep it"
        )


def test_false_positives_by_label():
    """Ten women, four of them called fake; ten men, one inconclusive; one name without labels."""
    stamp = "20170110215640027"
    items = [item(f"{20 + i}_1_0_{stamp}.jpg", 5 if i < 4 else -5, source="utk") for i in range(10)]
    items += [item(f"{20 + i}_0_0_{stamp}.jpg", 0 if i == 9 else -5, source="utk") for i in range(10)]
    items += [item(f"39_1_{stamp}.jpg", 5, source="utk"), item("other.jpg", 5)]
    items += [item(f"20_1_0_{stamp}.jpg", 5, "fake", "swap", source="utk")]
    found = fairness(items, ["gender", "age"])
    assert list(found) == ["gender", "age"] and list(found["gender"]) == ["female", "male", "unknown", "all"]
    women, men = found["gender"]["female"], found["gender"]["male"]
    assert women["photos"] == 10 and women["real_called_fake"]["value"] == 0.4
    assert women["real_called_fake"]["low"] == pytest.approx(0.168, abs=1e-3)
    assert men["real_called_fake"]["value"] == 0 and men["inconclusive_real"]["value"] == 0.1
    assert men["real_called_fake"]["high"] > 0.2, "none of ten does not mean never"
    assert found["gender"]["unknown"]["photos"] == 1 and found["gender"]["all"]["photos"] == 21
    assert fairness([item("other.jpg", 5)], ["gender"]) == {}


def test_plots_are_pictures_with_words_and_the_same_each_time():
    items = planted(1.0, 30) + planted(2.0, 30, seed=1, kind="gan")[30:]
    items = [replace(i, path=f"{k}.jpg", video=str(k // 2)) for k, i in enumerate(items)]
    results = results_of(items) | {"aggregation": "mean"}
    results["results"]["video"] = video_level(items, DECISION, "mean", num_resamples=20)
    plots = draw_plots(results, items)
    assert list(plots) == ["roc", "det", "reliability", "tippett", "coverage", "scores", "roc-video"]
    for plot in plots.values():
        assert plot.svg.lstrip().startswith(b"<?xml") and b"</svg>" in plot.svg and plot.caption
    assert plots["roc"].svg != plots["roc-video"].svg
    assert draw_plots(results, items)["det"].svg == plots["det"].svg
    assert draw_plots(results, [i for i in items if i.label == "real"]) == {}


def test_no_curve_is_left_out_and_none_is_drawn_twice():
    """Two kinds of fakes in the same two sources were once taken for a kind and the whole of its source."""
    two = [replace(i, source=s) for s in ("a", "b") for kind in ("swap", "morph")
           for i in planted(1.0, 8, kind=kind)]  # fmt: skip
    logits = np.array([i.logit for i in two])
    found = _panels(two, logits, comparisons(two))
    names = {source: [curve.name for curve in curves] for source, curves in found.items()}
    assert names == {"a and b": ["morph", "swap"], "a": ["all a"], "b": ["all b"]}
    one = planted(1.0, 8)
    found = _panels(one, np.array([i.logit for i in one]), comparisons(one))
    assert [curve.name for curve in found["a"]] == ["swap"]


def test_json_has_plain_numbers():
    """What is read back is what was written: no NaN, no array, no key that JSON turns into text."""
    level = frame_level(planted(1.0), DECISION, num_resamples=20)
    assert level["swap"]["auc"]["low"] < level["swap"]["auc"]["value"] < level["swap"]["auc"]["high"]
    assert json.loads(json.dumps(level, allow_nan=False)) == level
