"""Who is who in the sampled frames of a video: one track per person.

Frames are seconds apart, so a face is followed by where it is and how large, not by motion. A link
that is in doubt is not made: two tracks of one person cost little, one track of two persons would mix
an untouched face into the verdict on a forged one. So no face is followed over a cut: somebody who appears in
the next shot just where another was would take over the track. Two people who are shown in turn in one room
are no cut by the colours of the whole frame; those of hair, clothes and wall about the face tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from media.faces import Face

MOVED = 0.75  # mean distance of the landmarks, in sides of the face, up to which a face can be the same
GROWN = 1.6  # ratio of sides up to which it can
PATIENCE = 3  # sampled frames that a face may be away, hidden or turned, and still come back
# Distance of two frames' colours, 0 to 1, from which a cut lies between them: half of the scale. In ten clips
# neighbours of 16 frames differed by 0.29 at most, frames of different clips by 0.66 at least.
# The same half holds for what is about a face: there neighbours differed by 0.36 at most, people of different
# clips by 0.58 at least.
CUT = 0.5
ABOUT = 0.5  # sides of the face that are looked at on each side of it


def colours(frame: np.ndarray) -> np.ndarray:
    """The histogram of a frame by hue, saturation and value.

    frame: (H, W, 3) uint8 RGB. Returns (256,) float32 that sums to 1.
    """
    small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 8], [0, 180, 0, 256, 0, 256]).ravel()
    return counts / counts.sum()


def surroundings(frame: np.ndarray, face: Face) -> np.ndarray:
    """`colours` of a face of a frame and of what is about it."""
    x0, y0, x1, y1 = face.box
    margin = ABOUT * face.side
    height, width = frame.shape[:2]
    left, top = (int(np.clip(value - margin, 0, size - 1)) for value, size in ((x0, width), (y0, height)))
    right, bottom = (int(np.ceil(value + margin)) for value in (x1, y1))
    return colours(frame[top : max(bottom, top + 1), left : max(right, left + 1)])


def find_cuts(histograms: Sequence[np.ndarray]) -> list[int]:
    """Positions of the sampled frames with which another shot begins, the first frame's 0 left out.

    histograms: of each frame, see `colours`; compared by Hellinger's distance.
    """
    return [place for place, (a, b) in enumerate(pairwise(histograms), start=1) if _differ(a, b)]


def track_faces(
    frames: Sequence[Sequence[Face]],
    cuts: Sequence[int] = (),
    about: Sequence[Sequence[np.ndarray]] | None = None,
) -> list[list[int]]:
    """Give every face the number of its person.

    frames: the faces of each sampled frame, in the order of time, all in pixels of the same frame.
    cuts: positions of the frames with which another shot begins; no face is followed into it.
    about: the `surroundings` of each face of each frame, without which only place and size tell.
    Returns for each frame the track of each face; tracks count from 0 in the order of appearance, and
    no two faces of a frame share one.
    """
    last: list[tuple[int, int]] = []  # per track: the frame it was last seen in, and which face of it
    tracks = []
    shot = 0  # the frame with which it began
    for time, faces in enumerate(frames):
        shot = time if time in cuts else shot
        earliest = max(shot, time - PATIENCE)
        waiting = {track for track, (seen, _) in enumerate(last) if seen >= earliest}
        costs = {
            (track, i): cost
            for track in waiting
            for i, face in enumerate(faces)
            if (cost := _distance(frames[last[track][0]][last[track][1]], face)) is not None
            and not (about and _differ(about[last[track][0]][last[track][1]], about[time][i]))
        }
        linked: dict[int, int] = {}
        for track, i in sorted(costs, key=costs.__getitem__):
            if i not in linked and track in waiting:
                linked[i] = track
                waiting.remove(track)
        for i in range(len(faces)):
            if i not in linked:
                linked[i] = len(last)
                last.append((time, i))
            last[linked[i]] = (time, i)
        tracks.append([linked[i] for i in range(len(faces))])
    return tracks


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two histograms are further apart than neighbours of one shot, by Hellinger's distance."""
    return cv2.compareHist(a, b, cv2.HISTCMP_BHATTACHARYYA) > CUT


def _distance(a: Face, b: Face) -> float | None:
    """How far two faces are apart, in sides of the larger; None when they cannot be the same one."""
    small, large = sorted((a.side, b.side))
    moved = float(np.linalg.norm(a.landmarks - b.landmarks, axis=1).mean()) / large
    return moved if moved <= MOVED and large <= GROWN * small else None
