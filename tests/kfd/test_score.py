"""python -m kfd.score: a line per face, a line per failure, and a run that can be continued."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.locks import one_writer
from kfd import score
from kfd.detector import Detector
from kfd.examine import examine_file
from kfd.scoring import lines as scoring
from media.images import read_image, sha256_of
from tests.tiny.kfd import save_tiny_kfd
from tests.tiny.video import write_video

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
FIELDS = {
    "path",
    "sha256",
    "checkpoint",
    "decision",
    "face",
    "box",
    "score",
    "log10_lr",
    "verdict",
    "reasons",
    "regions",
    "warnings",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save_tiny_kfd(tmp_path_factory.mktemp("kfd"))


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Two faces in one photograph, no face, no image, and nothing at all."""
    folder = tmp_path_factory.mktemp("album")
    photo = read_image(EXAMPLE)[30:230, 125:325]
    (folder / "sub").mkdir()
    Image.fromarray(np.concatenate([photo, photo[:, ::-1]], axis=1)).save(folder / "a_two.png")
    Image.new("RGB", (120, 120), "grey").save(folder / "b_wall.png")
    (folder / "c_text.jpg").write_text("not a picture")
    (folder / "sub" / "d_empty.jpg").write_bytes(b"")
    return folder


def run(monkeypatch, *words: str | Path) -> None:
    workers = () if "--workers" in words else ("--workers", "1")
    monkeypatch.setattr(sys, "argv", ["kfd.score", *map(str, words), *workers])
    score.main()


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def scored(album, checkpoint, tmp_path_factory) -> Path:
    """The album's finished JSON-lines file."""
    out = tmp_path_factory.mktemp("out") / "new" / "scores.jsonl"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(monkeypatch, album, "--checkpoint", checkpoint, "--out", out)
    return out


def test_every_face_and_every_failure_has_its_line(album, scored):
    """FIELD trap 4: a bad file is a line with `score: null` and the reason, never 0.5 and never skipped."""
    lines = lines_of(scored)
    assert [Path(line["path"]).name for line in lines] == [
        "a_two.png", "a_two.png", "b_wall.png", "c_text.jpg", "d_empty.jpg",
    ]  # fmt: skip
    for face, line in enumerate(lines[:2]):
        assert line.keys() == FIELDS | {"faces", "whole"} and line["face"] == face and len(line["box"]) == 4
        assert 0 <= line["score"] <= 1 and line["verdict"] in ("fake", "real", "inconclusive")
        assert line["sha256"] == sha256_of((album / "a_two.png").read_bytes())
    assert [line["reasons"] for line in lines[2:]] == [["no_face"], ["not_an_image"], ["empty_file"]]
    for line in lines[2:]:
        assert line["score"] is None and line["verdict"] == "inconclusive" and line["message"]


def test_a_rerun_goes_on_where_a_kill_cut_the_file(album, checkpoint, scored, tmp_path, monkeypatch):
    """A line cut in half is written anew, and so is a photograph that may have lost faces."""
    whole = scored.read_bytes()
    first_line = whole.index(b"\n") + 1
    examined = []
    original = scoring.open_file
    monkeypatch.setattr(scoring, "open_file", lambda path: examined.append(path.name) or original(path))
    monkeypatch.setattr(scoring, "GROUP", 1)
    for cut, again in ((len(whole), 1), (len(whole) - 20, 2), (first_line, 4), (first_line + 30, 4)):
        out = tmp_path / f"{cut}.jsonl"
        out.write_bytes(whole[:cut])
        examined.clear()
        run(monkeypatch, album, "--checkpoint", checkpoint, "--out", out)
        assert out.read_bytes() == whole and len(examined) == again


def test_two_scales_never_mix_in_one_file(album, scored, tmp_path, monkeypatch):
    other = save_tiny_kfd(tmp_path / "other", seed=1)
    before = scored.read_bytes()
    with pytest.raises(SystemExit, match="made with other weights; choose another --out"):
        run(monkeypatch, album, "--checkpoint", other, "--out", scored)
    assert scored.read_bytes() == before


def test_a_file_of_something_else_is_left_alone(album, checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "notes.txt"
    out.write_text("my notes\n")
    with pytest.raises(SystemExit, match=r"is no file of kfd\.score"):
        run(monkeypatch, album, "--checkpoint", checkpoint, "--out", out)
    assert out.read_text() == "my notes\n"


def test_a_name_that_is_no_unicode_is_scored_too(checkpoint, tmp_path, monkeypatch):
    """Old archives hold names in other encodings; one of them once stopped the whole run."""
    folder = tmp_path / "old"
    folder.mkdir()
    name = b"caf\xe9\xe2\x80\xa8.jpg".decode("utf-8", "surrogateescape")  # and a line separator
    try:
        (folder / name).write_bytes(b"")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes Unicode names only")
    out = tmp_path / "scores.jsonl"
    for _ in range(2):
        run(monkeypatch, folder, "--checkpoint", checkpoint, "--out", out)
        assert [Path(json.loads(line)["path"]).name for line in out.read_text().split("\n")[:-1]] == [name]


def test_without_out_lines_are_printed(album, checkpoint, monkeypatch, capsys):
    run(monkeypatch, album / "b_wall.png", "--checkpoint", checkpoint)
    assert json.loads(capsys.readouterr().out)["reasons"] == ["no_face"]


def test_a_missing_path_or_checkpoint_is_one_sentence(album, checkpoint, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"error: .*nowhere does not exist"):
        run(monkeypatch, tmp_path / "nowhere", "--checkpoint", checkpoint)
    with pytest.raises(SystemExit, match=r"error: .*config\.json is missing"):
        run(monkeypatch, album, "--checkpoint", tmp_path)


def test_without_a_path_the_command_is_wrong(monkeypatch):
    """An empty shell pattern once made an empty run that ended well."""
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch)
    assert caught.value.code == 2


def test_every_entry_of_a_folder_is_accounted_for(checkpoint, tmp_path, monkeypatch, capsys):
    """HEIC, .mts and names without a suffix had no line, no count and exit status 0."""
    folder = tmp_path / "folder"
    folder.mkdir()
    Image.new("RGB", (120, 120), "grey").save(folder / "no_suffix", "PNG")
    Image.new("RGB", (120, 120), "grey").save(folder / "._hidden.png")
    (folder / "notes.txt").write_text("notes")
    (folder / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    os.mkfifo(folder / "pipe.jpg")
    out = folder / "scores.jsonl"
    for _ in range(2):
        run(monkeypatch, folder, "--checkpoint", checkpoint, "--out", out)
        lines = {Path(line["path"]).name: line for line in lines_of(out)}
        reasons = {name: line["reasons"] for name, line in lines.items()}
        assert reasons == {
            "no_suffix": ["no_face"], "notes.txt": ["skipped"], "pipe.jpg": ["skipped"],
            "x.heic": ["not_an_image"], "folder": ["hidden"],
        }  # fmt: skip
        assert "pillow-heif" in lines["x.heic"]["message"] and "1 hidden" in lines["folder"]["message"]
        assert lines["notes.txt"]["verdict"] is None, "not even inconclusive"
        told = capsys.readouterr().err
        assert (
            "0 files with faces, 1 without a face, 1 unreadable (not_an_image 1), 2 skipped, 1 hidden" in told
        )
    assert lines["no_suffix"]["verdict"] == "inconclusive"


def test_one_bad_file_never_ends_a_batch(album, checkpoint, tmp_path, monkeypatch, caplog):
    """A RuntimeError ended the run, and every re-run at the same file."""
    sight = scoring.sight

    def faulty(detector, photo):
        if photo.name == "b_wall.png":
            raise RuntimeError("a fault of a library")
        return sight(detector, photo)

    monkeypatch.setattr(scoring, "sight", faulty)
    out = tmp_path / "s.jsonl"
    run(monkeypatch, album, "--checkpoint", checkpoint, "--out", out)
    bad = next(line for line in lines_of(out) if line["path"].endswith("b_wall.png"))
    assert bad["reasons"] == ["internal_error"] and bad["score"] is None and len(bad["sha256"]) == 64
    reference = bad["message"].split("reference ")[1][:8]
    assert reference in caplog.text and "a fault of a library" in caplog.text
    assert [Path(line["path"]).name for line in lines_of(out)][-2:] == ["c_text.jpg", "d_empty.jpg"]


def test_a_name_is_never_an_instruction(checkpoint, tmp_path, monkeypatch):
    """FFmpeg read other.mp4 for a file named concat:other.mp4: one file's SHA-256 with the other's score."""
    wall = [np.full((96, 96, 3), 128, np.uint8)] * 3
    face = [read_image(EXAMPLE)[30:230, 125:325]] * 3
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "other.mp4", face)
    write_video(tmp_path / "plain.mp4", wall)
    names = ("concat:other.mp4|other.mp4", "file:other.mp4", "subfile,,start,0,end,0,,:other.mp4", "z%d.mp4")
    for name in names:
        (tmp_path / name).write_bytes((tmp_path / "plain.mp4").read_bytes())
    run(monkeypatch, *names, "--checkpoint", checkpoint, "--out", tmp_path / "s.jsonl")
    lines = lines_of(tmp_path / "s.jsonl")
    assert len(lines) == 4 and all(line["reasons"] == ["no_face"] for line in lines)
    assert {line["sha256"] for line in lines} == {sha256_of((tmp_path / "plain.mp4").read_bytes())}


def test_a_playlist_opens_nothing(checkpoint, tmp_path, monkeypatch):
    write_video(tmp_path / "other.mp4", [read_image(EXAMPLE)[30:230, 125:325]] * 3)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    (tmp_path / "live.ts").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n")
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, "list.mp4", "live.ts", "--checkpoint", checkpoint, "--out", tmp_path / "s.jsonl")
    assert [line["score"] for line in lines_of(tmp_path / "s.jsonl")] == [None, None]


def test_a_jpeg_that_did_not_decode_whole_gets_no_verdict(checkpoint, tmp_path, monkeypatch):
    """Half of a photograph was destroyed, and the line said `real`; libjpeg's warnings were swallowed."""
    Image.fromarray(read_image(EXAMPLE)).save(tmp_path / "whole.jpg", quality=85)
    data = bytearray((tmp_path / "whole.jpg").read_bytes())
    data[len(data) * 2 // 3 : -2] = bytes(len(data) - 2 - len(data) * 2 // 3)
    (tmp_path / "zeros.jpg").write_bytes(data)
    run(monkeypatch, tmp_path, "--checkpoint", checkpoint, "--out", tmp_path / "s.jsonl")
    by_name = {Path(line["path"]).name: line for line in lines_of(tmp_path / "s.jsonl")}
    hurt, whole = by_name["zeros.jpg"], by_name["whole.jpg"]
    assert "damaged" in hurt["reasons"] and hurt["verdict"] == "inconclusive" and hurt["log10_lr"] is None
    assert any("did not decode whole" in words for words in hurt["warnings"])
    assert "damaged" not in whole["reasons"] and not any("damaged" in words for words in whole["warnings"])


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.avif"])
def test_an_animation_is_judged_as_a_clip(name, checkpoint, tmp_path, monkeypatch):
    """Of an animation the first picture was judged, and the line said nothing of the others."""
    face = Image.fromarray(read_image(EXAMPLE)[30:230, 125:325])
    wall = Image.new("RGB", face.size, "grey")
    wall.save(
        tmp_path / name, save_all=True, append_images=[face, face.transpose(0)], duration=[400, 200, 200]
    )
    run(monkeypatch, tmp_path / name, "--checkpoint", checkpoint, "--out", tmp_path / "s.jsonl")
    (line,) = lines_of(tmp_path / "s.jsonl")
    assert line["video"]["sampled"] == [0.0, 0.4, 0.6] and len(line["frames"]) == 2
    assert line["score"] is not None and not line["video"]["damaged"]


def test_a_photograph_of_two_pictures_is_a_photograph(checkpoint, tmp_path, monkeypatch):
    """An MPO of a telephone was called an animation."""
    face = Image.fromarray(read_image(EXAMPLE)[30:230, 125:325])
    face.save(tmp_path / "a.mpo", save_all=True, append_images=[face])
    run(monkeypatch, tmp_path / "a.mpo", "--checkpoint", checkpoint, "--out", tmp_path / "s.jsonl")
    (line,) = lines_of(tmp_path / "s.jsonl")
    assert "video" not in line and not any("pages" in words for words in line["warnings"])


def test_a_line_has_the_warnings_of_page_and_report(checkpoint, tmp_path, monkeypatch):
    Image.open(EXAMPLE).convert("L").save(tmp_path / "grey.png")
    detector = Detector.from_pretrained(checkpoint)
    (line,) = scoring.lines_of(tmp_path / "grey.png", detector)
    assert line["warnings"] == list(examine_file(detector, tmp_path / "grey.png").warnings)
    assert "no colour" in line["warnings"][0]


def test_thresholds_are_a_scale_of_their_own(album, scored, checkpoint, tmp_path, monkeypatch):
    """Changed thresholds left `checkpoint` as it was: lines of two scales stood in one file."""
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    decision = json.loads((other / "decision.json").read_text())
    (other / "decision.json").write_text(json.dumps(decision | {"fake_above": 0.71}))
    before = scored.read_bytes()
    with pytest.raises(SystemExit, match="made with other thresholds or calibration; choose another --out"):
        run(monkeypatch, album, "--checkpoint", other, "--out", scored)
    assert scored.read_bytes() == before


def test_a_second_writer_is_told(album, checkpoint, tmp_path, monkeypatch):
    """Two runs wrote one file; the second's replaced it, and the first ended well with half of its lines."""
    out = tmp_path / "s.jsonl"
    with (
        one_writer(out),
        pytest.raises(SystemExit, match=r"error: another run is writing .*s\.jsonl; wait for its end"),
    ):
        run(monkeypatch, album, "--checkpoint", checkpoint, "--out", out)
    assert not out.exists()
    run(monkeypatch, album / "b_wall.png", "--checkpoint", checkpoint, "--out", out)
    assert len(lines_of(out)) == 1


def test_processes_write_what_one_writes(album, checkpoint, scored, tmp_path, monkeypatch):
    """A folder was read by one process, whatever the machine."""
    out = tmp_path / "s.jsonl"
    run(monkeypatch, album, "--checkpoint", checkpoint, "--out", out, "--workers", "2")
    assert out.read_bytes() == scored.read_bytes()
