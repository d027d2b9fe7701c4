"""`python -m app.report` on several files: noted on, saved, opened again, blurred."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest

from app.cases.command import check_numbers, faces_shown, numbered, overrides
from app.report.__main__ import main
from app.report.sealed import Report


@pytest.fixture
def run(monkeypatch, folder, capsys) -> Callable[..., tuple[int, str]]:
    """The command with a tiny model: its exit status, and what it printed."""

    def command(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["app.report", *map(str, words), "--checkpoint", str(folder)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return command


def test_a_case_goes_round(run, photos, tmp_path):
    first, second, case = tmp_path / "1.json", tmp_path / "2.json", tmp_path / "case.zip"
    words = ("--note", "2: Sent by a reader.", "--override", "1: real: The negative was found.")
    status, said = run(*photos[:2], "-o", first, *words, "--save-case", case, "--case-number", "3 O 12/26")
    assert status == 0 and f"written to {case}" in said and "2 files were examined" in said
    before = Report.from_json(first.read_bytes())
    assert [told["examiner"]["notes"] for told in before.files] == ["", "Sent by a reader."]

    words = ("--note", "1: More is known.", "--blur-all-but", "2: 2", "--examiner", "A. Miller")
    status, said = run(case, "-o", second, *words)
    assert status == 0 and "This case was saved before" in said
    after = Report.from_json(second.read_bytes())
    assert [told["examiner"]["notes"] for told in after.files] == ["More is known.", "Sent by a reader."]
    assert after.files[0]["examiner"]["override"] == before.files[0]["examiner"]["override"]
    assert [told["blurred"]["faces"] for told in after.files] == [[1], [1]]
    assert after.data["court_form"] == {"case_number": "3 O 12/26", "examiner": "A. Miller"}
    assert [told["transcript"] for told in after.files] == [told["transcript"] for told in before.files]


def test_what_reports_leave_out_is_kept_with_a_case(run, photos, tmp_path):
    """Bug: a case saved with --blur-all-but and --no-annex, and opened without them, showed everything."""
    case, again, report = tmp_path / "case.zip", tmp_path / "again.zip", tmp_path / "r.json"
    assert run(photos[1], "--save-case", case, "--blur-all-but", "1: 2", "--no-annex")[0] == 0
    assert run(case, "--save-case", again)[0] == run(again, "-o", report)[0] == 0
    (told,) = Report.from_json(report.read_bytes()).files
    assert told["blurred"]["faces"] == [1] and told["transcript"] == [] and told["transcript_left_out"]
    assert run(again, "-o", report, "--blur-all-but", "1: 1, 2")[0] == 0
    assert Report.from_json(report.read_bytes()).files[0]["blurred"]["faces"] == []


def test_a_case_can_be_saved_without_a_report(run, photos, tmp_path):
    assert run(photos[0], "--save-case", tmp_path / "case")[0] == 0
    assert sorted(path.name for path in (tmp_path / "case").rglob("*")) == ["1.jpg", "files", "report.json"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--note", "Sent by a reader."), 'as in "1: Sent by a reader."'),
        (("--note", "3: x"), "file 3: there is none; the case has 2 files"),
        (("--note", "1: x", "--note", "1: y"), "named twice"),
        (("--override", "1: real"), "needs a reason"),
        (("--override", "1: true: x"), "expected one of"),
        (("--blur-all-but", "1: all"), "expected numbers of faces"),
        (("--blur-all-but", "2: 7"), "two.png has no face 7"),
    ],
)
def test_what_is_said_of_no_file_is_an_error(run, photos, tmp_path, words, told):
    status, said = run(*photos[:2], "-o", tmp_path / "r.json", *words)
    said = " ".join(re.sub("[│─╭╮╰╯]", " ", said).split())  # without the box that is drawn around it
    assert status == 2 and told in said and not (tmp_path / "r.json").exists()


def test_a_file_that_is_missing_is_told_before_models_are_loaded(run, photos, tmp_path, monkeypatch):
    """It was told after they were, fifteen seconds later."""
    monkeypatch.setattr("app.assistant.Assistant.load", lambda *_: pytest.fail("the models were loaded"))
    status, said = run(photos[0], tmp_path / "nosuch.jpg", "-o", tmp_path / "r.json")
    assert status == 2 and "There is no file" in said


def test_numbers_are_read_as_the_report_counts():
    assert numbered("--note", ["2: a: b", " 10 :c\nd"]) == {1: "a: b", 9: "c\nd"}
    assert faces_shown(["1: 2, 3", "2:"]) == {0: {1, 2}, 1: set()} and faces_shown([]) is None
    assert overrides(["1: inconclusive : both read: well"])[0].reason == "both read: well"
    check_numbers(2, {1: ""}, ())
    for text in ("0: x", "x", ": x", "-1: x"):
        with pytest.raises(ValueError, match="expected the number of a file"):
            numbered("--note", [text])
