"""What the decoding process and the others say to each other: JSON headers over a socket, then bytes.

Many bytes go through memory that both sides see, in a file without a name: through the socket they would be
copied twice, in small pieces.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

MAX_HEADER = 2**20  # bytes
SHARED = 2**18  # bytes from which on shared memory is the faster way
_LENGTHS = struct.Struct(">IQB")  # of the header, of its bytes; 1: they are in shared memory

Buffer = bytes | bytearray | memoryview | np.ndarray | mmap.mmap


def send(
    channel: socket.socket, header: dict, payload: Sequence[Buffer] = (), descriptor: int | None = None
) -> None:
    """Send one message. descriptor: of a file, handed over with it."""
    parts = [
        memoryview(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part) for part in payload
    ]
    parts = [part.cast("B") for part in parts if part.nbytes]
    words, size = json.dumps(header).encode(), sum(part.nbytes for part in parts)
    shared = _shared_file(parts, size) if size >= SHARED else None
    descriptors = [number for number in (shared, descriptor) if number is not None]
    start = _LENGTHS.pack(len(words), size, shared is not None) + words
    try:
        sent = socket.send_fds(channel, [start], descriptors) if descriptors else 0
        channel.sendall(start[sent:])
        for part in parts if shared is None else ():
            channel.sendall(part)
    finally:
        if shared is not None:
            os.close(shared)


def receive(
    channel: socket.socket, most: int, deadline: float | None = None
) -> tuple[dict, bytearray | mmap.mmap, int | None]:
    """The next message: its header, its bytes (writable), and the descriptor of a file or None.

    most: bytes that are accepted. deadline: on time.monotonic's clock.
    Raises EOFError when the other side is gone, TimeoutError, or ValueError for what is no message.
    """
    channel.settimeout(_left(deadline))
    start, descriptors, _, _ = socket.recv_fds(channel, _LENGTHS.size, 2)
    try:
        if not start:
            raise EOFError
        start = bytes(start) + bytes(_exactly(channel, _LENGTHS.size - len(start), deadline))
        header_size, size, is_shared = _LENGTHS.unpack(start)
        if header_size > MAX_HEADER or size > most or is_shared > len(descriptors):
            raise ValueError(f"a message of {size} bytes; expected at most {most}")
        header = json.loads(bytes(_exactly(channel, header_size, deadline)))
        if not isinstance(header, dict):
            raise ValueError("a message without a header")
        if not is_shared:
            payload = _exactly(channel, size, deadline)
        else:
            shared = descriptors.pop(0)
            try:
                payload = mmap.mmap(shared, size)
            finally:
                os.close(shared)
        return header, payload, descriptors.pop(0) if descriptors else None
    finally:
        for number in descriptors:
            with suppress(OSError):
                os.close(number)


def _shared_file(parts: list[memoryview], size: int) -> int:
    """A descriptor of memory that holds the parts."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("unmask")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    with mmap.mmap(descriptor, size) as memory:
        for part in parts:
            memory.write(part)
    return descriptor


def _exactly(channel: socket.socket, size: int, deadline: float | None) -> bytearray:
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        channel.settimeout(_left(deadline))
        count = channel.recv_into(view[filled:])
        if not count:
            raise EOFError
        filled += count
    return data


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
