"""Frames of a video, spread over the whole of it, decoded with PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

SEEK = 5.0  # seconds: frames further ahead are sought, so that an hour costs little more than a minute


class VideoError(ValueError):
    """A file that gives no frames, or not all of those wanted.

    code: "missing", "unreadable" (no video file, or damaged) or "damaged" (some frames cannot be decoded).
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def codec_of(path: str | Path) -> str:
    """How the pictures of a video are coded, such as "h264". Raises VideoError."""
    import av

    path = Path(path)
    try:
        with av.open(str(path)) as container:
            return _stream(container, path).codec_context.name
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError("unreadable", f"{path} cannot be read as a video ({error})") from None


def frame_times(path: str | Path) -> np.ndarray:
    """When each frame of a video is shown: (N,) float64 seconds, ascending.

    Read off the packets, without decoding, because the length that a file states may be missing or wrong.
    Where packets carry no time, as in some AVI files, frames count as one second long.
    Raises VideoError.
    """
    stamps, second = _timeline(Path(path))
    return (np.arange(len(stamps)) if second is None else stamps * second).astype(np.float64)


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
    """`count` frames spread over a video, in order: (position in the video, (H, W, 3) uint8 RGB, upright).

    A frame that cannot be decoded is replaced by the next that can.
    Raises VideoError; "damaged" after all that could be decoded, when that is fewer.
    """
    import av

    path = Path(path)
    stamps, second = _timeline(path)
    wanted = stamps[spread(frame_times(path), count)].tolist()
    done = 0
    try:
        with av.open(str(path)) as container:
            stream = _stream(container, path)
            stream.thread_type = "AUTO"
            frames, last = _stamped(container, stream, counted=second is None), stamps[0]
            for stamp in wanted:
                if second is not None and (stamp - last) * second > SEEK:
                    with suppress(av.error.FFmpegError):  # of a file that cannot be sought all is decoded
                        container.seek(stamp, stream=stream)
                        frames = _stamped(container, stream, counted=False)
                last, frame = next((found for found in frames if found[0] >= stamp), (None, None))
                if frame is None:
                    break
                done += 1
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield int(np.searchsorted(stamps, last)), np.ascontiguousarray(pixels)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError("unreadable", f"{path} cannot be read as a video ({error})") from None
    if done < len(wanted):
        raise VideoError(
            "damaged", f"{len(wanted) - done} of {len(wanted)} frames of {path} cannot be decoded"
        )


def _timeline(path: Path) -> tuple[np.ndarray, float | None]:
    """(N,) int64 stamps of the frames, ascending, and the seconds of one tick; None when they only count."""
    import av

    if not path.is_file():
        raise VideoError("missing", f"there is no file {path}")
    try:
        with av.open(str(path)) as container:
            stream = _stream(container, path)
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            stamps, second = [packet.pts for packet in packets], float(stream.time_base or 1)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError("unreadable", f"{path} cannot be read as a video ({error})") from None
    if not stamps:
        raise VideoError("unreadable", f"{path} holds no frames")
    if None in stamps:
        return np.arange(len(stamps)), None
    return np.unique(stamps), second


def _stream(container, path: Path):
    if not container.streams.video:
        raise VideoError("unreadable", f"{path} has no picture")
    return container.streams.video[0]


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
