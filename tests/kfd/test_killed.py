"""A run over files of every kind, killed on the way, ends with the lines of an undisturbed one."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media.images import read_image
from tests.tiny.kfd import save_tiny_kfd
from tests.tiny.runs import PATIENCE, ROOT, lines_in, start_scoring, wait_for
from tests.tiny.video import write_video

FORMATS = ("jpg", "png", "webp", "bmp", "tif")
ODD = ("-x.jpg", "a b.jpg", "new\nline.jpg", "ünïcødé 照片.jpg", "%d.jpg", "concat:a.jpg", "no_suffix")


def mixed(folder: Path) -> int:
    """Fill a folder; returns how many lines of entries there have to be."""
    face = Image.fromarray(read_image(ROOT / "app/example.jpg")[30:230, 125:325])
    for place in ("photos", "clips", "odd", "broken"):
        (folder / place).mkdir()
    for number in range(180):
        small = face.resize((90 + number % 60, 90 + number % 60))
        picture = (
            small.rotate(90 * (number % 7 == 0), expand=True) if number % 9 else Image.new("RGB", (64, 64))
        )
        picture.save(folder / "photos" / f"{number:03}.{FORMATS[number % 5]}")
    pixels = np.asarray(face.resize((96, 96)))
    for number in range(20):
        shown = [np.roll(pixels, number + k, axis=1) for k in range(3)]
        write_video(folder / "clips" / f"{number:02}.mp4", shown)
        first, *rest = map(Image.fromarray, shown)
        name = folder / "clips" / f"{number:02}.{('gif', 'png', 'webp')[number % 3]}"
        first.save(name, save_all=True, append_images=rest, duration=200)
    whole = (folder / "photos/001.png").read_bytes(), (folder / "clips/00.mp4").read_bytes()
    for number in range(20):
        (folder / "broken" / f"{number:02}.png").write_bytes(whole[0][: 40 + 200 * number])
        (folder / "broken" / f"{number:02}.mp4").write_bytes(whole[1][: 40 + 200 * number])
        (folder / "broken" / f"empty{number:02}.jpg").touch()
        (folder / "broken" / f".hidden{number:02}.jpg").touch()
    names = [*ODD, b"caf\xe9.jpg".decode("utf-8", "surrogateescape")]
    for name in names:
        face.save(folder / "odd" / name, "JPEG")
    for number in range(12):
        (folder / "odd" / f"note{number}.txt").write_text("no picture")
    return 180 + 2 * 20 + 3 * 20 + len(names) + 12


@pytest.mark.slow
def test_three_hundred_files_killed_twice_have_the_lines_of_an_undisturbed_run(tmp_path):
    """What is in a batch with a face changes its sums; so it must not depend on what was done before."""
    archive, checkpoint = tmp_path / "archive", save_tiny_kfd(tmp_path / "kfd")
    archive.mkdir()
    entries = mixed(archive)
    undisturbed, killed = tmp_path / "undisturbed.jsonl", tmp_path / "killed.jsonl"
    assert start_scoring(archive, checkpoint, undisturbed).wait(PATIENCE) == 0
    for share in (4, 2):
        run = start_scoring(archive, checkpoint, killed)
        wait_for(lambda share=share: len(lines_in(killed)) > entries // share, run)
        run.send_signal(signal.SIGKILL)
        run.wait(PATIENCE)
        assert len(lines_in(killed)) < entries, "the kill came too late to test anything"
    assert start_scoring(archive, checkpoint, killed).wait(PATIENCE) == 0
    assert killed.read_bytes() == undisturbed.read_bytes()
    lines = [json.loads(line) for line in lines_in(killed)]
    assert len({line["path"] for line in lines}) == entries + 1 >= 300, "and one that counts the hidden ones"
    reasons = Counter(line["reasons"][0] if line["face"] is None else "scored" for line in lines)
    assert reasons["scored"] > 150 and reasons["empty_file"] == 20 and reasons["skipped"] == 12
    assert reasons["hidden"] == 1 and reasons["unreadable"] > 10 and reasons["no_face"] >= 20
