"""What several frames are worth: clips made from one picture, and a line fitted on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.verdicts import Reason, Verdict
from data_sim.dataset import FaceSet
from evaluation.metrics.video import Frame, video_key, video_scores
from kfd.calibration.clips import (
    CRF,
    ENOUGH,
    FRAMES,
    fit_clips,
    made_clip,
    minority,
    read_clips,
)
from kfd.calibration.decision import clip_logit, decide_track, logit_of, score_of
from kfd.calibration.fit import FALSE_ALARM_RATE, MISS_RATE, fit_decision
from kfd.config import Decision
from kfd.detector import Detector
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.kfd import tiny_kfd

PHOTOS = Decision(fake_above=0.95, real_below=0.3, fitted_on="a test", min_log10_lr=-1.0, max_log10_lr=1.5)


def drawn(count: int, within: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Logits of clips of as many real faces as fakes, that vary between people, and within each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count)
    people = rng.normal(np.where(labels == 1, 1.5, -1.5), 1.0)
    logits = people[:, None] + rng.normal(0, within, (2 * count, FRAMES))
    groups = np.array([f"p{i}" for i in range(2 * count)])
    return logits, labels, groups, np.repeat("one", 2 * count)


def test_frames_of_a_made_clip_show_one_face_that_moves():
    side, size = 92, 64
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    face = np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), x + y], axis=2).astype(np.uint8)
    clip = made_clip(face, size, np.random.default_rng(0))
    assert clip.shape == (FRAMES, size, size, 3) and clip.dtype == np.uint8
    gaps = np.abs(np.diff(clip.astype(int), axis=0)).mean((1, 2, 3))
    assert (gaps > 0.5).all() and (gaps < 40).all()
    np.testing.assert_array_equal(clip, made_clip(face, size, np.random.default_rng(0)))
    assert CRF[0] < CRF[1] <= 51


def photographs(within: float) -> tuple[Decision, tuple[np.ndarray, ...]]:
    """A decision fitted on one frame of each clip, and the clips."""
    logits, labels, groups, sources = drawn(1500, within)
    return fit_decision(logits[:, 0], labels, "a test", groups, sources), (logits, labels, groups, sources)


@pytest.mark.parametrize("within", [0.0, 0.6, 2.0])
def test_no_more_clips_are_called_wrong_than_the_rule_allows(within):
    photos, clips = photographs(within)
    logits, labels = clips[:2]
    fitted = fit_clips(photos, *clips)
    assert fitted.clip_frames == (FRAMES if within else None), "one frame's worth needs no line"
    scores = np.array([decide_track(fitted, frames)[0] for frames in logits])
    assert (scores >= fitted.fake_above)[labels == 0].mean() <= FALSE_ALARM_RATE
    assert (scores <= fitted.real_below)[labels == 1].mean() <= MISS_RATE + 0.001
    assert fitted.measured["clips_real"] == fitted.measured["clips_fake"] == 1500
    assert fitted.measured["clips_alarms"] <= FALSE_ALARM_RATE + 0.01


def test_frames_that_repeat_each_other_are_worth_no_more_than_one():
    """All frames alike: there is no line. Frames with noise of their own: their mean says more, and with the
    line more fakes are found and the ratios cost less than with photographs' calibration.
    """
    photos, clips = photographs(within=0.0)
    alike = fit_clips(photos, *clips)
    assert alike.clip_frames is None and (alike.clip_slope, alike.clip_intercept) == (1.0, 0.0)
    photos, clips = photographs(within=2.0)
    apart = fit_clips(photos, *clips)
    assert apart.clip_slope > 1.2
    assert apart.measured["clips_cllr"] < apart.measured["clips_cllr_as_photographs"]
    fakes = clips[0][clips[1] == 1].mean(axis=1)
    found = [
        (score_of(apart, m) >= apart.fake_above).mean()
        for m in (fakes, apart.clip_slope * fakes + apart.clip_intercept)
    ]
    assert found[1] > found[0]


def test_a_line_that_harms_is_not_kept_unless_the_rates_need_it():
    """Bug: videos got ratios that cost more than without the line that was fitted to make them better."""
    photos, clips = photographs(within=0.0)
    logits, labels, groups, sources = clips
    plain = fit_clips(photos, *clips)
    reasons = ("clips_line_for_cllr", "clips_line_for_rates")
    assert plain.measured["clips_cllr"] > plain.measured["clips_cllr_as_photographs"]
    assert plain.clip_frames is None and [plain.measured[name] for name in reasons] == [0, 0]
    above = float(logit_of(photos, photos.fake_above))
    some = np.flatnonzero(labels == 0)[::30]  # more than FALSE_ALARM_RATE of the real clips, yet just above
    logits = np.where(np.isin(np.arange(len(logits)), some)[:, None], above + 0.01, logits)
    mute = replace(photos, min_log10_lr=0.0, max_log10_lr=0.0)  # no ratio becomes better by any line
    forced = fit_clips(mute, logits, labels, groups, sources)
    assert forced.clip_frames == FRAMES and [forced.measured[name] for name in reasons] == [0, 1]
    scores = np.array([decide_track(forced, frames)[0] for frames in logits])
    assert (scores >= forced.fake_above)[labels == 0].mean() <= FALSE_ALARM_RATE


def test_few_clips_or_useless_ones_change_nothing():
    logits, labels, groups, sources = drawn(ENOUGH - 1, within=1.0)
    assert fit_clips(PHOTOS, logits, labels, groups, sources) == PHOTOS
    logits, labels, groups, sources = drawn(100, within=0.1)
    assert fit_clips(PHOTOS, -logits, labels, groups, sources) == PHOTOS, "fakes read as the more genuine"


def test_disagreement_is_what_few_clips_show():
    logits, labels, groups, sources = drawn(400, within=1.0)
    fitted = fit_clips(PHOTOS, logits, labels, groups, sources)
    assert (minority(fitted, logits) >= fitted.clip_disagree).mean() <= 0.025
    half = np.array([6.0] * 3 + [-6.0] * 3)
    assert Reason.FRAMES_DISAGREE in decide_track(fitted, half)[2]
    assert decide_track(fitted, np.full(6, 6.0))[1:] == (Verdict.FAKE, ())


def test_fewer_frames_than_measured_count_as_one_photograph():
    line = replace(PHOTOS, clip_frames=FRAMES, clip_slope=2.0, clip_intercept=-0.5)
    assert clip_logit(line, 1.5, FRAMES - 1) == 1.5 and clip_logit(line, 1.5, FRAMES) == 2.5
    assert decide_track(line, np.full(FRAMES, 1.5))[0] == pytest.approx(float(score_of(line, 2.5)))
    assert clip_logit(PHOTOS, 1.5, 100) == 1.5


def test_the_benchmark_judges_videos_by_the_same_line():
    line = replace(PHOTOS, clip_frames=2, clip_slope=2.0, clip_intercept=0.5)
    frames = [Frame(video_key("fake", "a", "k", "v", ""), "", logit, 0.5) for logit in (1.0, 2.0)]
    frames.append(Frame(video_key("fake", "a", "k", "w", ""), "", 1.5, 0.5))
    found = video_scores(frames, "mean", 0.5, lambda mean, count: clip_logit(line, mean, count))
    assert list(found.values()) == [3.5, 1.5]


def test_clips_are_read_of_all_that_was_chosen(tmp_path):
    faces = FaceSet.open(add_known_fakes(save_tiny_faces(tmp_path, 64), 64), "val")
    reals, fakes = faces.where(label="real"), faces.where(label="fake")
    detector = Detector(tiny_kfd(), Decision(), "")
    chosen = {"real": reals, "simulated": reals, "square": fakes}
    logits, labels, groups, sources = read_clips(detector, faces, chosen, 4)
    assert logits.shape == (6, FRAMES) and np.isfinite(logits).all()
    assert labels.tolist() == [0] * 4 + [1] * 2 and len(groups) == len(sources) == 6
    again = read_clips(detector, faces, chosen, 4)[0]
    np.testing.assert_allclose(again, logits, atol=1e-5)
    assert len(read_clips(detector, faces, chosen, 0)[0]) == 0
