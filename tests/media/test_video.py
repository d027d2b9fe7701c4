"""Frames are spread over the whole video, whatever its length, rate and container."""

from __future__ import annotations

from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest

from media import video
from media.decoding import streams
from media.errors import VideoError
from media.files import open_file
from media.timeline import spread
from media.video import frame_times, read_frames
from tests.tiny.video import write_video


def grey(levels) -> list[np.ndarray]:
    """Frames that tell their number by their brightness: 20, 23, 26 ..."""
    return [np.full((32, 48, 3), 20 + 3 * level, np.uint8) for level in levels]


def numbers(path: Path, count: int) -> list[int]:
    """The numbers of the frames that are read, told by their brightness; positions must agree."""
    read = list(read_frames(path, count))
    shown = [round((pixels.mean() - 20) / 3) for _, pixels in read]
    assert shown == [position for position, _ in read]
    return shown


def positions_here(path: Path, count: int) -> list[int]:
    """The numbers of the frames that are read, decoded in this process, where the limits can be changed."""
    with open_file(path) as file:
        line = streams.read_timeline(file.descriptor)
        chosen = spread(line.times, count)
        return [frame.position for frame in streams.frames_at(file.descriptor, line, chosen)]


def test_frames_stand_in_the_middle_of_equal_parts():
    """FIELD trap 9: frames "evenly distributed" that were the first of the video."""
    times = np.arange(100) / 25
    assert spread(times, 4) == [12, 37, 62, 87]
    chosen = spread(np.arange(300) / 30, 32)
    assert len(chosen) == 32 and chosen[0] == 4 and chosen[-1] == 295
    assert set(np.diff(chosen)) <= {9, 10}


def test_a_clip_shorter_than_wanted_gives_all_of_it():
    assert spread(np.arange(5) / 25, 32) == [0, 1, 2, 3, 4]
    assert spread(np.zeros(1), 1) == [0]
    assert spread(np.arange(33) / 25, 32) == sorted(set(spread(np.arange(33) / 25, 32)))
    with pytest.raises(ValueError, match="at least one frame"):
        spread(np.arange(5) / 25, 0)


def test_a_variable_rate_is_spread_over_time():
    """Ninety frames in the first second and ten in the next nine: by number most would be of the first."""
    times = np.concatenate([np.arange(90) / 90, 1 + 0.9 * np.arange(10)])
    chosen = spread(times, 10)
    assert len(set(chosen)) == 10 and chosen == sorted(chosen)
    assert sum(times[chosen] < 1) <= 2 and times[chosen][-1] > 8
    assert spread(times, 99)[-1] == 99 and len(set(spread(times, 99))) == 99, "still all different"


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mov", "mpeg4")]
)
def test_the_frames_read_are_those_chosen(name, codec, tmp_path):
    write_video(tmp_path / name, grey(range(50)), codec=codec)
    assert len(frame_times(tmp_path / name)) == 50
    assert numbers(tmp_path / name, 5) == [5, 15, 25, 35, 45]
    assert numbers(tmp_path / name, 60) == list(range(50))


def test_a_file_with_a_variable_rate(tmp_path):
    times = [*(np.arange(40) / 40), *(1 + 0.5 * np.arange(10))]
    write_video(tmp_path / "a.mp4", grey(range(50)), times)
    np.testing.assert_allclose(frame_times(tmp_path / "a.mp4"), times, atol=0.002)
    first, *others = numbers(tmp_path / "a.mp4", 6)
    assert 15 < first < 25 and others == [40, 42, 44, 46, 48]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mov", "mpeg4")])
def test_a_long_video_is_sought_not_decoded_whole(name, codec, tmp_path, monkeypatch):
    """A frame a second, so that those wanted lie ten seconds apart: the same ones as without seeking."""
    write_video(tmp_path / name, grey(range(70)), [float(second) for second in range(70)], codec=codec)
    decoded = []
    stamped = streams._stamped
    monkeypatch.setattr(
        streams, "_stamped", lambda *a, **k: (decoded.append(found[0]) or found for found in stamped(*a, **k))
    )
    sought = positions_here(tmp_path / name, 7)
    few = len(decoded)
    monkeypatch.setattr(streams, "SEEK", 1e9)
    decoded.clear()
    assert positions_here(tmp_path / name, 7) == sought == [5, 15, 25, 35, 45, 55, 65]
    assert few < 0.8 * len(decoded)


def test_a_file_that_cannot_be_sought_is_decoded_whole(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", grey(range(70)), [float(second) for second in range(70)])

    class Unseekable:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def seek(self, *_, **__):
            raise av.error.PermissionError(1, "no")

    opened = streams.opened

    @contextmanager
    def unseekable(path):
        with opened(path) as (container, stream):
            yield Unseekable(container), stream

    monkeypatch.setattr(streams, "opened", unseekable)
    assert positions_here(tmp_path / "a.mp4", 7) == [5, 15, 25, 35, 45, 55, 65]


def test_a_stream_that_states_no_length(tmp_path):
    """Recorded while it was sent: nobody went back to write the number of frames into the head."""

    class Pipe(BytesIO):
        def seekable(self) -> bool:
            return False

        seek = None

    pipe = Pipe()
    write_video(pipe, grey(range(30)), container_format="matroska")
    (tmp_path / "a.mkv").write_bytes(pipe.getvalue())
    with av.open(str(tmp_path / "a.mkv")) as container:
        assert not container.streams.video[0].frames and not container.duration
    assert numbers(tmp_path / "a.mkv", 3) == [5, 15, 25]


def test_packets_without_a_time_follow_the_rate_of_the_file(tmp_path):
    write_video(tmp_path / "a.mpg", grey(range(50)), container_format="mpeg", codec="libx264")
    line = video.timeline(tmp_path / "a.mpg")
    assert line.times[-1] - line.times[0] == pytest.approx(49 / 25, abs=0.2), "two seconds, not fifty"


def test_a_title_in_another_alphabet_is_no_obstacle(tmp_path):
    with av.open(str(tmp_path / "a.avi"), "w", options={}) as container:
        container.metadata["title"] = "Boehm"
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for pixels in grey(range(9)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    data = (tmp_path / "a.avi").read_bytes()
    assert data.count(b"Boehm") == 1
    (tmp_path / "a.avi").write_bytes(data.replace(b"Boehm", b"B\xf6hmX"))
    assert len(list(read_frames(tmp_path / "a.avi", 3))) == 3


def test_frames_too_large_to_decode_are_refused(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", grey(range(3)))
    monkeypatch.setattr(streams, "MAX_FRAME_MEGAPIXELS", 0.001)
    with pytest.raises(VideoError, match="48 x 32") as caught:
        positions_here(tmp_path / "a.mp4", 1)
    assert caught.value.code == "too_large"


def test_what_is_no_video(tmp_path):
    for name, data in (("text.mp4", b"no video at all" * 9), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(VideoError, match="cannot be read as a video") as caught:
            list(read_frames(tmp_path / name, 4))
        assert caught.value.code == "unreadable"
    with pytest.raises(VideoError) as caught:
        frame_times(tmp_path / "nowhere.mp4")
    assert caught.value.code == "missing"


def test_a_video_cut_off_gives_what_it_has(tmp_path):
    write_video(tmp_path / "a.mkv", grey(range(60)))
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    read = list(read_frames(tmp_path / "cut.mkv", 4))
    assert len(read) == 4 and 20 < read[-1][0] < 50


def test_damage_in_the_middle_is_passed_over(tmp_path):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(30)]
    write_video(tmp_path / "a.mkv", noise)
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 6] = bytes(len(data) // 6)
    (tmp_path / "b.mkv").write_bytes(bytes(data))
    places, error = [], None
    try:
        for place, _ in read_frames(tmp_path / "b.mkv", 6):
            places.append(place)
    except VideoError as caught:
        error = caught.code
    assert places and places == sorted(set(places))
    assert len(places) == 6 or error in ("damaged", "unreadable")


def test_a_telephone_video_lying_on_its_side_is_turned(tmp_path):
    """The track's matrix says "turn clockwise by 90 degrees to view"; the code of the file is not changed."""
    upright = np.zeros((48, 32, 3), np.uint8)
    upright[:24] = 200  # bright above
    write_video(tmp_path / "a.mp4", [np.ascontiguousarray(np.rot90(upright))] * 3)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 44
    values = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    ((_, pixels),) = read_frames(tmp_path / "a.mp4", 1)
    assert pixels.shape == (48, 32, 3) and pixels[:20].mean() > 150 > 50 > pixels[28:].mean()
