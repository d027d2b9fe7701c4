"""Frames of a video or an animation, spread over the whole of it. They are decoded in a worker process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from media.decoding.sandbox import GIGABYTE_SECONDS, PASS_SECONDS, PHOTO_SECONDS, decoder
from media.errors import MediaError, VideoError
from media.files import MediaFile, open_file
from media.timeline import Timeline, spread

VideoSource = str | Path | MediaFile


def timeline(source: VideoSource) -> Timeline:
    """Read when the frames of a video or an animation are shown; nothing of a video is decoded for it.

    Raises VideoError.
    """
    with _as_video(source) as file:
        seconds = PHOTO_SECONDS + GIGABYTE_SECONDS * file.size / 2**30
        request = {"do": "timeline", "is_animation": file.kind == "image"}
        with decoder(file.name) as process:
            process.ask(request, descriptor=file.descriptor, seconds=seconds)
            header, payload = process.answer(seconds)
    numbers = np.frombuffer(payload, np.int64)
    count = header.pop("stamps")
    del header["keys"]
    return Timeline(numbers[:count], keys=numbers[count:], **header)


def frame_times(source: VideoSource) -> np.ndarray:
    """When each frame of a video is shown: (N,) float64 seconds, ascending; see `timeline`."""
    return timeline(source).times


def read_frames(source: VideoSource, count: int) -> Iterator[tuple[int, np.ndarray]]:
    """`count` frames spread over a video; see `FrameReader`."""
    line = timeline(source)
    yield from FrameReader(source, line, spread(line.times, count))


class FrameReader:
    """The frames at some positions of a video, ascending, read while it is iterated over.

    source, line: the video and its timeline. Yields (position in the video, (H, W, 3) uint8 RGB, upright). A
    frame that cannot be decoded is replaced by the next that can. Raises VideoError; "damaged" after all that
    could be decoded, when that is fewer.

    damage: the first thing that the decoder said of damage to the picture, "" so far. lost: how many packets
    gave no frame although frames came before them; skipped: before any came. interlaced: how many of the
    frames are woven of two moments. read: positions so far.
    """

    def __init__(self, source: VideoSource, line: Timeline, positions: Sequence[int]):
        self._source, self._line, self._positions = source, line, list(positions)
        self.damage = ""
        self.lost = self.skipped = self.interlaced = 0
        self.read: list[int] = []

    @property
    def damaged(self) -> bool:
        """Whether pictures that were read, or should have been, did not decode whole."""
        replaced = self.read != self._positions[: len(self.read)]
        return bool(self.damage or self.lost or (replaced and self.skipped))

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        with _as_video(self._source) as file:
            spent = 0.0
            with decoder(file.name) as process:
                line = self._line
                fields = {"tick": line.tick, "codec": line.codec, "counted": line.counted}
                request = {"do": "frames", "is_animation": file.kind == "image", "positions": self._positions}
                stamps, keys = line.stamps.astype(np.int64), line.keys.astype(np.int64)
                request |= fields | {"stamps": len(stamps)}
                process.ask(request, [stamps, keys], file.descriptor, PHOTO_SECONDS)
                process.answer(PHOTO_SECONDS)
                process.ask({"do": "next"}, seconds=PHOTO_SECONDS)
                while True:
                    began = time.monotonic()
                    header, payload = process.answer(min(PHOTO_SECONDS, max(0.1, PASS_SECONDS - spent)))
                    spent += time.monotonic() - began
                    self.damage = self.damage or header["damage"]
                    self.lost, self.skipped = header["lost"], header["skipped"]
                    if header["position"] is None:
                        break
                    self.interlaced += header["interlaced"]
                    self.read.append(header["position"])
                    process.ask({"do": "next"}, seconds=PHOTO_SECONDS)  # decoded while this one is looked at
                    pixels = np.frombuffer(payload, np.uint8).reshape(header["shape"])
                    try:
                        yield header["position"], pixels
                    except GeneratorExit:
                        return  # the process is sound and goes on to the next file
        left = len(self._positions) - len(self.read)
        if left:
            raise VideoError(
                "damaged", f"{left} of {len(self._positions)} frames of {file.name} cannot be decoded"
            )


@contextmanager
def _as_video(source: VideoSource) -> Iterator[MediaFile]:
    """The opened file; whatever is wrong with it is a VideoError."""
    try:
        if isinstance(source, MediaFile):
            yield source
        else:
            with open_file(source) as file:
                yield file
    except VideoError:
        raise
    except MediaError as error:
        raise VideoError(error.code, str(error)) from None
