"""Decode files in processes that may die, so that this one does not.

Each is started once and serves many files. It may take MEMORY bytes of address space and so many seconds;
what takes more is ended there and reported here, as MediaError "too_large" or "too_slow".
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from media.decoding.messages import Buffer, receive, send
from media.errors import ImageError, MediaError, VideoError

MEMORY = 2 * 2**30  # bytes
PHOTO_SECONDS = 20.0  # for a photograph, and for each frame of a video
PASS_SECONDS = 120.0  # for all frames of a video
GIGABYTE_SECONDS = 20.0  # and so many more for each gigabyte of a video, which is read through once
IDLE = 2  # processes kept when nothing is to be done
MAX_ANSWER = 600 * 2**20  # bytes
LIMITS = (
    f"Files are decoded in a process of their own, limited to 2 GB of memory, {PHOTO_SECONDS:.0f} s a "
    f"photograph or frame and {PASS_SECONDS:.0f} s a video; what needs more is refused."
)


class Decoder:
    """One decoding process."""

    def __init__(self, memory: int = MEMORY) -> None:
        """memory: bytes of address space that it may take beyond what it has when idle."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        quiet = {
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "media.decoding.worker", str(theirs.fileno()), str(memory)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | quiet,
            )
        self._waiting = 0  # answers that nobody has read yet

    def ask(
        self,
        header: dict,
        payload: Sequence[Buffer] = (),
        descriptor: int | None = None,
        seconds: float = 20.0,
    ) -> None:
        """Send a request; the answer is for `answer`."""
        self._channel.settimeout(seconds)
        try:
            send(self._channel, header | {"seconds": seconds}, payload, descriptor)
        except OSError:
            raise self._ended() from None
        self._waiting += 1

    def answer(self, seconds: float) -> tuple[dict, bytearray]:
        """Wait for the answer to the oldest request. Raises MediaError for whatever is wrong with a file."""
        try:
            header, payload, _ = receive(self._channel, MAX_ANSWER, time.monotonic() + seconds)
        except TimeoutError:
            self.close()
            raise MediaError(
                "too_slow",
                f"Decoding {{name}} takes more than {seconds:.0f} s; save it in a usual format and size.",
            ) from None
        except (EOFError, OSError, ValueError):
            raise self._ended() from None
        self._waiting -= 1
        code = header.get("error")
        if code == "memory":
            self.close()
            raise MediaError(
                "too_large", "Decoding {name} takes more than 2 GB of memory; use a smaller copy."
            )
        if code == "internal_error":
            raise RuntimeError(header["message"])
        if code is not None:
            kind = VideoError if header["is_video"] else ImageError
            raise kind(code, header["message"])
        return header, payload

    def settle(self) -> None:
        """Read the answers that nobody waited for, so that the process can serve the next file."""
        while self._waiting and self.is_alive:
            with suppress(MediaError):
                self.answer(PHOTO_SECONDS)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None and self._channel.fileno() >= 0

    def close(self) -> None:
        """End the process."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def abandon(self) -> None:
        """Forget the process, which belongs to the process that this one was forked from."""
        self._channel.close()

    def _ended(self) -> MediaError:
        """The process is gone: out of memory where a library does not check, or a fault in one."""
        self.close()
        return MediaError(
            "unreadable",
            "{name} is damaged, or needs more than 2 GB of memory: the process that decodes it ended.",
        )


class _Pool:
    """Idle decoders, and how to get one more."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._idle: list[Decoder] = []

    def take(self) -> Decoder:
        while True:
            with self._lock:
                decoder = self._idle.pop() if self._idle else None
            if decoder is None:
                return Decoder()
            if decoder.is_alive:
                return decoder

    def give(self, decoder: Decoder) -> None:
        with self._lock:
            if decoder.is_alive and len(self._idle) < IDLE:
                self._idle.append(decoder)
                return
        decoder.close()

    def close(self) -> None:
        with self._lock:
            for decoder in self._idle:
                decoder.close()
            self._idle.clear()

    def forget(self) -> None:
        """After a fork: two processes cannot share a socket."""
        self._lock = Lock()
        for decoder in self._idle:
            decoder.abandon()
        self._idle = []


_POOL = _Pool()
atexit.register(_POOL.close)
os.register_at_fork(after_in_child=_POOL.forget)


@contextmanager
def decoder(name: str) -> Iterator[Decoder]:
    """A decoding process, for as long as it is needed. name: of the file, for messages.

    Raises MediaError for whatever goes wrong in it, of the same kind and with the same code.
    """
    taken = _POOL.take()
    try:
        yield taken
        taken.settle()
    except MediaError as error:
        raise type(error)(error.code, str(error).replace("{name}", name)) from None
    except BaseException:
        taken.close()
        raise
    finally:
        _POOL.give(taken)
