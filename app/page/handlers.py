"""Handlers of the page: the answers to what a visitor does. app.page.ui binds them to buttons."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

import gradio as gr

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.page import panels
from app.report.sealed import SUFFIXES
from app.wording.answers import answer_words
from llm.serving.endpoint import EndpointError
from media.errors import MediaError

# A NASA portrait of Eileen Collins, in the public domain, as it is and with the mouth forged by
# data_sim.simulate (parts only, no other person; seed 13, the first to draw the mouth alone).
EXAMPLE = Path(__file__).parents[1] / "example.jpg"
FORGED_EXAMPLE = Path(__file__).parents[1] / "example_forged.jpg"

UNCHANGED = (gr.skip(),) * 4  # of PageHandlers.ask; a generator that yields nothing would empty the outputs

Messages = list[dict[str, str]]


@dataclass(eq=False)
class PageState:
    """One browser window's case: the analysis, and the face that is shown (None: no longer shown)."""

    analysis: Analysis
    face: int | None = 0
    answering: Lock = field(default_factory=Lock)  # one answer at a time; a second question waits


class PageHandlers:
    """The answers to what a visitor does. They hold no case, only the models and a folder."""

    def __init__(self, assistant: Assistant, folder: Path):
        """folder: where reports are written, in one subfolder for each window."""
        self.assistant = assistant
        self.folder = folder

    def examine(self, path: str | None, previous: PageState | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine an uploaded file, then forget the file.

        previous: the case that was on the page until now.
        Yields (state, notice, result group, photo, faces, face, verdict, chat, conversation, downloads).
        """
        if path is None:
            yield (gr.skip(),) * 10
            return
        if previous is not None:
            previous.face = None
        yield (None, panels.waiting(), gr.update(visible=False), *[gr.skip()] * 7)
        try:
            analysis = self.assistant.analyse(path)
        except MediaError as error:
            yield (None, panels.notice(str(error)), gr.update(visible=False), *[gr.skip()] * 7)
            return
        finally:
            if Path(path) not in (EXAMPLE, FORGED_EXAMPLE):
                Path(path).unlink(missing_ok=True)
        yield _result(analysis)

    # These two are generators themselves, or Gradio would not stream them.
    def example(self, previous: PageState | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine the untouched photograph that comes with Unmask."""
        yield from self.examine(str(EXAMPLE), previous)

    def forged_example(self, previous: PageState | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine the same photograph with a forged mouth."""
        yield from self.examine(str(FORGED_EXAMPLE), previous)

    def show_face(self, state: PageState, face: int) -> tuple[Any, ...]:
        """Turn to another face. Returns (face, verdict, chat)."""
        state.face = face
        analysis = state.analysis
        shown = panels.face_panel(analysis, face), panels.verdict_panel(analysis, face)
        return (*shown, _messages(state, face))

    def open(self, state: PageState | None) -> Iterator[tuple[Any, ...]]:
        """Ask the opening question about the shown face, unless it was talked about already."""
        if state is None or not state.analysis.faces or state.analysis.session.about(state.face):
            yield UNCHANGED
        else:
            yield from self.ask(state, OPENING_QUESTION)

    def ask(self, state: PageState | None, question: str) -> Iterator[tuple[Any, ...]]:
        """Stream the answer about the shown face. Yields (chat, question box, note, downloads)."""
        if state is None or not question.strip():
            yield UNCHANGED
            return
        face, said = state.face, ""
        with state.answering:
            yield _messages(state, face, question), "", "", gr.update(visible=False)
            try:
                for piece in self.assistant.ask(state.analysis, question, face):
                    said += piece
                    if state.face == face:  # the visitor may have turned to another face meanwhile
                        yield _messages(state, face, question, said), gr.skip(), gr.skip(), gr.skip()
                if state.face == face:
                    yield _messages(state, face), gr.skip(), gr.skip(), gr.skip()  # with its remark
            except (ValueError, EndpointError) as error:  # findings and report are there all the same
                yield _messages(state, face), question, panels.notice(str(error)), gr.skip()

    def write_report(self, state: PageState | None, request: gr.Request) -> tuple[Any, ...]:
        """Write the report in its three forms. Returns (downloads row, one button for each form)."""
        if state is None:
            return (gr.skip(),) * (1 + len(SUFFIXES))
        folder = self._folder_of(request)
        folder.mkdir(parents=True, exist_ok=True)
        report = self.assistant.report(state.analysis)
        name = "unmask-" + report.data["seal"][:12]
        paths = [report.save(folder / f"{name}{suffix}") for suffix in SUFFIXES]
        return (gr.update(visible=True), *(gr.update(value=str(path)) for path in paths))

    def leave(self, request: gr.Request) -> None:
        """The window was closed: its reports go."""
        shutil.rmtree(self._folder_of(request), ignore_errors=True)

    def _folder_of(self, request: gr.Request) -> Path:
        return self.folder / hashlib.sha256(str(request.session_hash).encode()).hexdigest()[:32]


def first_shown(analysis: Analysis) -> int:
    """The face that the page opens on: the first with the verdict of the whole file."""
    return next((face.index for face in analysis.faces if face.verdict == analysis.verdict), 0)


def _result(analysis: Analysis) -> tuple[Any, ...]:
    """The outputs of `PageHandlers.examine` for a finished analysis."""
    count = len(analysis.faces)
    first = first_shown(analysis)
    state = PageState(analysis, face=first)  # questions are about the face that is shown
    choices = [(panels.face_label(finding), finding.index) for finding in analysis.faces]
    return (
        state,
        "",
        gr.update(visible=True),
        panels.photo_panel(analysis),
        gr.update(choices=choices, value=first if count else None, visible=count > 1),
        panels.face_panel(analysis, first) if count else "",
        panels.verdict_panel(analysis, first) if count else panels.no_face_panel(analysis),
        [],
        gr.update(visible=count > 0),
        gr.update(visible=False),
    )


def _messages(state: PageState, face: int, question: str | None = None, said: str = "") -> Messages:
    """The exchanges about a face, and the one that is being written."""
    turns = [
        (e.question, answer_words(e.answer, e.failure, e.remark)) for e in state.analysis.session.about(face)
    ]
    turns += [] if question is None else [(question, said)]
    messages = []
    for asked, answer in turns:
        messages.append({"role": "user", "content": escape(asked)})
        if answer:
            messages.append({"role": "assistant", "content": escape(answer)})
    return messages
