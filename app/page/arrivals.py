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
from app.cases.case import ExaminedFile
from app.cases.opening import OpenedCase, opening
from app.cases.saved import is_case
from app.intake.examples import EXAMPLE, FORGED_EXAMPLE
from app.intake.line import Line, Place
from app.intake.uploads import Uploads, without_path
from app.page import panels
from app.page.desk import Entry, PageState
from app.page.shown import HIDDEN, Shown, file_shown, files_shown, nothing_yet
from app.wording.case import opened_words
from media.errors import Cancelled

LINE_SECONDS = 1.0  # between two words about the line
KEPT_BYTES = 8 * 2**30  # of the files of all open cases; those that come later cannot be saved with theirs
CASE_AMONG_FILES = "This is a saved case; give it by itself to open it."

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
        of the window; what comes after a no is late, and not shown.
        """
        entries = state.entries  # a case that is put away has them no longer
        try:
            while (entry := state.next_waiting()) is not None:
                for waiting in entries:
                    self._uploads.hold(waiting.path)
                with self.line.stand(window) as place:
                    for ahead in moves(place, is_wanted):
                        yield _before(state, entry, ahead)
                    if not is_wanted():
                        return
                    self._read(state, entry, _watch(is_wanted))
                if not keep():
                    return
                yield _after(state, entry)
        finally:
            for entry in entries:
                self._forget(entry.path)

    def open(
        self, state: PageState, path: Path, window: str, is_wanted: Wanted, keep: Wanted
    ) -> Iterator[Shown]:
        """Open a saved case in place of an empty one; see `examine`."""
        assert state.folder is not None
        state.folder.mkdir(parents=True)
        steps = opening(self._assistant, path, state.folder, _watch(is_wanted))
        step: tuple[int, int] | OpenedCase | None = None
        try:
            while not isinstance(step, OpenedCase):
                with self.line.stand(window) as place:
                    for ahead in moves(place, is_wanted):
                        yield nothing_yet(state, panels.waiting(ahead, *(step or ())))
                    if not is_wanted():
                        return state.put_away()
                    step = next(steps)
        except ValueError as error:
            state.put_away()
            if is_wanted():
                yield nothing_yet(None, panels.notice(without_path(str(error), path)))
            return
        finally:
            self._forget(path)
        state.take(step.case)
        state.form = step.form
        if keep():
            told = "" if step.case.opened is None else " ".join(opened_words(step.case.opened))
            yield file_shown(state)._replace(notice=panels.notice(told), cancel=HIDDEN)

    def _read(self, state: PageState, entry: Entry, watch: Callable[[int, int], None]) -> None:
        """Examine one file; where that fails, note why."""
        path = entry.path
        assert path is not None
        try:
            state.case.check_room()
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
        except ValueError as error:  # also a MediaError
            entry.reason = entry.reason or without_path(str(error), path)  # it has one where it was cancelled
        finally:
            self._forget(path)

    def _keep(self, state: PageState, path: Path) -> Path | None:
        """Where a file lies from now on, to be saved with its case; None where there is no room."""
        if path in (EXAMPLE, FORGED_EXAMPLE):
            return path
        kept = sum(file.stat().st_size for file in self._kept.rglob("*") if file.is_file())
        if state.folder is None or kept + path.stat().st_size > KEPT_BYTES:
            return None
        place = state.folder / secrets.token_hex(8)
        place.mkdir(parents=True)
        return Path(shutil.move(path, place / path.name))

    def _forget(self, path: Path | None) -> None:
        if path is not None and path not in (EXAMPLE, FORGED_EXAMPLE):
            path.unlink(missing_ok=True)
            self._uploads.forget(path)


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
