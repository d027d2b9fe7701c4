"""The page: a photograph or a video in; verdict, map, conversation and report out.

What a visitor brings and asks lives in that browser window's own state and folder; the only thing
windows share is the Assistant, which keeps no case.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import gradio as gr
from fastapi import FastAPI

from app.assistant import MAX_QUESTION, Assistant
from app.intake.door import Door
from app.intake.server import serve_behind
from app.page import panels
from app.page.exports import EMPTY_FORM
from app.page.fields import court_fields, desk_fields
from app.page.gate import PROGRESS, UPLOAD, Gate
from app.page.handlers import PageHandlers
from app.page.labels import labels
from app.page.shown import Shown
from app.page.windows import MAX_WINDOWS
from app.palette import DARK, LIGHT, css_variables
from app.report.program import software_version
from app.report.sealed import SUFFIXES
from app.wording import answers
from data_sim.dialogue import SUGGESTED_QUESTIONS
from media.files import MAX_FILE_BYTES

STYLE = Path(__file__).with_name("style.css")
SCRIPTS = [Path(__file__).with_name(name) for name in ("page.js", "lens.js")]
CHOOSING = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-file]");
  if (button) trigger("select", { index: Number(button.dataset.file), value: null });
});
let focused = null;
element.addEventListener("focusin", (event) => {
  focused = event.target.closest("button[data-file]")?.dataset.file;
});
watch("value", () => { // the list is drawn anew, and who goes through it by keys stays in it
  if (!focused || document.activeElement !== document.body) return;
  element.querySelector(`[data-file="${focused}"]`)?.focus();
});
"""  # of a file in the list
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif")


def build_page(handlers: PageHandlers) -> gr.Blocks:
    """The page as Gradio blocks, not yet served."""
    assistant = handlers.assistant
    page = gr.Blocks(title="Unmask", analytics_enabled=False, fill_width=True)
    said = labels()
    with page:
        state = gr.State(None)
        gr.HTML(**said["masthead"], elem_id="masthead")
        with gr.Row(elem_classes="intake"):
            upload = gr.File(file_count="multiple", show_label=False, elem_id="drop", height=110)
            with gr.Column(scale=0, min_width=240, elem_id="examples"):
                example = gr.Button(**said["example"], elem_id="example")
                forged = gr.Button(**said["forged"], elem_id="forged")
                language = gr.Dropdown(
                    **said["language"],
                    value="",
                    show_label=False,
                    filterable=False,
                    container=False,
                    elem_id="language",
                )
        if assistant.models.chat.host:  # said before anything is uploaded
            gr.HTML(panels.hint(answers.sent_away(assistant.models.chat)), elem_id="elsewhere")
        with gr.Row(elem_id="progress"):
            notice = gr.HTML(elem_id="notice")
            cancel = gr.Button(**said["cancel"], visible=False, elem_id="cancel", scale=0, min_width=110)
        gr.HTML(**said["introduction"], elem_id="introduction")
        with gr.Row(elem_id="case"):
            files = gr.HTML(js_on_load=CHOOSING, elem_id="files")
            compare = gr.Dropdown(
                [],
                value=None,
                **said["compare"],
                visible=False,
                show_label=False,
                filterable=False,
                container=False,
                scale=0,
                min_width=240,
                elem_id="compare",
            )
        comparison = gr.HTML(elem_id="comparison")
        with gr.Row(elem_id="result", equal_height=False):
            with gr.Column(elem_id="pictures", min_width=0):
                gr.HTML(**said["pictures-heading"], elem_id="pictures-heading")
                photo = gr.HTML()
                faces = gr.Radio(choices=[], label="Face", show_label=False, container=False, elem_id="faces")
                face = gr.HTML(elem_id="face")
                opacity = gr.Slider(0, 1, 0.7, step=0.05, **said["opacity"], elem_id="opacity")
            with gr.Column(elem_id="reading", min_width=0):
                translated = gr.HTML(elem_id="translated")
                verdict = gr.HTML(elem_id="verdict")
            with gr.Column(elem_id="talk", min_width=0):
                with gr.Column(elem_id="conversation"):
                    gr.HTML(**said["conversation-heading"], elem_id="conversation-heading")
                    chat = _chatbot()
                    with gr.Row(elem_id="suggestions"):
                        suggested = [gr.Button(text, size="sm") for text in SUGGESTED_QUESTIONS]
                    question = gr.Textbox(
                        **said["ask"],
                        show_label=False,
                        container=False,
                        submit_btn=True,
                        max_length=MAX_QUESTION,
                        elem_id="ask",
                    )
                    gr.HTML(**said["english-only"], elem_id="english-only")
                    gr.HTML(panels.hint(answers.ANSWERS_CAN_BE_WRONG))
                note = gr.HTML()
                gr.HTML(**said["report-heading"], elem_id="report-heading")
                desk = desk_fields(said)
                entries = court_fields(said)
                with gr.Row(elem_id="report"):
                    write = gr.Button(
                        **said["write"], variant="primary", elem_id="write", scale=0, min_width=190
                    )
                    narrative = gr.Checkbox(
                        True,
                        **said["narrative"],
                        container=False,
                        visible=not assistant.models.chat.host,
                        elem_id="narrative",
                    )
                    with gr.Row(visible=False, elem_id="downloads") as downloads:
                        buttons = [_download(suffix[1:]) for suffix in SUFFIXES]
        gr.HTML(panels.footer(assistant.models, software_version()))

        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        parts = {
            **{"state": state, "upload": upload, "notice": notice, "cancel": cancel},
            **{"files": files, "compare": compare, "comparison": comparison},
            **{"photo": photo, "faces": faces, "face": face, "verdict": verdict, "translated": translated},
            **{"chat": chat, "note": note, "downloads": downloads},
            **desk,
        }
        shown = [parts[name] for name in Shown._fields]
        examiner = [desk[name] for name in ("about", "notes", "own", "reason", "blurred")]
        talk = [chat, question, note, downloads]
        arrivals = (
            (upload.upload, handlers.examine, [upload]),
            (example.click, handlers.example, []),
            (forged.click, handlers.forged_example, []),
            (desk["add"].upload, handlers.add, [state, desk["add"]]),
        )
        for begins in (upload.upload, example.click, forged.click):  # the form is that of a case, too
            begins(None, None, entries, js=f"() => {json.dumps(EMPTY_FORM)}")
        for event, handler, inputs in arrivals:
            # Another file may come while one is examined; the line is kept by the handlers, who say so.
            seen = event(handler, inputs, shown, trigger_mode="multiple", concurrency_limit=None, **hidden)
            seen.then(handlers.court_entries, state, entries, **hidden)
            seen.then(handlers.open, state, talk, **hidden)
        cancel.click(handlers.cancel, state, shown, **hidden)
        chosen = files.select(handlers.choose, [state, *examiner], shown, **hidden)
        chosen.then(handlers.open, state, talk, **hidden)
        compare.input(handlers.compare, [state, compare], comparison, **hidden)
        turned = faces.input(handlers.show_face, [state, faces], [face, verdict, chat, note], **hidden)
        turned.then(handlers.translate, [state, language], translated, **hidden)
        turned.then(handlers.open, state, talk, **hidden)
        named = {block.elem_id: block for block in page.blocks.values()}
        spoken = [files, photo, faces, face, verdict, *(named[name] for name in said)]
        page.load(handlers.speak, [state, language], spoken, **hidden)
        wished = language.input(handlers.speak, [state, language], spoken, **hidden)
        wished.then(handlers.translate, [state, language], translated, **hidden)
        # Enter while an answer is being written is kept until its end, not dropped.
        question.submit(handlers.ask, [state, question], talk, trigger_mode="always_last", **hidden)
        for button in suggested:
            button.click(handlers.ask, [state, button], talk, **hidden)
        filled = [state, *entries, *examiner]
        narrative.input(handlers.want_narrative, [state, narrative], concurrency_limit=None, **hidden)
        told = write.click(handlers.narrate, [state, narrative], note, **hidden)
        told.then(handlers.write_report, filled, [note, downloads, *buttons], **hidden)
        desk["save"].click(handlers.save, filled, [note, desk["archive"]], **hidden)
        opacity.input(None, opacity, None, js="(value) => setHeat(value)")
    return page


def application(assistant: Assistant, door: Door, folder: Path) -> Gate:
    """The page as an ASGI application behind its door.

    folder: an empty one, for uploads and reports; the caller removes it.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder.resolve())
    handlers = PageHandlers(assistant, folder.resolve())
    page = build_page(handlers).queue(default_concurrency_limit=None)  # the lines are ours
    page.max_threads = 4 * MAX_WINDOWS  # those who stand in line take one each
    page.has_launched = True  # else Gradio takes any path of the server for an upload
    server = FastAPI(openapi_url=None)
    server.add_route(UPLOAD, handlers.receive, methods=["POST"])
    server.add_route(PROGRESS, handlers.progress)
    gr.mount_gradio_app(
        server,
        page,
        path="/",
        theme=gr.themes.Base(font=SYSTEM_FONTS, font_mono=("ui-monospace", "Menlo", "monospace")),
        css=style(),
        head="".join(f"<script>{path.read_text(encoding='utf-8')}</script>" for path in SCRIPTS),
        footer_links=[],
        max_file_size=MAX_FILE_BYTES,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
    )

    def close(window: str) -> None:
        handlers.close(window)
        page.state_holder.session_data.pop(window, None)  # Gradio keeps what it last showed there

    return Gate(server, door, handlers.uploads.folder, close)


def serve(assistant: Assistant, door: Door, port: int, folder: Path) -> None:
    """Serve the page until interrupted. folder: see `application`."""
    page = application(assistant, door, folder)
    serve_behind(door, port, page, f"Unmask is ready: {door.address(port)}")


def style() -> str:
    """The style sheet of the page, with the palette in front of it."""
    colours = css_variables(":root", LIGHT) + css_variables(".dark", DARK)
    return colours + STYLE.read_text(encoding="utf-8")


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
