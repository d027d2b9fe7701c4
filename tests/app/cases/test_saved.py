"""A case saved as a folder or a zip file, opened elsewhere, and what is no case or was changed."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from app.assistant import Assistant
from app.cases import saved as storage
from app.cases.case import MAX_FILES, Case, ExaminedFile, Override
from app.cases.opening import OpenedCase, open_case, save_case
from app.cases.saved import is_case, member_of, read_case
from app.court import CourtForm
from app.models.choice import ModelChoice
from app.report.sealed import MAX_VALUES, VALUE_MARKS, canonical, seal_of
from app.signing import SigningKey
from common.verdicts import Verdict
from tests.tiny.openai_server import MODEL, serving

FORM = CourtForm(
    case_number="3 O 12/26", examiner="A. Miller", examiner_opinion="It was altered.", annex=False
)


@pytest.fixture(scope="module")
def signing(folder) -> Assistant:
    assistant = Assistant.from_pretrained(folder)
    assistant.key = SigningKey.new()
    return assistant


@pytest.fixture(scope="module")
def case(signing, photos) -> Case:
    case = Case([ExaminedFile(signing.analyse(photo), photo) for photo in photos[:2]])
    list(signing.ask(case[1].analysis, "Where?", 1))
    case[0].annotate("Sent by a reader.\nIn May.", Override(Verdict.REAL, "the negative was found"))
    return case


@pytest.fixture(scope="module")
def archive(signing, case, tmp_path_factory) -> Path:
    return save_case(signing, case, tmp_path_factory.mktemp("saved") / "case.zip", FORM, "de")


def read(path: Path, place: Path):
    place.mkdir()
    return read_case(path, place)


def made(place: Path) -> Path:
    place.mkdir()
    return place


def rewritten(archive: Path, path: Path, change) -> Path:
    """The same archive with other members. change: {name: content} -> the same, changed."""
    with zipfile.ZipFile(archive) as old:
        members = change({name: old.read(name) for name in old.namelist()})
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return path


def resealed(content: bytes, key: SigningKey | None = None, **changes) -> bytes:
    """A report with other content under a seal that fits, and under a signature where there is a key."""
    data = {**json.loads(content), **changes}
    data.pop("signature", None)
    data["signed_by"] = None if key is None else key.public
    signature = {} if key is None else {"signature": key.sign(canonical(data))}
    return json.dumps({**data, "seal": seal_of(data), **signature}).encode()


@pytest.mark.parametrize("name", ["case.zip", "a case"])
def test_a_case_is_opened_elsewhere_and_reported(signing, case, folder, tmp_path, name):
    path = save_case(signing, case, tmp_path / name, FORM, "de")
    assert is_case(path) and path.is_dir() == (name == "a case")
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Assistant.from_pretrained(folder)
    opened = open_case(elsewhere, path, tmp_path / "elsewhere")
    assert opened.form == FORM and opened.language == "de" and opened.shown is None
    for before, after in zip(case, opened.case, strict=True):
        assert (after.notes, after.override) == (before.notes, before.override)
        assert after.analysis.source == before.analysis.source
        assert after.original.read_bytes() == before.original.read_bytes()
        said = [(e.face, e.question, e.answer, e.complete) for e in after.analysis.session.exchanges]
        assert said == [(e.face, e.question, e.answer, e.complete) for e in before.analysis.session.exchanges]
    assert opened.case.opened.signer == signing.key.public and opened.case.opened.differences == ()
    report = elsewhere.report(opened.case, opened.form, opened.language)
    assert signing.key.public in report.to_html() and "This case was saved before" in report.to_html()
    assert list(elsewhere.ask(opened.case[1].analysis, "How sure?", 1)), "the conversation goes on"


def test_a_case_opened_can_be_saved_and_opened_again(signing, archive, tmp_path):
    for number in range(2):
        place = tmp_path / str(number)
        place.mkdir()
        opened = open_case(signing, archive, place)
        archive = save_case(
            signing, opened.case, tmp_path / f"again{number}.zip", opened.form, opened.language
        )
    assert opened.case.opened.seal and len(opened.case[1].analysis.session.exchanges) == 1


def test_what_reports_leave_out_is_kept(signing, case, tmp_path):
    """Bug: bystanders were chosen to be blurred and the conversation not to be annexed, and the report on the
    case, opened again, showed both."""
    path = save_case(signing, case, tmp_path / "case.zip", FORM, shown={0: None, 1: {1}})
    opened = open_case(signing, path, made(tmp_path / "place"))
    assert opened.blurred == (frozenset(), {0}) and opened.form.annex is False
    report = signing.report(opened.case, opened.form, opened.language, opened.shown)
    assert [told["blurred"]["faces"] for told in report.files] == [[], [1]]
    assert [told["transcript"] for told in report.files] == [[], []] and "wishes" not in report.data
    whole = json.loads(zipfile.ZipFile(path).read("report.json"))
    assert whole["files"][1]["transcript"] and whole["files"][1]["blurred"]["faces"] == []


def test_answers_stay_those_of_the_model_that_wrote_them(folder, photos, tmp_path):
    """Bug: a case with answers of an endpoint, opened with the local model, said of them that this one wrote
    them, and that nothing was sent anywhere else."""
    with serving(lambda body: ["Ask the examiner."]) as server:
        choice = ModelChoice(checkpoint=folder, llm_url=server.url, llm_model=MODEL, send_image=True)
        remote = Assistant.load(choice)
        case = Case([ExaminedFile(remote.analyse(photos[0]), photos[0])])
        list(remote.ask(case[0].analysis, "Where?"))
    archive, local = save_case(remote, case, tmp_path / "case.zip"), Assistant.from_pretrained(folder)
    for number in range(2):  # the second time saved by one that wrote no answer
        opened = open_case(local, archive, made(tmp_path / str(number)))
        model = local.report(opened.case).data["models"]["language_model"]
        assert model["face_sent"] is True and model["endpoint"] is None
        assert model["words"].startswith(f"Answers taken over from a saved case are by “{MODEL}”, not tuned")
        assert remote.models.chat.host in model["words"] and "Nothing is sent" not in model["words"]
        archive = save_case(local, opened.case, tmp_path / f"{number}.zip")
    list(local.ask(opened.case[0].analysis, "How sure?"))
    report = local.report(opened.case)
    names = [row["answered_by"]["name"] for row in report.files[0]["transcript"]]
    assert names == [MODEL, local.models.chat.name]
    page = report.to_html()
    assert f"Ask the examiner. [by “{MODEL}”, not tuned" in page and page.count("[by “") == 2
    assert report.data["method"][-2].startswith(f"“{MODEL}”, whose answers") and report.to_pdf()


def test_a_case_of_an_older_version_is_opened(signing, case, archive, tmp_path):
    """It tells neither what its reports leave out nor whose each answer is."""

    def older(members):
        data = json.loads(members["report.json"])
        del data["wishes"]
        for told in data["files"]:
            for row in told["transcript"]:
                del row["answered_by"]
        return {**members, "report.json": resealed(json.dumps(data).encode())}

    opened = open_case(signing, rewritten(archive, tmp_path / "old.zip", older), made(tmp_path / "place"))
    assert opened.form.annex is True and opened.shown is None
    (exchange,), (before,) = (of[1].analysis.session.exchanges for of in (opened.case, case))
    assert exchange.answer == before.answer and exchange.author is None


def test_the_last_digits_of_a_figure_are_no_difference(signing, archive, tmp_path):
    """Bug: one digit of one score, another on another processor, and an opened case was said to be examined
    by another program or other models."""

    def change(members):
        told = json.loads(members["report.json"])["files"]
        told[0]["faces"][0]["score"] += 0.0004
        return {**members, "report.json": resealed(members["report.json"], files=told)}

    opened = open_case(signing, rewritten(archive, tmp_path / "a.zip", change), made(tmp_path / "place"))
    assert opened.case.opened.differences == ()


def test_another_model_is_told(signing, archive, tmp_path, tmp_path_factory):
    from kfd.config import Decision
    from tests.tiny.checkpoint import save_tiny_checkpoint

    decision = Decision(real_below=0.9, fake_above=0.999, min_sharpness=0.0, fitted_on="a test")
    other = Assistant.from_pretrained(save_tiny_checkpoint(tmp_path_factory.mktemp("other"), decision))
    place = tmp_path / "place"
    place.mkdir()
    opened: OpenedCase = open_case(other, archive, place)
    first, second = opened.case.opened.differences
    assert "File 1: portrait.jpg: it was saved with “Signs of manipulation”" in first and "File 2" in second
    assert first in other.report(opened.case).to_html()


def test_a_key_named_without_a_signature_is_told(signing, archive, tmp_path):
    """Bug: a changed case that named an examiner's key, and had no signature, was opened like any other."""

    def change(members):
        data = json.loads(resealed(members["report.json"])) | {"signed_by": signing.key.public}
        return {**members, "report.json": json.dumps({**data, "seal": seal_of(data)})}

    with pytest.raises(ValueError, match="CHANGED"):
        read(rewritten(archive, tmp_path / "case.zip", change), tmp_path / "place")


def test_a_changed_file_or_report_is_told(archive, tmp_path):
    portrait = "files/1.jpg"
    other = rewritten(archive, tmp_path / "a.zip", lambda m: {**m, portrait: m[portrait] + b"0"})
    with pytest.raises(ValueError, match=r"CHANGED: files/1\.jpg is not the file"):
        read(other, tmp_path / "a")
    text = rewritten(
        archive, tmp_path / "b.zip", lambda m: {**m, "report.json": m["report.json"].replace(b"May", b"June")}
    )
    with pytest.raises(ValueError, match="CHANGED: this case is not as it was saved"):
        read(text, tmp_path / "b")
    forged = json.loads(zipfile.ZipFile(archive).read("report.json")) | {"finding": "none"}
    sealed = rewritten(
        archive,
        tmp_path / "c.zip",
        lambda m: {**m, "report.json": json.dumps({**forged, "seal": seal_of(forged)})},
    )
    with pytest.raises(ValueError, match="CHANGED"):
        read(sealed, tmp_path / "c")
    own = rewritten(archive, tmp_path / "d.zip", lambda m: {**m, "report.json": resealed(m["report.json"])})
    assert read(own, tmp_path / "d").report.signer is None, (
        "a signature that was taken away is one that is missing"
    )


@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "/etc/evil", "files/../../evil", "files\\..\\evil", "files/3.jpg", "C:evil", "a/b/c"],
)
def test_no_name_inside_chooses_a_place(archive, tmp_path, name):
    path = rewritten(archive, tmp_path / "case.zip", lambda members: {**members, name: b"x"})
    with pytest.raises(ValueError, match="no case as it was saved"):
        read(path, tmp_path / "place")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case.zip", "place"]
    assert list((tmp_path / "place").iterdir()) == []


def test_the_report_s_own_names_choose_none_either(archive, tmp_path):
    def change(members):
        told = json.loads(members["report.json"])["files"]
        told[0]["file"]["name"] = "../../../evil.j/pg"
        return {"report.json": resealed(members["report.json"], files=told), **{
            "files/1": members["files/1.jpg"], "files/2.png": members["files/2.png"]
        }}  # fmt: skip

    case = read(rewritten(archive, tmp_path / "case.zip", change), tmp_path / "place")
    assert [copy.parent for copy in case.files] == [tmp_path / "place"] * 2
    assert member_of(3, "a.MP4") == "files/3.MP4" and member_of(3, "a.b c") == member_of(3, "..") == "files/3"


@pytest.mark.parametrize(
    ("report", "photo", "words"),
    [
        (None, bytes(2**24), "packed in an unusual way"),
        (b" " * (2**24 + 1), None, "packed in an unusual way"),
        (b"[" + b"{}," * (MAX_VALUES // 2) + b"{}]", None, "more values than any report has"),
    ],
    ids=["file", "spaces", "objects"],
)
def test_a_small_archive_fills_neither_disk_nor_memory(archive, tmp_path, report, photo, words):
    """Bug: a zip file of under a megabyte took gigabytes, of a file in it or of the values in its report."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new, zipfile.ZipFile(archive) as old:
        new.writestr("report.json", report or old.read("report.json"))
        if photo:
            new.writestr("files/1.jpg", photo)
    assert bomb.stat().st_size < 2**20
    with pytest.raises(ValueError, match=words):
        read(bomb, tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []
    content = zipfile.ZipFile(archive).read("report.json")
    assert 24 * sum(map(content.count, VALUE_MARKS)) < MAX_VALUES / 20, "what reports hold is far less"


def test_sizes_are_bounded_while_they_are_read(archive, tmp_path, monkeypatch):
    bomb = rewritten(archive, tmp_path / "bomb.zip", lambda m: {**m, "files/1.jpg": bytes(2**24)})
    monkeypatch.setattr(storage, "MAX_SAVED_BYTES", 2**22)
    with pytest.raises(ValueError, match="larger than a saved case has room for"):
        read(bomb, tmp_path / "place")
    assert sum(path.stat().st_size for path in (tmp_path / "place").iterdir()) <= 2**22
    monkeypatch.setattr(storage, "MAX_REPORT_BYTES", 1000)
    with pytest.raises(ValueError, match=r"report\.json is larger"):
        read(archive, tmp_path / "again")


def test_a_list_of_a_million_members_is_not_read(archive, tmp_path):
    path = rewritten(
        archive, tmp_path / "many.zip", lambda m: m | {f"x{n}": b"" for n in range(MAX_FILES + 1)}
    )
    content = archive.read_bytes()
    for name, changed in {
        "many": path.read_bytes(),
        "comment": content[:-2] + b"\x05\x00hello",
        "cut": content[:-50],
        "zip64": content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:],
        "empty": b"PK\x05\x06" + bytes(18),
        "text": b"bread, milk" * 10,
    }.items():
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(ValueError, match="saved case"):
            read(tmp_path / name, tmp_path / f"{name}-place")


@pytest.mark.parametrize("at", [40, 300, -60, -400])
def test_a_damaged_archive_is_one_sentence(archive, tmp_path, at):
    content = bytearray(archive.read_bytes())
    content[at] ^= 0xFF
    (tmp_path / "case.zip").write_bytes(content)
    with pytest.raises(ValueError, match="case") as caught:
        read(tmp_path / "case.zip", tmp_path / "place")
    assert "\n" not in str(caught.value) and type(caught.value) is ValueError


def test_links_in_a_folder_are_not_followed(signing, case, tmp_path):
    folder = save_case(signing, case, tmp_path / "case")
    secret = tmp_path / "secret.jpg"
    secret.write_bytes((folder / "files/1.jpg").read_bytes())
    (folder / "files/1.jpg").unlink()
    (folder / "files/1.jpg").symlink_to(secret)
    with pytest.raises(ValueError, match=r"files/1\.jpg is no file"):
        read(folder, tmp_path / "a")
    (folder / "files/1.jpg").unlink()
    with pytest.raises(ValueError, match=r"files/1\.jpg is missing"):
        read(folder, tmp_path / "b")
    os.mkfifo(folder / "files/1.jpg")
    with pytest.raises(ValueError, match="is no file"):
        read(folder, tmp_path / "c")


def broken_states():
    row = {
        "face": 1, "question": "Where?", "answer": "No.", "complete": True, "failure": "", "remark": "",
        "asked": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    author = {"name": "x", "tuned": True, "endpoint": None, "face_sent": False, "words": ""}
    yield "transcript", [{**row, "face": 99}], "was not found this time"
    yield "transcript", [{**row, "question": "x" * 501}], "question"
    yield "transcript", [{**row, "answer": "x" * 20_001}], "too long"
    yield "transcript", [{**row, "more": 1}], "question"
    yield "transcript", [{**row, "asked": "today"}], "time"
    yield "transcript", [{**row, "answered_by": {"name": "x"}}], "language model"
    yield "transcript", [{**row, "answered_by": author | {"name": "x" * 301}}], "language model"
    yield "transcript", [{**row, "answered_by": author | {"endpoint": "\ud800"}}], "language model"
    yield "transcript", [row] * 1001, "conversation"
    yield "transcript", {"a": row}, "conversation"
    yield "examiner", {"notes": "x" * 4001, "override": None}, "shorten"
    yield "examiner", {"notes": 5, "override": None}, "notes"
    yield "examiner", {"notes": "", "override": {"verdict": "true", "reason": "x"}}, "expected one of"
    yield "examiner", {"notes": "", "override": {"verdict": "real"}}, "verdict of the examiner"
    yield "verdict", "guilty", "none of this program's"
    yield "file", {"name": "\ud800.jpg", "sha256": "x"}, "no name"


@pytest.mark.parametrize(("name", "value", "words"), broken_states())
def test_what_is_taken_over_is_checked(signing, archive, tmp_path, name, value, words):
    def change(members):
        told = json.loads(members["report.json"])["files"]
        told[0][name] = value if name != "file" else {**told[0]["file"], "name": value["name"]}
        return {**members, "report.json": resealed(members["report.json"], files=told)}

    path = rewritten(archive, tmp_path / "case.zip", change)
    (tmp_path / "place").mkdir()
    with pytest.raises(ValueError, match=words):
        open_case(signing, path, tmp_path / "place")


@pytest.mark.parametrize(
    "changes",
    [
        {"court_form": {"examiner": 5}},
        {"court_form": {"evil": "x"}},
        {"language": "xx"},
        {"created": "now"},
        {"wishes": None},
        {"wishes": {"annex": True}},
        {"wishes": {"annex": 1, "blurred": [[], []]}},
        {"wishes": {"annex": True, "blurred": [[]]}},
        {"wishes": {"annex": True, "blurred": [[], ["1"]]}},
        {"not_examined": "all"},
        {"not_examined": [{"name": "a.jpg"}]},
        {"not_examined": [{"name": "\ud800.jpg", "reason": "x"}]},
    ],
)
def test_the_court_form_is_checked_too(signing, archive, tmp_path, changes):
    path = rewritten(
        archive, tmp_path / "case.zip", lambda m: {**m, "report.json": resealed(m["report.json"], **changes)}
    )
    (tmp_path / "place").mkdir()
    with pytest.raises(ValueError, match=r"no saved case|language: expected"):
        open_case(signing, path, tmp_path / "place")


def test_what_cannot_be_saved_says_why(signing, case, photos, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is not kept"):
        save_case(signing, Case.of(case[0].analysis), tmp_path / "a.zip")
    other = tmp_path / "other.jpg"
    other.write_bytes(photos[0].read_bytes() + b"0")
    with pytest.raises(ValueError, match="changed since it was examined"):
        save_case(signing, Case([ExaminedFile(case[0].analysis, other)]), tmp_path / "a.zip")
    with pytest.raises(FileExistsError, match="name a new folder"):
        save_case(signing, case, tmp_path)
    monkeypatch.setattr(storage, "MAX_SAVED_BYTES", 1000)
    with pytest.raises(ValueError, match="has room for"):
        save_case(signing, case, tmp_path / "a.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.jpg"]


def test_other_files_are_no_cases(tmp_path, photos):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "x" * 100)
    assert not any(map(is_case, [tmp_path / "other.zip", tmp_path, photos[0], tmp_path / "nothing"]))
