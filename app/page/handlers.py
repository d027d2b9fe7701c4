"""Handlers of the page: the answers to what a visitor does. app.page.ui binds them to buttons."""

from __future__ import annotations

import hashlib
import math
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.court import CourtForm
from app.intake.door import Refused
from app.intake.examples import EXAMPLE, FORGED_EXAMPLE
from app.intake.line import ANSWERED_AT_ONCE, ASKED_AT_ONCE, EXAMINED_AT_ONCE, Line, Place
from app.intake.uploads import Uploads, without_path
from app.page import panels
from app.page.labels import labels
from app.page.windows import PageState, Windows
from app.report.sealed import SUFFIXES
from app.wording.answers import answer_words
from app.wording.translated import ENGLISH, chosen_by
from llm.serving.endpoint import EndpointError
from media.errors import MediaError

LINE_SECONDS = 1.0  # between two words about the line
PUT_AWAY = (
    "This case is no longer kept: other windows were opened since, or this one stood idle. "
    "Give the file again; what was found and said is gone."
)
UNCHANGED = (gr.skip(),) * 4  # of PageHandlers.ask; a generator that yields nothing would empty the outputs

Messages = list[dict[str, str]]


class PageHandlers:
    """The answers to what a visitor does. What they know of a window lies in `windows`."""

    def __init__(self, assistant: Assistant, folder: Path, windows: Windows | None = None):
        """folder: where uploads lie and reports are written, in one subfolder for each window."""
        self.assistant = assistant
        self.folder = folder
        self.uploads = Uploads(folder.resolve() / "uploads")
        self.windows = Windows() if windows is None else windows
        self._languages: dict[str, str] = {}  # that of each window
        self.line = Line(EXAMINED_AT_ONCE)
        self.answers = Line(ASKED_AT_ONCE if assistant.models.chat.host else ANSWERED_AT_ONCE)

    def examine(self, path: str | None, request: gr.Request | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine an uploaded file, then forget the file.

        Yields (state, notice, result group, photo, faces, face, verdict, chat, conversation, downloads). A
        window that begins another examination meanwhile, or is closed, gets nothing more of this one.
        """
        if path is None:
            yield (gr.skip(),) * 10
            return
        window = window_of(request)
        examination = self.windows.begin(window)

        def is_wanted() -> bool:
            return self.windows.is_awaited(window, examination)

        try:
            with self.line.stand(window) as place:
                for ahead in _moves(place, is_wanted):
                    yield _instead(panels.waiting(ahead))
                if not is_wanted():
                    return
                analysis = self.assistant.analyse(path)
                first = analysis.most_suspicious  # questions are about the face shown
                state = PageState(analysis, first, language=self._languages.get(window, ENGLISH))
                result = _result(state, analysis)
            if self.windows.keep(window, examination, state):
                yield result
        except MediaError as error:
            if is_wanted():
                yield _instead(panels.notice(without_path(str(error), Path(path))))
        finally:
            if Path(path) not in (EXAMPLE, FORGED_EXAMPLE):
                Path(path).unlink(missing_ok=True)
                self.uploads.forget(Path(path))

    # These two are generators themselves, or Gradio would not stream them.
    def example(self, request: gr.Request | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine the untouched photograph that comes with Unmask."""
        yield from self.examine(str(EXAMPLE), request)

    def forged_example(self, request: gr.Request | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine the same photograph with a forged mouth."""
        yield from self.examine(str(FORGED_EXAMPLE), request)

    def show_face(
        self, state: PageState | None, face: int, request: gr.Request | None = None
    ) -> tuple[Any, ...]:
        """Turn to another face. Returns (face, verdict, chat, note)."""
        analysis = self._case(state, request)
        if analysis is None:
            return (*(gr.skip(),) * 3, panels.notice(PUT_AWAY))
        state.face = face
        shown = panels.face_panel, panels.verdict_panel
        return (*(panel(analysis, face, state.language) for panel in shown), _messages(analysis, face), "")

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

        Returns (photo, faces, face, verdict), then what app.page.labels names.
        """
        language = self._languages[window_of(request)] = _spoken(language, request)
        shown: tuple[Any, ...] = (gr.skip(),) * 4
        if state is not None and state.analysis is not None:
            state.language = language
            shown = _panels(state, state.analysis)
        return (*shown, *(gr.update(**values) for values in labels(language).values()))

    def open(self, state: PageState | None, request: gr.Request | None = None) -> Iterator[tuple[Any, ...]]:
        """Ask the opening question about the shown face, unless it was asked or talked about already."""
        analysis = None if state is None else state.analysis
        face = None if analysis is None or not analysis.faces else state.face
        if face is None or face in state.opened or analysis.session.about(face):
            yield UNCHANGED
        else:
            state.opened.add(face)
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
        face = state.face
        with state.answering:
            if state.face != face:
                yield UNCHANGED
                return
            yield _messages(analysis, face, question), "", "", gr.update(visible=False)
            try:
                for said, ahead in self._answer(state, analysis, face, question, window_of(request)):
                    if state.face == face:  # the visitor may have turned to another face meanwhile
                        waiting = panels.waiting_for_answer(ahead)
                        yield _messages(analysis, face, question, said), *(gr.skip(), waiting, gr.skip())
                if state.face == face:
                    yield _messages(analysis, face), gr.skip(), gr.skip(), gr.skip()  # with its remark
            except (ValueError, EndpointError) as error:  # findings and report are there all the same
                if state.face == face:
                    yield _messages(analysis, face), question, panels.notice(str(error)), gr.skip()

    def _answer(
        self, state: PageState, analysis: Analysis, face: int, question: str, window: str
    ) -> Iterator[tuple[str, int]]:
        """Yield the answer as far as it is written, and how many are written before it.

        It is begun in its turn, and gives way to those who stand in line for an examination. It ends early
        when the case is put away.
        """
        said = ""

        def is_wanted() -> bool:
            return state.analysis is analysis

        pieces = self.assistant.ask(analysis, question, face)
        with closing(pieces), self.answers.stand(window) as place:
            for ahead in _moves(place, is_wanted):
                yield said, ahead
            self.line.give_way()
            for piece in pieces if is_wanted() else ():
                said += piece
                yield said, 0
                self.line.give_way()
                if not is_wanted():
                    break

    def write_report(
        self, state: PageState | None, request: gr.Request, *entries: str | bool | None
    ) -> tuple[Any, ...]:
        """Write the report in its forms. Returns (note, downloads row, one button for each form).

        entries: see `court_form`.
        """
        analysis = self._case(state, request)
        if analysis is None:
            return (panels.notice(PUT_AWAY), *(gr.skip(),) * (1 + len(SUFFIXES)))
        try:
            form = court_form(entries)
        except ValueError as error:
            return (panels.notice(str(error)), *(gr.skip(),) * (1 + len(SUFFIXES)))
        self.line.give_way()
        folder = self._folder_of(request)
        shutil.rmtree(folder, ignore_errors=True)  # an earlier report of this window
        folder.mkdir(parents=True, exist_ok=True)
        if not analysis.models.chat.host:  # nothing is sent anywhere that was not asked
            self.assistant.narrate(analysis, most=1)
        report = self.assistant.report(analysis, form, state.language)
        name = "unmask-" + report.data["seal"][:12]
        paths = [report.save(folder / f"{name}{suffix}") for suffix in SUFFIXES]
        return ("", gr.update(visible=True), *(gr.update(value=str(path)) for path in paths))

    async def receive(self, request: Request) -> Response:
        """Take an upload. Answers a list with its path, as Gradio's own route does."""
        try:
            return JSONResponse([str(path) for path in await self.uploads.take(request, "files")])
        except Refused as refused:
            return PlainTextResponse(str(refused), refused.status)

    async def progress(self, request: Request) -> Response:
        """Answer Gradio's question how far an upload is: its own count of bytes is the browser's affair."""
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    def close(self, window: str) -> None:
        """A window was closed: its case and its reports go."""
        self._languages.pop(window, None)
        self.windows.close(window)
        shutil.rmtree(self._folder(window), ignore_errors=True)

    def leave(self, request: gr.Request) -> None:
        """The same, told by Gradio."""
        self.close(window_of(request))

    def _case(self, state: PageState | None, request: gr.Request | None) -> Analysis | None:
        """The case of a window that is still kept; None where it was put away."""
        self.windows.use(window_of(request))
        return None if state is None else state.analysis

    def _folder_of(self, request: gr.Request) -> Path:
        return self._folder(window_of(request))

    def _folder(self, window: str) -> Path:
        return self.folder / hashlib.sha256(window.encode()).hexdigest()[:32]


def court_form(entries: Sequence[str | bool | None]) -> CourtForm:
    """The court form out of its entries on the page, in their order; the last is whether the conversation is
    annexed. A browser sends None for those of a form never opened. Raises ValueError as CourtForm does."""
    *texts, annex = entries or (None,)
    return CourtForm(*(str(text or "") for text in texts), annex=annex is not False)


def window_of(request: gr.Request | None) -> str:
    """The name that Gradio gives to a browser window; a new one for a call that comes from none."""
    name = None if request is None else request.session_hash
    return uuid.uuid4().hex if name is None else str(name)


def _moves(place: Place, is_wanted: Callable[[], bool]) -> Iterator[int]:
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


def _instead(notice: str) -> tuple[Any, ...]:
    """The outputs of `PageHandlers.examine` while there is no result: a sentence alone."""
    return (None, notice, gr.update(visible=False), *(gr.skip(),) * 7)


def _result(state: PageState, analysis: Analysis) -> tuple[Any, ...]:
    """The outputs of `PageHandlers.examine` for a finished analysis."""
    count = len(analysis.faces)
    return (
        state,
        "",
        gr.update(visible=True),
        *_panels(state, analysis),
        [],
        gr.update(visible=count > 0),
        gr.update(visible=False),
    )


def _panels(state: PageState, analysis: Analysis) -> tuple[Any, ...]:
    """Photo, choice of the face, face and verdict, with their labels in the language of the page."""
    count, face, language = len(analysis.faces), state.face, state.language
    choices = [(panels.face_label(finding, language), finding.index) for finding in analysis.faces]
    return (
        panels.photo_panel(analysis, language),
        gr.update(choices=choices, value=face if count else None, visible=count > 1),
        panels.face_panel(analysis, face, language) if count else "",
        panels.verdict_panel(analysis, face, language) if count else panels.no_face_panel(analysis),
    )


def _spoken(language: str | None, request: gr.Request | None) -> str:
    """The code of the language that a visitor chose, or else of the one that the browser wishes."""
    wished = request.headers.get("accept-language", "") if request is not None else ""
    return language or chosen_by(wished)


def _messages(analysis: Analysis, face: int, question: str | None = None, said: str = "") -> Messages:
    """The exchanges about a face, and the one that is being written."""
    turns = [(e.question, answer_words(e.answer, e.failure, e.remark)) for e in analysis.session.about(face)]
    turns += [] if question is None else [(question, said)]
    messages = []
    for asked, answer in turns:
        messages.append({"role": "user", "content": escape(asked)})
        if answer:
            messages.append({"role": "assistant", "content": escape(answer)})
    return messages
