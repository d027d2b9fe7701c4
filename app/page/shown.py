"""What a handler shows: the parts of the page by name, and what stands in them for a case."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import gradio as gr

from app.analysis import Analysis
from app.page import case_panels, panels
from app.page.desk import PageState
from app.wording.answers import answer_words

Messages = list[dict[str, str]]
SKIP = gr.skip()
HIDDEN = gr.update(visible=False)
# Gradio closes and empties a folded part when it, or a field in it, is taken off the page (visible=False),
# and on a slow machine it loses one of two changes to the same part. So fields and the rows around them
# stay on the page: style.css shows them where what belongs there is there, the card of the verdict for
# instance. The button for a saved case is the same with a file and without, so it has a class.
IN_SIGHT: dict[str, Any] = {"elem_classes": []}
OUT_OF_SIGHT: dict[str, Any] = {"elem_classes": ["out-of-sight"]}


class Shown(NamedTuple):
    """The parts of the page that change with a case, by the names that app.page.ui gives them; what is left
    out stays as it is."""

    state: Any = SKIP
    notice: Any = SKIP
    photo: Any = SKIP
    faces: Any = SKIP
    face: Any = SKIP
    verdict: Any = SKIP
    translated: Any = SKIP
    chat: Any = SKIP
    note: Any = SKIP
    downloads: Any = SKIP
    upload: Any = SKIP
    cancel: Any = SKIP
    files: Any = SKIP
    compare: Any = SKIP
    comparison: Any = SKIP
    about: Any = SKIP
    notes: Any = SKIP
    own: Any = SKIP
    reason: Any = SKIP
    blurred: Any = SKIP
    archive: Any = SKIP


def nothing_yet(state: PageState | None, notice: str) -> Shown:
    """The page while there is no result: a sentence, and the list of the files that wait."""
    return Shown(
        state=state,
        notice=notice,
        verdict="",
        upload=None,
        cancel=HIDDEN if state is None else gr.update(visible=True),
        files="" if state is None else case_panels.files_panel(state),
        compare=HIDDEN,
        comparison="",
    )


def file_shown(state: PageState) -> Shown:
    """The file that is shown: its finding, map and conversation, and what the examiner said of it."""
    analysis, has_faces = state.analysis, state.face is not None and bool(state.analysis.faces)
    return Shown(
        state=state,
        **dict(zip(("photo", "faces", "face", "verdict"), reading(state), strict=True)),
        translated=""
        if analysis is None
        else panels.translated_panel(analysis, state.face if has_faces else None, state.language),
        chat=messages(analysis, state.face) if has_faces else [],
        note="",
        downloads=HIDDEN,
        archive=gr.update(**OUT_OF_SIGHT),
        **examiner(state),
        **files_shown(state),
    )


def files_shown(state: PageState, anew: bool = True) -> dict[str, Any]:
    """The list of the files, and the choice of one to compare with. anew: a comparison is over."""
    choices = case_panels.comparable(state)
    told = {
        "files": case_panels.files_panel(state),
        "compare": gr.update(choices=choices, visible=len(choices) > 1),
    }
    if anew:
        told |= {"compare": gr.update(choices=choices, value="", visible=len(choices) > 1), "comparison": ""}
    return told


def examiner(state: PageState) -> dict[str, Any]:
    """The fields for notes, the examiner's verdict and the faces to blur, with what they hold of the file."""
    entry = state.entry
    file = None if entry is None else entry.file
    if entry is None or file is None:
        empty = {"about": "", "notes": "", "own": "", "reason": ""}
        return {**empty, "blurred": gr.update(choices=[], value=[])}
    choices = face_choices(file.analysis, state.language)
    return {
        "about": str(state.shown),
        "notes": file.notes,
        "own": "" if file.override is None else str(file.override.verdict),
        "reason": "" if file.override is None else file.override.reason,
        "blurred": gr.update(choices=choices, value=sorted(entry.blurred)),
    }


def reading(state: PageState) -> tuple[Any, ...]:
    """Photo, choice of the face, face and verdict, with their labels in the language of the page."""
    analysis, face, language = state.analysis, state.face, state.language
    if analysis is None:
        reason = "" if state.entry is None else state.entry.reason
        return "", HIDDEN, "", case_panels.unread_panel(reason, language)
    count = len(analysis.faces)
    return (
        panels.photo_panel(analysis, language),
        gr.update(choices=face_choices(analysis, language), value=face if count else None, visible=count > 1),
        panels.face_panel(analysis, face, language) if count else "",
        panels.verdict_panel(analysis, face, language) if count else panels.no_face_panel(analysis),
    )


def face_choices(analysis: Analysis, language: str) -> list[tuple[str, int]]:
    """The faces of a file with their labels."""
    return [(panels.face_label(finding, language), finding.index) for finding in analysis.faces]


def messages(analysis: Analysis, face: int, question: str | None = None, said: str = "") -> Messages:
    """The exchanges about a face, and the one that is being written."""
    turns = [(e.question, answer_words(e.answer, e.failure, e.remark)) for e in analysis.session.about(face)]
    turns += [] if question is None else [(question, said)]
    told = []
    for asked, answer in turns:
        told.append({"role": "user", "content": escape(asked)})
        if answer:
            told.append({"role": "assistant", "content": escape(answer)})
    return told
