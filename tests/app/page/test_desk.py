"""Several files of one window, without a browser: their turn, what is shown, kept and left out."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.assistant import Assistant
from app.cases.case import MAX_FILES
from app.intake.examples import EXAMPLE, FORGED_EXAMPLE
from app.intake.line import Line
from app.page import arrivals
from app.page.desk import CANCELLED, PageState
from app.page.exports import opened_elsewhere
from app.page.handlers import PUT_AWAY, PageHandlers
from app.page.shown import Shown
from app.page.windows import Windows
from kfd.video import Watch
from media.images import ImageSource

WINDOW = SimpleNamespace(session_hash="w", headers={})


@pytest.fixture
def handlers(assistant, tmp_path) -> PageHandlers:
    return PageHandlers(assistant, tmp_path)


@pytest.fixture
def files(tmp_path) -> list[str]:
    """A list of groceries, the example and its forgery, as if they had just been uploaded."""
    place = tmp_path / "given"
    place.mkdir()
    (place / "list.jpg").write_text("bread, milk")
    for path in (EXAMPLE, FORGED_EXAMPLE):
        shutil.copy(path, place)
    return [str(place / name) for name in ("list.jpg", EXAMPLE.name, FORGED_EXAMPLE.name)]


def examined(handlers: PageHandlers, files: list[str]) -> PageState:
    return list(handlers.examine(files, WINDOW))[-1].state


def choose(handlers: PageHandlers, state: PageState, number: int, *said: Any) -> Shown:
    return handlers.choose(state, SimpleNamespace(index=number), WINDOW, *said)


def test_files_are_examined_in_turn_and_one_that_cannot_be_read_stays(handlers, files):
    told = list(handlers.examine(files, WINDOW))
    notices = [shown.notice for shown in told if isinstance(shown.notice, str)]
    assert [f"file {number} of 3" in notices[number - 1] for number in (1, 2, 3)] == [True] * 3
    assert notices[-1] == "" and told[-1].cancel["visible"] is False
    state = told[-1].state
    assert [entry.name for entry in state.entries] == [Path(path).name for path in files]
    assert "not an image" in state.entries[0].reason and state.shown == 1
    assert [state.number_of(entry) for entry in state.entries] == [None, 1, 2], "as the report counts"
    pictures = [shown for shown in told if shown.photo != Shown().photo]
    assert len(pictures) == 1 and EXAMPLE.name in pictures[0].photo, (
        "the first is shown, others do not push it away"
    )
    assert "not examined" in told[-1].files and "signs found" in told[-1].files
    assert not any(Path(path).exists() for path in files)
    assert "not an image" in choose(handlers, state, 0).verdict


def test_one_file_alone_stands_in_no_list(handlers, files):
    shown = list(handlers.examine(files[1], WINDOW))[-1]
    assert shown.files == "" and shown.compare["visible"] is False and shown.notice == ""


def test_conversation_notes_and_verdict_stay_with_their_file(handlers, files):
    state = examined(handlers, files[1:])
    list(handlers.ask(state, "Where?", WINDOW))
    second = choose(handlers, state, 1, "0", "Sent by <b>a reader</b>.", "real", "An old negative.", [0])
    assert FORGED_EXAMPLE.name in second.photo and second.chat == [] and second.notes == second.own == ""
    assert "examiner: no signs" in second.files and "signs found" in second.files
    first = choose(handlers, state, 0, "1", "", "", "", [])
    assert first.chat[0]["content"] == "Where?" and first.own == "real"
    assert (first.notes, first.reason) == ("Sent by <b>a reader</b>.", "An old negative.")
    assert first.blurred["value"] == [0]


@pytest.mark.parametrize(
    ("verdict", "reason", "words"), [("real", " ", "needs a reason"), ("", "Why not?", "without a verdict")]
)
def test_a_verdict_without_a_reason_holds_the_visitor(handlers, files, verdict, reason, words):
    state = examined(handlers, files[1:])
    told = choose(handlers, state, 1, "0", "n", verdict, reason, [])
    assert words in told.note and state.shown == 0 and state.entries[0].file.notes == ""
    assert words in handlers.write_report(state, WINDOW, *[None] * 6, "0", "n", verdict, reason, [])[0]


def test_fields_that_came_late_are_those_of_their_own_file(handlers, files):
    """Notes on the first file stood in the browser when the second was shown already."""
    state = examined(handlers, files[1:])
    choose(handlers, state, 1, "0", "on the first", "", "", [])
    choose(handlers, state, 0, "0", "on the first, more", "", "", [])
    assert [entry.file.notes for entry in state.entries] == ["on the first, more", ""]
    choose(handlers, state, 1, None, None, None, None, None)
    assert state.entries[0].file.notes == "on the first, more", "fields that were never drawn say nothing"


def test_one_report_tells_of_all_files(handlers, files):
    state = examined(handlers, files)
    said = ("1", "A note.", "real", "An old negative.", [0])
    note, _, *buttons = handlers.write_report(state, WINDOW, *[None] * 6, *said)
    report = json.loads(Path(buttons[2]["value"]).read_text(encoding="utf-8"))
    assert note == "" and [told["file"]["name"] for told in report["files"]] == [
        EXAMPLE.name,
        FORGED_EXAMPLE.name,
    ]
    (left,) = report["not_examined"]
    assert left["name"] == "list.jpg" and "not an image" in left["reason"]
    assert "Not examined: list.jpg." in report["finding"]
    first, second = report["files"]
    assert first["examiner"]["notes"] == "A note." and first["examiner"]["override"]["verdict"] == "real"
    assert (
        first["verdict"] == "fake" and first["blurred"]["faces"] == [1] and second["blurred"]["faces"] == []
    )


def test_two_files_stand_side_by_side(handlers, files):
    state = examined(handlers, files)
    assert [value for _, value in choose(handlers, state, 1).compare["choices"]] == ["", "2"]
    compared = handlers.compare(state, "2", WINDOW)
    assert compared.count('class="lens"') == 2 and compared.count("data-linked") == 1
    assert handlers.compare(state, "", WINDOW) == handlers.compare(None, "2", WINDOW) == ""


def test_a_case_is_saved_and_opened_again(handlers, files, tmp_path):
    state = examined(handlers, files)
    list(handlers.ask(state, "Where?", WINDOW))
    form = ["3 O 12/26", None, None, None, None, False]
    note, button = handlers.save(state, WINDOW, *form, "1", "A note.", "real", "An old negative.", [])
    assert note == "" and button["elem_classes"] == []
    archive = shutil.copy(button["value"], tmp_path / "given" / "case.zip")
    told = list(handlers.examine([archive], WINDOW))
    assert "file 2 of 2" in told[-2].notice and "saved before" in told[-1].notice
    again = told[-1].state
    assert again is not state and state.is_put_away
    assert [entry.name for entry in again.entries] == [EXAMPLE.name, FORGED_EXAMPLE.name, "list.jpg"]
    assert "not an image" in choose(handlers, again, 2).verdict and choose(handlers, again, 0).own == "real"
    assert (told[-1].notes, told[-1].own) == ("A note.", "real") and told[-1].chat[0]["content"] == "Where?"
    entries = handlers.court_entries(again)
    assert entries[0] == "3 O 12/26"
    assert handlers.court_entries(again)[0] != "3 O 12/26", "what is written there since is not overwritten"
    assert handlers.save(again, WINDOW, *entries)[0] == "", "it can be saved again"


def test_what_the_report_leaves_out_is_kept_with_a_case(handlers, files, tmp_path):
    """Bug: a bystander was ticked and the annex unticked, the case saved and opened: the next report showed
    the bystander and annexed the conversation."""
    state = examined(handlers, files[1:])
    list(handlers.ask(state, "Where?", WINDOW))
    _, button = handlers.save(state, WINDOW, *[None] * 5, False, "1", None, None, None, [0])
    archive = shutil.copy(button["value"], tmp_path / "given" / "case.zip")
    again = list(handlers.examine([archive], WINDOW))[-1].state
    assert choose(handlers, again, 1).blurred["value"] == [0]
    assert choose(handlers, again, 0).blurred["value"] == []
    entries = handlers.court_entries(again)
    assert entries[-1] is False
    _, _, *buttons = handlers.write_report(again, WINDOW, *entries)
    report = json.loads(Path(buttons[2]["value"]).read_text(encoding="utf-8"))
    assert [told["blurred"]["faces"] for told in report["files"]] == [[], [1]]
    assert all(not told["transcript"] for told in report["files"])


def test_a_saved_case_that_this_page_could_not_take_says_how_to_open_it(handlers, files):
    state = examined(handlers, files[1:2])
    archive = Path(handlers.save(state, WINDOW)[1]["value"])
    assert opened_elsewhere(archive) == ""
    told = opened_elsewhere(archive, most=archive.stat().st_size - 1)
    assert f"python -m app.report {archive.name} -o report.pdf" in told and str(archive.parent) not in told


def test_the_choice_of_another_file_is_in_the_language_of_the_page(handlers, files):
    state = examined(handlers, files)

    def compare(state: PageState | None) -> dict[str, Any]:
        told = handlers.speak(state, "de", WINDOW)
        return next(update for update in told[5:] if update.get("label") == "Vergleichen mit")

    assert compare(state)["choices"][0] == ("Vergleichen mit …", "") and len(compare(state)["choices"]) == 2
    assert "choices" not in compare(None)


def test_a_changed_case_is_a_sentence(handlers, files, tmp_path):
    state = examined(handlers, files[1:])
    path = Path(shutil.copy(handlers.save(state, WINDOW)[1]["value"], tmp_path / "given" / "case.zip"))
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    told = list(handlers.examine([str(path)], WINDOW))[-1]
    assert told.state is None and "notice" in told.notice and str(tmp_path) not in told.notice
    assert not path.exists() and not any((tmp_path / "kept").iterdir())


def test_a_saved_case_among_files_says_how_to_open_it(handlers, files, tmp_path):
    state = examined(handlers, files[1:2])
    path = shutil.copy(handlers.save(state, WINDOW)[1]["value"], tmp_path / "given" / "case.zip")
    shutil.copy(EXAMPLE, tmp_path / "given")
    state = examined(handlers, [str(tmp_path / "given" / EXAMPLE.name), path])
    assert state.entries[1].reason == arrivals.CASE_AMONG_FILES


def test_files_are_added_to_a_case(handlers, files):
    state = examined(handlers, files[1:2])
    told = list(handlers.add(state, files[2:], WINDOW))[-1]
    assert len(state.case) == 2 and state.shown == 0 and FORGED_EXAMPLE.name in told.files
    assert PUT_AWAY[:20] in list(handlers.add(None, files[:1], WINDOW))[-1].note


def test_files_without_room_are_told_so(handlers, files, monkeypatch):
    monkeypatch.setattr("app.cases.case.MAX_FILES", 1)
    state = examined(handlers, files[1:])
    assert MAX_FILES > 1 and len(state.case) == 1 and "has room for 1 files" in state.entries[1].reason


def test_one_case_does_not_take_the_memory_of_all(handlers, files, tmp_path, monkeypatch):
    """Bug: one case of large photographs grew to four times the memory that all cases together may take."""
    state = examined(handlers, files[1:])
    path = shutil.copy(handlers.save(state, WINDOW)[1]["value"], tmp_path / "given" / "case.zip")
    monkeypatch.setattr(arrivals, "MAX_CASE_BYTES", 1)
    shutil.copy(FORGED_EXAMPLE, files[2])
    list(handlers.add(state, files[2:], WINDOW))
    assert len(state.case) == 2 and "GiB of pictures" in state.entries[2].reason
    assert "GiB of pictures" in list(handlers.examine([path], WINDOW))[-1].notice


def test_files_go_with_their_case(handlers, files, tmp_path, monkeypatch):
    state = examined(handlers, files[1:])
    kept = [entry.file.original for entry in state.entries]
    assert all(path.is_file() for path in kept)
    handlers.close("w")
    assert not any(path.exists() for path in kept) and not list((tmp_path / "kept").iterdir())
    monkeypatch.setattr(arrivals, "KEPT_BYTES", 10)
    shutil.copy(EXAMPLE, tmp_path / "given")
    state = examined(handlers, [str(tmp_path / "given" / EXAMPLE.name)])
    assert "is not kept, so it cannot be saved" in handlers.save(state, WINDOW)[0]
    list(handlers.example(WINDOW))
    handlers.close("w")
    assert EXAMPLE.is_file()


class Slow:
    """The assistant, except that the forged example waits until it is let go on."""

    def __init__(self, assistant: Assistant):
        self._assistant, self.models = assistant, assistant.models
        self.begun, self.go_on = threading.Event(), threading.Event()

    def analyse(self, path: ImageSource, watch: Watch | None = None):
        if Path(path).name == FORGED_EXAMPLE.name:
            self.begun.set()
            assert self.go_on.wait(60)
        return self._assistant.analyse(path, watch=watch)


@pytest.fixture
def slow(assistant, tmp_path) -> PageHandlers:
    handlers = PageHandlers(Slow(assistant), tmp_path, Windows())
    handlers.line = Line(2)
    return handlers


def begun(handlers: PageHandlers, files: list[str]) -> tuple[threading.Thread, list[Shown]]:
    told: list[Shown] = []
    thread = threading.Thread(target=lambda: told.extend(handlers.examine(files, WINDOW)))
    thread.start()
    assert handlers.assistant.begun.wait(60)
    return thread, told


def test_what_is_examined_stays_when_the_rest_is_cancelled(slow, files):
    thread, told = begun(slow, [files[1], files[2], files[0]])
    state = told[-1].state
    shown = slow.cancel(state, WINDOW)
    assert shown.cancel["visible"] is False and shown.files.count("not examined") == 2
    slow.assistant.go_on.set()
    thread.join(60)
    assert [entry.reason for entry in state.entries] == ["", CANCELLED, CANCELLED]
    assert len(state.case) == 1 and "1 · " in shown.files and told[-1].photo == Shown().photo
    assert not any(Path(path).exists() for path in files)
    assert len(slow.windows) == 1 and not state.is_put_away


def test_a_list_stays_where_nothing_was_examined_when_it_was_cancelled(slow, files):
    """Bug: the list stayed on the screen, and every click on it said that the case was no longer kept."""
    thread, told = begun(slow, [files[2], files[0]])
    state = told[-1].state
    assert slow.cancel(state, WINDOW).files.count("not examined") == 2
    slow.assistant.go_on.set()
    thread.join(60)
    assert not state.is_put_away and choose(slow, state, 1).verdict.count(CANCELLED) == 1


def test_files_added_after_a_cancelled_examination_are_not_lost(slow, files):
    """Bug: the examination that was cancelled deleted them at its end, or the whole case."""
    thread, told = begun(slow, files[2:])
    state = told[-1].state
    slow.cancel(state, WINDOW)
    adding = slow.add(state, [files[1], files[0]], WINDOW)
    next(adding)
    slow.assistant.go_on.set()
    thread.join(60)
    list(adding)
    assert [entry.name for entry in state.entries if entry.file] == [EXAMPLE.name]
    assert "not an image" in state.entries[2].reason and not state.is_put_away
    assert not any(Path(path).exists() for path in files)


def test_an_examination_that_breaks_off_leaves_the_case_at_work(handlers, files):
    """Bug: files that were added afterwards were never examined, and the page said that they were."""
    breaking = handlers.examine([files[1], files[0]], WINDOW)
    state = next(breaking).state
    breaking.close()
    assert [entry.reason for entry in state.entries] == [CANCELLED] * 2
    told = list(handlers.add(state, files[2:], WINDOW))[-1]
    assert state.entries[2].file is not None and FORGED_EXAMPLE.name in told.photo
    assert not any(Path(path).exists() for path in files)


def test_a_disk_that_takes_nothing_is_a_sentence(handlers, files, tmp_path):
    """Bug: the page stood at "Examining", and nothing that was added later was examined."""
    (tmp_path / "kept").write_text("a file where a folder should be")
    state = list(handlers.examine(files[1:], WINDOW))[-1].state
    assert all("cannot store this file: Not a directory." in entry.reason for entry in state.entries)
    (tmp_path / "kept").unlink()
    shutil.copy(EXAMPLE, files[1])
    list(handlers.add(state, [files[1]], WINDOW))
    assert state.entries[2].file is not None


def test_a_case_that_others_push_out_while_it_is_examined_says_so(assistant, tmp_path, files):
    """Bug: the page stood at "Examining" for ever."""
    handlers = PageHandlers(assistant, tmp_path, Windows(max_windows=1))
    examining = handlers.examine(files[1:], WINDOW)
    state = next(examining).state
    while not state.case.files:
        next(examining)
    list(handlers.example(SimpleNamespace(session_hash="other", headers={})))
    last = list(examining)[-1]
    assert state.is_put_away and last.state is None and PUT_AWAY in last.notice


def test_a_newer_case_is_never_replaced_by_the_rest_of_an_older_one(slow, files):
    thread, told = begun(slow, files[1:])
    older, before = told[-1].state, len(told)
    newer = list(slow.example(WINDOW))[-1].state
    slow.assistant.go_on.set()
    thread.join(60)
    assert len(told) == before, "nothing more of the older case was shown"
    assert older.is_put_away and older.analysis is None and newer.analysis is not None


def test_files_that_come_meanwhile_are_examined_with_the_others(slow, files, tmp_path):
    thread, told = begun(slow, files[1:])
    state = told[-1].state
    (waiting,) = slow.add(state, files[:1], WINDOW)
    assert waiting.files.count("disabled") == 2
    slow.assistant.go_on.set()
    thread.join(60)
    assert "not an image" in state.entries[2].reason and told[-1].notice == "" and not state.busy
