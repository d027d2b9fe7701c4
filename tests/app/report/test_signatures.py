"""Signed reports: what was changed, by whom, on which file, and whether the figures come out again."""

from __future__ import annotations

import base64
import json
import stat
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
import typst
from pypdf import PdfReader, PdfWriter

from app import keys
from app.assistant import Assistant
from app.page.handlers import EXAMPLE
from app.report import pdf, program
from app.report.__main__ import main
from app.report.embedded import LINK, json_form
from app.report.sealed import Report, canonical, seal_of
from app.signing import SigningKey, is_signed, public_key_of
from app.wording.checking import PROVED
from kfd.config import Decision
from tests.tiny.checkpoint import save_tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    decision = Decision(real_below=0.0, fake_above=0.001, min_sharpness=0.0, fitted_on="a test")
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), decision)


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.new()


@pytest.fixture(scope="module")
def report(folder, key) -> Report:
    assistant = Assistant.from_pretrained(folder)
    assistant.key = key
    return assistant.report(assistant.analyse(EXAMPLE))


@pytest.fixture
def said(monkeypatch, capsys, tmp_path):
    """Run `python -m app.report --verify` on bytes; its exit status and what it printed."""

    def run(content: str | bytes, *words: object, name: str = "report.json") -> tuple[int, str]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        monkeypatch.setattr(sys, "argv", ["app.report", "--verify", str(path), *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out + captured.err

    return run


def changed(report: Report, by: float = 0.01) -> dict:
    """One digit of one score, another."""
    data = json.loads(report.to_json())
    face = data["files"][0]["faces"][0]
    face["score"] = round(abs(face["score"] - by), 4)
    return data


def signed_again(data: dict, key: SigningKey) -> str:
    data = {**data, "signed_by": key.public}
    return json.dumps({**data, "seal": seal_of(data), "signature": key.sign(canonical(data))})


def test_an_untouched_report_is_told_apart_from_nothing(report, key, said):
    status, out = said(report.to_json(), "--signer", key.public, "--photo", EXAMPLE)
    assert status == 0 and "unchanged since it was signed" in out
    assert f"{key.public} that signed it is the one given" in out and "is the file that the report" in out
    assert PROVED in out
    status, out = said(report.to_json())
    assert status == 0 and key.public in out and "Whose key is that?" in out


def test_one_digit_changed_and_sealed_anew_is_told(report, key, said):
    """The seal alone fits a forgery whose seal was computed anew."""
    data = changed(report)
    status, out = said(json.dumps({**data, "seal": seal_of(data)}), "--signer", key.public)
    assert status == 1 and "CHANGED since it was signed" in out and "the checksum fits" in out
    assert "is the one given" not in out, "a name beside a signature that does not fit says nothing"


def test_a_report_signed_again_with_another_key_is_told(report, key, said):
    other = SigningKey.new()
    forged = signed_again(changed(report), other)
    status, out = said(forged, "--signer", key.public)
    assert status == 1 and "unchanged since it was signed" in out
    assert f"{other.public} that signed it is ANOTHER" in out
    claimed = json.dumps({**json.loads(forged), "signed_by": key.public})
    assert said(claimed, "--signer", key.public)[0] == 1, "another's signature under this key's name"


def test_a_signature_taken_away_fails_whoever_asks_for_a_key(report, key, said):
    data = {name: value for name, value in changed(report).items() if name != "signature"} | {
        "signed_by": None
    }
    status, out = said(json.dumps({**data, "seal": seal_of(data)}), "--signer", key.public)
    assert status == 1 and "signature: none" in out


def test_a_key_that_is_named_without_a_signature_fails(report, key, said):
    """Bug: --verify told nothing of a report that named an examiner's key and had no signature, although page
    and document printed "Signed by" that key."""
    data = {name: value for name, value in changed(report).items() if name != "signature"}
    claimed = Report({**data, "seal": seal_of(data)})
    assert claimed.data["signed_by"] == key.public
    for content, name in ((claimed.to_json(), "r.json"), (claimed.to_html(), "r.html")):
        status, out = said(content, name=name)
        assert status == 1 and "names a key but is not signed by it" in out and PROVED not in out
    assert f"nobody: it names the key {key.public}, but bears no signature" in claimed.to_html()


def test_another_photograph_is_told(report, key, said, tmp_path):
    other = tmp_path / "other.jpg"
    other.write_bytes(EXAMPLE.read_bytes() + b"0")
    status, out = said(report.to_json(), "--signer", key.public, "--photo", other)
    assert status == 1 and "unchanged since it was signed" in out and "ANOTHER file" in out


def test_the_figures_come_out_again(report, key, said, folder):
    words = ("--photo", EXAMPLE, "--rerun", "--checkpoint", folder)
    status, out = said(report.to_json(), *words)
    assert status == 0
    for part in ("the program is the same", "the weights are the same", "examined again, are the same"):
        assert part in out
    wrong = changed(report)
    status, out = said(signed_again(wrong, key), *words)  # by the examiner himself
    score = wrong["files"][0]["faces"][0]["score"]
    assert status == 1 and "unchanged since it was signed" in out and "examined again, are DIFFERENT" in out
    assert f"faces[0].score: {score} in the report, {report.files[0]['faces'][0]['score']} now" in out


def test_the_last_digits_may_be_others(report, key, said, folder):
    """Bug: on another processor a score differed in its fourth digit, and --rerun called the figures
    different, although the report itself asks for no more than 0.001."""
    words = ("--photo", EXAMPLE, "--rerun", "--checkpoint", folder)
    data = changed(report, by=0.0004)
    (face,) = data["files"][0]["faces"]
    face["region_table"][0]["score"] = round(face["region_table"][0]["score"] + 0.001, 4)
    face["quality"] |= {"sharpness": round(face["quality"]["sharpness"] + 0.1, 1), "words": "Other words."}
    face["error_rate"]["words"], face["box"][0] = "Other words.", face["box"][0] + 1
    status, out = said(signed_again(data, key), *words)
    assert status == 0 and "examined again, are the same" in out
    face["verdict"] = "real"
    status, out = said(signed_again(data, key), *words)
    assert status == 1 and "faces[0].verdict: 'real' in the report" in out
    face |= {"verdict": "fake", "regions": [*face["regions"], "nothing"], "score": 10**400}
    status, out = said(signed_again(data, key), *words)
    assert status == 1 and "faces[0].score" in out and "faces[0].regions" in out


def test_other_weights_are_told(report, key, said, folder):
    data = json.loads(report.to_json())
    data["models"]["files"][0]["sha256"] = "0" * 64
    words = ("--photo", EXAMPLE, "--rerun", "--checkpoint", folder)
    status, out = said(signed_again(data, key), *words)
    assert status == 1 and "the weights are DIFFERENT" in out and "examined again, are the same" in out


def test_rerun_needs_the_file(report, said):
    status, out = said(report.to_json(), "--rerun")
    assert status == 2 and "--photo" in out


@pytest.mark.parametrize("form", ["html", "pdf"])
def test_page_and_document_carry_the_json(report, key, said, form):
    content = report.to_html().encode() if form == "html" else report.to_pdf()
    source, suffix = json_form(content)
    assert source.decode() == report.to_json() and suffix == f".{form}"
    status, out = said(content, "--signer", key.public, name=f"report.{form}")
    assert status == 0 and "unchanged since it was signed" in out and "shows what its data say" in out


def test_a_page_that_shows_other_words_than_its_data_is_told(report, said):
    page = report.to_html()
    finding = report.data["finding"]
    assert finding in page
    status, out = said(page.replace(finding, "No signs of manipulation were found."), name="report.html")
    assert status == 1 and "unchanged since it was signed" in out and "does NOT show" in out


def test_a_document_with_other_pages_than_its_data_is_told(report, said):
    writer, buffer = PdfWriter(clone_from=BytesIO(report.to_pdf())), BytesIO()
    writer.add_blank_page(100, 100)
    writer.write(buffer)
    status, out = said(buffer.getvalue(), name="report.pdf")
    assert status == 1 and "does NOT show" in out


def test_a_document_that_other_libraries_drew_is_not_called_forged(report, said, monkeypatch):
    """Typst of another version sets other pages from the same data; that was called a forgery."""
    drawn = report.to_pdf()
    installed = program.version
    monkeypatch.setattr(program, "version", lambda name: "0.1" if name == "typst" else installed(name))
    other = SimpleNamespace(compile=lambda *_, **__: drawn[:-1], TypstError=typst.TypstError)
    monkeypatch.setattr(pdf, "typst", other)
    status, out = said(drawn, name="report.pdf")
    assert status == 0 and "what it draws with" in out and "does NOT show" not in out


def test_files_without_exactly_one_json_form_are_no_reports(report, said):
    link = LINK + base64.b64encode(b"{}").decode()
    two = report.to_html().replace("</main>", f'<a href="{link}">x</a></main>')
    plain, buffer = PdfWriter(), BytesIO()
    plain.add_blank_page(100, 100)
    plain.write(buffer)
    for content in (two.encode(), b"<html></html>", buffer.getvalue(), b"%PDF-1.4 broken", b"%PDF-"):
        status, out = said(content)
        assert status == 2 and "expected a report" in out


def test_report_and_document_name_the_key(report, key):
    assert key.public in report.to_html() and report.data["signature"] in report.to_html()
    text = "".join(page.extract_text() for page in PdfReader(BytesIO(report.to_pdf())).pages)
    assert key.public in "".join(text.split())


def test_a_key_is_written_once_and_for_its_owner_alone(tmp_path, monkeypatch, capsys):
    path = tmp_path / "keys" / "mine.pem"
    monkeypatch.delenv("UNMASK_KEY_PASSWORD", raising=False)
    monkeypatch.setattr(sys, "argv", ["app.keys", "new", str(path)])
    keys.main()
    told = capsys.readouterr()
    key = SigningKey.load(path)
    assert key.public in told.out and "no password" in told.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert public_key_of(str(path) + ".pub") == key.public == public_key_of(key.public.upper())
    before = path.read_bytes()
    with pytest.raises(SystemExit) as stop:
        keys.main()
    assert stop.value.code == 2 and path.read_bytes() == before
    monkeypatch.setattr(sys, "argv", ["app.keys", "show", str(path)])
    capsys.readouterr()
    keys.main()
    assert capsys.readouterr().out.strip() == key.public


def test_a_key_with_a_password_opens_with_it_alone(tmp_path):
    path, key = tmp_path / "key.pem", SigningKey.new()
    key.save(path, "a long one of mine")
    assert SigningKey.load(path, "a long one of mine").public == key.public
    for wrong in ("", "another one"):
        with pytest.raises(ValueError, match="password"):
            SigningKey.load(path, wrong)
    for text in ("", "no key"):
        (tmp_path / "none.pem").write_text(text)
        with pytest.raises(ValueError, match="expected an Ed25519 key"):
            SigningKey.load(tmp_path / "none.pem", "")
    with pytest.raises(FileNotFoundError, match=r"app\.keys new"):
        SigningKey.load(tmp_path / "missing.pem")


def test_a_signature_is_of_rfc_8032():
    """Test 3 of its section 7.1: known key, message and signature."""
    public = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    signature = (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )
    assert is_signed(bytes.fromhex("af82"), signature, public)
    assert not is_signed(bytes.fromhex("af83"), signature, public)
    for wrong in (None, 5, "", signature.upper(), signature[:-2], "00" * 64):
        assert not is_signed(bytes.fromhex("af82"), wrong, public)
    assert not is_signed(bytes.fromhex("af82"), signature, "00" * 31)
