"""Timelines and frames of video files through PyAV. Runs in the decoding process (media.decoding.worker)."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import RawIOBase

import av
import cv2
import numpy as np

from media.errors import VideoError
from media.kinds import DEMUXERS
from media.timeline import Timeline

SEEK = 5.0  # seconds: frames further ahead are sought, so that an hour costs little more than a minute
MAX_FRAME_MEGAPIXELS = 40  # admits 8K; decoders hold up to twenty frames
MAX_FRAMES = 5_000_000  # a day of 58 frames a second
THREADS = 4  # of one decoder, at most: each holds a frame
SQUARE = 0.01  # by how much pixels may be wider than high, or the other way, before the picture is stretched
MOST_STRETCHED = 4.0  # beyond it the file's word for the shape of a pixel is not believed


class Descriptor(RawIOBase):
    """A file by its descriptor, with a position of its own. PyAV reads it; it never learns a name."""

    def __init__(self, descriptor: int):
        self._descriptor, self._position = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        start = os.fstat(self._descriptor).st_size if start is None else start
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, os.fstat(self._descriptor).st_size - self._position)
        data = os.pread(self._descriptor, left if size < 0 else size, self._position)
        self._position += len(data)
        return data


@dataclass
class Losses:
    """Packets that gave no frame.

    after: although frames came before them. before: none had come yet, at the start or after seeking; they
    may have referred to what lies before the place.
    """

    after: int = 0
    before: int = 0


@dataclass(frozen=True)
class DecodedFrame:
    """position: in the timeline. pixels: (H, W, 3) uint8 RGB, upright. interlaced: woven of two moments."""

    position: int
    pixels: np.ndarray
    interlaced: bool


def read_timeline(descriptor: int) -> Timeline:
    """Read the packets of a video, because the length that a file states may be missing or wrong.

    Raises VideoError.
    """
    with opened(descriptor) as (container, stream):
        stamps, keys, ends = array("q"), array("q"), 0.0
        timeless = _is_decode_order(container, stream)
        for packet in _packets(container):
            if packet.duration is not None and packet.pts is not None:
                ends = max(ends, float((packet.pts + packet.duration) * packet.time_base))
            if packet.stream_index != stream.index or not packet.size or packet.is_discard:
                continue
            timeless = timeless or packet.pts is None
            stamps.append(0 if packet.pts is None else packet.pts)
            if packet.is_keyframe:
                keys.append(stamps[-1])
            if len(stamps) > MAX_FRAMES:
                raise VideoError("too_large", f"{{name}} has more than {MAX_FRAMES} frames; cut out a part")
        if not stamps:
            raise VideoError("unreadable", "{name} holds no frames; use the original file")
        codec, stated = stream.codec_context.name, stream.frames
        lasts = 0.0 if container.duration is None else container.duration / 1e6
        if timeless:
            tick = 1 / float(stream.average_rate or stream.guessed_rate or 1)
            return Timeline(np.arange(len(stamps)), tick, np.arange(0), codec, stated, True)
        tick = float(stream.time_base or 1)
        start = (container.start_time or 0) / 1e6
        unique, unique_keys = np.unique(np.array(stamps)), np.unique(np.array(keys, dtype=np.int64))
        return Timeline(unique, tick, unique_keys, codec, stated, False, lasts, ends - start)


def _packets(container) -> Iterator:
    """Every packet of every stream. PyAV stumbles at the end, where a stream appeared on the way."""
    with suppress(IndexError):
        yield from container.demux()


def frames_at(
    descriptor: int, line: Timeline, positions: Sequence[int], losses: Losses | None = None
) -> Iterator[DecodedFrame]:
    """The frames at some positions of a timeline, ascending.

    A frame that cannot be decoded is replaced by the next that can; at the end there may be fewer than asked
    for. losses: counted up.
    """
    losses = Losses() if losses is None else losses
    with opened(descriptor) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(THREADS, os.cpu_count() or 1)
        aspect = _pixel_aspect(stream)
        frames, last, sought = _stamped(container, stream, line.counted, losses), int(line.stamps[0]), False
        for stamp in line.stamps[list(positions)].tolist():
            if _worth_seeking(line, last, stamp):
                with suppress(av.error.FFmpegError):  # what cannot be sought is decoded on
                    container.seek(stamp, stream=stream)
                    frames, sought = _stamped(container, stream, line.counted, losses), True
            found = _first_from(frames, stamp)
            if found is None and sought:  # some containers seek too far: once from the start, then
                container.seek(int(line.stamps[0]), stream=stream)
                frames, sought = _stamped(container, stream, line.counted, losses), False
                found = _first_from(frames, stamp)
            if found is None:
                return
            last, frame = found
            position = int(np.searchsorted(line.stamps, last))
            yield DecodedFrame(position, _upright(frame, aspect), bool(frame.interlaced_frame))


@contextmanager
def opened(descriptor: int) -> Iterator[tuple]:
    """The container and the stream that shows the film. Raises VideoError for whatever goes wrong in it."""
    options = {"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": ""}
    try:
        with av.open(
            Descriptor(descriptor),
            "r",
            metadata_errors="replace",
            options=options,
            io_open=_refuse_other_files,
        ) as container:
            stream = _film(container)
            _refuse_huge(stream.codec_context.width, stream.codec_context.height)
            yield container, stream
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            "unreadable",
            f"{{name}} cannot be read as a video ({error.strerror or type(error).__name__}); use the "
            "original file, or convert it to MP4",
        ) from None


def _refuse_other_files(url: str, flags: int, options: dict) -> None:
    """FFmpeg asks for a second file, which a film in one file never needs."""
    raise VideoError("unreadable", "{name} refers to other files; only what lies in the file itself is read")


def _film(container):
    """The stream to examine: not a cover picture; of several the one that FFmpeg's players show."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise VideoError("unreadable", "{name} has sound only, no picture")
    streams = [s for s in streams if s.codec_context is not None]
    if not streams:
        raise VideoError(
            "unreadable", "{name} is coded in a way that FFmpeg cannot decode; convert it to MP4"
        )
    best = container.streams.best("video")
    return best if best is not None and best.index in {s.index for s in streams} else streams[0]


def _is_decode_order(container, stream) -> bool:
    """Whether stamps follow the order of decoding: AVI knows no other, which is wrong for B-frames."""
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _refuse_huge(width: int, height: int) -> None:
    if width * height > MAX_FRAME_MEGAPIXELS * 1e6:
        raise VideoError(
            "too_large",
            f"{{name}} has frames of {width} x {height} pixels; the limit is "
            f"{MAX_FRAME_MEGAPIXELS} megapixels",
        )


def _worth_seeking(line: Timeline, last: int, stamp: int) -> bool:
    """Far ahead, and a frame to begin at lies between: else seeking would go back and decode more."""
    if line.counted or (stamp - last) * line.tick <= SEEK:
        return False
    return bool(np.searchsorted(line.keys, stamp, "right") > np.searchsorted(line.keys, last, "right"))


def _first_from(frames: Iterator[tuple[int, object]], stamp: int) -> tuple[int, object] | None:
    return next((found for found in frames if found[0] >= stamp), None)


def _stamped(container, stream, counted: bool, losses: Losses) -> Iterator[tuple[int, object]]:
    """Every frame that can be decoded, with its stamp, or its number where frames are only counted; what is
    damaged is passed over, and counted where it cannot be what is missing before the place sought."""
    number = 0
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                _refuse_huge(frame.width, frame.height)  # some streams grow beyond what their header says
                stamp = number if counted else frame.pts
                number += 1
                if stamp is not None:
                    yield stamp, frame
        except av.error.InvalidDataError:
            if number:
                losses.after += 1
            else:
                losses.before += 1


def _pixel_aspect(stream) -> float:
    """How wide a pixel is shown for its height; 1.0 where the file does not say, or nothing credible."""
    aspect = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    return aspect if 1 / MOST_STRETCHED <= aspect <= MOST_STRETCHED else 1.0


def _upright(frame, aspect: float) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a frame as players show it: pixels square, turned and mirrored as its matrix
    says.
    """
    pixels = frame.to_ndarray(format="rgb24")
    if (
        abs(aspect - 1) > SQUARE
    ):  # only ever enlarged, and with the sharpest kernel: else traces are wiped out
        size = round(frame.width * max(aspect, 1.0)), round(frame.height / min(aspect, 1.0))
        _refuse_huge(*size)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LANCZOS4)
    return np.ascontiguousarray(turned(pixels, _matrix(frame)))


def _matrix(frame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the display matrix: a pixel (x, y) is shown at (a x + c y, b x + d y)."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            values = np.frombuffer(bytes(data), dtype="<i4")
            return tuple(int(values[k]) for k in (0, 1, 3, 4))
    return 1, 0, 0, 1


def turned(pixels: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Apply a display matrix, to the nearest quarter turn: (H, W, 3) -> a view, (H, W, 3) or (W, H, 3)."""
    a, b, c, d = matrix
    right, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
