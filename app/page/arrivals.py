"""Files that come to the page: each examined in its turn, and kept while its case is."""

from __future__ import annotations

import math
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr

from app.assistant import Assistant
from app.cases.case import Case, ExaminedFile
from app.cases.opening import OpenedCase, opening
from app.cases.saved import is_case
from app.intake.examples import EXAMPLE, FORGED_EXAMPLE
from app.intake.line import Line, Place
from app.intake.shelf import MAX_CASE_BYTES, num_bytes
from app.intake.uploads import Uploads, folder_bytes, without_path
from app.page import panels
from app.page.desk import Entry, PageState
from app.page.shown import HIDDEN, Shown, file_shown, files_shown, nothing_yet
from app.wording.case import opened_words
from media.errors import Cancelled

LINE_SECONDS = 1.0  # between two words about the line
KEPT_BYTES = 8 * 2**30  # of the files of all open cases; those that come later cannot be saved with theirs
CASE_AMONG_FILES = "This is a saved case; give it by itself to open it."
PUT_AWAY = (
    "This case is no longer kept: other windows were opened since, or this one lost its connection. "
    "Give the file again; what was found and said is gone."
)

Wanted = Callable[[], bool]


class Arrivals:
    """Examines the files of a case in turn."""

    def __init__(self, assistant: Assistant, uploads: Uploads, line: Line, kept: Path):
        """kept: the folder in which the files of all open cases lie, each case in one of its own."""
        self._assistant, self._uploads, self.line, self._kept = assistant, uploads, line, kept

    def new_case(self, language: str) -> PageState:
        """A case without files."""
        return PageState(language=language, folder=self._kept / secrets.token_hex(16))

    def examine(self, state: PageState, window: str, is_wanted: Wanted, keep: Wanted) -> Iterator[Shown]:
        """Examine what waits in a case, in turn, until nothing does.

        is_wanted: whether anybody still waits. keep: is asked after each file whether the case is still that
        of the window; what comes after a no is late, and not shown. Where this ends early, what waits is
        cancelled.
        """
        entries = state.entries  # a case that is put away has them no longer
        try:
            while (entry := state.next_waiting()) is not None:
                for waiting in entries:
                    self._uploads.hold(waiting.path)
                with self.line.stand(window) as place:
                    for ahead in moves(place, is_wanted):
                        yield _before(state, entry, ahead)
                    if is_wanted():
                        self._read(state, entry, _watch(is_wanted))
                if not keep():
                    break
                yield _after(state, entry)
            if state.is_put_away and is_wanted():  # other cases needed the room
                yield nothing_yet(None, panels.notice(PUT_AWAY))
        except BaseException:  # also where Gradio lets go of a window that is gone
            if is_wanted():
                state.cancel()
            raise
        finally:
            for entry in entries:  # a newer examination goes through those that wait
                if state.is_put_away or not entry.is_waiting:
                    self._forget(entry.path)

    def open(
        self, state: PageState, path: Path, window: str, is_wanted: Wanted, keep: Wanted
    ) -> Iterator[Shown]:
        """Open a saved case in place of an empty one; see `examine`."""
        assert state.folder is not None
        steps = opening(self._assistant, path, state.folder, _watch(is_wanted), check_room)
        step: tuple[int, int] | OpenedCase | None = None
        try:
            state.folder.mkdir(parents=True)
            while not isinstance(step, OpenedCase):
                with self.line.stand(window) as place:
                    for ahead in moves(place, is_wanted):
                        yield nothing_yet(state, panels.waiting(ahead, *(step or ())))
                    if not is_wanted():
                        return
                    step = next(steps)
        except (ValueError, OSError) as error:
            if is_wanted():
                yield nothing_yet(None, panels.notice(_reason(error, path)))
            return
        finally:
            self._forget(path)
            if not isinstance(step, OpenedCase):
                state.put_away()
        state.take(step.case, step.blurred)
        state.form = step.form
        if keep():
            told = "" if step.case.opened is None else " ".join(opened_words(step.case.opened))
            yield file_shown(state)._replace(notice=panels.notice(told), cancel=HIDDEN)

    def _read(self, state: PageState, entry: Entry, watch: Callable[[int, int], None]) -> None:
        """Examine one file; where that fails, note why."""
        path = entry.path
        assert path is not None
        try:
            check_room(state.case)
            if is_case(path):
                raise ValueError(CASE_AMONG_FILES)
            analysis = self._assistant.analyse(path, watch=watch)
            if entry.reason:  # it was cancelled meanwhile
                return
            file = ExaminedFile(analysis, self._keep(state, path))
            state.case.add(file)
            entry.file, entry.face = file, analysis.most_suspicious
            if state.shown is None:
                state.shown = state.entries.index(entry)
        except (ValueError, OSError) as error:
            entry.reason = entry.reason or _reason(error, path)  # it has one where it was cancelled
        finally:
            self._forget(path)

    def _keep(self, state: PageState, path: Path) -> Path | None:
        """Where a file lies from now on, to be saved with its case; None where there is no room."""
        if path in (EXAMPLE, FORGED_EXAMPLE):
            return path
        if state.folder is None or folder_bytes(self._kept) + path.stat().st_size > KEPT_BYTES:
            return None
        place = state.folder / secrets.token_hex(8)
        place.mkdir(parents=True)
        return Path(shutil.move(path, place / path.name))

    def _forget(self, path: Path | None) -> None:
        if path is not None and path not in (EXAMPLE, FORGED_EXAMPLE):
            path.unlink(missing_ok=True)
            self._uploads.forget(path)


def check_room(case: Case) -> None:
    """Raise ValueError where no other file can be taken in, as Case.check_room does, or where the case alone
    takes the memory of all."""
    case.check_room()
    if num_bytes(case) > MAX_CASE_BYTES:
        raise ValueError(
            f"a case has room for {MAX_CASE_BYTES / 2**30:.0f} GiB of pictures on this page; begin another "
            "one for those that follow"
        )


def moves(place: Place, is_wanted: Wanted) -> Iterator[int]:
    """How many are before a place: now, then when it has changed, once a second at most, until 0 or until
    nobody wants the place any more."""
    told, since = -1, -math.inf
    while told and is_wanted():
        ahead = place.ahead()
        if ahead != told and (not ahead or time.monotonic() - since >= LINE_SECONDS):
            told, since = ahead, time.monotonic()
            yield ahead
        else:
            place.wait(LINE_SECONDS)


def _reason(error: ValueError | OSError, path: Path) -> str:
    """Why a file is not examined: what is wrong with it, or with the server's disk."""
    if isinstance(error, OSError):
        return f"The server cannot store this file: {error.strerror}."
    return without_path(str(error), path)


def _watch(is_wanted: Wanted) -> Callable[[int, int], None]:
    """What ends an examination that nobody waits for."""

    def watch(done: int, of: int) -> None:
        if not is_wanted():
            raise Cancelled

    return watch


def _before(state: PageState, entry: Entry, ahead: int) -> Shown:
    """The page while a file is examined, or stands in line."""
    several = (state.entries.index(entry) + 1, len(state.entries)) if state.is_group else ()
    notice = panels.waiting(ahead, *several)
    if state.shown is None:
        return nothing_yet(state, notice)
    return Shown(state=state, notice=notice, cancel=gr.update(visible=True), upload=None)


def _after(state: PageState, entry: Entry) -> Shown:
    """The page when a file is examined. The first with a finding is shown, others in the list alone."""
    done = not any(other.is_waiting for other in state.entries)
    if done and state.shown is None:
        if not state.is_group:
            return nothing_yet(None, panels.notice(entry.reason))
        state.shown = 0
        told = file_shown(state)
    elif entry is state.entry:
        told = file_shown(state)
    else:
        told = Shown(state=state, **files_shown(state, anew=False))
    return told._replace(notice="", cancel=HIDDEN) if done else told
