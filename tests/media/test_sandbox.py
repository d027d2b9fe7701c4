"""What a file asks for ends in the process that decodes it; this one goes on to the next."""

from __future__ import annotations

import multiprocessing
import os
import signal
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media.decoding import decode, sandbox
from media.errors import ImageError, MediaError, VideoError
from media.images import open_photo, read_image
from media.timeline import spread
from media.video import FrameReader, timeline
from tests.tiny.video import write_video

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


def png(width: int, height: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, "PNG")
    return file.getvalue()


def test_too_much_memory_is_an_error_with_a_name():
    """A 110 KB PNG asked for 35 GB and ended the batch."""
    process = sandbox.Decoder(memory=48 * 2**20)
    process.ask({"do": "image"}, [png(6000, 6000)])
    with pytest.raises(MediaError) as caught:
        process.answer(20)
    assert caught.value.code in ("too_large", "unreadable") and "2 GB of memory" in str(caught.value)
    assert not process.is_alive


def test_too_much_time_is_an_error_and_the_next_file_is_read(monkeypatch):
    monkeypatch.setattr("media.images.PHOTO_SECONDS", 0.002)
    with pytest.raises(ImageError, match=r"Decoding holiday\.png takes more than") as caught:
        open_photo(png(4000, 4000), "holiday.png")
    assert caught.value.code == "too_slow"
    monkeypatch.undo()
    assert read_image(EXAMPLE).shape == (512, 512, 3)


def test_a_process_that_died_is_replaced():
    with sandbox.decoder("a.jpg") as process:
        number = process._process.pid
        process.ask({"do": "image"}, [EXAMPLE.read_bytes()])
        process.answer(20)
    os.kill(number, signal.SIGKILL)
    process._process.wait()
    assert read_image(EXAMPLE).shape == (512, 512, 3)
    process = sandbox.Decoder()
    os.kill(process._process.pid, signal.SIGSTOP)
    process.ask({"do": "image"}, [EXAMPLE.read_bytes()])
    os.kill(process._process.pid, signal.SIGKILL)
    with pytest.raises(MediaError, match="the process that decodes it ended"):
        process.answer(20)


def test_a_process_serves_many_files_and_keeps_nothing(tmp_path):
    """Threads of every video stayed, until no more could be started and whole films were unreadable."""
    write_video(tmp_path / "a.mp4", [np.full((64, 64, 3), 20 * k, np.uint8) for k in range(10)])
    line = timeline(tmp_path / "a.mp4")
    with sandbox.decoder("a") as process:
        number = process._process.pid

    def threads() -> int:
        status = Path(f"/proc/{number}/status")
        return int(status.read_text().split("Threads:")[1].split()[0]) if status.is_file() else 0

    list(FrameReader(tmp_path / "a.mp4", line, [1, 5]))
    before = threads()
    for _ in range(6):
        for position, _ in FrameReader(tmp_path / "a.mp4", timeline(tmp_path / "a.mp4"), [1, 5]):
            assert position == 1
            break  # what is read ahead must not be the next file's answer
        assert read_image(EXAMPLE).shape == (512, 512, 3)
    assert threads() <= before
    with sandbox.decoder("a") as process:
        assert process._process.pid == number


def test_a_fork_has_processes_of_its_own():
    """Two processes on one socket would read each other's pictures."""
    expected = read_image(EXAMPLE).sum()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_sum, [EXAMPLE] * 6) == [expected] * 6
    assert read_image(EXAMPLE).sum() == expected


def _sum(path: Path) -> int:
    return read_image(path).sum()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "LA"])
def test_strips_are_the_picture(mode, monkeypatch):
    """Large pictures are converted a strip at a time, so that no second copy is made."""
    image = Image.open(EXAMPLE).resize((120, 97)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    whole = decode.to_rgb(image)
    monkeypatch.setattr(decode, "STRIP", 120 * 10)
    np.testing.assert_array_equal(decode.to_rgb(image), whole)
    grey = np.random.default_rng(0).integers(0, 65536, (97, 120)).astype(np.uint16)
    strips = decode.from_array(grey)
    monkeypatch.undo()
    np.testing.assert_array_equal(strips, decode.from_array(grey))


def test_a_film_of_sixty_million_frames_in_three_kilobytes(tmp_path):
    """2.6 KB asked for 2.5 GB: the table of samples says how many there are, and may say anything."""
    write_video(tmp_path / "a.mp4", [np.full((64, 64, 3), 20 * k, np.uint8) for k in range(10)])
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    sizes, times, count = data.index(b"stsz"), data.index(b"stts"), (60_000_000).to_bytes(4, "big")
    data[sizes + 8 : sizes + 16] = (1).to_bytes(4, "big") + count  # all of one byte, so many
    data[times + 12 : times + 16] = count
    (tmp_path / "b.mp4").write_bytes(data)
    try:
        line = timeline(tmp_path / "b.mp4")
        assert line.cut_off or len(list(FrameReader(tmp_path / "b.mp4", line, spread(line.times, 4)))) == 4
    except VideoError as error:
        assert error.code in ("unreadable", "too_large", "too_slow", "damaged")
    assert len(timeline(tmp_path / "a.mp4").stamps) == 10
