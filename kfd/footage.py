"""Judge the people in a video: frames spread over all of it, faces followed, one finding for each person.

An unaffected person is never averaged with a forged one (FIELD: tracks), and what is shown of a person is a
frame that was really read, never a mean of pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from data_sim.faces import find_faces
from data_sim.images import pixels_digest, sha256_of
from data_sim.tracks import track_faces
from data_sim.video import VideoError, frame_times, read_frames
from kfd.detection import FaceFinding
from kfd.detector import BETWEEN, FRAMES_DISAGREE, NOT_CALIBRATED, Detector, regions_to_name

FRAMES = 16  # examined in a video; more cost time and tell little, because neighbours look alike
FLEETING = (
    1  # frames, of which a person must be seen in more: face finders see faces in patterns now and then
)
OF_THE_SCORE = {BETWEEN, NOT_CALIBRATED}  # reasons that do not lie in the frame


@dataclass(frozen=True)
class Moment:
    """A person in one frame: when, in seconds from the start, and the finding of that frame by itself."""

    seconds: float
    finding: FaceFinding

    @property
    def flawed(self) -> tuple[str, ...]:
        """Reasons that this frame gives against any verdict."""
        return tuple(reason for reason in self.finding.reasons if reason not in OF_THE_SCORE)


@dataclass(frozen=True, eq=False)
class Person:
    """One person in a video.

    finding: score, likelihood ratio and verdict of all frames together; box, crop, maps and regions are
        those of the frame shown.
    moments: every examined frame that shows the person, in order. shown: which of them is shown: the one
        whose score is nearest that of the finding, or the highest where frames disagree. image: (H, W, 3)
        uint8 RGB, that frame.
    """

    finding: FaceFinding
    moments: tuple[Moment, ...]
    shown: int
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class Footage:
    """A video, examined.

    people: in the order of how often they are seen, then of their size. fleeting: faces seen in FLEETING
        frames only, which are left out where there are others. seconds: length of the video.
    frames: how many it has. sampled: when those examined are shown, in seconds; fewer than asked for where
        `damaged`. still: (H, W, 3) uint8 RGB, the first of them. pixels_sha256: over the digests of
        all their pixels.
    """

    people: tuple[Person, ...]
    fleeting: int
    seconds: float
    frames: int
    sampled: tuple[float, ...]
    damaged: bool
    still: np.ndarray
    pixels_sha256: str


def examine_video(detector: Detector, path: str | Path, count: int = FRAMES) -> Footage:
    """Examine `count` frames spread over a video file.

    Raises data_sim.video.VideoError when none can be decoded. A video without a face has no people.
    """
    times = frame_times(path)
    shown, images, damaged = [], [], False
    try:
        for position, image in read_frames(path, count):
            shown.append(float(times[position] - times[0]))
            images.append(image)
    except VideoError as error:
        if not images or error.code != "damaged":
            raise
        damaged = True
    faces = [find_faces(image) for image in images]
    tracks = track_faces(faces)
    seen: dict[int, list[tuple[int, FaceFinding]]] = {}
    for frame, (image, found, numbers) in enumerate(zip(images, faces, tracks, strict=True)):
        for number, finding in zip(numbers, detector.judge(image, found), strict=True):
            seen.setdefault(number, []).append((frame, finding))
    ranked = sorted(seen.values(), key=_prominence, reverse=True)
    lasting = [track for track in ranked if len(track) > FLEETING] or ranked
    people = []
    for index, track in enumerate(lasting):
        moments = tuple(Moment(shown[frame], finding) for frame, finding in track)
        finding, place = judge_track(detector, moments)
        people.append(Person(replace(finding, index=index), moments, place, images[track[place][0]]))
    return Footage(
        people=tuple(people),
        fleeting=len(ranked) - len(lasting),
        seconds=float(times[-1] - times[0]) + (float(np.median(np.diff(times))) if len(times) > 1 else 0.0),
        frames=len(times),
        sampled=tuple(shown),
        damaged=damaged,
        still=images[0],
        pixels_sha256=sha256_of("".join(map(pixels_digest, images)).encode()),
    )


def _prominence(track: list[tuple[int, FaceFinding]]) -> tuple[int, float]:
    """How often a person is seen, and how large at most."""
    return len(track), max(finding.quality.face_pixels for _, finding in track)


def judge_track(detector: Detector, moments: Sequence[Moment]) -> tuple[FaceFinding, int]:
    """The finding of one person out of all frames, and which of them stands for it.

    The score is that of the mean logit of the frames without a flaw; where these are fewer than half, that
    of all scored ones, and the flaws forbid a verdict. Its likelihood ratio is that of one photograph with
    such a score: frames of one video resemble each other, and that they agree is not counted as evidence.
    """
    scored = [place for place, moment in enumerate(moments) if moment.finding.detection is not None]
    if not scored:
        place = max(range(len(moments)), key=lambda at: moments[at].finding.quality.face_pixels)
        return moments[place].finding, place
    clean = [place for place in scored if not moments[place].flawed]
    used, flaws = clean, ()
    if 2 * len(clean) < len(moments):
        counted = Counter(reason for moment in moments for reason in moment.flawed)
        used, flaws = scored, tuple(reason for reason, _ in counted.most_common())
    logits = np.array([float(moments[place].finding.detection.logit) for place in used])
    score, verdict, reasons = detector.track_verdict(logits, flaws)
    mean = float(logits.mean())
    # Where frames disagree, none is like their mean: then the one that a reader has to look at.
    distance = -logits if FRAMES_DISAGREE in reasons else np.abs(logits - mean)
    place = used[int(distance.argmin())]
    frame = moments[place].finding
    values = torch.tensor(list(frame.region_scores.values()))
    finding = replace(
        frame,
        verdict=verdict,
        score=score,
        reasons=reasons,
        regions=regions_to_name(verdict, values),
        detection=replace(frame.detection, logit=torch.tensor([mean]), score=torch.tensor([score])),
        evidence=None if set(reasons) - {BETWEEN} else detector.evidence(mean),
    )
    return finding, place
