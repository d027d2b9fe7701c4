"""Handlers of the page: the answers to what a visitor does. app.page.ui binds them to buttons."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.cases.saved import is_case
from app.court import ENTRIES
from app.intake.door import Refused
from app.intake.examples import EXAMPLE, FORGED_EXAMPLE
from app.intake.line import ANSWERED_AT_ONCE, ASKED_AT_ONCE, EXAMINED_AT_ONCE, Line
from app.intake.uploads import Uploads
from app.page import case_panels, panels
from app.page.arrivals import PUT_AWAY, Arrivals, moves
from app.page.desk import PageState
from app.page.exports import (
    COURT_FIELDS,
    court_form,
    narrating,
    opened_elsewhere,
    write_archive,
    write_reports,
)
from app.page.labels import labels
from app.page.shown import HIDDEN, IN_SIGHT, Shown, file_shown, messages, reading
from app.page.windows import Windows
from app.report.sealed import SUFFIXES
from app.wording.translated import ENGLISH, chosen_by
from llm.serving.endpoint import EndpointError

MOST_UPLOADS = 100  # files in one go; those for which a case has no room are told so one by one
UNCHANGED = (gr.skip(),) * 4  # of PageHandlers.ask; a generator that yields nothing would empty the outputs


class PageHandlers:
    """The answers to what a visitor does. What they know of a window lies in `windows`."""

    def __init__(self, assistant: Assistant, folder: Path, windows: Windows | None = None):
        """folder: where uploads and open cases lie, each in a folder of its own."""
        self.assistant = assistant
        self.uploads = Uploads(folder.resolve() / "uploads")
        self._kept = folder.resolve() / "kept"
        self.windows = Windows() if windows is None else windows
        self._languages: dict[str, str] = {}  # that of each window
        self.line = Line(EXAMINED_AT_ONCE)
        self.answers = Line(ASKED_AT_ONCE if assistant.models.chat.host else ANSWERED_AT_ONCE)

    def examine(
        self, paths: str | Sequence[str] | None, request: gr.Request | None = None
    ) -> Iterator[Shown]:
        """Begin a case with uploaded files, or open a saved one; files are examined in turn.

        A window that begins another case meanwhile, or is closed, gets nothing more of this one.
        """
        files = [Path(path) for path in ([paths] if isinstance(paths, str) else paths or ())]
        if not files:
            yield Shown()
            return
        window = window_of(request)
        examination = self.windows.begin(window)
        state = self._arrivals.new_case(self._languages.get(window, ENGLISH))
        if len(files) == 1 and is_case(files[0]):
            yield from self._arrivals.open(state, files[0], *self._waiting(window, examination, state))
            return
        state.enlist(files)
        yield from self._arrivals.examine(state, *self._waiting(window, examination, state))

    # These two are generators themselves, or Gradio would not stream them.
    def example(self, request: gr.Request | None = None) -> Iterator[Shown]:
        """Examine the untouched photograph that comes with Unmask."""
        yield from self.examine(str(EXAMPLE), request)

    def forged_example(self, request: gr.Request | None = None) -> Iterator[Shown]:
        """Examine the same photograph with a forged mouth."""
        yield from self.examine(str(FORGED_EXAMPLE), request)

    def add(
        self, state: PageState | None, paths: Sequence[str] | None, request: gr.Request | None = None
    ) -> Iterator[Shown]:
        """Add uploaded files to the case; see `examine`."""
        files, window = [Path(path) for path in paths or ()], window_of(request)
        if not files or state is None or state.is_put_away:
            yield Shown(note=panels.notice(PUT_AWAY)) if files else Shown()
            return
        if state.enlist(files):
            examination = self.windows.resume(window)
            yield from self._arrivals.examine(state, *self._waiting(window, examination, state))
        else:
            yield Shown(files=case_panels.files_panel(state))

    def cancel(self, state: PageState | None, request: gr.Request | None = None) -> Shown:
        """Examine nothing more; what is examined stays, and the rest stays in the list."""
        window, told = window_of(request), Shown(notice="", cancel=HIDDEN)
        if state is None or not state.entries:  # a saved case that is being opened has none yet
            self.windows.cancel(window, None)
            return told
        state.cancel()
        self.windows.cancel(window, state)
        if state.shown is None and not state.is_group:
            return told._replace(notice=panels.notice(state.entries[0].reason))
        if state.shown is None:
            state.shown = 0
            return file_shown(state)._replace(notice="", cancel=HIDDEN)
        return told._replace(files=case_panels.files_panel(state))

    def choose(
        self, state: PageState | None, event: gr.SelectData, request: gr.Request | None, *said: Any
    ) -> Shown:
        """Turn to another file. said: what stands in the examiner's fields, which is kept first."""
        if not self._is_kept(state, request):
            return Shown(note=panels.notice(PUT_AWAY))
        try:
            state.annotate(*said)
        except ValueError as error:
            return Shown(note=panels.notice(str(error)))
        number = event.index
        known = isinstance(number, int) and 0 <= number < len(state.entries)
        if not known or state.entries[number].is_waiting:
            return Shown()
        state.shown = number
        return file_shown(state)

    def compare(self, state: PageState | None, other: str | None, request: gr.Request | None = None) -> str:
        """Another file beside the one that is shown, "" for none."""
        if not other or not self._is_kept(state, request) or state.analysis is None:
            return ""
        return case_panels.comparison_panel(state, int(other))

    def show_face(
        self, state: PageState | None, face: int, request: gr.Request | None = None
    ) -> tuple[Any, ...]:
        """Turn to another face. Returns (face, verdict, chat, note)."""
        analysis = self._case(state, request)
        if analysis is None:
            return (*(gr.skip(),) * 3, panels.notice(PUT_AWAY))
        state.entry.face = face
        shown = panels.face_panel, panels.verdict_panel
        return (*(panel(analysis, face, state.language) for panel in shown), messages(analysis, face), "")

    def translate(self, state: PageState | None, language: str, request: gr.Request | None = None) -> str:
        """The finding shown in a language, "" for that of the browser; the report will have it as well."""
        if state is None or state.analysis is None:
            return ""
        state.language = _spoken(language, request)
        face = state.face if state.analysis.faces else None
        return panels.translated_panel(state.analysis, face, state.language)

    def speak(
        self, state: PageState | None, language: str | None, request: gr.Request | None = None
    ) -> tuple[Any, ...]:
        """Say the labels of the page in a language, "" for that of the browser.

        Returns (files, photo, faces, face, verdict), then what app.page.labels names.
        """
        language = self._languages[window_of(request)] = _spoken(language, request)
        shown: tuple[Any, ...] = (gr.skip(),) * 5
        said = labels(language)
        if state is not None and state.entry is not None:
            state.language = language
            shown = (case_panels.files_panel(state), *reading(state))
            said["compare"] |= {"choices": case_panels.comparable(state)}
        return (*shown, *(gr.update(**values) for values in said.values()))

    def open(self, state: PageState | None, request: gr.Request | None = None) -> Iterator[tuple[Any, ...]]:
        """Ask the opening question about the shown face, unless it was asked or talked about already."""
        analysis = None if state is None else state.analysis
        face = None if analysis is None or not analysis.faces else state.face
        if face is None or face in state.entry.opened or analysis.session.about(face):
            yield UNCHANGED
        else:
            state.entry.opened.add(face)
            yield from self.ask(state, OPENING_QUESTION, request)

    def ask(
        self, state: PageState | None, question: str, request: gr.Request | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Stream the answer about the shown face. Yields (chat, question box, note, downloads)."""
        if not question.strip():
            yield UNCHANGED
            return
        analysis = self._case(state, request)
        if analysis is None:
            yield gr.skip(), gr.skip(), panels.notice(PUT_AWAY), gr.skip()
            return
        entry, face = state.entry, state.face

        def is_shown() -> bool:
            """The visitor may have turned to another face or file meanwhile."""
            return state.entry is entry and state.face == face

        with entry.answering:
            if not is_shown():
                yield UNCHANGED
                return
            yield messages(analysis, face, question), "", "", gr.update(visible=False)
            try:
                for said, ahead in self._answer(state, analysis, face, question, window_of(request)):
                    if is_shown():
                        waiting = panels.waiting_for_answer(ahead)
                        yield messages(analysis, face, question, said), *(gr.skip(), waiting, gr.skip())
                if is_shown():
                    yield messages(analysis, face), gr.skip(), gr.skip(), gr.skip()  # with its remark
            except (ValueError, EndpointError) as error:  # findings and report are there all the same
                if is_shown():
                    yield messages(analysis, face), question, panels.notice(str(error)), gr.skip()

    def _answer(
        self, state: PageState, analysis: Analysis, face: int, question: str, window: str
    ) -> Iterator[tuple[str, int]]:
        """Yield the answer as far as it is written, and how many are written before it.

        It is begun in its turn, and gives way to those who stand in line for an examination. It ends early
        when the case is put away.
        """
        said = ""

        def is_wanted() -> bool:
            return not state.is_put_away

        pieces = self.assistant.ask(analysis, question, face)
        with closing(pieces), self.answers.stand(window) as place:
            for ahead in moves(place, is_wanted):
                yield said, ahead
            self.line.give_way()
            for piece in pieces if is_wanted() else ():
                said += piece
                yield said, 0
                self.line.give_way()
                if not is_wanted():
                    break

    def narrate(self, state: PageState | None, wanted: bool, request: gr.Request) -> Iterator[str]:
        """Write the narratives of the report to come. Yields the note: how far it is, then nothing."""
        if self._is_kept(state, request):
            state.narrated = wanted
            for far in narrating(self.assistant, state) if wanted else ():
                yield panels.hint(far)
                self.line.give_way()
        yield ""

    def want_narrative(self, state: PageState | None, wanted: bool) -> None:
        """The narrative was ticked or unticked, which ends one that is being written."""
        if state is not None:
            state.narrated = wanted

    def write_report(self, state: PageState | None, request: gr.Request, *fields: Any) -> tuple[Any, ...]:
        """Write one report on the case in its forms. Returns (note, downloads row, one button for each form).

        fields: those of the court form, see `court_form`, then the examiner's, see PageState.annotate.
        """
        unchanged = (gr.skip(),) * (1 + len(SUFFIXES))
        if not self._is_kept(state, request):
            return panels.notice(PUT_AWAY), *unchanged
        self.line.give_way()
        try:
            state.annotate(*fields[COURT_FIELDS:])
            form = court_form(fields[:COURT_FIELDS])
            paths = write_reports(self.assistant, state, state.folder / "report", form)
        except ValueError as error:
            return panels.notice(str(error)), *unchanged
        return ("", gr.update(visible=True), *(gr.update(value=str(path)) for path in paths))

    def save(self, state: PageState | None, request: gr.Request, *fields: Any) -> tuple[Any, ...]:
        """Save the case with its files as a zip file. Returns (note, download). fields: see write_report."""
        if not self._is_kept(state, request):
            return panels.notice(PUT_AWAY), gr.skip()
        try:
            state.annotate(*fields[COURT_FIELDS:])
            form = court_form(fields[:COURT_FIELDS])
            path = write_archive(self.assistant, state, state.folder / "case", form)
        except ValueError as error:
            return panels.notice(str(error)), gr.skip()
        told = opened_elsewhere(path)
        return panels.hint(told) if told else "", gr.update(value=str(path), **IN_SIGHT)

    def court_entries(self, state: PageState | None) -> tuple[Any, ...]:
        """The entries of the court form that a saved case brought, once."""
        form = None if state is None else state.form
        if form is None:
            return (gr.skip(),) * COURT_FIELDS
        state.form = None
        return *(getattr(form, name) for name in ENTRIES), form.annex

    async def receive(self, request: Request) -> Response:
        """Take an upload. Answers a list with its path, as Gradio's own route does."""
        try:
            return JSONResponse(
                [str(path) for path in await self.uploads.take(request, "files", MOST_UPLOADS)]
            )
        except Refused as refused:
            return PlainTextResponse(str(refused), refused.status)

    async def progress(self, request: Request) -> Response:
        """Answer Gradio's question how far an upload is: its own count of bytes is the browser's affair."""
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    def close(self, window: str) -> None:
        """A window was closed: its case goes."""
        self._languages.pop(window, None)
        self.windows.close(window)

    @property
    def _arrivals(self) -> Arrivals:
        return Arrivals(self.assistant, self.uploads, self.line, self._kept)

    def _waiting(self, window: str, examination: object, state: PageState) -> tuple[Any, ...]:
        """What an examination is told of its window: its name, whether it waits, whether the case stays."""
        return (
            window,
            lambda: self.windows.is_awaited(window, examination),
            lambda: self.windows.keep(window, examination, state),
        )

    def _is_kept(self, state: PageState | None, request: gr.Request | None) -> bool:
        """Whether a window has a case, and it was not put away."""
        self.windows.use(window_of(request))
        return state is not None and not state.is_put_away and bool(state.entries)

    def _case(self, state: PageState | None, request: gr.Request | None) -> Analysis | None:
        """What is shown in a window whose case is still kept; None where it was put away."""
        return state.analysis if self._is_kept(state, request) else None


def window_of(request: gr.Request | None) -> str:
    """The name that Gradio gives to a browser window; a new one for a call that comes from none."""
    name = None if request is None else request.session_hash
    return uuid.uuid4().hex if name is None else str(name)


def _spoken(language: str | None, request: gr.Request | None) -> str:
    """The code of the language that a visitor chose, or else of the one that the browser wishes."""
    wished = request.headers.get("accept-language", "") if request is not None else ""
    return language or chosen_by(wished)
