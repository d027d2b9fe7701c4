"""A table of files is read as programs write it, or refused with one sentence that names the fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from data_sim import build
from data_sim.build import BuildConfig, read_rows
from data_sim.dataset import FaceSet
from data_sim.layouts.read import read_layout
from data_sim.layouts.records import LayoutError
from data_sim.manifests import ManifestError, read_manifest, read_table
from media.images import read_image
from tests.tiny.faces import save_tiny_faces

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
GOOD = "path,label,split,group\na.jpg,real,train,g1\nb.jpg,fake,val,g2\n"
FAULTS = {
    "semicolons": (GOOD.replace(",", ";").encode(), "separated by semicolons; expected commas"),
    "tabs": (GOOD.replace(",", "\t").encode(), "separated by tabs; expected commas"),
    "UTF-16": (GOOD.encode("utf-16"), "is UTF-16; save it as UTF-8"),
    "cp1252": (GOOD.replace("b.jpg", "é.jpg").encode("cp1252"), "line 3: the byte 0xe9 is not UTF-8"),
    "binary": (b"\x7fELF\0\0", "is not a text file"),
    "empty": (b"", "expected the columns path, label, got an empty file"),
    "capitals": (GOOD.replace("path", "Path", 1).encode(), "'Path' must be written in small letters"),
    "short row": (GOOD.replace(",train,g1", "").encode(), "line 2: 2 values, expected the 4 of the header"),
    "long row": (GOOD.replace("g1", "g1,more").encode(), "line 2: 5 values, expected the 4"),
    "open quote": (GOOD.replace("g2", '"g2').encode(), "line 3: not CSV"),
    "label": (GOOD.replace("fake", "forged").encode(), "line 3: needs a path and a label real or fake"),
    "split": (GOOD.replace("train", "Train").encode(), "line 2: split 'Train'; expected train, val, test"),
    "no split": (GOOD.replace("val", "").encode(), "line 3: split ''; expected train, val, test"),
    "two labels": ((GOOD + "./a.jpg,fake,test,g9\n").encode(), "is real in line 2 and fake in line 4"),
    "above": (GOOD.replace("a.jpg", "../a.jpg").encode(), "line 2: path '../a.jpg' leads out of the folder"),
    "absolute": (GOOD.replace("a.jpg", "/etc/hosts").encode(), "line 2: path '/etc/hosts' leads out"),
    "drive": (GOOD.replace("a.jpg", r"c:\a.jpg").encode(), "leads out of the folder"),
    "column twice": (GOOD.replace("group", "split", 1).encode(), "a column stands twice"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_for_every_command(fault, tmp_path):
    """A short row was a traceback, and rows of a split `Train` were never used without a word."""
    data, words = FAULTS[fault]
    path = tmp_path / "manifest.csv"
    path.write_bytes(data)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert words in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(ManifestError):
        read_rows(BuildConfig(tmp_path, tmp_path / "out", path))
    with pytest.raises(LayoutError):
        read_layout(path)


@pytest.mark.parametrize(
    "encode", [str.encode, lambda s: s.encode("utf-8-sig"), lambda s: s.replace("\n", "\r\n").encode()]
)
def test_a_mark_in_front_and_windows_lines_are_read(encode, tmp_path):
    (tmp_path / "m.csv").write_bytes(encode(GOOD))
    first, second = read_manifest(tmp_path / "m.csv")
    assert first == {"path": "a.jpg", "label": "real", "split": "train", "group": "g1"}
    assert second["label"] == "fake"


def test_commas_and_line_breaks_in_quotes_stay(tmp_path):
    (tmp_path / "t.csv").write_text('filename,label\n"a, ""b"".mp4",1\n"two\nlines",0\n')
    assert [row["filename"] for row in read_table(tmp_path / "t.csv", ("filename", "label"))] == [
        'a, "b".mp4', "two\nlines",
    ]  # fmt: skip


def test_one_picture_under_two_names_with_two_labels_is_refused(tmp_path):
    """It was dropped as a duplicate, and the first label won without a word."""
    face = read_image(EXAMPLE)[30:230, 125:325]
    Image.fromarray(face).save(tmp_path / "a.png")
    Image.fromarray(face).save(tmp_path / "b.png")
    (tmp_path / "m.csv").write_text("path,label\na.png,real\nb.png,fake\n")
    with pytest.raises(ValueError, match=r"a\.png and b\.png are the same picture, labelled real and fake"):
        build.build(BuildConfig(tmp_path, tmp_path / "out", tmp_path / "m.csv", size=64, workers=1))


def test_a_set_whose_manifest_lost_a_row_is_refused(tmp_path):
    """Rows belong to faces by their place: every label after the gap was another face's."""
    folder = save_tiny_faces(tmp_path / "set")
    lines = (folder / "manifest.csv").read_text().splitlines(keepends=True)
    (folder / "manifest.csv").write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(ValueError, match=r"7 rows and crops\.npy 8 faces"):
        FaceSet.open(folder, "train")


def test_macos_companions_are_no_videos(tmp_path):
    """A `._000.mp4` made a whole data set be refused, or counted as an unreadable real video."""
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "000.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(64))
        (tmp_path / label / "._000.mp4").write_bytes(b"\0\5\x16\7" + bytes(64))
    (tmp_path / "real" / "no_suffix").write_bytes(b"\x1aE\xdf\xa3" + bytes(64))
    (tmp_path / "real" / "notes.txt").write_text("notes")
    names = sorted(record.path.name for record in read_layout(tmp_path, "folder"))
    assert names == ["000.mp4", "000.mp4", "no_suffix"]


def test_names_that_are_not_unicode_do_not_cost_the_table(tmp_path):
    from common.storage import write_rows

    write_rows(tmp_path / "t.csv", ("path",), [{"path": "caf\udce9.jpg"}])
    assert read_table(tmp_path / "t.csv", ("path",)) == [{"path": r"caf\udce9.jpg"}]
