"""Timelines and frames of animated pictures (GIF, WebP, PNG, AVIF) through Pillow. Runs in the worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from media.decoding.decode import DECODER_ERRORS, frames_of, num_frames, open_header, to_rgb
from media.decoding.streams import DecodedFrame
from media.errors import ImageError, VideoError
from media.timeline import Timeline

UNSTATED = 100  # milliseconds that a picture is shown where the file says nothing, or 0: as browsers do


def animation_timeline(data: bytes) -> Timeline:
    """Read when each picture is shown. Raises ImageError, or VideoError when the first cannot be decoded."""
    stamps, now, image, broken = [], 0, open_header(data), False
    try:
        for frame in frames_of(image):
            stamps.append(now)
            now += max(1, round(frame.info.get("duration") or UNSTATED))
    except ImageError:
        raise
    except DECODER_ERRORS as error:
        if not stamps:
            raise VideoError("unreadable", f"{{name}} cannot be decoded ({error})") from None
        broken = True
    return Timeline(
        np.array(stamps),
        0.001,
        np.arange(0),
        f"animated {image.format}",
        stated=num_frames(data),
        counted=False,
        lasts=now / 1e3,
        ends=now / 1e3,
        broken=broken,
    )


def animation_frames(data: bytes, line: Timeline, positions: Sequence[int]) -> Iterator[DecodedFrame]:
    """The pictures at some positions, ascending, transparency over white; fewer where the file is damaged."""
    wanted = set(positions)
    try:
        for position, frame in enumerate(frames_of(open_header(data))):
            if position in wanted:
                yield DecodedFrame(position, to_rgb(frame), False)
    except DECODER_ERRORS:
        return
