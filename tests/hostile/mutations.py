"""Hostile files out of a seed: sound ones of every format, damaged, cut, grown, mixed and lied about.

The same seed gives the same files. Nothing is read from elsewhere: the pictures are the example photograph.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, features

from media.images import read_image
from tests.tiny.video import write_video

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
SIDE = 144  # pixels; small, so that a thousand files take a minute


@dataclass(frozen=True)
class Hostile:
    """A file. destroyed: it cannot have decoded whole, so that a plain verdict on it would be invented."""

    name: str
    data: bytes
    destroyed: bool


def seeds() -> dict[str, bytes]:
    """A sound file of every format that is read, by suffix."""
    pixels = read_image(EXAMPLE)[30:230, 125:325]
    image = Image.fromarray(pixels).resize((SIDE, SIDE))
    options: dict[str, tuple[str, dict[str, object]]] = {
        "jpg": ("JPEG", {"quality": 85}), "progressive.jpg": ("JPEG", {"progressive": True}),
        "png": ("PNG", {}), "webp": ("WEBP", {"quality": 80}), "gif": ("GIF", {}), "bmp": ("BMP", {}),
        "tiff": ("TIFF", {"compression": "tiff_lzw"}), "ppm": ("PPM", {}),
    }  # fmt: skip
    if features.check("avif"):
        options["avif"] = ("AVIF", {})
    if features.check("jpg_2000"):
        options["jp2"] = ("JPEG2000", {})
    found = {suffix: _saved(image, kind, given) for suffix, (kind, given) in options.items()}
    turned = [image.rotate(3 * k) for k in range(3)]
    for suffix, kind in (("moving.gif", "GIF"), ("moving.webp", "WEBP"), ("moving.png", "PNG")):
        found[suffix] = _saved(image, kind, {"save_all": True, "append_images": turned, "duration": 80})
    frames = [np.asarray(frame) for frame in turned] * 2
    for suffix, container, codec in (
        ("mp4", "mp4", "libx264"), ("mkv", "matroska", "libx264"), ("avi", "avi", "mjpeg"),
        ("ts", "mpegts", "mpeg2video"), ("flv", "flv", "flv"), ("webm", "webm", "libvpx"),
    ):  # fmt: skip
        file = BytesIO()
        try:
            write_video(file, frames, container_format=container, codec=codec)
        except (ValueError, OSError):  # an FFmpeg that was built without the coder
            continue
        found[suffix] = file.getvalue()
    return found


def _saved(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def hostile_files(count: int, seed: int = 0) -> Iterator[Hostile]:
    """Yield `count` files, every format in turn, each damaged by some of MUTATIONS."""
    sound, rng = seeds(), random.Random(seed)
    suffixes = list(sound)
    for number in range(count):
        suffix = suffixes[number % len(suffixes)]
        how = rng.choice(list(MUTATIONS))
        data = MUTATIONS[how](sound[suffix], rng)
        if rng.random() < 0.2:
            second = rng.choice(list(MUTATIONS))
            data, how = MUTATIONS[second](data, rng), f"{how}+{second}"
        first, _, second = how.partition("+")
        hidden = (first == "zeros" and suffix in UNCHECKED) or (second in FILLING and suffix in FILLED)
        destroyed = suffix in TOLD and first in DESTROYING and not hidden
        named = rng.choice((suffix, suffix, "jpg", "mp4", "dat"))
        yield Hostile(f"{number:05d}_{how}.{named}", data, destroyed)
    yield from lies(sound)


def lies(sound: dict[str, bytes]) -> Iterator[Hostile]:
    """Yield files whose headers ask for what nobody has."""
    for width, height in ((65000, 65000), (65000, 40), (40, 65000), (0, 0), (1, 1), (2**31 - 1, 2**31 - 1)):
        name = f"{width}x{height}"
        yield Hostile(f"lie_{name}.png", png_of(width, height, sound["png"]), width * height > 1)
        at = sound["jpg"].index(b"\xff\xc0") + 5
        size = struct.pack(">HH", min(height, 65500), min(width, 65500))
        yield Hostile(f"lie_{name}.jpg", sound["jpg"][:at] + size + sound["jpg"][at + 4 :], True)
        gif = sound["gif"]
        size = struct.pack("<HH", min(width, 65535), min(height, 65535))
        yield Hostile(f"lie_{name}.gif", gif[:6] + size + gif[10:], False)
        bmp = sound["bmp"]
        yield Hostile(f"lie_{name}.bmp", bmp[:18] + struct.pack("<ii", width, height) + bmp[26:], False)
        ppm = f"P6 {width} {height} 255\n".encode() + bytes(300)
        yield Hostile(f"lie_{name}.ppm", ppm, width * height > 100)
    for table in (b"stsz", b"stts", b"stsc", b"stco", b"ctts", b"elst"):
        data = bytearray(sound["mp4"])
        at = data.find(table)
        if at >= 0:
            data[at + 8 : at + 16] = b"\0\0\0\1" + (60_000_000).to_bytes(4, "big")
            yield Hostile(f"lie_{table.decode()}.mp4", bytes(data), False)


def png_of(width: int, height: int, donor: bytes) -> bytes:
    """A PNG whose header tells of another size, with a sum that fits."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return donor[:8] + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + donor[33:]


def _place(data: bytes, rng: random.Random) -> int:
    return rng.randrange(max(1, len(data)))


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip some bits anywhere."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 4, 64))):
        if found:
            found[_place(found, rng)] ^= 1 << rng.randrange(8)
    return bytes(found)


def flip_header(data: bytes, rng: random.Random) -> bytes:
    """Write anything into the first two hundred bytes."""
    return rng.randbytes(1).join((data[: (at := rng.randrange(4, 200))], data[at + 1 :]))


def huge_numbers(data: bytes, rng: random.Random) -> bytes:
    """Write the largest numbers into the header."""
    at = rng.randrange(8, 300)
    return data[:at] + rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0")) + data[at + 4 :]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Leave out the end."""
    return data[: rng.randrange(len(data) // 10, max(len(data) * 8 // 10, 2))]


def zeros(data: bytes, rng: random.Random) -> bytes:
    """Overwrite the second half or more with zeros, but for the last bytes."""
    at = len(data) * rng.randrange(30, 60) // 100
    return data[:at] + bytes(max(0, len(data) - at - 2)) + data[-2:]


def noise(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a part with noise."""
    at, length = _place(data, rng), rng.choice((16, 256, 4096))
    return data[:at] + rng.randbytes(min(length, len(data) - at)) + data[at + length :]


def shuffle(data: bytes, rng: random.Random) -> bytes:
    """Change the order of the pieces behind the header."""
    size = max(64, len(data) // 20)
    pieces = [data[at : at + size] for at in range(300, len(data), size)]
    rng.shuffle(pieces)
    return data[:300] + b"".join(pieces)


def repeat(data: bytes, rng: random.Random) -> bytes:
    """Say a part again and again."""
    at = _place(data, rng)
    return data[:at] + data[at : at + 200] * rng.choice((3, 500)) + data[at:]


def leave_out(data: bytes, rng: random.Random) -> bytes:
    """Take a piece out of the middle."""
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 7, 500)) :]


def append(data: bytes, rng: random.Random) -> bytes:
    """Add what belongs to nothing, or the file again."""
    return data + rng.choice((rng.randbytes(5000), data, b"<script>alert(1)</script>"))


def head_only(data: bytes, rng: random.Random) -> bytes:
    """Keep the first bytes, and go on with anything."""
    return data[: rng.choice((4, 16, 64))] + rng.randbytes(rng.choice((0, 3000)))


def playlist(data: bytes, rng: random.Random) -> bytes:
    """Name other files instead of showing anything."""
    return rng.choice((
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    ))  # fmt: skip


Mutation = Callable[[bytes, random.Random], bytes]
MUTATIONS: dict[str, Mutation] = {
    function.__name__: function
    for function in (
        flip, flip_header, huge_numbers, cut, zeros, noise, shuffle, repeat, leave_out, append, head_only,
        playlist,
    )
}  # fmt: skip
DESTROYING = {"cut", "zeros", "head_only", "playlist"}
# Formats of still pictures in which that much lost is always lost: players' formats may end anywhere, and the
# last part of a progressive JPEG only sharpens what is there.
TOLD = {"jpg", "progressive.jpg", "png", "webp", "gif", "bmp", "tiff", "ppm", "avif", "jp2"}
# Zeros are black pixels in the first two; AV1's coder reads them as it reads anything.
UNCHECKED = {"bmp", "ppm", "avif"}
# Where bytes were lost, these put others; for the coders of those, any bytes are pixels.
FILLING, FILLED = {"append", "repeat"}, UNCHECKED | {"webp"}
