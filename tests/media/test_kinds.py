"""A file is what its content says."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from media import kinds
from media.decoding.decode import decode_image
from media.errors import ImageError
from tests.tiny.video import write_video

GREY = [np.full((64, 64, 3), 90, np.uint8)] * 4
IMAGES = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM")
# Container and codec of what cameras, recorders and the web produce.
VIDEOS = {
    "mp4": ("mp4", "libx264"), "mov": ("mov", "mpeg4"), "3gp": ("3gp", "mpeg4"),
    "mkv": ("matroska", "libx264"), "avi": ("avi", "mpeg4"), "mpg": ("mpeg", "mpeg2video"),
    "ts": ("mpegts", "libx264"),
    "flv": ("flv", "flv1"), "wmv": ("asf", "wmv2"), "mxf": ("mxf", "mpeg2video"), "h264": ("h264", "libx264"),
    "nut": ("nut", "mpeg4"),
}  # fmt: skip


def head_of_video(container: str, codec: str) -> bytes:
    file = BytesIO()
    write_video(file, GREY, container_format=container, codec=codec)
    return file.getvalue()[: kinds.HEAD]


@pytest.mark.parametrize("name", VIDEOS)
def test_videos(name):
    """Camcorders' .mts, TV's .ts, .3gp, .wmv and .flv were "not an image", or passed over in folders."""
    assert kinds.kind_of(head_of_video(*VIDEOS[name])) == "video"
    assert kinds.claimed_kind(f"holiday.{name.upper()}") == "video"


def test_the_packets_of_a_camcorder():
    """AVCHD puts four bytes before each packet of a transport stream."""
    packet = b"\0\0\0\0G" + bytes(187)
    assert kinds.kind_of(packet * 5) == "video"
    assert kinds.kind_of(b"Good morning, this is a letter. " * 40) is None


@pytest.mark.parametrize("name", IMAGES)
def test_images(name):
    file = BytesIO()
    Image.fromarray(GREY[0]).save(file, name)
    assert kinds.kind_of(file.getvalue()[: kinds.HEAD]) == "image"


@pytest.mark.parametrize(
    "head", [b"", b"{}", b"#EXTM3U\n", b"<svg", b"%PDF-1.7", b"PK\3\4", b"\x7fELF", b"ffconcat version 1.0"]
)
def test_what_is_neither(head):
    """Playlists and lists of files, above all: they would open what they name."""
    assert kinds.kind_of(head + bytes(99)) is None


def test_every_format_that_is_read_is_named_by_a_suffix():
    assert {".heic", ".avif", ".mts", ".ogv", ".h264"} <= kinds.IMAGE_SUFFIXES | kinds.VIDEO_SUFFIXES
    assert not kinds.IMAGE_SUFFIXES & kinds.VIDEO_SUFFIXES


@pytest.mark.parametrize(
    ("head", "package"), [(b"\0\0\0\x18ftypheic", "pillow-heif"), (b"\xff\x0a", "pillow-jxl-plugin")]
)
def test_a_format_whose_package_is_missing_names_it(head, package, monkeypatch):
    monkeypatch.setattr("media.decoding.decode.has_plugin", lambda name: False)
    with pytest.raises(ImageError, match=f"pip install {package}"):
        decode_image(head + bytes(64))


def test_the_suffix_counts_where_the_content_says_nothing(tmp_path):
    (tmp_path / "a.mp4").touch()
    Image.fromarray(GREY[0]).save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.mp4")
    (tmp_path / "c.txt").write_text("text")
    assert [kinds.kind_of_file(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.txt")] == [
        "video",
        "image",
        None,
    ]
