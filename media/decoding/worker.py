"""The process that decodes files: started by the sandbox, which gives it a socket and nothing else.

It limits its own address space, so that whatever a file asks for ends here. It answers one request at a time
and ends when its other side is gone.
"""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from media.decoding import animations, streams
from media.decoding.decode import decode_image
from media.decoding.messages import receive, send
from media.decoding.whole import CHECKS
from media.errors import MediaError
from media.provenance.read import provenance_facts
from media.timeline import Timeline

MAX_REQUEST = 2**30
SPARE = 5  # seconds that the other side has to end this process before it ends itself

# What libjpeg, FFmpeg's decoders and its readers of containers say when pictures come out wrong. What they
# say after a seek, or at the start of a recording, about pictures that lie before it is not among it.
DAMAGE = re.compile(
    r"error while decoding|concealing|corrupt|damaged|invalid nal|error splitting|overread|bad huffman|"
    r"premature|truncat|slice mismatch|invalid mb type|cbp too large|mb_type|intra4x4|intra mode|"
    r"error at mb|bytestream|dc overflow|overflow in|found marker|out of range",
    re.IGNORECASE,
)
# Cameras pad their files; and where a file ends is told by its timeline.
HARMLESS = re.compile(
    r"Corrupt JPEG data: [0-9]{1,2} extraneous bytes before marker 0xd9|File ended prematurely"
)


class Errors:
    """What C libraries write to standard error, kept in a file in place of the terminal."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, it stays open as long as the process lives
        os.dup2(self._file.fileno(), 2)

    def taken(self) -> str:
        """Everything written since the last call."""
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size
        if not size:
            return ""
        text = os.pread(descriptor, min(size, 2**20), 0).decode("utf-8", "replace")
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return text


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    errors = Errors()
    av.logging.set_level(av.logging.ERROR)
    av.logging.restore_default_callback()  # no lock of Python's in the decoders' threads
    cv2.setNumThreads(1)
    gc.freeze()  # so that collecting, after every video, looks at little
    confine(int(sys.argv[2]))
    Worker(channel, errors).serve()


def confine(memory: int) -> None:
    """Take no more address space than `memory` bytes beyond what is in use; leave no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm = Path("/proc/self/statm")
    used = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.is_file() else 0
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = used + memory
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class Worker:
    """Answers requests. Between two of them it may hold a video whose frames are asked for one by one."""

    def __init__(self, channel: socket.socket, errors: Errors):
        self.channel, self.errors = channel, errors
        self.frames: Iterator[streams.DecodedFrame] = iter(())
        self.losses = streams.Losses()
        self.descriptor: int | None = None

    def serve(self) -> None:
        while True:
            try:
                header, payload, descriptor = receive(self.channel, MAX_REQUEST)
                signal.setitimer(signal.ITIMER_REAL, header["seconds"] + SPARE)  # ends even what hangs in C
                self.answer(header, payload, descriptor)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except (EOFError, OSError):
                return

    def answer(self, header: dict, payload: bytearray, descriptor: int | None) -> None:
        self.errors.taken()
        if header["do"] != "next":
            self.close_video()
        try:
            answer, parts = getattr(self, f"do_{header['do']}")(header, payload, descriptor)
        except MediaError as error:
            answer, parts = {"error": error.code, "message": str(error), "is_video": _is_video(error)}, []
        except MemoryError:
            answer, parts = {"error": "memory"}, []
        except Exception:
            answer, parts = {"error": "internal_error", "message": traceback.format_exc()[-4000:]}, []
        send(self.channel, answer, parts)

    def do_image(self, header: dict, payload: bytearray, _) -> tuple[dict, list]:
        """An image file -> its pixels."""
        image = decode_image(bytes(payload))
        self.errors.taken()
        damage = ""
        if image.file_format in ("JPEG", "MPO"):
            cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
            damage = damage_in(self.errors.taken())
        elif image.file_format in CHECKS:
            damage = CHECKS[image.file_format](bytes(payload))
        return {
            "shape": image.pixels.shape,
            "file_format": image.file_format,
            "num_frames": image.num_frames,
            "jpeg_quality": image.jpeg_quality,
            "stored_size": image.stored_size,
            "is_animation": image.is_animation,
            "damage": damage,
        }, [image.pixels]

    def do_provenance(self, header: dict, payload: bytearray, _) -> tuple[dict, list]:
        """An image file -> what it tells of its origin."""
        return {"facts": provenance_facts(bytes(payload))}, []

    def do_timeline(self, header: dict, payload: bytearray, descriptor: int) -> tuple[dict, list]:
        """A video or animation -> when its frames are shown."""
        try:
            animated = header["is_animation"]
            line = (
                animations.animation_timeline(_read(descriptor))
                if animated
                else streams.read_timeline(descriptor)
            )
        finally:
            os.close(descriptor)
            gc.collect()
        names = ("tick", "codec", "stated", "counted", "lasts", "ends", "broken")
        fields = {name: getattr(line, name) for name in names}
        stamps, keys = line.stamps.astype(np.int64), line.keys.astype(np.int64)
        return fields | {"stamps": len(stamps), "keys": len(keys)}, [stamps, keys]

    def do_frames(self, header: dict, payload: bytearray, descriptor: int) -> tuple[dict, list]:
        """Begin to read frames at some positions."""
        self.descriptor, self.losses = descriptor, streams.Losses()
        numbers = np.frombuffer(payload, np.int64)
        count = header["stamps"]
        line = Timeline(
            numbers[:count], header["tick"], numbers[count:], header["codec"], 0, header["counted"]
        )
        if header["is_animation"]:
            self.frames = animations.animation_frames(_read(descriptor), line, header["positions"])
        else:
            self.frames = streams.frames_at(descriptor, line, header["positions"], self.losses)
        return {}, []

    def do_next(self, header: dict, payload: bytearray, _) -> tuple[dict, list]:
        """The next of these frames."""
        frame = next(self.frames, None)
        damage = damage_in(self.errors.taken())
        fields = {"damage": damage, "lost": self.losses.after, "skipped": self.losses.before}
        if frame is None:
            return fields | {"position": None}, []
        fields |= {"position": frame.position, "shape": frame.pixels.shape, "interlaced": frame.interlaced}
        return fields, [frame.pixels]

    def close_video(self) -> None:
        """Read no more frames. PyAV's objects refer to each other; until they are collected, threads wait."""
        self.frames = iter(())
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
            gc.collect()


def damage_in(text: str) -> str:
    """The first line of what decoders said that speaks of damage; else ""."""
    for line in text.splitlines():
        if DAMAGE.search(line) and not HARMLESS.search(line):
            return re.sub(r"^\[(\w+)[^]]*\] ", r"\1: ", line.strip())[:200]
    return ""


def _read(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


def _is_video(error: MediaError) -> bool:
    return type(error).__name__ == "VideoError"


if __name__ == "__main__":
    main()
