"""What several frames of one face are worth: fitted on clips that are made from validation faces.

Few research sets have many clips of many people that may be kept apart for this, so the clips are made: a
face drifts and grows a little within its stored border, its exposure wavers, and all frames are coded as one
H.264 stream. Nothing else moves, so that the frames of a true video resemble each other less: what their
agreement is worth is underrated here, never overrated.

The mean logit of a clip is carried by a line to the logit of a photograph of equal worth: the line of Platt's
calibration of clips over that of photographs, shifted where otherwise more than MISS_RATE of the fake clips
would be called real, or, which goes before, more than FALSE_ALARM_RATE of the real ones fake. So calibration
and thresholds of photographs hold for clips too. A line steeper than 1 is what more frames are worth. It is
kept where it lowers the Cllr of clips held out from it, or where clips judged as photographs would break
either rate; else a clip stays a photograph with the mean logit of its frames.
"""

from __future__ import annotations

import math
from dataclasses import replace
from operator import itemgetter

import cv2
import numpy as np
import torch
from tqdm import tqdm

from data_sim.dataset import FaceSet, unit_of
from data_sim.pictures import coded
from data_sim.simulate import simulate
from kfd.calibration import likelihood_ratio as evidence
from kfd.calibration.decision import log_odds, logit_of, score_of
from kfd.calibration.fit import MISS_RATE, false_alarm_limit, fit_logistic
from kfd.config import Decision
from kfd.detector import Detector, to_batch
from kfd.quality.corruptions import HELD_OUT_SEED, spread_over_sources, to_uint8

FRAMES = 6  # of a made clip
DRIFT, GROWTH, EXPOSURE = (
    0.25,
    0.01,
    0.02,
)  # steps between frames: of the border, of the size, of the brightness
CRF = 18, 36  # H.264's rates that clips are coded with
DISAGREE_RATE = 0.025  # share of the clips, each of one class, whose frames may disagree
ENOUGH = 30  # real clips, and fakes, without which nothing is fitted
TIE = 2e-5  # of a logit, more than rounding adds


def made_clip(pixels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Frames of a clip out of one picture.

    pixels: (T, T, 3) uint8 RGB, a stored crop with its border. size: side of a frame, below T.
    Returns (FRAMES, size, size, 3) uint8.
    """
    border = (len(pixels) - size) / 2
    place, zoom, light = rng.uniform(-border / 2, border / 2, 2), 1.0, 1.0
    frames = []
    for _ in range(FRAMES):
        place = np.clip(place + rng.normal(0, DRIFT * border, 2), -border, border)
        zoom = float(np.clip(zoom + rng.normal(0, GROWTH), 0.96, 1.04))
        light = float(np.clip(light + rng.normal(0, EXPOSURE), 0.9, 1.1))
        middle = len(pixels) / 2 + place
        corner = middle - size / 2 / zoom
        matrix = np.array([[zoom, 0, -corner[0] * zoom], [0, zoom, -corner[1] * zoom]])
        frame = cv2.warpAffine(
            pixels, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        frames.append(cv2.convertScaleAbs(frame, alpha=light))
    return np.stack(coded(frames, int(rng.integers(*CRF))))


def read_clips(
    probe: Detector, faces: FaceSet, chosen: dict[str, list[int]], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits (N, FRAMES), labels, groups and sources of clips made from the faces that were read."""
    kinds = max(1, len(chosen) - 1)
    jobs = [
        (name, position)
        for name, positions in chosen.items()
        for position in spread_over_sources(
            faces, positions, count if name == "real" else math.ceil(count / 2 / kinds)
        )
    ]
    logits = np.zeros((len(jobs), FRAMES))
    for place, (name, position) in enumerate(tqdm(jobs if count else [], desc="clips", unit="clip")):
        row = int(faces.index[position])
        pixels = np.array(faces.crops[row])
        if name == "simulated":
            whole = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
            points = torch.from_numpy(faces.landmarks[row])[None]
            forged = simulate(whole, points, torch.Generator().manual_seed(HELD_OUT_SEED + position)).images
            pixels = to_uint8(forged)[0]
        clip = made_clip(pixels, faces.size, np.random.default_rng([HELD_OUT_SEED, position]))
        logits[place] = probe(to_batch(list(clip))).logit.numpy()
    labels = np.array([int(name != "real") for name, _ in jobs])
    groups, sources = (
        np.array([key(faces.rows[i]) for _, i in jobs]) for key in (unit_of, itemgetter("source"))
    )
    part = slice(None if count else 0)
    return logits[part], labels[part], groups[part], sources[part]


def fit_clips(
    decision: Decision,
    logits: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    sources: np.ndarray,
) -> Decision:
    """A decision that knows what clips are worth; the same where there are too few, or they do not tell.

    decision: fitted on photographs. logits: (N, FRAMES). labels: (N,) 0 real, 1 fake. groups, sources: (N,).
    Measured: shares called fake, and Cllr with the line and without it, each clip by a line fitted on other
    groups; and whether the line is kept for the sake of Cllr, and of the rates (0 or 1 each). The thresholds
    were fitted on photographs of these very faces, so that the shares are optimistic.
    """
    if min((labels == 0).sum(), (labels == 1).sum()) < ENOUGH:
        return decision
    means = logits.mean(axis=1)
    line = _with_line(decision, means, labels, groups, sources)
    if line is None:
        return decision
    carried = np.full(len(means), np.nan)
    _, group = np.unique(groups, return_inverse=True)
    for half in (0, 1):
        held = group % 2 == half
        other = _with_line(decision, means[~held], labels[~held], groups[~held], sources[~held]) or decision
        carried[held] = other.clip_slope * means[held] + other.clip_intercept
    costs = [evidence.cllr(_told(decision, values), labels) for values in (carried, means)]
    above, below, alarming, missed = _bounds(decision, means, labels, groups, sources)
    for_cllr, for_rates = costs[0] < costs[1], alarming > above + TIE or missed < below - TIE
    fitted, judged = (line, carried) if for_cllr or for_rates else (decision, means)
    called = score_of(decision, judged) >= decision.fake_above
    figures = {
        "clips_real": int((labels == 0).sum()),
        "clips_fake": int((labels == 1).sum()),
        "clips_alarms": round(float(called[labels == 0].mean()), 4),
        "clips_found": round(float(called[labels == 1].mean()), 4),
        "clips_cllr": round(costs[0], 4),
        "clips_cllr_as_photographs": round(costs[1], 4),
        "clips_line_for_cllr": int(for_cllr),
        "clips_line_for_rates": int(for_rates),
    }
    split = minority(decision, logits)
    # The next share above the one that few clips pass: shares of FRAMES come in steps.
    limit = float(np.quantile(split, 1 - DISAGREE_RATE, method="higher")) + 1 / FRAMES
    return replace(fitted, clip_disagree=round(min(limit, 0.5), 3), measured=decision.measured | figures)


def minority(decision: Decision, logits: np.ndarray) -> np.ndarray:
    """(N,) the share of the frames that read as the class which fewer read as. logits: (N, FRAMES)."""
    scores = score_of(decision, logits)
    fake, real = (scores >= decision.fake_above).mean(1), (scores <= decision.real_below).mean(1)
    return np.minimum(fake, real)


def _with_line(
    decision: Decision, means: np.ndarray, labels: np.ndarray, groups: np.ndarray, sources: np.ndarray
) -> Decision | None:
    """The decision with its line; None where the clips are not told apart."""
    try:
        clips = fit_logistic(means, labels)
    except ValueError:
        return None
    slope = round(clips.slope / decision.slope, 5)
    above, below, alarming, missed = _bounds(decision, means, labels, groups, sources)
    intercept = (clips.intercept - decision.intercept) / decision.slope
    intercept = min(max(intercept, below - slope * missed + TIE), above - slope * alarming - TIE)
    return replace(decision, clip_frames=FRAMES, clip_slope=slope, clip_intercept=round(intercept, 5))


def _bounds(
    decision: Decision, means: np.ndarray, labels: np.ndarray, groups: np.ndarray, sources: np.ndarray
) -> tuple[float, float, float, float]:
    """The logits from which a photograph reads as fake and up to which as real; and the mean logits of clips
    that must stay below the former and above the latter for the two rates to hold.
    """
    real = labels == 0
    above, below = (logit_of(decision, score) for score in (decision.fake_above, decision.real_below))
    alarming = false_alarm_limit(means[real], groups[real], sources[real])
    return above, below, alarming, float(np.quantile(means[~real], MISS_RATE, method="lower"))


def _told(decision: Decision, logits: np.ndarray) -> np.ndarray:
    """log10 LRs within the bounds."""
    ratios = log_odds(decision, logits) / evidence.LN10
    if decision.min_log10_lr is None:
        return ratios
    return ratios.clip(decision.min_log10_lr, decision.max_log10_lr)
