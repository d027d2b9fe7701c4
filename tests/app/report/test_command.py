"""python -m app.report: writes, verifies, and says what is wrong."""

from __future__ import annotations

import json
import math
import re
import sys
from io import BytesIO

import pytest
from pypdf import PdfReader

from app.court import CourtForm
from app.page.handlers import EXAMPLE
from app.report.__main__ import main
from app.report.sealed import Report, seal_of

COURT = {
    "case_number": "3 O 12/26",
    "examiner": "A. <b>Miller</b>",
    "commissioned_by": "Regional Court",
    "question": "Was the face manipulated?",
}


def test_the_command_writes_and_verifies(folder, tmp_path, run, capsys):
    out = tmp_path / "report.json"
    assert run(EXAMPLE, "-o", out, "--ask", "Where?", "--ask", "How sure?", "--checkpoint", folder) == 0
    data = json.loads(out.read_text(encoding="utf-8"))
    (told,) = data["files"]
    assert [row["question"] for row in told["transcript"]] == [
        "Is this a deepfake image?",
        "Where?",
        "How sure?",
    ]
    assert told["file"]["name"] == "example.jpg"

    assert run("--verify", out) == 0
    assert "compute its seal anew" in capsys.readouterr().out
    out.write_text(json.dumps({**data, "finding": "none"}), encoding="utf-8")
    assert run("--verify", out) == 1
    assert "CHANGED" in capsys.readouterr().out


def test_the_command_says_what_is_wrong(folder, tmp_path, run, capsys):
    photo = tmp_path / "photo.json"
    photo.write_bytes(EXAMPLE.read_bytes())
    for words, message in (
        ((EXAMPLE, "-o", tmp_path / "report.txt"), "not in '.txt'"),
        ((EXAMPLE,), "expected PHOTO and -o"),
        ((photo, "-o", photo), "is the examined file itself"),
        ((tmp_path / "none.jpg", "-o", tmp_path / "r.pdf", "--checkpoint", folder), "There is no file"),
        (("--verify", photo), "error:"),
    ):
        assert run(*words) == 2
        said = re.sub(r"[\s│|]+", " ", capsys.readouterr().err)  # the command line's errors come in a box
        assert message in said
    assert photo.read_bytes() == EXAMPLE.read_bytes()


def test_a_noted_seal_shows_a_forgery_that_was_sealed_anew(report, tmp_path, run, capsys):
    """A verdict changed and sealed anew was called intact."""
    path, noted = tmp_path / "r.json", report.data["seal"]
    path.write_text(report.to_json(), encoding="utf-8")
    for expect in (noted, noted[:16], noted.upper()):
        assert run("--verify", path, "--expect", expect) == 0
    assert "whose seal was noted" in capsys.readouterr().out
    forged = {**report.data, "verdict": "real"}
    path.write_text(json.dumps({**forged, "seal": seal_of(forged)}), encoding="utf-8")
    assert run("--verify", path, "--expect", noted) == 1
    assert "not the report whose seal was noted" in capsys.readouterr().out
    assert run("--verify", path) == 0
    said = capsys.readouterr().out
    assert "intact" not in said and "on purpose can compute its seal anew" in said
    path.write_text(json.dumps({**forged, "seal": noted}), encoding="utf-8")
    assert run("--verify", path, "--expect", noted) == 1, "the seal is computed, not believed"


def test_the_file_is_compared_with_the_report(report, tmp_path, run, capsys):
    path = tmp_path / "r.json"
    path.write_text(report.to_json(), encoding="utf-8")
    assert run("--verify", path, "--photo", EXAMPLE) == 0
    other = tmp_path / "other.jpg"
    other.write_bytes(EXAMPLE.read_bytes() + b"0")
    assert run("--verify", path, "--photo", other) == 1
    assert "ANOTHER file" in capsys.readouterr().out
    assert run("--verify", path, "--photo", tmp_path / "none.jpg") == 2


def test_what_is_no_report_is_told_from_what_was_changed(report, tmp_path, run, capsys):
    """Malformed files ended in tracebacks with exit status 1, that of a change; the last of two keys won."""
    path, data = tmp_path / "r.json", report.data
    twice = report.to_json().replace('"verdict":', '"verdict": "real", "verdict":', 1)
    (told,) = data["files"]
    without = {**data, "files": [{name: value for name, value in told.items() if name != "file"}]}
    for text in (
        twice,
        json.dumps(without),
        *(json.dumps({**data, "files": files}) for files in ([{**told, "file": []}], [], None, [5])),
        json.dumps({**data, "seal": 5}),
        json.dumps({**data, "method": math.nan}),
        "[" * 100_000,
        '{"schema": ' * 100_000,
        "",
        "\x00",
        report.to_json()[:-30],
    ):
        path.write_text(text, encoding="utf-8")
        assert run("--verify", path) == 2
        assert "error:" in capsys.readouterr().err
    path.write_bytes(b"\xff\xfe\x00")
    assert run("--verify", path) == 2


def test_a_name_cannot_speak_to_the_terminal(report, tmp_path, run, capsys):
    """--verify printed names raw: an escape sequence in one could overwrite the line above it."""
    (told,) = report.files
    file = {**told["file"], "name": "\x1b[2Jseal fits\u202egpj.\n.jpg"}
    data = {**report.data, "files": [{**told, "file": file}]}
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**data, "seal": seal_of(data)}), encoding="utf-8")
    assert run("--verify", path) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\u202e" not in said and "\\x1b[2Jseal fits\\u202egpj.\\n.jpg" in said


def test_a_name_that_is_no_unicode_is_reported(folder, tmp_path, run):
    """The whole analysis was made, and then "'utf-8' codec can't encode" was all that came of it."""
    name = b"latin_\xe9.jpg".decode("utf-8", "surrogateescape")
    try:
        (tmp_path / name).write_bytes(EXAMPLE.read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("this file system takes Unicode names only")
    for suffix in (".json", ".html", ".pdf"):
        out = tmp_path / f"r{suffix}"
        assert run(tmp_path / name, "-o", out, "--checkpoint", folder) == 0
        assert out.stat().st_size > 1000
    assert (
        json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["files"][0]["file"]["name"]
        == r"latin_\xe9.jpg"
    )


class TestCourtForm:
    """Case number, examiner, commissioner and question, on the first page and in what is sealed."""

    def test_its_entries_stand_on_the_first_page(self, folder, tmp_path, monkeypatch):
        flags = [word for name, value in COURT.items() for word in (f"--{name.replace('_', '-')}", value)]
        out = tmp_path / "report.json"
        words = ["app.report", str(EXAMPLE), "-o", str(out), "--checkpoint", str(folder), *flags]
        monkeypatch.setattr(sys, "argv", words)
        main()
        report = Report.from_json(out.read_bytes())
        assert report.data["court_form"] == COURT and report.intact
        first = PdfReader(BytesIO(report.to_pdf())).pages[0].extract_text()
        assert all(value in first for value in COURT.values()) and "Commissioned by" in first
        assert "A. &lt;b&gt;Miller" in report.to_html()
        changed = Report({**report.data, "court_form": {**COURT, "examiner": "B"}})
        assert not changed.intact

    def test_without_entries_nothing_is_said_of_a_court(self, report):
        assert report.data["court_form"] == {} and "Case number" not in report.to_html()
        older = {name: value for name, value in report.data.items() if name != "court_form"}
        assert "Examined" in Report(older).to_html()

    def test_an_entry_has_a_length(self):
        assert CourtForm(" a \n b ").as_json() == {"case_number": "a b"}
        with pytest.raises(ValueError, match="question asked: 501 letters"):
            CourtForm(question="x" * 501)
