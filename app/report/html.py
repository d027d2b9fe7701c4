"""The report as one HTML page: no script, no request, prints on A4. Drawn from the JSON form alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.palette import LIGHT, css_variables
from app.report.document import document
from app.report.embedded import to_link
from app.templates import load_templates

TEMPLATES = load_templates(Path(__file__).parent)


def render_html(data: dict[str, Any], source: str) -> str:
    """data: a report's JSON values (app.report.data). source: its JSON form, which the page carries.

    Returns the page; every text in it is escaped.
    """
    return TEMPLATES.get_template("report.html").render(
        document=document(data), palette=css_variables(":root", LIGHT), source=to_link(source)
    )
