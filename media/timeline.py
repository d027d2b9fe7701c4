"""When the frames of a clip are shown, and which of them to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPARE = 1.05  # how many more frames or seconds a file may state than it has, before it counts as cut off
SPARE_FRAMES, SPARE_SECONDS = 2, 1.0  # and how many at least


@dataclass(frozen=True, eq=False)
class Timeline:
    """When the frames of a video are shown, as its packets say; nothing was decoded for it.

    stamps: (N,) int64, ascending. tick: seconds of one. keys: (K,) int64, ascending, those of the frames
    that need no other. codec: such as "h264". stated: how many frames the file says it has, 0 where it does
    not. counted: packets carry no time, as in AVI and some MPEG files; then frames are numbered, and their
    times follow from the rate that the file states. lasts: seconds that the file says it lasts, 0.0 where it
    does not; ends: when its last packet ends, of whatever stream. broken: reading ended
    at damage.
    """

    stamps: np.ndarray
    tick: float
    keys: np.ndarray
    codec: str
    stated: int
    counted: bool
    lasts: float = 0.0
    ends: float = 0.0
    broken: bool = False

    @property
    def times(self) -> np.ndarray:
        """(N,) float64 seconds, ascending."""
        return (self.stamps * self.tick).astype(np.float64)

    @property
    def cut_off(self) -> bool:
        """Whether the file clearly has fewer frames, or is clearly shorter, than it says."""
        fewer = self.broken or self.stated > SPARE * len(self.stamps) + SPARE_FRAMES
        return fewer or self.lasts > SPARE * self.ends + SPARE_SECONDS


def spread(times: np.ndarray, count: int) -> list[int]:
    """Positions of `count` frames that stand in the middle of equal parts of the time; of fewer frames, all.

    times: (N,) ascending, when each frame is shown. With a variable frame rate a part may hold no frame of
    its own; the frames chosen are always different ones.
    """
    if count < 1:
        raise ValueError(f"at least one frame is needed, got {count}")
    total = len(times)
    if total <= count:
        return list(range(total))
    lasting = float(np.median(np.diff(times)))  # of the last frame, which nothing follows
    middles = times[0] + (np.arange(count) + 0.5) / count * (times[-1] + lasting - times[0])
    middles = middles + 1e-6 * lasting  # a middle between two frames is the later one's, rounding or not
    shown = np.searchsorted(times, middles, side="right") - 1
    chosen: list[int] = []
    for k, position in enumerate(shown.tolist()):
        earliest = chosen[-1] + 1 if chosen else 0
        chosen.append(min(max(position, earliest), total - count + k))
    return chosen
