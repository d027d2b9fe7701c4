"""python -m data_sim.build on a small tree: what is kept, what is rejected and why, and fair splits."""

from __future__ import annotations

import csv
import json
import shutil
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_sim import build
from data_sim.build import FAILURES_FILE, BuildConfig, read_rows
from data_sim.dataset import BORDER, FaceSet, difference_mask, read_failures, unit_of, video_of
from kfd.training.config import TrainConfig
from kfd.training.sampler import PairSampler
from media.faces import crop_face, find_faces
from media.images import read_image
from tests.tiny.faces import drawn_landmarks

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
SIZE = 48


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return cv2.resize(read_image(EXAMPLE), (256, 256), interpolation=cv2.INTER_AREA)


def run(folder: Path, out: Path, *words: str) -> None:
    line = ["data_sim.build", str(folder), "--out", str(out), "--size", str(SIZE), "--workers", "1", *words]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", line)
        build.main()


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def built(photo, tmp_path_factory) -> Path:
    """The set made of two good photographs and three that cannot be used."""
    folder, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("sets") / "set"
    Image.fromarray(photo).save(folder / "a.png")
    exif = Image.Exif()
    exif[274] = 6  # "turn by 90 degrees clockwise to view"
    (folder / "sub").mkdir()
    Image.fromarray(np.rot90(photo)).save(folder / "sub" / "lying.png", exif=exif)
    shutil.copy(folder / "a.png", folder / "again.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    Image.new("RGB", (120, 120), "grey").save(folder / "wall.png")
    run(folder, out, "--val-every", "0")
    return out


def test_the_files_of_a_set(built):
    assert {path.name for path in built.iterdir()} == {
        "manifest.csv", "crops.npy", "landmarks.npy", "set.json", "rejected.csv", "contact_sheet.jpg",
    }  # fmt: skip
    settings = json.loads((built / "set.json").read_text())
    assert settings["size"] == SIZE and settings["border"] == BORDER
    with Image.open(built / "contact_sheet.jpg") as sheet:
        assert sheet.width > sheet.height > 0 and np.asarray(sheet).std() > 10


def test_what_is_rejected_has_a_reason(built):
    reasons = {row["path"]: row["reason"] for row in table(built / "rejected.csv")}
    assert reasons.keys() == {"again.png", "broken.jpg", "wall.png"}
    assert reasons["again.png"] == "duplicate of a.png" and reasons["wall.png"] == "no_face"
    assert reasons["broken.jpg"] in ("unreadable", "not_an_image")
    assert [row["path"] for row in table(built / "manifest.csv")] == ["a.png", "sub/lying.png"]


def test_a_stored_face_is_what_the_detector_sees(built, photo):
    """The centre of the stored crop is the crop of inference; a photo lying on its side gives the same."""
    faces = FaceSet.open(built, "train")
    images, landmarks = faces.read([0, 1])
    crop = crop_face(photo, find_faces(photo)[0], SIZE)
    seen = (images[0].permute(1, 2, 0).numpy() * 255).round().astype(int)
    assert np.abs(seen - crop.pixels).max() <= 1
    assert np.allclose(landmarks[0], crop.landmarks, atol=1e-3)
    assert np.array_equal(images[0], images[1])


def test_a_fake_is_cut_where_its_original_was(photo, tmp_path):
    """Manifest mode: the pair is aligned pixel by pixel, and the difference is the pasted place."""
    folder, out = tmp_path / "photos", tmp_path / "set"
    folder.mkdir()
    x, y = find_faces(photo)[0].landmarks[30].round().astype(int)
    pasted = photo.copy()
    pasted[y - 5 : y + 6, x - 5 : x + 6] = (40, 200, 90)
    Image.fromarray(photo).save(folder / "real.png")
    Image.fromarray(pasted).save(folder / "fake.png")
    Image.fromarray(photo[:, ::-1]).save(folder / "other.png")
    (tmp_path / "m.csv").write_text(
        "path,label,split,source,group,kind\n"
        "real.png,real,train,studio,s/1,\n"
        "fake.png,fake,train,studio,s/1,paste\n"
        "other.png,fake,train,studio,s/2,flip\n"
    )
    run(folder, out, "--manifest", str(tmp_path / "m.csv"), "--val-every", "0")
    faces = FaceSet.open(out, "train")
    assert [faces.pair_of(i) for i in range(3)] == [None, 0, None]
    assert [row["kind"] for row in faces.rows] == ["", "paste", "flip"]
    images, landmarks = faces.read([0, 1])
    mask = difference_mask(images[:1], images[1:])[0, 0]
    column, row = landmarks[0, 30].round().int().tolist()
    assert mask[row, column] > 0.9 and mask[:8].max() == 0 and mask[-8:].max() == 0


def pairs_by_name(folder: Path, out: Path, images: dict[str, np.ndarray], lines: list[str]) -> dict[str, str]:
    """Build a set of a group's pictures; name the original of each fake that has one.

    lines: of the manifest.
    """
    folder.mkdir()
    for name, image in images.items():
        Image.fromarray(image).save(folder / name)
    head = "path,label,split,group,kind,source,frame,track"
    (folder / "manifest.csv").write_text("\n".join([head, *lines]) + "\n")
    run(folder, out, "--manifest", str(folder / "manifest.csv"), "--val-every", "0", "--workers", "2")
    rows = table(out / "manifest.csv")
    return {row["path"]: rows[int(row["pair"])]["path"] for row in rows if row["pair"]}


def with_patch(photo: np.ndarray) -> np.ndarray:
    x, y = find_faces(photo)[0].landmarks[30].round().astype(int)
    forged = photo.copy()
    forged[y - 5 : y + 6, x - 5 : x + 6] = (40, 200, 90)
    return forged


def test_every_person_of_a_frame_keeps_their_fakes_aligned(photo, tmp_path):
    """Bug: of two people in one frame, as in DFDC, only the second one's fakes had a pair."""
    other = np.ascontiguousarray(photo[:, ::-1])
    images = {
        "a.png": photo,
        "b.png": other,
        "a_fake.png": with_patch(photo),
        "b_fake.png": with_patch(other),
    }
    lines = [
        "a.png,real,train,g,,dfdc,7,0",
        "b.png,real,train,g,,dfdc,7,1",
        "a_fake.png,fake,train,g,swap,dfdc,7,0",
        "b_fake.png,fake,train,g,swap,dfdc,7,1",
    ]
    pairs = pairs_by_name(tmp_path / "photos", tmp_path / "set", images, lines)
    assert pairs == {"a_fake.png": "a.png", "b_fake.png": "b.png"}


def test_an_original_is_of_the_fakes_own_compression(photo, tmp_path):
    """Bug: with several compressions of FF++ the original was the last one's, whichever the fake's was.

    Its own is taken although another is nearer in its pixels; without one of its own a fake keeps another's.
    """
    images = {"raw.png": photo, "c23.png": photo // 2 * 2 + 1, "c40.png": photo // 8 * 8 + 4}
    images |= {"fake.png": with_patch(photo), "stranger.png": with_patch(photo // 4 * 4)}
    lines = [
        "raw.png,real,train,g,,ffpp-raw,7,0",
        "c23.png,real,train,g,,ffpp-c23,7,0",
        "c40.png,real,train,g,,ffpp-c40,7,0",
        "fake.png,fake,train,g,swap,ffpp-c23,7,0",
        "stranger.png,fake,train,g,swap,elsewhere,7,0",
    ]
    pairs = pairs_by_name(tmp_path / "photos", tmp_path / "set", images, lines)
    assert pairs["fake.png"] == "c23.png" and pairs["stranger.png"] in ("raw.png", "c23.png", "c40.png")


def test_facts_of_the_files_are_kept_and_failures_counted(built):
    """FIELD trap 4: what gave no face is counted by source, so that it can be reported and never scored."""
    row = table(built / "manifest.csv")[0]
    assert (row["width"], row["height"], row["jpeg_quality"]) == ("256", "256", "")
    x0, _, x1, _ = map(float, row["box"].split())
    assert int(row["bytes"]) > 1000 and 30 < x1 - x0 < 70
    failures = read_failures(built, "train")
    assert {failure["reason"]: failure["count"] for failure in failures} == {"no_face": 1, "unreadable": 1}
    assert failures[0].keys() == {"label", "kind", "source", "reason", "count"}
    assert read_failures(built, "test") == []


def test_an_old_set_does_not_tell_its_failures(tmp_path):
    (tmp_path / "set.json").write_text('{"size": 48, "border": 4}')
    assert read_failures(tmp_path, "train") is None


def test_frames_of_a_video(photo, tmp_path):
    """The face that is meant is cut, not the largest; a frame finds the pristine one of its own number."""
    folder, out = tmp_path / "frames", tmp_path / "set"
    folder.mkdir()
    two = np.concatenate([cv2.resize(photo, (320, 320)), cv2.resize(photo, (290, 320))], axis=1)
    dark = (two * 0.98).astype(np.uint8)  # near enough to be taken for the frame's original
    for name, image in (("a0", two), ("a1", dark), ("b1", cv2.add(dark, (4, 0, 0, 0)))):
        Image.fromarray(image).save(folder / f"{name}.png")
    largest, other = find_faces(two)
    drawn = np.zeros_like(two)
    x, y = other.landmarks[30].round().astype(int)
    drawn[y - 9 : y + 10, x - 9 : x + 10] = 255
    Image.fromarray(drawn).save(folder / "drawn.png")
    points = " ".join(f"{value:.1f}" for value in other.landmarks.ravel())
    shared = "test,studio,v,person 1|person 2,7,studio/1"
    (folder / "manifest.csv").write_text(
        "path,label,kind,frame,mask,landmarks,width,height,jpeg_quality,bytes,split,source,video,identity,track,group\n"
        f"a1.png,real,,11,,{points},1920,1080,,5000,{shared}\n"
        f"a0.png,real,,10,,{points},1920,1080,,5000,{shared}\n"
        f"b1.png,fake,tint,11,drawn.png,{points},1920,1080,,5000,{shared}\n"
    )
    (folder / FAILURES_FILE).write_text(
        "path,split,label,kind,source,video,frame,reason\nv.mp4,test,fake,tint,studio,w,,unreadable\n"
    )
    run(folder, out, "--manifest", str(folder / "manifest.csv"))
    faces = FaceSet.open(out, "test")
    assert [faces.pair_of(i) for i in range(3)] == [None, None, 0]
    stored = np.array([float(value) for value in faces.rows[0]["box"].split()])
    assert np.abs(stored - other.box).max() < 1 < np.abs(stored - largest.box).max()
    row = faces.rows[2]
    assert (row["width"], row["height"], row["bytes"]) == ("1920", "1080", "5000"), "facts of the video"
    assert (row["frame"], row["track"]) == ("11", "7") and video_of(row) == ("studio", "tint", "v")
    assert unit_of(row) == "person 1" and unit_of(row | {"identity": ""}) == "studio/studio/1", (
        "source and group"
    )
    (failure,) = read_failures(out, "test")
    assert (failure["reason"], failure["kind"], failure["count"]) == ("unreadable", "tint", 1)
    mask, (column, line) = faces.mask_of(2), faces.read([2])[1][0, 30].round().int().tolist()
    assert faces.mask_of(0) is None and set(mask.unique().tolist()) >= {0.0, 1.0}
    assert mask[line, column] == 1 and 0.01 < mask.mean() < 0.2 and mask.shape == (SIZE, SIZE)


def many_photos(folder: Path) -> BuildConfig:
    """Forty empty files in ten folders: the split is drawn before anything is read."""
    for person in range(10):
        (folder / str(person)).mkdir(parents=True, exist_ok=True)
        for shot in range(4):
            (folder / str(person) / f"{shot}.jpg").touch()
    return BuildConfig(folder, folder / "out", group_by="folder", val_every=3)


def test_groups_are_never_split_and_the_split_is_stable(tmp_path):
    config = many_photos(tmp_path / "a")
    rows = read_rows(config)
    of_group: dict[str, set[str]] = {}
    for row in rows:
        of_group.setdefault(row["group"], set()).add(row["split"])
    assert len(of_group) == 10 and all(len(splits) == 1 for splits in of_group.values())
    assert {row["split"] for row in rows} == {"train", "val"}
    (tmp_path / "a" / "new.jpg").touch()
    again = {row["path"]: row["split"] for row in read_rows(config)}
    assert all(again[row["path"]] == row["split"] for row in rows), "a new photo must not move the others"


def test_same_named_videos_of_two_methods_stay_apart(tmp_path):
    """FIELD trap 1: the group is the manifest's full key, never a bare folder name guessed from the path."""
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "path,label,split,group\n"
        "deepfakes/000_003/0.png,fake,test,ffpp/deepfakes/000_003\n"
        "faceswap/000_003/0.png,fake,test,ffpp/faceswap/000_003\n"
        "face2face/000_003/0.png,fake,test,\n"
    )
    rows = read_rows(BuildConfig(tmp_path, tmp_path / "out", manifest))
    assert len({row["group"] for row in rows}) == 3
    assert {row["split"] for row in rows} == {"test"}, "a sealed test row never moves to train or val"


def test_a_useless_folder_or_manifest_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no photographs"):
        read_rows(BuildConfig(tmp_path / "empty", tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_rows(BuildConfig(tmp_path / "missing", tmp_path / "out"))
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label\na.png,maybe\n")
    with pytest.raises(ValueError, match="line 2: needs a path and a label real or fake"):
        read_rows(BuildConfig(tmp_path, tmp_path / "out", manifest))


def test_memory_does_not_grow_with_the_set(tmp_path):
    """FF++ has 34 GiB of crops: building and training hold a few of them, whatever their number."""
    draw = np.random.default_rng(0)
    points = " ".join(f"{value:.1f}" for value in drawn_landmarks(64).flatten())
    peaks = {}
    for photos in (10, 70):
        folder, out = tmp_path / f"photos{photos}", tmp_path / f"set{photos}"
        folder.mkdir()
        for number in range(photos):
            Image.fromarray(draw.integers(0, 255, (64, 64, 3), np.uint8)).save(folder / f"{number}.png")
        lines = [f"{number}.png,real,{points}" for number in range(photos)]
        table = tmp_path / f"{photos}.csv"
        table.write_text("\n".join(["path,label,landmarks", *lines]))
        tracemalloc.start()
        try:
            run(folder, out, "--manifest", str(table), "--size", "128", "--val-every", "0")
            peaks[photos] = [tracemalloc.get_traced_memory()[1]]
            tracemalloc.reset_peak()
            sampler = PairSampler(FaceSet.open(out, "train"), TrainConfig(out, out, batch=2))
            assert all(len(sampler.batch(step).real) == 2 for step in range(3))
            peaks[photos].append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert (out / "crops.npy").stat().st_size == photos * 156 * 156 * 3 + 128
    more = 60 * 156 * 156 * 3
    for few, many in zip(peaks[10], peaks[70], strict=True):
        assert many - few < more / 3, peaks


def test_nothing_usable_is_an_error(tmp_path):
    Image.new("RGB", (120, 120), "grey").save(tmp_path / "wall.png")
    with pytest.raises(SystemExit, match=r"error: no photograph of .* could be used; reasons: .*no_face"):
        run(tmp_path, tmp_path / "set")
