"""A case saved, and opened again: files are examined anew, notes and answers are taken over.

Nothing is left out of a saved case or blurred in it. What reports on it are to leave out stands in it as
"wishes": {"annex": whether they annex the conversation, "blurred": of each file the faces, counted from 1}.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.analysis import Analysis, ChatRecord, Exchange
from app.assistant import MAX_QUESTION, Assistant
from app.cases.blur import faces_left, hidden_faces
from app.cases.case import Case, ExaminedFile, Opened, Override, Unread
from app.cases.saved import SavedCase, read_case, write_case
from app.court import ENTRIES, CourtForm
from app.report.data import finding_data
from app.report.sealed import Report
from app.report.verify import differing
from app.wording.case import difference_words
from app.wording.translated import ENGLISH, sentences
from common.strict_json import fits
from common.verdicts import Verdict
from kfd.video import Watch

MAX_EXCHANGES = 1000  # of a file
MAX_ANSWER = 20_000  # letters
MAX_NAME = 300  # letters of a file's name
MAX_UNREAD = 1000  # files that were not examined
TIME = "%Y-%m-%dT%H:%M:%SZ"
_EXCHANGE = {
    "face": int, "question": str, "answer": str, "complete": bool, "failure": str, "remark": str, "asked": str
}  # fmt: skip
_EXAMINER = {"notes": str, "override": dict[str, str] | None}
_AUTHOR = {"name": str, "tuned": bool, "endpoint": str | None, "face_sent": bool, "words": str}
_WISHES = {"annex": bool, "blurred": tuple[tuple[int, ...], ...]}


@dataclass(frozen=True)
class OpenedCase:
    """A case, and with it the court form and the language that it was saved with.

    blurred: of each file, by its index, the faces to blur in reports.
    """

    case: Case
    form: CourtForm
    language: str
    blurred: tuple[frozenset[int], ...]

    @property
    def shown(self) -> dict[int, frozenset[int] | None] | None:
        """The faces to show, as a report wants them."""
        return faces_left(self.case, dict(enumerate(self.blurred)))


def save_case(
    assistant: Assistant,
    case: Case,
    path: str | Path,
    form: CourtForm | None = None,
    language: str = ENGLISH,
    shown: Mapping[int, Collection[int] | None] | None = None,
) -> Path:
    """Save a case with its files, its whole conversation and the court form; see write_case.

    shown: the faces that its reports are not to blur, see app.report.data.report_data. Nothing is blurred in
    the case: the files themselves are in it.
    """
    form = form or CourtForm()
    faces = [None if shown is None else shown.get(number, ()) for number in range(len(case))]
    blurred = [hidden_faces(file.analysis, left) for file, left in zip(case, faces, strict=True)]
    wishes = {"annex": form.annex, "blurred": blurred}
    report = Report.of(case, assistant.key, replace(form, annex=True), language, wishes=wishes)
    return write_case(report, [file.original for file in case], path)


def open_case(assistant: Assistant, path: str | Path, folder: Path, watch: Watch | None = None) -> OpenedCase:
    """Open a saved case and examine its files again; see `opening`."""
    *_, opened = opening(assistant, path, folder, watch)
    assert isinstance(opened, OpenedCase)
    return opened


def opening(
    assistant: Assistant,
    path: str | Path,
    folder: Path,
    watch: Watch | None = None,
    check_room: Callable[[Case], None] = Case.check_room,
) -> Iterator[tuple[int, int] | OpenedCase]:
    """Open a saved case step by step. Yields which file of how many is examined next, from 1, before each,
    then the case.

    folder: an empty one, into which the files are copied, and where they must stay as long as the case is to
    be saved again. watch: see Assistant.analyse. check_room: raises ValueError where the case can take no
    other file in.
    Raises ValueError that says what is wrong for what is no saved case or was changed, and its subclass
    media.errors.MediaError for a file in it that gives no picture.
    """
    saved = read_case(path, folder)
    (told, form, language), (annex, blurred) = _state(saved), _wishes(saved)
    data, case, differences = saved.report.data, Case(unread=_unread(saved)), []
    for number, (state, copy, hidden) in enumerate(zip(told, saved.files, blurred, strict=True), 1):
        yield number, len(told)
        check_room(case)
        analysis = assistant.analyse(copy, state["file"]["name"], watch)
        _check_faces([*hidden, *(row["face"] for row in state["transcript"])], analysis)
        analysis.session.exchanges.extend(_exchanges(state, data, analysis.models.chat))
        file = ExaminedFile(analysis, copy)
        file.annotate(state["examiner"]["notes"], _override(state["examiner"]["override"]))
        case.add(file)
        if differing({**state, "thresholds": data.get("thresholds")}, finding_data(analysis)):
            differences.append(
                difference_words(number, state["file"]["name"], state["verdict"], analysis.verdict)
            )
    case.opened = Opened(data["created"], data["seal"], saved.report.signer, tuple(differences))
    to_blur = tuple(frozenset(face - 1 for face in faces) for faces in blurred)
    yield OpenedCase(case, replace(form, annex=annex), language, to_blur)


def _state(saved: SavedCase) -> tuple[list[dict[str, Any]], CourtForm, str]:
    """What is taken over out of a report, checked before anything is examined.

    Raises ValueError for anything else than `save_case` writes.
    """
    data = saved.report.data
    entries, language = data.get("court_form"), data.get("language")
    if not (fits(entries, dict[str, str]) and set(entries) <= set(ENTRIES) and isinstance(language, str)):
        raise ValueError("this is no saved case: its court form or its language cannot be read")
    sentences(language)
    _time(data["created"])
    for told in saved.report.files:
        name, examiner, rows = told["file"]["name"], told.get("examiner"), told.get("transcript")
        if not (0 < len(name) <= MAX_NAME and _is_text(name)):
            raise ValueError("this is no saved case: a file in it has no name")
        if not _has(examiner, _EXAMINER) or not (isinstance(rows, list) and len(rows) <= MAX_EXCHANGES):
            raise ValueError("this is no saved case: notes or conversation cannot be read")
        if told["verdict"] not in list(Verdict):
            raise ValueError("this is no saved case: a verdict in it is none of this program's")
        _override(examiner["override"])
        for row in rows:
            if not (_has(row, _EXCHANGE, "answered_by") and len(row["question"]) <= MAX_QUESTION):
                raise ValueError("this is no saved case: a question in it cannot be read")
            if any(len(row[part]) > MAX_ANSWER for part in ("answer", "failure", "remark")):
                raise ValueError("this is no saved case: an answer in it is too long")
            _time(row["asked"])
            _author(row, data)
    return saved.report.files, CourtForm(**entries), language


def _wishes(saved: SavedCase) -> tuple[bool, list[list[int]]]:
    """Whether reports annex the conversation, and of each file the faces, from 1, that they blur.

    A case of an older version tells of neither.
    """
    files = len(saved.report.files)
    told = saved.report.data.get("wishes", {"annex": True, "blurred": [[]] * files})
    if not (_has(told, _WISHES) and len(told["blurred"]) == files):
        raise ValueError("this is no saved case: what its reports are to leave out cannot be read")
    return told["annex"], told["blurred"]


def _author(row: dict[str, Any], data: dict[str, Any]) -> ChatRecord:
    """The language model of an answer; a case of an older version tells of one for all.

    data: of the report.
    """
    models = data.get("models")
    told = row.get("answered_by", models.get("language_model") if isinstance(models, dict) else None)
    if not _has(told, _AUTHOR):
        raise ValueError("this is no saved case: the language model that answered in it cannot be read")
    name, host = told["name"], told["endpoint"] or ""
    if not all(len(text) <= MAX_NAME and _is_text(text) for text in (name, host)):
        raise ValueError("this is no saved case: the language model that answered in it has no name")
    return ChatRecord(name, told["tuned"], host, told["face_sent"])


def _unread(saved: SavedCase) -> list[Unread]:
    """The files that were not examined; a case of an older version tells of none."""
    told = saved.report.data.get("not_examined", [])
    hints = dict.fromkeys((entry.name for entry in fields(Unread)), str)
    if not isinstance(told, list) or len(told) > MAX_UNREAD or not all(_has(item, hints) for item in told):
        raise ValueError("this is no saved case: the files that were not examined cannot be read")
    if any(len(text) > MAX_ANSWER or not _is_text(text) for item in told for text in item.values()):
        raise ValueError("this is no saved case: a file that was not examined has no name")
    return [Unread(**item) for item in told]


def _has(value: object, hints: Mapping[str, Any], perhaps: str | None = None) -> bool:
    """Whether a value is an object with exactly these names and kinds of values. perhaps: one name more."""
    return (
        isinstance(value, dict)
        and value.keys() - {perhaps} == hints.keys()
        and all(fits(value[name], hint) for name, hint in hints.items())
    )


def _is_text(name: str) -> bool:
    """Whether a text has no half of a letter in it, which JSON can hold and no file can."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, TIME).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError("this is no saved case: a time in it cannot be read") from None


def _override(told: dict[str, str] | None) -> Override | None:
    if told is None:
        return None
    if told.keys() != {entry.name for entry in fields(Override)}:
        raise ValueError("this is no saved case: a verdict of the examiner cannot be read")
    return Override(**told)


def _check_faces(numbers: Iterable[int], analysis: Analysis) -> None:
    """Raise ValueError for a face, by its number from 1, that there is not."""
    if any(not 1 <= number <= len(analysis.faces) for number in numbers):
        raise ValueError(
            f"{analysis.source.name}: a face that was asked about, or was to be blurred, was not found this "
            "time; open the case with the version of Unmask that saved it"
        )


def _exchanges(told: dict[str, Any], data: dict[str, Any], chat: ChatRecord) -> list[Exchange]:
    """The questions and answers about one file. data: of the report. chat: what answers from now on."""
    found = []
    for row in told["transcript"]:
        author = _author(row, data)
        values = {name: row[name] for name in _EXCHANGE} | {"face": row["face"] - 1}
        values |= {"asked": _time(row["asked"]), "author": None if author == chat else author}
        found.append(Exchange(**values))
    return found
