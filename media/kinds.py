"""The one list of what can be opened, and how a file is recognised: by its content, not by its name."""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path
from typing import Literal

from media.errors import ImageError

Kind = Literal["image", "video"]

# Only formats whose decoders run inside Pillow: EPS, for one, would start another program.
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM")
# Formats that a plugin of Pillow reads: name -> (package, module, name of the format there).
PLUGINS = {
    "HEIC": ("pillow-heif", "pillow_heif", "HEIF"),
    "JPEG XL": ("pillow-jxl-plugin", "pillow_jxl", "JXL"),
}
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")  # of several pictures, shown one after the other: judged as clips
# FFmpeg's readers of these. No playlists, no lists of files, no devices: they would open what they name.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpeg", "mpegts", "mpegvideo", "flv", "asf", "ogg",
    "mxf", "h264", "hevc", "m4v", "dv", "ivf", "rm", "nut", "gxf", "wtv", "yuv4mpegpipe",
)  # fmt: skip

_IMAGE_WORDS = (
    "jpg jpeg jpe jfif mpo png apng webp gif tif tiff bmp jp2 j2k avif avifs ppm pgm pbm heic heif jxl"
)
_VIDEO_WORDS = (
    "mp4 m4v mov qt 3gp 3g2 avi mkv webm mpg mpeg mpe m1v m2v vob ts mts m2ts flv f4v wmv asf ogv ogg mxf "
    "h264 264 avc h265 265 hevc dv ivf rm rmvb nut gxf wtv y4m"
)
IMAGE_SUFFIXES = frozenset("." + word for word in _IMAGE_WORDS.split())
VIDEO_SUFFIXES = frozenset("." + word for word in _VIDEO_WORDS.split())

HEAD = 1024  # bytes of a file that tell what it is

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_IMAGE_STARTS = (
    b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51", *JXL_STARTS,
)  # fmt: skip
# EBML (Matroska, WebM), MPEG program and elementary streams, FLV, ASF (WMV), Ogg, MXF, RealMedia, DV, IVF ...
_VIDEO_STARTS = (
    b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\0\0\x01\xb0", b"FLV\x01",
    b"0&\xb2u\x8ef\xcf\x11", b"OggS", b"\x06\x0e+4\x02\x05\x01\x01", b".RMF", b"\x1f\x07\0", b"DKIF",
    b"nut/multimedia", b"YUV4MPEG2", b"\0\0\0\0\x01\xbc", b"\xb7\xd8\0 7I\xda\x11\xa6N\0\x07\xe9^\xad\x8d",
)  # fmt: skip
_VIDEO_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"styp")
_UNIT_STARTS = (b"\0\0\0\x01", b"\0\0\x01")  # of a bare H.264 or H.265 stream
_TS_PACKETS = ((188, 0), (192, 4))  # length of a packet of an MPEG transport stream, and where 0x47 stands


def kind_of(head: bytes) -> Kind | None:
    """Tell what a file is from its first HEAD bytes; None for neither photograph nor video."""
    if head.startswith(_IMAGE_STARTS) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return "image"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():  # PPM and its kin
        return "image"
    if head[4:8] == b"ftyp":
        return "image" if head[8:12] in HEIC_BRANDS + AVIF_BRANDS else "video"
    if head.startswith(_VIDEO_STARTS) or head[4:8] in _VIDEO_ATOMS or head[8:12] == b"AVI ":
        return "video"
    return "video" if _is_transport_stream(head) or _is_bare_stream(head) else None


def _is_transport_stream(head: bytes) -> bool:
    """Whether every packet in sight begins with the sync byte, at least two of them."""
    for length, offset in _TS_PACKETS:
        marks = head[offset::length]
        if len(marks) >= 2 and set(marks) == {0x47}:
            return True
    return False


def _is_bare_stream(head: bytes) -> bool:
    """Whether a file begins with parameters or a delimiter of an H.264 or H.265 stream."""
    for start in _UNIT_STARTS:
        if head.startswith(start) and len(head) > len(start) + 1:
            first, second = head[len(start)], head[len(start) + 1]
            return first in (0x67, 0x47, 0x27, 0x09) or (first in (0x40, 0x42, 0x46) and second == 1)
    return False


def is_video(head: bytes) -> bool:
    """Whether a file with these first HEAD bytes is a video; 16 of them will mostly do."""
    return kind_of(head) == "video"


def is_video_file(path: str | Path) -> bool:
    """Whether a file is a video by its content; False for one that cannot be read."""
    return kind_of(_head_of(path)) == "video"


def kind_of_file(path: str | Path) -> Kind | None:
    """Tell what a file is by its content; by its suffix where that tells nothing: empty, or missing."""
    return kind_of(_head_of(path)) or claimed_kind(path)


def claimed_kind(path: str | Path) -> Kind | None:
    """What a file's suffix says it is."""
    suffix = Path(path).suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over in folders: `.git`, macOS's `._photo.jpg` and `.DS_Store`."""
    return name.startswith(".")


def plugin_of(head: bytes) -> str | None:
    """The name in PLUGINS of the format that a file has, or None when it needs none of them."""
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        return "HEIC"
    return "JPEG XL" if head.startswith(JXL_STARTS) else None


def has_plugin(name: str) -> bool:
    """Whether the package of a format in PLUGINS is installed."""
    return importlib.util.find_spec(PLUGINS[name][1]) is not None


def refuse_irregular(path: str | Path, mode: int) -> None:
    """Raise ImageError "not_a_file" for a pipe, a socket or a device: reading one may never end.

    mode: st_mode of it.
    """
    if stat.S_ISREG(mode):
        return
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    what = kinds.get(stat.S_IFMT(mode), "a device")
    raise ImageError("not_a_file", f"{path} is {what}, not a file; copy its content into a file first.")


def _head_of(path: str | Path) -> bytes:
    """The first bytes of a regular file; none of anything else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
