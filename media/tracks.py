"""Who is who in the sampled frames of a video: one track per person.

Frames are seconds apart, so a face is followed by where it is and how large, not by motion. A link
that is in doubt is not made: two tracks of one person cost little, one track of two persons would mix
an untouched face into the verdict on a forged one. Cuts are not looked for: somebody who appears in the next
shot just where another was takes over the track.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from media.faces import Face

MOVED = 0.75  # mean distance of the landmarks, in sides of the face, up to which a face can be the same
GROWN = 1.6  # ratio of sides up to which it can
PATIENCE = 3  # sampled frames that a face may be away, hidden or turned, and still come back


def track_faces(frames: Sequence[Sequence[Face]]) -> list[list[int]]:
    """Give every face the number of its person.

    frames: the faces of each sampled frame, in the order of time, all in pixels of the same frame.
    Returns for each frame the track of each face; tracks count from 0 in the order of appearance, and
    no two faces of a frame share one.
    """
    last: list[tuple[int, Face]] = []  # per track: the frame it was last seen in, and the face
    tracks = []
    for time, faces in enumerate(frames):
        waiting = {track for track, (seen, _) in enumerate(last) if time - seen <= PATIENCE}
        costs = {
            (track, i): cost
            for track in waiting
            for i, face in enumerate(faces)
            if (cost := _distance(last[track][1], face)) is not None
        }
        linked: dict[int, int] = {}
        for track, i in sorted(costs, key=costs.__getitem__):
            if i not in linked and track in waiting:
                linked[i] = track
                waiting.remove(track)
        for i, face in enumerate(faces):
            if i not in linked:
                linked[i] = len(last)
                last.append((time, face))
            last[linked[i]] = (time, face)
        tracks.append([linked[i] for i in range(len(faces))])
    return tracks


def _distance(a: Face, b: Face) -> float | None:
    """How far two faces are apart, in sides of the larger; None when they cannot be the same one."""
    small, large = sorted((a.side, b.side))
    moved = float(np.linalg.norm(a.landmarks - b.landmarks, axis=1).mean()) / large
    return moved if moved <= MOVED and large <= GROWN * small else None
