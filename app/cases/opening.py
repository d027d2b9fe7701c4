"""A case saved, and opened again: files are examined anew, notes and answers are taken over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.analysis import Analysis, Exchange
from app.assistant import MAX_QUESTION, Assistant
from app.cases.case import Case, ExaminedFile, Opened, Override, Unread
from app.cases.saved import SavedCase, read_case, write_case
from app.court import ENTRIES, CourtForm
from app.report.data import finding_data
from app.report.verify import figures
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


@dataclass(frozen=True)
class OpenedCase:
    """A case, and with it the entries of the court form and the language that it was saved with."""

    case: Case
    form: CourtForm
    language: str


def save_case(
    assistant: Assistant,
    case: Case,
    path: str | Path,
    form: CourtForm | None = None,
    language: str = ENGLISH,
) -> Path:
    """Save a case with its files, its whole conversation and the entries of the court form; see write_case.

    Nothing in it is blurred: the files themselves are in it.
    """
    entries = {name: getattr(form or CourtForm(), name) for name in ENTRIES}
    report = assistant.report(case, CourtForm(**entries), language)
    return write_case(report, [file.original for file in case], path)


def open_case(assistant: Assistant, path: str | Path, folder: Path, watch: Watch | None = None) -> OpenedCase:
    """Open a saved case and examine its files again; see `opening`."""
    *_, opened = opening(assistant, path, folder, watch)
    assert isinstance(opened, OpenedCase)
    return opened


def opening(
    assistant: Assistant, path: str | Path, folder: Path, watch: Watch | None = None
) -> Iterator[tuple[int, int] | OpenedCase]:
    """Open a saved case step by step. Yields which file of how many is examined next, from 1, before each,
    then the case.

    folder: an empty one, into which the files are copied, and where they must stay as long as the case is to
    be saved again. watch: see Assistant.analyse.
    Raises ValueError that says what is wrong for what is no saved case or was changed, and its subclass
    media.errors.MediaError for a file in it that gives no picture.
    """
    saved = read_case(path, folder)
    told, form, language = _state(saved)
    case, differences = Case(unread=_unread(saved)), []
    for number, (state, copy) in enumerate(zip(told, saved.files, strict=True), 1):
        yield number, len(told)
        analysis = assistant.analyse(copy, state["file"]["name"], watch)
        analysis.session.exchanges.extend(_exchanges(state, analysis))
        file = ExaminedFile(analysis, copy)
        file.annotate(state["examiner"]["notes"], _override(state["examiner"]["override"]))
        case.add(file)
        again = finding_data(analysis)
        if figures({**state, "thresholds": saved.report.data.get("thresholds")}) != figures(again):
            differences.append(
                difference_words(number, state["file"]["name"], state["verdict"], analysis.verdict)
            )
    data = saved.report.data
    case.opened = Opened(data["created"], data["seal"], saved.report.signer, tuple(differences))
    yield OpenedCase(case, form, language)


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
            if not (_has(row, _EXCHANGE) and len(row["question"]) <= MAX_QUESTION):
                raise ValueError("this is no saved case: a question in it cannot be read")
            if any(len(row[part]) > MAX_ANSWER for part in ("answer", "failure", "remark")):
                raise ValueError("this is no saved case: an answer in it is too long")
            _time(row["asked"])
    return saved.report.files, CourtForm(**entries), language


def _unread(saved: SavedCase) -> list[Unread]:
    """The files that were not examined; a case of an older version tells of none."""
    told = saved.report.data.get("not_examined", [])
    hints = dict.fromkeys((entry.name for entry in fields(Unread)), str)
    if not isinstance(told, list) or len(told) > MAX_UNREAD or not all(_has(item, hints) for item in told):
        raise ValueError("this is no saved case: the files that were not examined cannot be read")
    if any(len(text) > MAX_ANSWER or not _is_text(text) for item in told for text in item.values()):
        raise ValueError("this is no saved case: a file that was not examined has no name")
    return [Unread(**item) for item in told]


def _has(value: object, hints: Mapping[str, Any]) -> bool:
    """Whether a value is an object with exactly these names and kinds of values."""
    return (
        isinstance(value, dict)
        and value.keys() == hints.keys()
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


def _exchanges(told: dict[str, Any], analysis: Analysis) -> list[Exchange]:
    """The questions and answers about one file. Raises ValueError for a face that there is not."""
    rows = told["transcript"]
    if any(not 1 <= row["face"] <= len(analysis.faces) for row in rows):
        raise ValueError(
            f"{told['file']['name']}: questions were asked about a face that was not found this time; open "
            "the case with the version of Unmask that saved it"
        )
    return [
        Exchange(
            **{name: row[name] for name in _EXCHANGE if name not in ("face", "asked")},
            face=row["face"] - 1,
            asked=_time(row["asked"]),
        )
        for row in rows
    ]
