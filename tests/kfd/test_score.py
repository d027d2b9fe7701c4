"""python -m kfd.score: a line per face, a line per failure, and a run that can be continued."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kfd import score
from media.images import read_image, sha256_of
from tests.tiny.kfd import save_tiny_kfd

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"
FIELDS = {
    "path",
    "sha256",
    "checkpoint",
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
    monkeypatch.setattr(sys, "argv", ["kfd.score", *map(str, words)])
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
        assert line.keys() == FIELDS and line["face"] == face and len(line["box"]) == 4
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
    original = score.lines_of
    monkeypatch.setattr(score, "lines_of", lambda path, d: examined.append(path.name) or original(path, d))
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
