"""python -m data_sim.frames on small real videos: every face kept, failures told, a killed run continued."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_sim import build, frames
from data_sim.dataset import FaceSet, read_failures, video_of
from data_sim.frames import GRID, FramesConfig, wide_crop
from media.faces import crop_face, find_faces
from media.images import read_image
from media.video import read_frames
from tests.tiny.video import write_video

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return cv2.resize(read_image(EXAMPLE), (256, 256), interpolation=cv2.INTER_AREA)


def moving(photo: np.ndarray, count: int) -> list[np.ndarray]:
    """A person who drifts to the right."""
    return [np.roll(photo, 2 * t, axis=1) for t in range(count)]


@pytest.fixture(scope="module")
def clips(photo, tmp_path_factory) -> Path:
    """One person, two people, nobody, and a file that is no video."""
    root = tmp_path_factory.mktemp("clips")
    for folder in ("real", "fake/swap"):
        (root / folder).mkdir(parents=True)
    one = moving(photo, 12)
    nobody = np.full_like(photo, 128)
    write_video(root / "real" / "one.mp4", one[:9] + [nobody] * 3)
    write_video(root / "fake" / "swap" / "one.mp4", [np.hstack([a, a // 2]) for a in one[9:]])
    (root / "fake" / "swap" / "broken.mp4").write_bytes(b"\0" * 999)
    return root


def run(root: Path, out: Path, *words: str) -> None:
    line = ["data_sim.frames", str(root), "--out", str(out), "--frames", "4", "--workers", "1", *words]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", line)
        frames.main()


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def out(clips, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("frames") / "out"
    run(clips, out)
    return out


def test_every_face_is_kept_with_its_track(out):
    rows = table(out / "manifest.csv")
    found = [(r["label"], r["kind"], r["video"], r["frame"], r["track"]) for r in rows]
    assert found[:3] + sorted(found[3:]) == [
        ("real", "", "real/one.mp4", "000001", "0"),
        ("real", "", "real/one.mp4", "000004", "0"),
        ("real", "", "real/one.mp4", "000007", "0"),
        *(("fake", "swap", "fake/swap/one.mp4", f"00000{t}", str(n)) for t in range(3) for n in range(2)),
    ]
    assert all(r["split"] == "test" and r["width"] in ("256", "512") and not r["jpeg_quality"] for r in rows)
    assert 100 < int(rows[0]["bytes"]) < 256 * 256
    assert len({video_of(row) for row in rows}) == 2


def test_a_track_stays_with_its_person(out):
    """Two people side by side, one in the dark: each has a number of their own in all frames."""
    light: dict[str, list[float]] = {}
    for row in table(out / "manifest.csv"):
        if row["label"] == "fake":
            light.setdefault(row["track"], []).append(read_image(out / row["path"]).mean())
            points = np.array(row["landmarks"].split(), float).reshape(68, 2)
            assert points.min() >= 0 and points.max() < 160, "in pixels of the crop"
    (one, other) = light.values()
    assert len(one) == len(other) == 3 and (max(one) < 0.7 * min(other) or max(other) < 0.7 * min(one))


def test_what_gave_no_face_is_listed(out, clips):
    """FIELD trap 4: neither a broken file nor an empty frame disappears, or becomes a score."""
    failures = {(f["video"], f["frame"]): f for f in table(out / "failures.csv")}
    assert {key: f["reason"] for key, f in failures.items()} == {
        ("real/one.mp4", "000010"): "no_face",
        ("fake/swap/broken.mp4", ""): "unreadable",
    }
    broken = failures["fake/swap/broken.mp4", ""]
    assert broken["path"] == str(clips / "fake/swap/broken.mp4") and broken["label"] == "fake"


def test_the_face_set_holds_what_the_frame_would_give(out, clips, tmp_path, monkeypatch):
    """Crops of crops are the crops of the frame, to the pixel but for the rounding of the landmarks."""
    words = ["--manifest", str(out / "manifest.csv"), "--size", "48", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["data_sim.build", str(out), "--out", str(tmp_path / "set"), *words])
    build.main()
    faces = FaceSet.open(tmp_path / "set", "test")
    assert len(faces) == 9 and {row["track"] for row in faces.rows} == {"0", "1"}
    place, pixels = next(iter(read_frames(clips / "real" / "one.mp4", 4)))
    assert f"{place:06d}" == faces.rows[0]["frame"]
    seen = (faces.read([0])[0][0].permute(1, 2, 0).numpy() * 255).round()
    expected = crop_face(pixels, find_faces(pixels)[0], 48).pixels
    assert np.abs(seen - expected).mean() < 0.5
    told = {
        (f["source"], f["label"], f["reason"]): f["count"] for f in read_failures(tmp_path / "set", "test")
    }
    assert told == {(clips.name, "real", "no_face"): 1, (clips.name, "fake", "unreadable"): 1}


@pytest.mark.parametrize("side", [256, 900])
def test_a_wide_crop_gives_the_same_crop_and_its_face_again(photo, side):
    frame = cv2.resize(photo, (side, side))
    scene = np.full((side + 64, side + 208, 3), 90, np.uint8)
    scene[40 : 40 + side, 180 : 180 + side] = frame
    (face,) = find_faces(scene)
    crop, corner = wide_crop(scene, face)
    assert corner[0] % GRID == corner[1] % GRID == 0 and crop.shape[0] < 2.6 * face.side
    moved = type(face)(
        tuple(np.array(face.box) - [*corner, *corner]), face.landmarks - np.array(corner, np.float32)
    )
    for zoom in (1.0, 1.15):
        inside, whole = crop_face(crop, moved, 96, zoom).pixels, crop_face(scene, face, 96, zoom).pixels
        assert np.abs(inside.astype(int) - whole).max() <= 1
    (again,) = find_faces(crop)
    assert np.abs(again.landmarks - moved.landmarks).max() < 0.1 * face.side


def test_frames_that_lie_as_images(photo, tmp_path):
    """A folder of frames is a video: spread over all of it, facts of each file, unreadable ones told."""
    root = tmp_path / "FF"
    for split in ("train", "val", "test"):
        (root / "splits").mkdir(parents=True, exist_ok=True)
        (root / "splits" / f"{split}.json").write_text('[["000", "003"]]' if split == "test" else "[]")
    real = root / "original_sequences/youtube/c23/frames/000"
    fake = root / "manipulated_sequences/Deepfakes/c23/frames/000_003"
    for folder in (real, fake):
        folder.mkdir(parents=True)
        for t in range(8):
            Image.fromarray(photo).save(folder / f"{t:03d}.jpg", quality=90)
    (fake / "003.jpg").write_bytes(b"\xff\xd8\xff no more")
    masks = root / "manipulated_sequences/Deepfakes/c23/masks/000_003"
    masks.mkdir(parents=True)
    Image.fromarray(np.pad(np.full((64, 64), 90, np.uint8), ((0, 64), (0, 64)))).save(masks / "001.png")
    run(root, tmp_path / "out")
    rows = table(tmp_path / "out" / "manifest.csv")
    assert [row["frame"] for row in rows] == ["001", "003", "005", "007", "001", "005", "007"]
    assert {row["jpeg_quality"] for row in rows} == {"90"} and rows[-1]["identity"] == "ffpp/000|ffpp/003"
    assert [bool(row["mask"]) for row in rows] == [False] * 4 + [True, False, False]
    mask = read_image(tmp_path / "out" / rows[4]["mask"])
    assert mask.shape == read_image(tmp_path / "out" / rows[4]["path"]).shape
    assert set(np.unique(mask)) == {0, 255} and mask[0, 0].all(), (
        "half the size, grey, and cut at the same place"
    )
    (failure,) = table(tmp_path / "out" / "failures.csv")
    assert (failure["frame"], failure["kind"]) == ("003", "Deepfakes")
    assert failure["reason"] in ("unreadable", "not_an_image")


def test_a_missing_video_is_counted_and_looked_for_again(photo, tmp_path):
    (tmp_path / "manifest.csv").write_text("path,label\na.png,real\nb.mp4,fake\n")
    Image.fromarray(photo).save(tmp_path / "a.png")
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match=r"error: .*1 of 2 listed files are not there"):
        run(tmp_path, out)
    run(tmp_path, out, "--allow-missing")
    assert [failure["reason"] for failure in table(out / "failures.csv")] == ["missing"]
    write_video(tmp_path / "b.mp4", [photo])
    run(tmp_path, out)
    assert table(out / "failures.csv") == [] and len(table(out / "manifest.csv")) == 2


def test_a_killed_run_is_continued(photo, tmp_path):
    """The process is killed once it has finished a video; the next run does the rest, and the same."""
    root = tmp_path / "clips"
    (root / "real").mkdir(parents=True)
    (root / "fake").mkdir()
    for number in range(8):
        name = f"{'fake' if number % 2 else 'real'}/{number}.mp4"
        write_video(root / name, [np.roll(photo, number, axis=0)])
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(root, whole)
    command = [sys.executable, "-m", "data_sim.frames", str(root), "--out", str(out), "--frames", "4"]
    process = subprocess.Popen(
        [*command, "--workers", "1"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("parts/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("parts/*.json")}
    assert 0 < len(done) < 8 and not (out / "manifest.csv").exists()
    run(root, out)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items()), "finished videos are kept"
    assert (out / "manifest.csv").read_bytes() == (whole / "manifest.csv").read_bytes()
    for row in table(whole / "manifest.csv"):
        assert (out / row["path"]).read_bytes() == (whole / row["path"]).read_bytes()


def test_another_run_does_not_mix_in(out, clips):
    with pytest.raises(SystemExit, match=r"holds a run with .*'frames': 4.*, not .*'frames': 5"):
        run(clips, out, "--frames", "5")
    assert json.loads((out / "settings.json").read_text())["frames"] == 4


def test_what_is_not_there_is_said(clips, tmp_path):
    with pytest.raises(SystemExit, match="has nothing of source None and split train; it has"):
        run(clips, tmp_path / "out", "--split", "train")
    with pytest.raises(ValueError, match="frames must be at least 1, got 0"):
        FramesConfig(clips, tmp_path, frames=0)


def test_processes_give_the_same(clips, out, tmp_path):
    run(clips, tmp_path / "out", "--workers", "2")
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == (out / "manifest.csv").read_bytes()
