"""Kinds of hostile files that no mutation of a sound one arrives at.

Each asks for more than anybody has, says of itself what is not so, or is two things at once.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

MANY = 20_000  # of what a file should have one or a few of


@dataclass(frozen=True)
class Kind:
    """A file.

    name: as it is stored. data: its bytes. is_sound: the face of the sound file is to be found in it all the
    same. is_slow: it takes most of the time that the limits allow.
    """

    name: str
    data: bytes
    is_sound: bool = False
    is_slow: bool = False


def invented(sound: dict[str, bytes], seed: int = 0) -> Iterator[Kind]:
    """Yield every kind once. sound: files of every format, by suffix. The same seed gives the same files."""
    rng = random.Random(seed)
    for make in (
        packed_bombs, directories_in_a_circle, animations_that_lie, scans_without_end, films_of_years,
        pictures_that_grow, masquerades, nested_boxes, many_small_pieces, boastful_headers, metadata_bombs,
        names,
    ):  # fmt: skip
        yield from make(sound, rng)


def packed_bombs(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """A colour profile, a text and pixels that unpack to a thousand times their size."""
    bomb = zlib.compress(bytes(70_000_000))
    png, behind_header = sound["png"], 33
    for name, chunk in (
        ("icc", _chunk(b"iCCP", b"x\0\0" + bomb)), ("text", _chunk(b"zTXt", b"Comment\0\0" + bomb)),
        ("itext", _chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb)),
    ):  # fmt: skip
        yield Kind(f"bomb_{name}.png", png[:behind_header] + chunk + png[behind_header:])
    tags = [(256, 8000), (257, 8000), (258, 8), (259, 8), (262, 1), (273, 200), (277, 1), (278, 8000)]
    tags = _directory([*tags, (279, len(bomb))])
    yield Kind("bomb_strip.tif", (b"II*\0\x08\0\0\0" + tags).ljust(200, b"\0") + bomb, is_slow=True)
    segments = b"".join(
        b"\xff\xe2\xff\xffICC_PROFILE\0" + bytes((number, 255)) + rng.randbytes(65519)
        for number in range(1, 256)
    )
    yield Kind("profile_of_16_mb.jpg", sound["jpg"][:2] + segments + sound["jpg"][2:], True)


def directories_in_a_circle(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Directories of TIFF, EXIF and MPO that name themselves as the next, or each other."""
    strip = [(256, 40), (257, 40), (258, 8), (259, 1), (262, 1), (273, 600), (277, 1), (278, 40), (279, 1600)]
    for name, following in (("itself", 8), ("far", 2**31 - 8)):
        head = b"II*\0\x08\0\0\0" + _directory(strip, following)
        yield Kind(f"circle_{name}.tif", head.ljust(600, b"\0") + bytes(1600))
    chain = b"".join(_directory(strip, 8 + (number + 1) * 114) for number in range(MANY))
    yield Kind("chain.tif", b"II*\0\x08\0\0\0" + chain + bytes(4000), is_slow=True)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + _directory([(34665, 8), (34853, 8), (40965, 8), (330, 8)], 8)
    yield Kind("circle_exif.jpg", _with_segment(sound["jpg"], 0xE1, exif), True)
    index = b"MPF\0II*\0\x08\0\0\0" + _directory([(45056, 0), (45057, 65535), (45058, 8)], 8)
    yield Kind("circle_mpo.jpg", _with_segment(sound["jpg"], 0xE2, index))


def animations_that_lie(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Numbers of frames that are not so, frames outside their picture, pictures shown for ever."""
    moving = sound["moving.png"]
    at = moving.index(b"acTL")
    for count in (0, 2**31 - 1):
        lie = _chunk(b"acTL", struct.pack(">II", count, 0))
        yield Kind(f"frames_{count}.png", moving[: at - 4] + lie + moving[at + 16 :])
    at = moving.index(b"fcTL", moving.index(b"IDAT"))
    for side in (2**31 - 1, 65535):
        lie = _chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2, side, side, 0, 0, 0, 0, 0, 0))
        yield Kind(f"frame_of_{side}.png", moving[: at - 4] + lie + moving[at + 34 :])
    webp = bytearray(sound["moving.webp"])
    at = webp.index(b"ANMF") + 8
    webp[at : at + 12] = b"\xff" * 12
    yield Kind("frame_outside.webp", bytes(webp))
    gif = sound["moving.gif"]
    at = gif.index(b"\x21\xf9", gif.index(b"\x2c"))
    yield Kind("shown_for_ever.gif", gif[: at + 4] + b"\xff\xff" + gif[at + 6 :], True)


def scans_without_end(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Progressive JPEGs of a hundred megapixels whose every scan goes through all of them again."""
    head = b"\xff\xd8" + _jpeg(0xDB, b"\0" + b"\1" * 64)
    head += _jpeg(0xC2, struct.pack(">BHHB", 8, 10_000, 10_000, 1) + b"\1\x11\0")
    head += _jpeg(0xC4, b"\0" + b"\1" + bytes(15) + b"\0") + _jpeg(0xC4, b"\x10" + b"\1" + bytes(15) + b"\0")
    first = _jpeg(0xDA, b"\1\1\0\0\0\0") + b"\0" * 40
    again = b"".join(_jpeg(0xDA, b"\1\1\0\1\x3f\0") + b"\0" * 4 for _ in range(2000))
    yield Kind("scans.jpg", head + first + again + b"\xff\xd9", is_slow=True)
    jpeg = sound["progressive.jpg"]
    at = jpeg.rindex(b"\xff\xda")
    yield Kind("scan_again.jpg", jpeg[:-2] + jpeg[at:-2] * 3000 + jpeg[-2:])


def films_of_years(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Edit lists, durations and time scales that make seconds years, and frames an hour each."""
    film = sound["mp4"]
    for name, box, offset, value in (
        ("edit", b"elst", 12, struct.pack(">Ii", 2**31 - 1, -1)),
        ("edit_start", b"elst", 16, b"\x7f\xff\xff\xf0"), ("scale_0", b"mdhd", 16, bytes(4)),
        ("scale_1", b"mdhd", 16, struct.pack(">I", 1)),
        ("duration", b"mvhd", 16, b"\0\0\0\1\xff\xff\xff\xff"), ("deltas", b"stts", 12, b"\xff\xff\xff\xff"),
        ("rate_0", b"elst", 20, bytes(4)),
    ):  # fmt: skip
        data = bytearray(film)
        at = data.find(box)
        if at >= 0:
            data[at + offset : at + offset + len(value)] = value
            yield Kind(f"years_{name}.mp4", bytes(data))


def pictures_that_grow(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Animations and films whose later frames are far larger than what their headers say."""
    gif = sound["moving.gif"]
    at = gif.index(b"\x2c", gif.index(b"\x21\xf9", gif.index(b"\x2c") + 1000))
    for side in (13_300, 65_535):
        grown = gif[: at + 1] + struct.pack("<HHHH", 0, 0, side, side) + gif[at + 9 :]
        yield Kind(f"grows_to_{side}.gif", grown)
        placed = gif[: at + 1] + struct.pack("<HHHH", side - 144, side - 144, 144, 144) + gif[at + 9 :]
        yield Kind(f"moves_to_{side}.gif", placed)
    large = BytesIO()
    Image.new("L", (9000, 9000)).save(large, "JPEG", quality=1)
    film = sound["avi"]
    at = film.index(b"00dc", film.index(b"movi") + 3000)
    piece = b"00dc" + struct.pack("<I", len(large.getvalue())) + large.getvalue()
    yield Kind("grows.avi", film[:at] + piece + film[at:])


def masquerades(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Documents, pages and programs that pose as pictures, and pictures that are something else as well."""
    page = b"<!DOCTYPE html><html><script>alert(document.domain)</script></html>"
    for name, head in (
        ("page", page), ("drawing", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" '
         b'onload="alert(1)"><image href="http://127.0.0.1:9/x.jpg"/></svg>'), ("document", b"%PDF-1.7\n"),
        ("program", b"MZ\x90\0"), ("script", b"#!/bin/sh\nid\n"), ("archive", b"PK\3\4"), ("postscript",
         b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n(%pipe%id) (r) file\n"),
        ("metafile", b"\xd7\xcd\xc6\x9a"), ("list", b"#EXTM3U\nfile:///etc/passwd\n"),
    ):  # fmt: skip
        yield Kind(f"{name}_as.jpg", head)
        yield Kind(f"{name}_before.jpg", head + sound["jpg"])
        yield Kind(f"{name}_behind.jpg", sound["jpg"] + head, True)
    yield Kind("page_within.jpg", _with_segment(sound["jpg"], 0xFE, page), True)
    yield Kind("two.png", sound["png"] + sound["jpg"] + sound["mp4"], True)


def nested_boxes(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Boxes of MP4, AVIF and Matroska that hold boxes that hold boxes, or that have no end."""
    box = b""
    for _ in range(MANY):
        box = struct.pack(">I", (len(box) + 8) % 2**32) + b"moov" + box
    yield Kind("nested.mp4", b"\0\0\0\x14ftypisom\0\0\0\0isom" + box)
    yield Kind("endless.mp4", b"\0\0\0\x14ftypisom\0\0\0\0isom" + b"\0\0\0\1moov" + b"\xff" * 8 + bytes(2000))
    yield Kind("of_nothing.mp4", b"\0\0\0\x14ftypisom\0\0\0\0isom" + b"\0\0\0\x08free" * 300_000)
    head = (
        b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\xf2\x81\4B\xf3\x81\x08B\x82\x84webmB\x87\x81\2B\x85\x81\2"
    )
    unknown = b"\1" + b"\xff" * 7  # a size that says: until the end
    yield Kind("nested.mkv", head + (b"\x18\x53\x80\x67" + unknown) * MANY)
    yield Kind("clusters.mkv", head + b"\x18\x53\x80\x67" + unknown + (b"\x1f\x43\xb6\x75" + unknown) * MANY)
    yield Kind("tags.mkv", head + b"\x18\x53\x80\x67" + unknown + b"\x12\x54\xc3\x67" + unknown
               + (b"\x73\x73" + unknown + b"\x67\xc8" + unknown) * MANY)  # fmt: skip
    film = sound["mkv"]
    at = film.index(b"\x1f\x43\xb6\x75")
    yield Kind("void.mkv", film[:at] + b"\xec\x01" + b"\x7f" * 7 + film[at:])
    avif = sound.get("avif", b"\0\0\0\x1cftypavif")
    yield Kind("nested.avif", avif[:32] + (b"\0\0\0\0meta\0\0\0\0" * MANY))


def many_small_pieces(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Hundreds of thousands of empty segments, chunks, frames and packets."""
    yield Kind("segments.jpg", sound["jpg"][:2] + b"\xff\xfe\0\x02" * 200_000 + sound["jpg"][2:], True)
    yield Kind("chunks.png", sound["png"][:33] + _chunk(b"teSt", b"") * 50_000 + sound["png"][33:], True)
    yield Kind("texts.png", sound["png"][:33] + _chunk(b"tEXt", b"a\0b") * 50_000 + sound["png"][33:], True)
    gif, frame = sound["gif"], b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    yield Kind("frames.gif", gif[:-1] + frame * 200_000 + b";", is_slow=True)
    yield Kind("blocks.gif", gif[:-1] + b"\x21\xfe\1a\0" * 100_000 + b";", True)
    packet = b"G\x40\0\x10\0" + b"\xff" * 183
    yield Kind("packets.ts", sound["ts"][: 188 * 4] + packet * 60_000)
    tags = b"\x12\0\0\1\0\0\0\0\0\0\0" + b"\0" + b"\0\0\0\x0c"
    yield Kind("tags.flv", b"FLV\1\5\0\0\0\x09\0\0\0\0" + tags * 200_000)


def boastful_headers(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Canvases, tiles and bit depths of sizes that no file of theirs could fill."""
    vp8x = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + b"\xfe\x3f\0" * 2
    body = b"WEBP" + vp8x + sound["webp"][12:]
    yield Kind("canvas.webp", b"RIFF" + struct.pack("<I", len(body)) + body)
    if "jp2" in sound:
        jp2, at = bytearray(sound["jp2"]), sound["jp2"].index(b"\xff\x51")
        jp2[at + 22 : at + 30] = struct.pack(">II", 1, 1)  # tiles of a pixel each
        yield Kind("tiles.jp2", bytes(jp2))
        jp2[at + 6 : at + 14] = struct.pack(">II", 10_000, 10_000)
        yield Kind("tiles_of_a_large_one.jp2", bytes(jp2))
    yield Kind("words.y4m", b"YUV4MPEG2 W65000 H65000 F25:1\nFRAME\n" + bytes(5000))
    yield Kind("rate.y4m", b"YUV4MPEG2 W160 H160 F2147483647:1\n" + (b"FRAME\n" + bytes(38400)) * 3)
    yield Kind("comment.ppm", b"P6\n" + b"#" * 5_000_000)
    yield Kind("digits.ppm", b"P6 " + b"9" * 1_000_000 + b" 10 255\n")
    head = (200, 0, 54 + 1024, 40, 10_000, 10_000, 1, 8, 1, 0, 1, 1, 256, 0)
    bmp = b"BM" + struct.pack("<IIIIiiHHIIiiII", *head) + bytes(1024)
    yield Kind("runs.bmp", bmp + b"\0\2\xff\xff" * 20_000, is_slow=True)
    tags = [(256, 9000), (257, 9000), (258, 8), (259, 5), (262, 1), (273, 200), (277, 1), (278, 1), (279, 16)]
    yield Kind("strips.tif", (b"II*\0\x08\0\0\0" + _directory(tags)).ljust(200, b"\0") + bytes(100))


def metadata_bombs(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """XMP with entities of entities, thumbnails of gigapixels, Content Credentials within each other, regular
    expressions' worst cases."""
    laughs = b"".join(b'<!ENTITY a%d "%s">' % (n + 1, b"&a%d;" % n * 10) for n in range(9))
    xmp = b"http://ns.adobe.com/xap/1.0/\0"
    packet = (
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">' + laughs + b"]><x:xmpmeta>&a9;</x:xmpmeta>"
    )
    yield Kind("laughs.jpg", _with_segment(sound["jpg"], 0xE1, xmp + packet), True)
    slow = b"CreatorTool" + b" " * 60_000
    yield Kind("spaces.jpg", _with_segment(sound["jpg"], 0xE1, xmp + slow), True)
    small = bytearray(sound["jpg"])
    at = small.index(b"\xff\xc0")
    small[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    start = 8 + 18
    first = _directory([], start - 4)
    thumbnail = b"Exif\0\0II*\0\x08\0\0\0" + first.ljust(start - 12, b"\0")
    thumbnail += _directory([(513, 100), (514, len(small))])
    yield Kind(
        "thumbnail.jpg", _with_segment(sound["jpg"], 0xE1, thumbnail.ljust(106, b"\0") + bytes(small)), True
    )
    box = b""
    for _ in range(3000):
        box = struct.pack(">I", len(box) + 8) + b"jumb" + box
    credentials = b"".join(
        _jpeg(0xEB, b"JP\0\1" + struct.pack(">I", number + 1) + box[at : at + 60_000])
        for number, at in enumerate(range(0, len(box), 60_000))
    )
    yield Kind("credentials.jpg", sound["jpg"][:2] + credentials + sound["jpg"][2:], True)


def names(sound: dict[str, bytes], rng: random.Random) -> Iterator[Kind]:
    """Names that give a terminal or a browser orders, turn the writing round, or are instructions."""
    for name in (
        "\x1b]0;title\x07\x1b[2J\x1b[31mred.jpg", "two\nlines.jpg", "\u202egpj.exe.jpg",
        "a\u2028b\x85c\x9b31m.jpg", "<img src=x onerror=alert(1)>.jpg", "{{ 7 * 7 }}{% raw %}.jpg",
        "%s%n%x.jpg", "concat:a|b.jpg", "-rf.jpg", "..jpg", " .jpg", "\\..\\..\\x.jpg",
        "\U000e0041\ufeff\u200b.jpg", "=HYPERLINK(1).jpg", "a" * 240 + ".jpg", "z%03d.jpg",
        "'; DROP TABLE.jpg", "$(id)`id`.jpg", "\udcff\udcfe.jpg",
    ):  # fmt: skip
        yield Kind(name, sound["jpg"], True)


def _chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _jpeg(marker: int, body: bytes) -> bytes:
    """A segment of JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def _with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + _jpeg(marker, body) + jpeg[2:]


def _directory(tags: list[tuple[int, int]], following: int = 0) -> bytes:
    """A directory of TIFF, little-endian, of one long number a tag. following: where the next one is."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
