"""Each public layout is read from a tree made just so, and a tree that is not so is refused with a reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from data_sim.layouts import read as layouts
from data_sim.layouts.read import read_layout, recognise
from data_sim.layouts.records import LayoutError, Record


def plant(root: Path, *names: str) -> Path:
    """Make empty files: readers look at names only."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def by_key(records: list[Record]) -> dict[tuple[str, str, str], Record]:
    """Video files by their full key, each once."""
    keys = {record.key: record for record in records}
    assert len(keys) == len(records)
    return keys


@pytest.fixture
def ffpp(tmp_path) -> Path:
    """Four persons in two pairs, two forgeries and their masks, in two compressions."""
    root = tmp_path / "FaceForensics++"
    write(root / "splits" / "train.json", [["071", "054"]])
    write(root / "splits" / "val.json", [])
    write(root / "splits" / "test.json", [["000", "003"]])
    plant(root, *(f"original_sequences/youtube/c23/videos/{v}.mp4" for v in ("000", "003", "054", "071")))
    for method in ("Deepfakes", "FaceSwap"):
        plant(root, *(f"manipulated_sequences/{method}/c23/videos/{v}.mp4" for v in ("000_003", "003_000")))
    plant(root, "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")
    plant(root, "manipulated_sequences/Deepfakes/c23/videos/071_054.mp4")
    return root


def test_ffpp(ffpp):
    """FIELD trap 1: 000_003 is one video of each forgery; both its persons are named, target first."""
    videos = by_key(read_layout(ffpp))
    assert len(videos) == 9
    real, fake = videos["ffpp-c23", "", "003"], videos["ffpp-c23", "Deepfakes", "000_003"]
    assert (real.label, real.split, real.identity, real.mask) == ("real", "test", "ffpp/003", None)
    assert (fake.label, fake.split, fake.identity) == ("fake", "test", "ffpp/000|ffpp/003")
    assert fake.path == ffpp / "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"
    assert fake.mask == ffpp / "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"
    assert videos["ffpp-c23", "FaceSwap", "000_003"].mask is None
    assert videos["ffpp-c23", "Deepfakes", "071_054"].split == "train"
    groups = {key: record.group for key, record in videos.items()}
    assert groups["ffpp-c23", "", "000"] == groups["ffpp-c23", "FaceSwap", "003_000"] == "ffpp/000_003"
    assert groups["ffpp-c23", "", "071"] == groups["ffpp-c23", "Deepfakes", "071_054"] == "ffpp/054_071"


def test_ffpp_compressions_are_sources_of_their_own(ffpp):
    plant(ffpp, "original_sequences/youtube/c40/videos/000.mp4")
    videos = by_key(read_layout(ffpp))
    light, heavy = videos["ffpp-c23", "", "000"], videos["ffpp-c40", "", "000"]
    assert light.identity == heavy.identity and light.group == heavy.group, "the same person all the same"


def test_ffpp_frames_and_frame_masks(tmp_path):
    """The tree that DeepfakeBench hands out: split files on top, frames beside videos that are not there."""
    for split in ("train", "val", "test"):
        write(tmp_path / f"{split}.json", [["000", "003"]] if split == "val" else [])
    plant(tmp_path, *(f"original_sequences/youtube/c40/frames/000/{i:03d}.png" for i in (0, 7)))
    plant(tmp_path, *(f"manipulated_sequences/FaceShifter/c40/frames/000_003/{i:03d}.png" for i in (0, 7)))
    plant(tmp_path, "manipulated_sequences/FaceShifter/c23/masks/000_003/007.png")
    records = read_layout(tmp_path)
    assert [(r.kind, r.video, r.frame, r.split) for r in records] == [
        ("", "000", "000", "val"), ("", "000", "007", "val"),
        ("FaceShifter", "000_003", "000", "val"), ("FaceShifter", "000_003", "007", "val"),
    ]  # fmt: skip
    assert [r.mask and r.mask.name for r in records] == [None, None, None, "007.png"]


def test_dfd(tmp_path):
    plant(tmp_path, "original_sequences/actors/c23/videos/01__exit_phone_room.mp4")
    plant(tmp_path, "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4")
    real, fake = read_layout(tmp_path)
    assert (real.source, real.identity, real.split) == ("dfd-c23", "dfd/01", "test")
    assert (fake.kind, fake.identity, fake.group) == ("DeepFakeDetection", "dfd/01|dfd/02", "dfd/01")


def test_a_tree_with_both_ffpp_and_dfd_must_be_named(ffpp):
    plant(ffpp, "original_sequences/actors/c23/videos/01__a.mp4")
    plant(ffpp, "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__a__X.mp4")
    with pytest.raises(LayoutError, match="looks like ffpp and dfd; name one with --layout"):
        read_layout(ffpp)
    assert len(read_layout(ffpp, "dfd")) == 2
    assert {record.source for record in read_layout(ffpp, "ffpp")} == {"ffpp-c23"}


CELEB = ("Celeb-real/id0_0000.mp4", "Celeb-real/id1_0003.mp4", "YouTube-real/00170.mp4",
         "Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id1_id0_0003.mp4")  # fmt: skip


@pytest.fixture(params=["videos lie in the folders", "videos lie in videos/"])
def celebdf(request, tmp_path) -> Path:
    root = tmp_path / "Celeb-DF-v2"
    deep = "in videos" in request.param
    plant(root, *(name.replace("/", "/videos/") if deep else name for name in CELEB))
    listed = "1 YouTube-real/00170.mp4\n1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n\n"
    write(root / "List_of_testing_videos.txt", listed)
    return root


def test_celebdf(celebdf):
    """In the list of test videos 1 stands for real, the other way round than anywhere else."""
    videos = by_key(read_layout(celebdf))
    assert recognise(celebdf) == "celebdf-v2" and len(videos) == 5
    split_of = {key[2]: record.split for key, record in videos.items()}
    assert split_of == {
        "00170": "test", "id0_0000": "test", "id0_id1_0000": "test",
        "id1_0003": "train", "id1_id0_0003": "train",
    }  # fmt: skip
    fake = videos["celebdf-v2", "Celeb-synthesis", "id0_id1_0000"]
    assert (fake.label, fake.identity, fake.group) == ("fake", "celebdf/id0|celebdf/id1", "celebdf-v2/id0")
    person = videos["celebdf-v2", "", "00170"]
    assert (person.label, person.identity, person.group) == ("real", "", "celebdf-v2/00170")


def test_celebdf_v1_and_v2_show_the_same_people(celebdf):
    one, two = (read_layout(celebdf, f"celebdf-v{version}") for version in (1, 2))
    assert {r.source for r in one} == {"celebdf-v1"} and [r.identity for r in one] == [
        r.identity for r in two
    ]
    with pytest.raises(LayoutError, match="looks like celebdf-v1 and celebdf-v2"):
        read_layout(celebdf.rename(celebdf.with_name("celebs")))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0 Celeb-real/id0_0000.mp4", "line 1: expected `1 FOLDER/VIDEO.mp4` of a real"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", "line 1: expected"),
        ("2 Celeb-other/id0_0000.mp4", "line 1: expected"),
        ("Celeb-real/id0_0000.mp4", "line 1: expected"),
        ("1 Celeb-real/id9_0000.mp4", "incomplete: 1 of 6 listed files are not there"),
    ],
)
def test_celebdf_with_a_wrong_list(celebdf, line, told):
    write(celebdf / "List_of_testing_videos.txt", line)
    with pytest.raises(LayoutError, match=told):
        read_layout(celebdf)


def test_dfdc(tmp_path):
    """Training parts name the original of a fake; the test set has labels only."""
    part = tmp_path / "dfdc_train_part_0"
    plant(part, "aaa.mp4", "bbb.mp4")
    real = {"label": "REAL", "split": "train", "original": None}
    write(
        part / "metadata.json", {"aaa.mp4": real, "bbb.mp4": {**real, "label": "FAKE", "original": "aaa.mp4"}}
    )
    plant(tmp_path, "test/videos/ccc.mp4", "test/videos/ddd.mp4")
    write(tmp_path / "test" / "labels.csv", "filename,label\nccc.mp4,0\nddd.mp4,1\n")
    videos = by_key(read_layout(tmp_path))
    assert recognise(tmp_path) == "dfdc"
    assert [(r.video, r.label, r.split, r.identity, r.group) for r in videos.values()] == [
        ("aaa", "real", "train", "dfdc/aaa", "dfdc/aaa"),
        ("ccc", "real", "test", "", "dfdc/ccc"),
        ("bbb", "fake", "train", "dfdc/aaa", "dfdc/aaa"),
        ("ddd", "fake", "test", "", "dfdc/ddd"),
    ]


def test_the_test_set_of_dfdc_alone(tmp_path):
    plant(tmp_path, "videos/ccc.mp4")
    write(tmp_path / "labels.csv", "filename,label\nccc.mp4,1\n")
    (record,) = read_layout(tmp_path)
    assert (record.label, record.split, record.path.name) == ("fake", "test", "ccc.mp4")


def test_dfdc_with_an_unknown_label(tmp_path):
    write(tmp_path / "dfdc_train_part_3" / "metadata.json", {"aaa.mp4": {"split": "train"}})
    with pytest.raises(
        LayoutError, match=r"part_3: expected a file with the label REAL or FAKE, got 'aaa.mp4' with None"
    ):
        read_layout(tmp_path)


def test_dfdcp(tmp_path):
    names = ("original_videos/643049/643049_A_001.mp4", "method_A/643049/643049_A/643049_1224068_A_002.mp4")
    plant(tmp_path, *names)
    facts = {"set": "test", "augmentations": []}
    write(
        tmp_path / "dataset.json",
        {
            names[0]: facts | {"label": "real", "target_id": 643049, "swapped_id": None},
            names[1]: facts | {"label": "fake", "target_id": 643049, "swapped_id": 1224068},
        },
    )
    real, fake = read_layout(tmp_path)
    assert (real.label, real.identity, real.kind, real.split) == ("real", "dfdcp/643049", "", "test")
    assert (fake.kind, fake.identity) == ("method_A", "dfdcp/643049|dfdcp/1224068")
    assert real.group == fake.group and fake.path == tmp_path / names[1]


def bench(root: Path, videos: dict[str, dict[str, list[str]]], compression: str = "") -> dict:
    """DeepfakeBench's entry of a label: {split: [video]} -> {split: {video: {label, frames}}}."""

    def entries(label: str, names: list[str]) -> dict:
        frames = {name: [f"data/{label}/{name}/{i:03d}.png" for i in (0, 9)] for name in names}
        plant(root, *(frame for some in frames.values() for frame in some))
        # Windows users' lists have backslashes.
        slashed = {name: [frame.replace("/", "\\") for frame in some] for name, some in frames.items()}
        return {name: {"label": label, "frames": some} for name, some in slashed.items()}

    return {
        label: {
            split: {compression: entries(label, names)} if compression else entries(label, names)
            for split, names in splits.items()
        }
        for label, splits in videos.items()
    }


def test_deepfakebench_with_compressions(tmp_path):
    """The frames' folder lies two levels above the JSON files, as in its repository."""
    videos = {"FF-real": {"train": ["000", "003"], "val": [], "test": []},
              "FF-DF": {"train": ["000_003"], "val": [], "test": []}}  # fmt: skip
    file = tmp_path / "preprocessing" / "dataset_json" / "FF-DF.json"
    write(file, {"FF-DF": bench(tmp_path, videos, "c23")})
    records = read_layout(file)
    assert [(r.source, r.kind, r.video, r.frame) for r in records] == [
        ("ffpp-c23", "", "000", "000"), ("ffpp-c23", "", "000", "009"),
        ("ffpp-c23", "", "003", "000"), ("ffpp-c23", "", "003", "009"),
        ("ffpp-c23", "Deepfakes", "000_003", "000"), ("ffpp-c23", "Deepfakes", "000_003", "009"),
    ]  # fmt: skip
    assert {r.group for r in records} == {"ffpp/000_003"} and records[-1].identity == "ffpp/000|ffpp/003"
    assert all(r.path.is_file() for r in records)


def test_deepfakebench_repeats_test_videos_in_training(tmp_path):
    """Its lists put every video of Celeb-DF into train, and the test videos into val too."""
    tested = ["id0_0000"]
    videos = {"CelebDFv2_real": {"train": ["id0_0000", "id1_0000"], "val": tested, "test": tested},
              "CelebDFv2_fake": {"train": ["id0_id1_0000"], "val": [], "test": []}}  # fmt: skip
    write(tmp_path / "Celeb-DF-v2.json", {"Celeb-DF-v2": bench(tmp_path, videos)})
    records = read_layout(tmp_path, "deepfakebench")
    splits = {r.video: r.split for r in records}
    assert splits == {"id0_0000": "test", "id1_0000": "train", "id0_id1_0000": "train"}
    assert len(records) == 6, "each frame once"


def test_deepfakebench_with_contradicting_labels(tmp_path):
    videos = bench(tmp_path, {"UADFV_Real": {"test": ["0"]}})
    videos["UADFV_Real"]["test"]["0"]["label"] = "UADFV_Fake"
    write(tmp_path / "UADFV.json", {"UADFV": videos})
    with pytest.raises(LayoutError, match="video 0 under 'UADFV_Real' is labelled 'UADFV_Fake'"):
        read_layout(tmp_path / "UADFV.json")


def test_plain_folders(tmp_path):
    root = plant(tmp_path / "mine", "real/a.jpg", "fake/b.png", "fake/faceapp/c.mp4", "real/notes.txt")
    assert [(r.label, r.kind, r.split, r.source, r.video) for r in read_layout(root)] == [
        ("real", "", "test", "mine", ""),
        ("fake", "faceapp", "test", "mine", "fake/faceapp/c.mp4"),
        ("fake", "fake", "test", "mine", ""),
    ]
    split = plant(tmp_path / "split", "train/real/a.jpg", "test/fake/b.png")
    assert {(r.split, r.label) for r in read_layout(split)} == {("train", "real"), ("test", "fake")}
    with pytest.raises(
        LayoutError, match="holds no fake images or videos in fake/; found there: fake/, real/"
    ):
        read_layout(plant(tmp_path / "half", "real/a.jpg", "fake/readme.txt"))


def test_manifest(tmp_path):
    plant(tmp_path, "a.jpg", "b.mp4")
    write(tmp_path / "manifest.csv", "path,label,identity,kind\na.jpg,real,ann,\nb.mp4,fake,ann|bob,paste\n")
    real, fake = read_layout(tmp_path)
    assert (real.identity, real.split, real.group, real.video) == ("ann", "test", "a.jpg", "")
    assert (fake.kind, fake.identity, fake.video, fake.frame) == ("paste", "ann|bob", "b.mp4", "")
    write(tmp_path / "manifest.csv", "path,label\na.jpg,pristine\n")
    with pytest.raises(LayoutError, match="line 2: needs a path and a label real or fake"):
        read_layout(tmp_path / "manifest.csv")


def test_a_listed_file_that_is_not_there_is_never_dropped_silently(tmp_path):
    write(tmp_path / "manifest.csv", "path,label\na.jpg,real\nb.jpg,fake\n")
    plant(tmp_path, "a.jpg")
    with pytest.raises(LayoutError, match=r"1 of 2 listed files are not there.*b.jpg.*--allow-missing"):
        read_layout(tmp_path)
    assert len(read_layout(tmp_path, allow_missing=True)) == 2


@pytest.mark.parametrize("layout", ["ffpp", "dfd", "celebdf-v2", "dfdc", "dfdcp", "deepfakebench", "folder"])
def test_an_empty_folder_is_no_data_set(layout, tmp_path):
    with pytest.raises(LayoutError, match=r"found there: nothing|holds no videos and no images"):
        read_layout(tmp_path, layout)


def test_unknown_and_absent_trees_are_said(tmp_path):
    plant(tmp_path, "holiday/beach.jpg")
    with pytest.raises(LayoutError, match=r"has none of the known layouts; name one.*found there: holiday/"):
        read_layout(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected the folder of a data set"):
        read_layout(tmp_path / "nowhere")


def test_partial_ffpp_trees(ffpp):
    (ffpp / "splits" / "val.json").unlink()
    with pytest.raises(LayoutError, match=r"val.json is missing; found there: test.json, train.json"):
        read_layout(ffpp)
    (ffpp / "splits" / "test.json").unlink()
    with pytest.raises(LayoutError, match=r"lacks splits/train.json, val.json and test.json"):
        read_layout(ffpp)


def test_ffpp_persons_of_two_splits_are_refused(ffpp):
    plant(ffpp, "manipulated_sequences/FaceSwap/c23/videos/000_071.mp4")
    with pytest.raises(LayoutError, match="000_071 has persons of several splits"):
        read_layout(ffpp)
    plant(ffpp, "manipulated_sequences/Deepfakes/c23/videos/clip.mp4")
    with pytest.raises(LayoutError, match="video 'clip' is in none of the split files"):
        read_layout(ffpp)


def test_ffpp_without_real_videos(ffpp):
    with pytest.raises(LayoutError, match="needs real videos in original_sequences/actors and forged ones"):
        read_layout(ffpp, "dfd")


def test_the_command(ffpp, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["data_sim.layouts.read", str(ffpp)])
    layouts.main()
    lines = capsys.readouterr().out.splitlines()
    assert "      2 videos or photographs in       2 files  test / ffpp-c23 / fake / FaceSwap" in lines
    monkeypatch.setattr(sys, "argv", ["data_sim.layouts.read", str(ffpp), "--layout", "dfdc"])
    with pytest.raises(SystemExit, match=r"error: .*lists no videos; DFDC has dfdc_train_part_N"):
        layouts.main()
