"""Several files in one case, one report on all of them, and beside each finding what the examiner says."""

from __future__ import annotations

import re
import sys
from io import BytesIO

import pytest
from pypdf import PdfReader

from app.cases.case import MAX_FILES, MAX_NOTES, MAX_REASON, Case, ExaminedFile, Override, Unread
from app.court import CourtForm
from app.report.__main__ import main
from app.report.sealed import Report
from app.signing import SigningKey
from app.wording.case import OVERRIDE_NOTE, UNREAD_HEADING, files_words
from common.verdicts import Verdict

NOTES = "Sent by a reader.\nTold to be from <b>May</b>."
REASON = "the negative lies in the archive"


@pytest.fixture(scope="module")
def case(assistant, photos) -> Case:
    case = Case.of(*map(assistant.analyse, photos))
    list(assistant.ask(case[1].analysis, "Where?", 1))
    case[0].annotate(NOTES, Override(Verdict.REAL, REASON))
    return case


@pytest.fixture(scope="module")
def report(assistant, case) -> Report:
    return Report.of(case, SigningKey.new(), CourtForm(examiner="A. Miller"))


def text_of(pdf: bytes) -> str:
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages))


def test_one_report_says_of_each_file_what_its_own_would(report, assistant, case):
    assert [told["file"]["name"] for told in report.files] == ["portrait.jpg", "two.png", "wall.png"]
    for told, file in zip(report.files, case, strict=True):
        (alone,) = assistant.report(file.analysis).files
        assert told == {**alone, "examiner": told["examiner"]}
    assert report.intact and report.is_signed


def test_the_finding_counts_files_by_verdict(report):
    finding = report.data["finding"]
    assert "3 files were examined: signs of manipulation in files 1 and 2; no verdict on file 3." in finding
    assert "examiner gives a verdict of their own on file 1" in finding
    assert files_words([2]) == "file 2" and files_words([1, 2, 3, 4]) == "4 files"


def test_an_override_stands_beside_the_finding(report):
    told = report.files[0]
    assert told["verdict"] == "fake" and "Signs of manipulation" in told["finding"]
    assert told["examiner"] == {"notes": NOTES, "override": {"verdict": "real", "reason": REASON}}
    assert report.files[1]["examiner"] == {"notes": "", "override": None}
    page, text = report.to_html(), text_of(report.to_pdf())
    for words in ("No signs of manipulation found. Reason: the negative lies in the archive.", OVERRIDE_NOTE):
        assert words in page.replace("&#39;", "'") and words in text
    assert "&lt;b&gt;May" in page and "Told to be from <b>May</b>." in text
    assert text.index("Signs of manipulation were found") < text.index("Reason: the negative")


def test_page_and_document_keep_the_files_apart(report):
    page, text = report.to_html(), text_of(report.to_pdf())
    for words in (
        "File 1: portrait.jpg",
        "File 2: two.png",
        "File 3: wall.png",
        "File 2, face 1",
        "File 2, face 2",
    ):
        assert words in page and words in text
    assert "File 1, face 2" not in page and "Annex: questions and answers (file 2)" in page
    assert len({told["file"]["sha256"] for told in report.files}) == 3
    assert all(told["file"]["sha256"] in text.replace(" ", "") for told in report.files)


def test_a_file_that_could_not_be_examined_is_told(assistant, case):
    """It was nowhere, as if it had never been given."""
    unread = [Unread("list <b>.jpg", "It is not an image.")]
    told = assistant.report(Case(case.files, unread=unread))
    assert told.data["finding"].endswith("Not examined: list <b>.jpg.")
    page, text = told.to_html(), text_of(told.to_pdf())
    assert UNREAD_HEADING in page and "list &lt;b&gt;.jpg: It is not an image." in page
    assert UNREAD_HEADING in text and "list <b>.jpg: It is not an image." in text
    assert UNREAD_HEADING not in assistant.report(case).to_html()


def test_a_case_of_one_file_reads_as_before(assistant, case):
    page = assistant.report(case[1].analysis).to_html()
    assert "Report on two.png" in page and "File 1" not in page and "<h2>Face 2</h2>" in page


def test_each_file_is_verified_and_examined_again(report, folder, photos, tmp_path, monkeypatch, capsys):
    path = report.save(tmp_path / "case.pdf")
    words = [part for photo in photos for part in ("--photo", str(photo))]
    argv = ["app.report", "--verify", str(path), *words, "--rerun", "--checkpoint", str(folder)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().out
    assert stop.value.code == 0 and said.count("is the file that the report is on") == 3
    assert said.count("examined again, are the same") == 3


@pytest.mark.parametrize(
    ("verdict", "reason", "words"),
    [
        ("real", " ", "needs a reason"),
        ("true", "x", "expected one of"),
        ("fake", "x" * (MAX_REASON + 1), "shorten"),
    ],
)
def test_an_override_without_verdict_or_reason_is_refused(verdict, reason, words):
    with pytest.raises(ValueError, match=words):
        Override(verdict, reason)


def test_notes_and_files_have_a_limit(assistant, photos):
    file = ExaminedFile(assistant.analyse(photos[2]), notes="before")
    with pytest.raises(ValueError, match="notes: 4001 letters"):
        file.annotate("x" * (MAX_NOTES + 1), None)
    assert file.notes == "before"
    full = Case([file] * MAX_FILES)
    with pytest.raises(ValueError, match=f"room for {MAX_FILES} files"):
        full.add(file)
    with pytest.raises(ValueError, match="one file or more"):
        Report.of(Case())
