"""What an examiner fills in on the page: the court form, and what they say of a file."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.cases.case import MAX_NOTES, MAX_REASON
from app.court import LABELS, MAX_LETTERS, MAX_OPINION
from app.page.shown import OUT_OF_SIGHT

Labels = dict[str, dict[str, Any]]


def court_fields(said: Labels) -> list[gr.components.Component]:
    """The examiner's own entries, which page.js folds away, in the order of app.court.CourtForm."""
    with gr.Accordion(**said["court"], elem_id="court"):
        with gr.Row():
            names = [f"court-{name}" for name in LABELS]
            entries = [gr.Textbox(**said[name], max_length=MAX_LETTERS, elem_id=name) for name in names]
        gr.HTML(**said["court-propositions"], elem_id="court-propositions")
        name = "court-examiner_opinion"
        opinion = gr.Textbox(**said[name], lines=3, max_length=MAX_OPINION, elem_id=name)
        annex = gr.Checkbox(True, **said["court-annex"], container=False, elem_id="court-annex")
    return [*entries, opinion, annex]


def desk_fields(said: Labels) -> dict[str, gr.components.Component]:
    """What the examiner says of the file that is shown, which page.js folds away, and what is done with it.

    By the names of app.page.shown.Shown; `add` and `save` are buttons.
    """
    with gr.Accordion(**said["desk"], elem_id="desk"):
        fields: dict[str, gr.components.Component] = {
            "about": gr.Textbox("", label="File", visible="hidden", elem_id="about"),  # which file it is
            "notes": gr.Textbox(**said["notes"], lines=3, max_length=MAX_NOTES, elem_id="notes"),
            "own": gr.Dropdown(**said["own"], value="", filterable=False, elem_id="own"),
            "reason": gr.Textbox(**said["reason"], max_length=MAX_REASON, elem_id="reason"),
            "blurred": gr.CheckboxGroup([], value=[], **said["blurred"], elem_id="blurred"),
        }
        with gr.Row(elem_id="keep"):
            fields["add"] = gr.UploadButton(
                **said["add"], file_count="multiple", elem_id="add", scale=0, min_width=140
            )
            fields["save"] = gr.Button(**said["save"], elem_id="save", scale=0, min_width=160)
            fields["archive"] = gr.DownloadButton(
                "ZIP", **OUT_OF_SIGHT, elem_id="get-zip", scale=0, min_width=80
            )
    return fields
