"""Frames become videos by the full key, and the most suspicious person speaks for the video."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.metrics.video import METHODS, Frame, video_key, video_scores, video_thresholds, vla_score

FF = "ffpp"


def frames(
    logits: list[float], video: str = "000_003", track: str = "", kind: str = "deepfakes"
) -> list[Frame]:
    key = video_key("fake", FF, kind, video, "")
    return [Frame(key, track, x, float(1 / (1 + np.exp(-x))), local=0.5) for x in logits]


def only(found: dict[object, float]) -> float:
    (value,) = found.values()
    return value


def test_videos_of_one_name_are_not_one_video():
    """FIELD trap 1: in FF++ four methods all have a folder 000_003; by the bare name they melt into one."""
    methods = {"Deepfakes": 1.0, "Face2Face": 2.0, "FaceSwap": 3.0, "NeuralTextures": 4.0}
    items = [frame for kind, logit in methods.items() for frame in frames([logit, logit], kind=kind)]
    found = video_scores(items, "mean", 0.5)
    assert len(found) == 4 and sorted(found.values()) == [1.0, 2.0, 3.0, 4.0]
    keys = {
        video_key(label, source, kind, "000_003", "frame.png")
        for label in ("real", "fake") for source in (FF, "dfd") for kind in ("a", "b")
    }  # fmt: skip
    assert len(keys) == 8, "label, source and kind belong to the key"


def test_a_photograph_is_its_own_video():
    keys = [video_key("real", "web", "", "", path) for path in ("a.jpg", "b.jpg")]
    found = video_scores([Frame(key, "", float(k), 0.5) for k, key in enumerate(keys)], "mean", 0.5)
    assert sorted(found.values()) == [0.0, 1.0]
    assert video_key("real", "web", "", "a.jpg", "") != keys[0], "a video named like a photograph is another"


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("mean", 1.2),  # of all five logits
        ("median", 0.0),
        ("vote", 2 / 5),  # logits 2 and 6 are at or above the threshold of 0.7
        ("top", 6.0),  # one of five is a fifth
        ("fusion", 0.5 * np.mean([1 / (1 + np.exp(-x)) for x in (-1, 0, 2, 6, -1)]) + 0.25),
    ],
)
def test_each_method_on_one_hand_made_video(method, expected):
    assert only(video_scores(frames([-1.0, 0.0, 2.0, 6.0, -1.0]), method, 0.7)) == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_an_unaffected_person_is_never_averaged_in(method):
    """FIELD trap 11: one of two people is swapped; the other one's frames must not pull the video to real."""
    swapped, bystander = frames([4.0, 5.0], track="1"), frames([-6.0, -7.0, -8.0], track="0")
    alone = only(video_scores(swapped, method, 0.7))
    assert only(video_scores(bystander + swapped, method, 0.7)) == alone
    melted = [Frame(f.key, "", f.logit, f.score, f.local) for f in bystander + swapped]
    assert only(video_scores(melted, method, 0.7)) < alone or method == "top"


def test_a_majority_decides_a_vote():
    fake_above, real_below = video_thresholds("vote", 0.7, 0.3, lambda score: score)
    votes = [only(video_scores(frames(x), "vote", 0.7)) for x in ([5, 5, -5], [5, -5], [5, -5, -5])]
    assert [v >= fake_above for v in votes] == [True, False, False]
    assert [v <= real_below for v in votes] == [False, False, True], "an even split is neither"


def test_thresholds_are_on_the_scale_of_the_score():
    twice = lambda score: 2 * score  # noqa: E731
    assert video_thresholds("mean", 0.7, 0.3, twice) == (1.4, 0.6)
    assert video_thresholds("fusion", 0.7, 0.3, twice) == (0.7, 0.3)


def test_fusion_needs_what_it_fuses():
    with pytest.raises(ValueError, match="local score of every frame"):
        video_scores([Frame(video_key("real", "a", "", "v", ""), "", 0.0, 0.5)], "fusion", 0.5)


def test_alignment_and_map_must_agree():
    """s_VLA is high only where text alignment and localization point at the same place."""
    here, there = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    here[..., :4, :4], there[..., 4:, 4:] = 1.0, 1.0
    maps = torch.zeros(1, 2, 8, 8)
    maps[:, 1:] = 20 * here - 10  # logits: P(fake) is 1 here and 0 elsewhere
    agree, apart = vla_score([maps, maps], here), vla_score([maps, maps], there)
    assert agree.shape == (1,) and agree.item() == pytest.approx(1, abs=1e-3)
    assert apart.item() == pytest.approx(0, abs=1e-3)
    assert vla_score([maps, maps[..., ::2, ::2]], here).item() > 0.9, "taps may have other grids"
