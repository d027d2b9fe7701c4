"""The report: one canonical form, sealed; the layouts say the same and run nothing."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import re
from collections.abc import Iterator
from io import BytesIO
from typing import get_args

import pytest
from pypdf import PdfReader

from app.assistant import Assistant
from app.court import CourtForm
from app.page.handlers import EXAMPLE
from app.report import blocks
from app.report.document import document
from app.report.fonts import printable_letters
from app.report.html import TEMPLATES
from app.report.pdf import TEMPLATE
from app.report.program import ROOT, program_files, rooms_digest
from app.report.sealed import Report, seal_of
from app.wording import findings as wording
from app.wording.answers import answer_words, remark
from common.layers import PACKAGES
from data_sim.dialogue import Case
from kfd.calibration.likelihood_ratio import weigh
from tests.app.report.conftest import NASTY


def text_of(pdf: bytes) -> str:
    pages = PdfReader(BytesIO(pdf)).pages
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))


def test_the_canonical_form_says_everything(report):
    data, (told,) = report.data, report.files
    assert told["file"]["sha256"] and told["file"]["pixels_sha256"] and told["file"]["width"] == 512
    assert told["verdict"] == "fake" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", data["created"])
    (face,) = told["faces"]
    assert face["score"] == round(face["score"], 4)
    assert len(face["region_table"]) == 11
    assert all(uri.startswith("data:image/") for uri in face["pictures"].values())
    assert [row["question"] for row in told["transcript"]] == ["Is this a deepfake image?", NASTY]
    assert {"method", "limits", "checking", "thresholds", "software"} <= data.keys()
    assert len(data["method"]) == 3
    origin = told["provenance"]
    assert origin["perceptual_hash"] and origin["jpeg"]["quality"] and len(origin["rows"]) >= 5
    assert re.fullmatch("[0-9a-f]{64}", data["software"]["sha256"])
    assert {"Python", "torch", "numpy", "pillow"} <= data["software"]["libraries"].keys()
    drawn_with = {"typst", "fontpkg-noto-serif", "pylopdf-fonts-zh-cn", "pypdf"}
    assert drawn_with <= data["software"]["libraries"].keys()


def test_the_seal_shows_any_change(report):
    text = report.to_json()
    again = Report.from_json(text)
    assert again.intact and again.data == report.data
    for path, value in (
        (("files", 0, "verdict"), "real"),
        (("files", 0, "faces", 0, "score"), 0.1),
        (("files", 0, "transcript", 1, "answer"), "No."),
    ):
        changed = json.loads(text)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert not Report.from_json(json.dumps(changed)).intact


def test_the_seal_is_what_the_report_says_it_is(report):
    assert report.data["seal"] == seal_of(report.data)
    assert len(report.data["seal"]) == 64


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "unmask-report/9", "seal": ""}', "%PDF-1.4"])
def test_other_files_are_no_reports(text):
    with pytest.raises(ValueError, match="expected"):
        Report.from_json(text)


@pytest.mark.parametrize(
    "name",
    ["kfd/encoders/deep/new.py", "app/page/fragments/new.html", "data_sim/new.yaml", "media/table.bin"],
)
def test_the_program_digest_covers_files_of_every_kind_in_every_folder(tmp_path, name):
    """A file added below a room's top level left the digest as it was, and so did a changed style sheet."""
    for room in PACKAGES:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    before = rooms_digest(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("one")
    with_file = rooms_digest(tmp_path)
    path.write_text("two")
    assert len({before, with_file, rooms_digest(tmp_path)}) == 3
    (path.parent / "__pycache__").mkdir()
    (path.parent / "__pycache__" / "new.pyc").touch()
    path.write_text("one")
    assert rooms_digest(tmp_path) == with_file, "what Python leaves behind is no part of the program"


def test_the_program_digest_is_of_the_files_that_run():
    assert {ROOT / "app/report/data.py", ROOT / "kfd/quality/compression.json"} <= set(program_files(ROOT))


def test_html_escapes_and_fetches_nothing(report):
    page = report.to_html()
    assert "<script" not in page and "&lt;script&gt;" in page and "&lt;i&gt;portrait" in page
    assert "Жук" in page
    assert set(re.findall(r'(?:src|href)="(\w+):', page)) == {"data"}
    assert "url(" not in page and "@import" not in page
    assert report.data["seal"] in page


def test_html_and_pdf_are_rendered_from_the_json_alone(report):
    again = Report.from_json(report.to_json())
    assert again.to_html() == report.to_html()
    assert again.to_pdf() == report.to_pdf()


def test_every_kind_of_block_is_drawn_in_both_forms():
    """HTML and PDF were twin modules, and nothing held one to the other."""
    kinds = get_args(blocks.Block)
    drawn = set(
        re.findall(r"^  (\w+): (?:block =>|bars,)", TEMPLATE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert {kind.name for kind in kinds} <= drawn
    assert {kind.name for kind in kinds} <= set(vars(TEMPLATES.get_template("blocks.html").module))
    assert len({kind.name for kind in kinds}) == len(kinds)


def test_html_says_every_word_that_the_blocks_hold(report):
    """Every string in the blocks stands in the page, whatever block it is in."""
    page = html.unescape(report.to_html())
    words = [text for section in document(report.data).sections for text in strings(section)]
    assert len(words) > 50 and all(text in page for text in words)


def strings(value: object) -> Iterator[str]:
    """The texts in a block, without the names of things that are drawn and not written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from strings(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.name not in ("uri", "colour", "language", "heading_language"):
                yield from strings(getattr(value, field.name))


def test_pdf_reads_as_the_report(report):
    data, told, pdf = report.data, report.files[0], report.to_pdf()
    text = text_of(pdf)
    pages = len(PdfReader(BytesIO(pdf)).pages)
    assert f"page 1 of {pages}" in text and f"page {pages} of {pages}" in text
    for part in (data["finding"], told["faces"][0]["finding"], data["models"]["good_for"], data["limits"][0]):
        assert re.sub(r"\s+", " ", part) in text
    assert data["seal"] in text.replace(" ", "") and told["file"]["sha256"] in text.replace(" ", "")
    assert '<script>alert("x")</script>' in text and "Жук" in text and "\\u" not in text


@pytest.mark.parametrize("words", ["Жук", "这张脸被修改过吗", "क्या चेहरा", "هل تم التلاعب", "Größe", "œuvre"])
def test_pdf_prints_what_people_write_in_their_script(folder, words):
    """Names of files and entries of the court form were printed as codes, \\u8fd9."""
    analysis = Assistant.from_pretrained(folder).analyse(EXAMPLE.read_bytes(), name=f"{words}.jpg")
    pdf = Assistant.from_pretrained(folder).report(analysis, CourtForm(question=f"{words}?")).to_pdf()
    pages, said = PdfReader(BytesIO(pdf)).pages, printable_letters(words)
    assert said == words and "\\u" not in pages[0].extract_text()
    fonts = {
        font["/BaseFont"] for page in pages for font in map(_object, page["/Resources"]["/Font"].values())
    }
    assert all("+" in font for font in fonts), "every font is embedded"


def _object(reference):
    return reference.get_object()


def test_a_letter_that_no_font_has_is_written_as_its_code():
    assert printable_letters("a 😀\n\x00\u202eb") == "a \\U0001f600\n \\u202eb"


def test_the_first_page_says_how_strong_the_finding_is(report):
    """It said that signs were found, without the score and without what that is worth."""
    (face,) = report.files[0]["faces"]
    first = PdfReader(BytesIO(report.to_pdf())).pages[0].extract_text()
    first = re.sub(r"\s+", " ", first)
    assert face["finding"] in first and face["evidence"]["words"] in first


def test_an_answer_that_differs_from_the_finding_is_remarked_on():
    """ "The map points at the whole face" and "strong evidence" stood under a finding of other regions and of
    moderate support."""
    case = Case("fake", 0.95, ("nose", "left_eye"))
    moderate = weigh(2.9, (-1.0, 2.0))
    asked = "Where are the signs?"
    place = remark(case, moderate, asked, "The map points at the whole face.")
    assert place == "Note: by the finding, the heat map points at the nose and the left eye."
    word = remark(case, moderate, "How sure are you?", "There is strong evidence of manipulation.")
    assert word == "Note: by the finding, the likelihood ratio gives moderate support."
    assert remark(case, moderate, asked, "The map points at the nose. It is moderate evidence.") == ""
    assert remark(case, None, "How sure are you?", "It is strong evidence.") == ""
    assert answer_words("It is.", remark=word) == f"It is. [{word}]"
    assert answer_words("", "no answer") == "[failed: no answer]"


def test_an_unknown_suffix_is_refused(report, tmp_path):
    with pytest.raises(ValueError, match=r"\.pdf, \.html or \.json, not in '\.docx'"):
        report.save(tmp_path / "report.docx")
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_written_whole(report, tmp_path, monkeypatch):
    """A disk that fills up leaves the old report, not half of the new one."""
    path = tmp_path / "deep" / "report.json"
    report.save(path)
    before = path.read_text(encoding="utf-8")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Report({**report.data, "finding": "none"}).save(path)
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.93, "about 93 in 100"),
        (0.999, "more than 99 in 100"),
        (0.001, "fewer than 1 in 100"),
        (None, "No score"),
    ],
)
def test_a_score_is_put_into_words(score, words):
    assert words in wording.score_meaning(score, (0.3, 0.7), "a test")


def test_no_share_beyond_the_likelihood_ratio_is_claimed():
    """ "97 in 100" stood beside a likelihood ratio cut at ten, which is 91 in 100."""
    worth = weigh(math.log(0.97 / 0.03), (-1.0, 1.0))
    said = wording.score_meaning(0.97, (0.3, 0.7), "a test", evidence=worth)
    assert "about 91 in 100" in said and "more than those faces support" in said
    free = weigh(math.log(0.97 / 0.03), (-2.0, 2.0))
    assert "about 97 in 100" in wording.score_meaning(0.97, (0.3, 0.7), "a test", evidence=free)
