"""Whether a picture's file is whole, where its decoder does not tell."""

from __future__ import annotations

import struct
import zlib

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PIECE = 2**20  # bytes unpacked at a time
_ZEROS = bytes(1024)  # the coders of JPEG 2000 and VP8 never write so many


def png_damage(data: bytes) -> str:
    """What is wrong with the pixels' chunks of a PNG file; "" for a sound one.

    Pillow looks at no sum of theirs, and leaves black what a stream that ends early does not fill.
    """
    at, row, rows, unpacked, stream = 8, 0, 0, 0, zlib.decompressobj()
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = memoryview(data)[at + 8 : at + 8 + size]
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            if data[at + 8 + size : at + 12 + size] != struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))):
                return f"PNG: the checksum of a chunk {kind.decode()} does not fit it"
            if kind == b"IEND":
                break
        if kind == b"IHDR" and size == 13:
            width, rows, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            row = 0 if interlaced else 1 + (width * bits * _PNG_CHANNELS.get(colour, 0) + 7) // 8
        if kind == b"IDAT" and row:
            try:
                left: bytes | memoryview = body
                while left and not stream.eof:
                    unpacked += len(stream.decompress(left, _PIECE))
                    left = stream.unconsumed_tail
                while not stream.eof and (more := stream.decompress(b"", _PIECE)):
                    unpacked += len(more)
            except zlib.error as error:
                return f"PNG: {error}"
        at += 12 + size
    return "PNG: the pixels' data end early" if unpacked < row * rows else ""


def jpeg2000_damage(data: bytes) -> str:
    """What is wrong with the code stream of a JPEG 2000 file, as far as it shows; "" for a sound one."""
    start = data.find(b"\xff\x93")  # where the first tile's data begin
    overwritten = start >= 0 and data.find(_ZEROS, start) >= 0
    return "JPEG 2000: a part is overwritten with zeros" if overwritten else ""


def webp_damage(data: bytes) -> str:
    """What is wrong with the lossy pixels of a WebP file, as far as it shows; "" for a sound one."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"VP8 " and data.find(_ZEROS, at, at + 8 + size) >= 0:
            return "WebP: a part is overwritten with zeros"
        at += 8 + size + size % 2
    return ""


# By the format's name; of others the decoder tells.
CHECKS = {"PNG": png_damage, "JPEG2000": jpeg2000_damage, "WEBP": webp_damage}
