"""A film is shown as players show it, and what its decoder or its length says of damage is told."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from media.decoding import streams
from media.errors import VideoError
from media.files import open_file
from media.timeline import spread
from media.video import FrameReader, read_frames, timeline
from tests.tiny.video import write_video

CORNERS = np.zeros((64, 96, 3), np.uint8)  # four corners of their own brightness
CORNERS[:32, :48], CORNERS[:32, 48:], CORNERS[32:, :48], CORNERS[32:, 48:] = 30, 90, 150, 210


def corners(pixels: np.ndarray) -> list[int]:
    """Brightness of the corners, row by row, to the nearest of CORNERS."""
    height, width = pixels.shape[:2]
    places = ((8, 8), (8, width - 9), (height - 9, 8), (height - 9, width - 9))
    return [min((30, 90, 150, 210), key=lambda level: abs(level - int(pixels[place][0]))) for place in places]


def noise(count: int, side: int = 96) -> list[np.ndarray]:
    """Smooth pictures that differ, so that damage to one shows."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (count, 12, 12, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(picture).resize((side, side), Image.BICUBIC)) for picture in small]


def encode(path: Path, frames: list[np.ndarray], options: dict[str, str], **settings: object) -> Path:
    """Write a film with options of the encoder and settings of its context."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", options
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), [30, 90, 150, 210]),
        ((-1, 0, 0, 1), [90, 30, 210, 150]),  # a front camera: mirrored from left to right
        ((1, 0, 0, -1), [150, 210, 30, 90]),
        ((-1, 0, 0, -1), [210, 150, 90, 30]),
        ((0, 1, -1, 0), [150, 30, 210, 90]),  # a quarter to the right
        ((0, -1, 1, 0), [90, 210, 30, 150]),
        ((0, 1, 1, 0), [30, 150, 90, 210]),  # mirrored and turned
        ((0, -1, -1, 0), [210, 90, 150, 30]),
    ],
)
def test_a_film_is_turned_and_mirrored_as_its_matrix_says(matrix, expected, tmp_path):
    """A mirrored film was turned upside down: its matrix was read as an angle."""
    write_video(tmp_path / "a.mp4", [CORNERS] * 3)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    place, (a, b, c, d) = data.index(b"tkhd") + 44, matrix
    values = [value * 0x10000 for value in (a, b)] + [0] + [value * 0x10000 for value in (c, d)] + [0, 0, 0]
    data[place : place + 36] = b"".join(
        value.to_bytes(4, "big", signed=True) for value in [*values, 0x40000000]
    )
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    ((_, pixels),) = read_frames(tmp_path / "a.mp4", 1)
    assert corners(pixels) == expected and pixels.shape == ((64, 96, 3) if a else (96, 64, 3))


@pytest.mark.parametrize(("aspect", "size"), [((16, 9), (64, 171)), ((1, 2), (128, 96)), ((1, 1), (64, 96))])
def test_pixels_are_shown_square(aspect, size, tmp_path):
    """Faces of an anamorphic film were judged squeezed, as uncertain ones."""
    encode(tmp_path / "a.mp4", [CORNERS] * 3, {"crf": "10"}, sample_aspect_ratio=Fraction(*aspect))
    ((_, pixels),) = read_frames(tmp_path / "a.mp4", 1)
    assert pixels.shape[:2] == size and corners(pixels) == [30, 90, 150, 210]


def test_a_cover_picture_is_not_the_film(tmp_path):
    """A still in front of the film was examined in its place: one frame, no face."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        cover, film = container.add_stream("mjpeg", rate=25), container.add_stream("libx264", rate=25)
        cover.height = cover.width = 160
        cover.pix_fmt, film.pix_fmt = "yuvj420p", "yuv420p"
        film.height = film.width = 96
        container.mux(
            cover.encode(av.VideoFrame.from_ndarray(np.zeros((160, 160, 3), np.uint8), format="rgb24"))
        )
        container.mux(cover.encode())
        for pixels in noise(20):
            container.mux(film.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(film.encode())
    line = timeline(tmp_path / "a.mkv")
    assert line.codec == "h264" and len(line.stamps) == 20


def test_frames_of_an_avi_are_in_order_and_no_damage(tmp_path):
    """AVI knows no times of showing: a sound film with B-frames was called damaged, and read out of order."""
    levels = [np.full((64, 64, 3), 20 + 4 * k, np.uint8) for k in range(48)]
    encode(tmp_path / "a.avi", levels, {"bf": "2", "crf": "10"})
    line = timeline(tmp_path / "a.avi")
    chosen = spread(line.times, 12)
    reader = FrameReader(tmp_path / "a.avi", line, chosen)
    shown = [round((pixels.mean() - 20) / 4) for _, pixels in reader]
    assert shown == chosen == reader.read and not reader.damaged and not line.cut_off
    assert line.times[-1] == pytest.approx(47 / 25)


def test_flipped_bytes_are_told_by_the_decoder(tmp_path):
    """Eight flipped bytes gave "no face" and `damaged: false`: decoders hide damage, and mark no frame."""
    encode(tmp_path / "a.mp4", noise(40), {"crf": "10", "g": "10"})
    whole = timeline(tmp_path / "a.mp4")
    reader = FrameReader(tmp_path / "a.mp4", whole, spread(whole.times, 16))
    assert len(list(reader)) == 16 and not reader.damaged and reader.damage == ""
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    for place in np.linspace(start + 3000, len(data) - 6000, 8).astype(int).tolist():
        data[place] ^= 0xFF
    (tmp_path / "b.mp4").write_bytes(bytes(data))
    reader = FrameReader(tmp_path / "b.mp4", whole, spread(whole.times, 16))
    try:
        list(reader)
    except VideoError as error:
        assert error.code == "damaged"
    assert reader.damaged


def test_a_film_that_is_shorter_than_it_says_is_cut_off(tmp_path):
    """Two fifths of a film were missing, its header said so, and `damaged` was false."""
    encode(tmp_path / "a.mkv", noise(250), {"crf": "20"})
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 3 // 5])
    assert not timeline(tmp_path / "a.mkv").cut_off and timeline(tmp_path / "cut.mkv").cut_off


def test_woven_frames_are_counted(tmp_path):
    encode(tmp_path / "a.mp4", noise(8), {"x264-params": "interlaced=1:tff=1"})
    line = timeline(tmp_path / "a.mp4")
    reader = FrameReader(tmp_path / "a.mp4", line, [0, 3, 5])
    assert len(list(reader)) == reader.interlaced == 3
    encode(tmp_path / "b.mp4", noise(8), {})
    reader = FrameReader(tmp_path / "b.mp4", line, [0, 3, 5])
    assert len(list(reader)) == 3 and reader.interlaced == 0


def test_a_stream_that_grows_beyond_its_header_is_refused(tmp_path, monkeypatch):
    """The header said 64 pixels, later frames had 225 megapixels, and all of them were decoded."""

    def jpeg(side: int) -> bytes:
        file = BytesIO()
        Image.new("RGB", (side, side), "grey").save(file, "JPEG")
        return file.getvalue()

    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuvj420p"
        for number in range(12):
            packet = av.Packet(jpeg(64 if number < 6 else 800))
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            packet.pts = packet.dts = number
            container.mux(packet)
    monkeypatch.setattr(streams, "MAX_FRAME_MEGAPIXELS", 0.1)
    with open_file(tmp_path / "a.avi") as file:
        line = streams.read_timeline(file.descriptor)
        frames = streams.frames_at(file.descriptor, line, range(12))
        assert [next(frames).position for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(VideoError, match="800 x 800") as caught:
            list(frames)
    assert caught.value.code == "too_large"


def test_sound_alone_is_no_film(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        for _ in range(4):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 44100
            container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match=r"a\.m4a has sound only"):
        timeline(tmp_path / "a.m4a")
