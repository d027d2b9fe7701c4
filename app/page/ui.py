"""The page: a photograph or a video in; verdict, map, conversation and report out.

What a visitor brings and asks lives in that browser window's own state and folder; the only thing
windows share is the Assistant, which keeps no case.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read at import: nothing is reported to anybody
import gradio as gr

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.page import panels
from app.report.data import software_version
from app.report.sealed import SUFFIXES
from app.report.text import answer_words
from app.wording import findings as wording
from data_sim.dialogue import SUGGESTED_QUESTIONS
from llm.serving.endpoint import EndpointError
from media.images import MAX_FILE_BYTES, ImageError
from media.video import VideoError

STYLE = Path(__file__).with_name("style.css")
SCRIPT = Path(__file__).with_name("page.js")
# A NASA portrait of Eileen Collins, in the public domain, as it is and with the mouth forged by
# data_sim.simulate (parts only, no other person; seed 13, the first to draw the mouth alone).
EXAMPLE = Path(__file__).parents[1] / "example.jpg"
FORGED_EXAMPLE = Path(__file__).parents[1] / "example_forged.jpg"
IDLE_SECONDS = 3600  # a window that was closed loses its case after this
MAX_QUESTION = 500  # characters
MAX_WINDOWS = 32  # whose cases are kept in memory at once
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif")

UNCHANGED = (gr.skip(),) * 4  # of Desk.ask; a generator that yields nothing would empty the outputs

Messages = list[dict[str, str]]


@dataclass(eq=False)
class Visit:
    """One browser window's case: the analysis, and the face that is shown (None: no longer shown)."""

    analysis: Analysis
    face: int | None = 0
    talking: Lock = field(default_factory=Lock)  # one answer at a time; a second question waits


class Desk:
    """What happens when a visitor does something. It holds no case, only the models and a folder."""

    def __init__(self, assistant: Assistant, folder: Path):
        """folder: where reports are written, in one subfolder for each window."""
        self.assistant = assistant
        self.folder = folder

    def examine(self, path: str | None, former: Visit | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine an uploaded file, then forget the file.

        former: the case that was on the page until now.
        Yields (visit, notice, result group, photo, faces, face, verdict, chat, conversation, downloads).
        """
        if path is None:
            yield (gr.skip(),) * 10
            return
        if former is not None:
            former.face = None
        yield (None, panels.WAITING, gr.update(visible=False), *[gr.skip()] * 7)
        try:
            analysis = self.assistant.analyse(path)
        except (ImageError, VideoError) as error:
            yield (None, panels.notice(str(error)), gr.update(visible=False), *[gr.skip()] * 7)
            return
        finally:
            if Path(path) not in (EXAMPLE, FORGED_EXAMPLE):
                Path(path).unlink(missing_ok=True)
        yield _result(analysis)

    # These two are generators themselves, or Gradio would not stream them.
    def example(self, former: Visit | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine the untouched photograph that comes with Unmask."""
        yield from self.examine(str(EXAMPLE), former)

    def forged_example(self, former: Visit | None = None) -> Iterator[tuple[Any, ...]]:
        """Examine the same photograph with a forged mouth."""
        yield from self.examine(str(FORGED_EXAMPLE), former)

    def show_face(self, visit: Visit, face: int) -> tuple[Any, ...]:
        """Turn to another face. Returns (face, verdict, chat)."""
        visit.face = face
        analysis = visit.analysis
        shown = panels.face_panel(analysis, face), panels.verdict_panel(analysis, face)
        return (*shown, _messages(visit, face))

    def open(self, visit: Visit | None) -> Iterator[tuple[Any, ...]]:
        """Ask the opening question about the shown face, unless it was talked about already."""
        if visit is None or not visit.analysis.faces or visit.analysis.session.about(visit.face):
            yield UNCHANGED
        else:
            yield from self.ask(visit, OPENING_QUESTION)

    def ask(self, visit: Visit | None, question: str) -> Iterator[tuple[Any, ...]]:
        """Stream the answer about the shown face. Yields (chat, question box, note, downloads)."""
        if visit is None or not question.strip():
            yield UNCHANGED
            return
        face, said = visit.face, ""
        with visit.talking:
            yield _messages(visit, face, question), "", "", gr.update(visible=False)
            try:
                for piece in self.assistant.ask(visit.analysis, question, face):
                    said += piece
                    if visit.face == face:  # the visitor may have turned to another face meanwhile
                        yield _messages(visit, face, question, said), gr.skip(), gr.skip(), gr.skip()
                if visit.face == face:
                    yield _messages(visit, face), gr.skip(), gr.skip(), gr.skip()  # with its remark
            except (ValueError, EndpointError) as error:  # findings and report are there all the same
                yield _messages(visit, face), question, panels.notice(str(error)), gr.skip()

    def write_report(self, visit: Visit | None, request: gr.Request) -> tuple[Any, ...]:
        """Write the report in its three forms. Returns (downloads row, one button for each form)."""
        if visit is None:
            return (gr.skip(),) * (1 + len(SUFFIXES))
        folder = self._folder_of(request)
        folder.mkdir(parents=True, exist_ok=True)
        report = self.assistant.report(visit.analysis)
        name = "unmask-" + report.data["seal"][:12]
        paths = [report.save(folder / f"{name}{suffix}") for suffix in SUFFIXES]
        return (gr.update(visible=True), *(gr.update(value=str(path)) for path in paths))

    def leave(self, request: gr.Request) -> None:
        """The window was closed: its reports go."""
        shutil.rmtree(self._folder_of(request), ignore_errors=True)

    def _folder_of(self, request: gr.Request) -> Path:
        return self.folder / hashlib.sha256(str(request.session_hash).encode()).hexdigest()[:32]


def build_page(assistant: Assistant, folder: Path) -> gr.Blocks:
    """The page as Gradio blocks, not yet served. folder: Gradio's own, see `serve`."""
    desk = Desk(assistant, folder)
    page = gr.Blocks(
        title="Unmask", analytics_enabled=False, fill_width=True, delete_cache=(600, IDLE_SECONDS)
    )
    with page:
        visit = gr.State(None, time_to_live=IDLE_SECONDS)
        gr.HTML(panels.HEADER)
        with gr.Row(elem_classes="intake"):
            upload = gr.File(show_label=False, elem_id="drop", height=110)
            with gr.Column(scale=0, min_width=210, elem_id="examples"):
                example = gr.Button("Try an untouched photo", elem_id="example")
                forged = gr.Button("Try a forged one", elem_id="forged")
        if assistant.models.talk.host:  # said before anything is uploaded
            gr.HTML(panels.hint(wording.sent_away(assistant.models.talk)), elem_id="elsewhere")
        notice = gr.HTML(panels.INTRODUCTION, elem_id="notice")
        with gr.Row(visible=False, elem_id="result", equal_height=False) as result:
            with gr.Column(scale=6, min_width=380):
                photo = gr.HTML()
                faces = gr.Radio(choices=[], show_label=False, container=False, elem_id="faces")
                face = gr.HTML(elem_id="face")
                opacity = gr.Slider(0, 1, 0.7, step=0.05, label="Opacity of the heat map", elem_id="opacity")
            with gr.Column(scale=5, min_width=360):
                verdict = gr.HTML(elem_id="verdict")
            with gr.Column(scale=11, elem_id="talk"):
                with gr.Column(elem_id="conversation") as conversation:
                    gr.HTML(panels.hint(wording.ANSWERS_CAN_BE_WRONG))
                    chat = _chatbot()
                    with gr.Row(elem_id="suggestions"):
                        suggested = [gr.Button(text, size="sm") for text in SUGGESTED_QUESTIONS]
                    question = gr.Textbox(
                        placeholder="Ask about this face",
                        show_label=False,
                        container=False,
                        submit_btn=True,
                        max_length=MAX_QUESTION,
                        elem_id="ask",
                    )
                    note = gr.HTML()
                with gr.Row(elem_id="report"):
                    write = gr.Button(
                        "Write the report", variant="primary", elem_id="write", scale=0, min_width=190
                    )
                    with gr.Row(visible=False, elem_id="downloads") as downloads:
                        buttons = [_download(suffix[1:]) for suffix in SUFFIXES]
        gr.HTML(panels.footer(assistant.models, software_version()))

        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        case = [visit, notice, result, photo, faces, face, verdict, chat, conversation, downloads]
        said = [chat, question, note, downloads]
        arrivals = (
            (upload.upload, desk.examine, [upload, visit]),
            (example.click, desk.example, [visit]),
            (forged.click, desk.forged_example, [visit]),
        )
        for event, handler, inputs in arrivals:
            seen = event(handler, inputs, case, **hidden)
            seen.then(lambda: None, None, upload, **hidden)
            seen.then(desk.open, visit, said, **hidden)
        turned = faces.input(desk.show_face, [visit, faces], [face, verdict, chat], **hidden)
        turned.then(desk.open, visit, said, **hidden)
        # Enter while an answer is being written is kept until its end, not dropped.
        question.submit(desk.ask, [visit, question], said, trigger_mode="always_last", **hidden)
        for button in suggested:
            button.click(desk.ask, [visit, button], said, **hidden)
        write.click(desk.write_report, visit, [downloads, *buttons], **hidden)
        opacity.input(None, opacity, None, js="(value) => setHeat(value)")
        page.unload(desk.leave)
    return page


def serve(assistant: Assistant, host: str, port: int, folder: Path) -> None:
    """Serve the page until interrupted.

    folder: an empty one, for uploads and reports; the caller removes it.
    Raises OSError when the port is taken.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    page = build_page(assistant, folder).queue(default_concurrency_limit=4)
    page.launch(
        prevent_thread_lock=True,
        server_name=host,
        server_port=port,
        theme=gr.themes.Base(font=SYSTEM_FONTS, font_mono=("ui-monospace", "Menlo", "monospace")),
        css=STYLE.read_text(encoding="utf-8"),
        head=f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>",
        footer_links=[],
        max_file_size=MAX_FILE_BYTES,
        state_session_capacity=MAX_WINDOWS,
        share=False,
        quiet=True,
        ssr_mode=False,
    )
    print(f"Unmask is ready: {page.local_url}", flush=True)
    page.block_thread()


def _download(form: str) -> gr.DownloadButton:
    return gr.DownloadButton(form.upper(), elem_id=f"get-{form}", scale=0, min_width=100)


def _chatbot() -> gr.Chatbot:
    # What the model or a visitor writes is text, never markup: no links, no pictures to fetch. Gradio
    # leaves harmless tags standing even so, which is why `_messages` escapes them as well.
    return gr.Chatbot(
        show_label=False,
        height=None,
        min_height=150,
        max_height=None,  # style.css sets that of the part which Gradio scrolls to the newest answer
        allow_tags=False,
        render_markdown=False,
        sanitize_html=True,
        buttons=[],
        layout="bubble",
        elem_id="chat",
    )


def _result(analysis: Analysis) -> tuple[Any, ...]:
    """The outputs of `Desk.examine` for a finished analysis."""
    visit = Visit(analysis)
    count = len(analysis.faces)
    choices = [(panels.face_label(finding), finding.index) for finding in analysis.faces]
    return (
        visit,
        "",
        gr.update(visible=True),
        panels.photo_panel(analysis),
        gr.update(choices=choices, value=0 if count else None, visible=count > 1),
        panels.face_panel(analysis, 0) if count else "",
        panels.verdict_panel(analysis, 0) if count else panels.no_face_panel(analysis),
        [],
        gr.update(visible=count > 0),
        gr.update(visible=False),
    )


def _messages(visit: Visit, face: int, question: str | None = None, said: str = "") -> Messages:
    """The exchanges about a face, and the one that is being written."""
    turns = [
        (e.question, answer_words(e.answer, e.failure, e.remark)) for e in visit.analysis.session.about(face)
    ]
    turns += [] if question is None else [(question, said)]
    messages = []
    for asked, answer in turns:
        messages.append({"role": "user", "content": escape(asked)})
        if answer:
            messages.append({"role": "assistant", "content": escape(answer)})
    return messages
