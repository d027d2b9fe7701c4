"""From the scores of a video's frames to one score of the video.

A video is the full key (label, source, kind, video): in FaceForensics++ four methods all have a folder
`000_003`, and a grouping by the bare folder name melts them into one video. A face without a video is a
video of its own. Where faces carry a track (one person in one clip), frames are aggregated within each track
and the video has the score of its most suspicious one, so that an unaffected person is never averaged in.

mean    mean of the frames' logits
median  median of the frames' logits
vote    majority voting (CLIP and Qwen2.5-VL report, frame predictions grouped by video): the share of frames
        at or above the threshold; fake when it is more than a half
fusion  mean over frames of s = a s_g + (1 - a) s_VLA with a = 1/2 (VLAForge's inference score); s_g is the
        frame's score, s_VLA comes from its maps, see `vla_score`
top     mean of the highest fifth of the frames' logits, at least one: a forgery may be in few frames
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Method = Literal["mean", "median", "vote", "fusion", "top"]
METHODS: tuple[Method, ...] = ("mean", "median", "vote", "fusion", "top")

ALPHA = 0.5  # weight of the global score in VLAForge's released code
TOP_SHARE = 0.2  # of the frames, for `top`
TOP_CELLS = 0.1  # of the fused map, for `vla_score`

VideoKey = tuple[str, str, str, str]


@dataclass(frozen=True)
class Frame:
    """The part of one scored face that aggregation needs.

    key: see `video_key`. track: a person within the video, or empty. logit: any range.
    score: calibrated P(fake). local: s_VLA of the frame, or None where it was not computed.
    """

    key: VideoKey
    track: str
    logit: float
    score: float
    local: float | None = None


def video_key(label: str, source: str, kind: str, video: str, path: str) -> VideoKey:
    """The full key of a face's video; `path` tells faces without a video apart."""
    return label, source, kind, f"video {video}" if video else f"face {path}"


def video_scores(
    frames: Sequence[Frame],
    method: Method,
    fake_above: float,
    carry: Callable[[float, int], float] | None = None,
) -> dict[VideoKey, float]:
    """One score per video: a logit for mean, median and top; in [0, 1] for vote and fusion.

    fake_above: threshold of a frame's score, for `vote`. carry: from a track's value and its number of frames
        to the logit of a photograph that is worth as much, see kfd.calibration.decision.clip_logit.
    Raises ValueError where `fusion` is asked for and a frame has no local score.
    """
    if method == "fusion" and any(frame.local is None for frame in frames):
        raise ValueError("aggregation `fusion` needs a local score of every frame; choose another")
    tracks: dict[VideoKey, dict[str, list[Frame]]] = {}
    for frame in frames:
        tracks.setdefault(frame.key, {}).setdefault(frame.track, []).append(frame)
    one = _AGGREGATIONS[method]
    return {
        key: max(
            value if carry is None else carry(value, len(members))
            for members in by_track.values()
            for value in [one(members, fake_above)]
        )
        for key, by_track in tracks.items()
    }


def video_thresholds(
    method: Method, fake_above: float, real_below: float, logit_of: Callable[[float], float]
) -> tuple[float, float]:
    """(fake_above, real_below) of a video's score, on the scale of `video_scores`.

    logit_of: the inverse of the calibration, score -> logit.
    A vote is decided by the majority: only an even split is neither.
    """
    if method == "vote":
        return math.nextafter(0.5, 1.0), math.nextafter(0.5, 0.0)
    if method == "fusion":
        return fake_above, real_below
    return logit_of(fake_above), logit_of(real_below)


def _mean(frames: list[Frame], fake_above: float) -> float:
    return float(np.mean([frame.logit for frame in frames]))


def _median(frames: list[Frame], fake_above: float) -> float:
    return float(np.median([frame.logit for frame in frames]))


def _vote(frames: list[Frame], fake_above: float) -> float:
    return float(np.mean([frame.score >= fake_above for frame in frames]))


def _fusion(frames: list[Frame], fake_above: float) -> float:
    return float(np.mean([ALPHA * frame.score + (1 - ALPHA) * (frame.local or 0.0) for frame in frames]))


def _top(frames: list[Frame], fake_above: float) -> float:
    count = math.ceil(TOP_SHARE * len(frames))
    return float(np.mean(sorted((frame.logit for frame in frames), reverse=True)[:count]))


_AGGREGATIONS: dict[Method, Callable[[list[Frame], float], float]] = {
    "mean": _mean, "median": _median, "vote": _vote, "fusion": _fusion, "top": _top,
}  # fmt: skip


def vla_score(consistency_maps: Sequence[Tensor], heatmap: Tensor) -> Tensor:
    """s_VLA: do text alignment and localization agree that some place is forged?

    VLAForge multiplies its vision-language attention map with its localization map and pools the product
    through layers trained for that. Here both are the detector's own: P(fake) of each patch out of Eq. 1,
    mean over taps, times the heat map; pooled, our reading, by the mean of the highest tenth of cells.

    consistency_maps: one (B, 2, H_i, W_i) per tap. heatmap: (B, 1, S, S) in [0, 1]. Returns (B,) in [0, 1].
    """
    grid = max((tuple(maps.shape[-2:]) for maps in consistency_maps), key=lambda shape: shape[0])
    attention = torch.stack(
        [F.interpolate(maps.softmax(dim=1)[:, 1:], grid, mode="bilinear") for maps in consistency_maps]
    ).mean(dim=0)
    fused = (attention * F.interpolate(heatmap, grid, mode="area")).flatten(1)
    return fused.topk(math.ceil(TOP_CELLS * fused.shape[1]), dim=1).values.mean(dim=1)
