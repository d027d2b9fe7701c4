"""Small real videos, encoded by the test that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np


def write_video(
    target: Path | BinaryIO,
    frames: Iterable[np.ndarray],
    times: Sequence[float] | None = None,
    container_format: str | None = None,
    codec: str = "libx264",
    interlaced: bool = False,
) -> None:
    """Encode (H, W, 3) uint8 frames, 25 a second or shown at `times`, in seconds."""
    tick = Fraction(1, 25) if times is None else Fraction(1, 1000)
    name = str(target) if isinstance(target, Path) else target
    with av.open(name, "w", format=container_format) as container:
        stream = None
        for number, pixels in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=25)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                stream.time_base, stream.gop_size = tick, 6
                stream.codec_context.time_base = tick
                if codec == "libx264":
                    stream.options = {"crf": "14", "preset": "ultrafast"}
                    if interlaced:
                        stream.options |= {"x264-params": "interlaced=1:tff=1"}
                else:
                    stream.options = {"qmin": "1", "qmax": "1"}
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number if times is None else round(times[number] / tick)
            frame.time_base = tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
