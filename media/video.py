"""Frames of a video, spread over the whole of it, decoded with PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from media.images import MAX_MEGAPIXELS

SEEK = 5.0  # seconds: frames further ahead are sought, so that an hour costs little more than a minute
SPARE = 1.05  # how many more frames a file may state than it has, before it counts as cut off


class VideoError(ValueError):
    """A file that gives no frames, or not all of those wanted.

    code: "missing", "unreadable" (no video file, or damaged), "too_large" or "damaged" (some frames cannot be
    decoded). The message is a sentence for the user.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, eq=False)
class Timeline:
    """When the frames of a video are shown, as its packets say; nothing was decoded for it.

    stamps: (N,) int64, ascending. tick: seconds of one. keys: (K,) int64, ascending, those of the frames
    that need no other. codec: such as "h264". stated: how many frames the file says it has, 0 where it does
    not. counted: packets carry no time, as in some MPEG files; then frames are numbered, and their times
    follow from the rate that the file states.
    """

    stamps: np.ndarray
    tick: float
    keys: np.ndarray
    codec: str
    stated: int
    counted: bool

    @property
    def times(self) -> np.ndarray:
        """(N,) float64 seconds, ascending."""
        return (self.stamps * self.tick).astype(np.float64)

    @property
    def cut_off(self) -> bool:
        """Whether the file clearly has fewer frames than it says."""
        return self.stated > SPARE * len(self.stamps) + 2


def timeline(path: str | Path) -> Timeline:
    """Read the packets of a video, because the length that a file states may be missing or wrong.

    Raises VideoError.
    """
    with _opened(Path(path)) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        if not packets:
            raise VideoError("unreadable", f"{Path(path).name} holds no frames; use the original file")
        stamps, codec = [packet.pts for packet in packets], stream.codec_context.name
        keys = [packet.pts for packet in packets if packet.is_keyframe]
        if None in stamps:
            tick = 1 / float(stream.average_rate or 1)
            return Timeline(np.arange(len(stamps)), tick, np.arange(0), codec, stream.frames, True)
        tick = float(stream.time_base or 1)
        return Timeline(np.unique(stamps), tick, np.unique(keys), codec, stream.frames, False)


def frame_times(path: str | Path) -> np.ndarray:
    """When each frame of a video is shown: (N,) float64 seconds, ascending; see `timeline`."""
    return timeline(path).times


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


def read_frames(path: str | Path, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """`count` frames spread over a video; see `read_at`."""
    line = timeline(path)
    yield from read_at(path, line, spread(line.times, count))


def read_at(path: str | Path, line: Timeline, positions: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames at some positions, ascending: (position in the video, (H, W, 3) uint8 RGB, upright).

    line: of that video. A frame that cannot be decoded is replaced by the next that can.
    Raises VideoError; "damaged" after all that could be decoded, when that is fewer.
    """
    import av

    path = Path(path)
    done = 0
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        frames, last, sought = _stamped(container, stream, line.counted), int(line.stamps[0]), False
        for stamp in line.stamps[list(positions)].tolist():
            if _worth_seeking(line, last, stamp):
                with suppress(av.error.FFmpegError):  # what cannot be sought is decoded on
                    container.seek(stamp, stream=stream)
                    frames, sought = _stamped(container, stream, line.counted), True
            found = _first_from(frames, stamp)
            if found is None and sought:  # some containers seek too far: once from the start, then
                container.seek(int(line.stamps[0]), stream=stream)
                frames, sought = _stamped(container, stream, line.counted), False
                found = _first_from(frames, stamp)
            if found is None:
                break
            last, frame = found
            done += 1
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            yield int(np.searchsorted(line.stamps, last)), np.ascontiguousarray(pixels)
    if done < len(positions):
        left = len(positions) - done
        raise VideoError("damaged", f"{left} of {len(positions)} frames of {path.name} cannot be decoded")


def _worth_seeking(line: Timeline, last: int, stamp: int) -> bool:
    """Far ahead, and a frame to begin at lies between: else seeking would go back and decode more."""
    if line.counted or (stamp - last) * line.tick <= SEEK:
        return False
    return bool(np.searchsorted(line.keys, stamp, "right") > np.searchsorted(line.keys, last, "right"))


def _first_from(frames: Iterator[tuple[int, object]], stamp: int) -> tuple[int, object] | None:
    return next((found for found in frames if found[0] >= stamp), None)


@contextmanager
def _opened(path: Path) -> Iterator[tuple]:
    """The container and its first stream of pictures. Raises VideoError for whatever goes wrong in it."""
    import av

    if not path.is_file():
        raise VideoError("missing", f"there is no file {path.name}")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise VideoError("unreadable", f"{path.name} has sound only, no picture")
            stream = container.streams.video[0]
            _refuse_huge(path, stream.codec_context.width, stream.codec_context.height)
            yield container, stream
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            "unreadable",
            f"{path.name} cannot be read as a video ({error.strerror or type(error).__name__}); use the "
            "original file, or convert it to MP4",
        ) from None


def _refuse_huge(path: Path, width: int, height: int) -> None:
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise VideoError(
            "too_large",
            f"{path.name} has frames of {width} x {height} pixels; the limit is {MAX_MEGAPIXELS} megapixels",
        )


def _stamped(container, stream, counted: bool) -> Iterator[tuple[int, object]]:
    """Every frame that can be decoded, with its stamp, or its number where frames are only counted; what is
    damaged is passed over."""
    import av

    number = 0
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                stamp = number if counted else frame.pts
                number += 1
                if stamp is not None:
                    yield stamp, frame
        except av.error.InvalidDataError:
            continue
