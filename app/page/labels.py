"""The components of the page whose labels follow its language, and what each of them shows."""

from __future__ import annotations

from typing import Any

from app.page import panels
from app.wording.court import PROPOSITIONS, propositions_words
from app.wording.translated import ENGLISH, languages, sentences


def labels(language: str = ENGLISH) -> dict[str, dict[str, Any]]:
    """The values of Gradio properties by the elem_id of their component, in one order for every language."""
    words = sentences(language)
    page, court, case = words["page"], words["court"], words["case"]
    choices = [(page["browser"], ""), *((name, code) for code, name in languages().items())]
    pair = panels.hint(f"{court['propositions']}: {propositions_words(PROPOSITIONS)}", language)
    entries = ("case_number", "examiner", "commissioned_by", "question", "examiner_opinion", "annex")
    verdicts = [(case["none"], ""), *((name, verdict) for verdict, name in words["verdict"].items())]
    return {
        "masthead": {"value": panels.header(language)},
        "introduction": {"value": panels.introduction(language)},
        "example": {"value": page["untouched"]},
        "forged": {"value": page["forged"]},
        "language": {"label": page["language"], "choices": choices},
        "pictures-heading": {"value": panels.heading("pictures", language)},
        "opacity": {"label": page["opacity"]},
        "conversation-heading": {"value": panels.heading("conversation", language)},
        "ask": {"label": page["ask"], "placeholder": page["ask"]},
        "english-only": {"value": panels.english_only(language)},
        "report-heading": {"value": panels.heading("report", language)},
        "court": {"label": court["heading"]},
        **{f"court-{name}": {"label": court[name]} for name in entries},
        "court-propositions": {"value": pair + panels.hint(court["signed_by_hand"], language)},
        "write": {"value": page["write"]},
        "narrative": {"label": page["narrative"]},
        "cancel": {"value": page["cancel"]},
        "compare": {"label": case["compare"]},
        "desk": {"label": case["heading"]},
        "notes": {"label": case["notes"]},
        "own": {"label": case["verdict"], "choices": verdicts},
        "reason": {"label": case["reason"]},
        "blurred": {"label": case["blur"]},
        "add": {"label": case["add"]},
        "save": {"value": case["save"]},
    }
