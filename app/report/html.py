"""The report as one HTML page: no script, no request, prints on A4. Rendered from the JSON form alone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from app.report.text import (
    CROP_CAPTION,
    FRAME_COLUMNS,
    GRAD_CAM_CAPTION,
    OVERLAY_CAPTION,
    REGION_COLUMNS,
    TRANSCRIPT_NOTE,
    Bar,
    Rows,
    answer_line,
    face_lines,
    face_rows,
    frame_bars,
    heading_rows,
    identification_rows,
    kind,
    photo_caption,
    question_line,
    region_bars,
    strength_line,
)

_STYLE = Path(__file__).with_name("report.css")


def render_html(data: dict[str, Any]) -> str:
    """data: a report's JSON values (app.report.data). Returns the page; every text in it is escaped."""
    sections = [
        _heading(data),
        _finding(data),
        *(_face(face, data) for face in data["faces"]),
        _transcript(data["transcript"]),
        _section("Method", *(_paragraph(text) for text in data["method"])),
        _section("Limits", _bullets(data["limits"])),
        _section("Identification of the file and of the models", _facts(identification_rows(data))),
        _section("How to check this report", _bullets(data["checking"]), _facts([("Seal", data["seal"])])),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>Report on {escape(data['file']['name'])}</title>\n"
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _heading(data: dict[str, Any]) -> str:
    return f'<header><p class="kind">{kind(data)}</p><h1>Report</h1>{_facts(heading_rows(data))}</header>'


def _finding(data: dict[str, Any]) -> str:
    return _section(
        "Finding",
        f'<p class="verdict {escape(data["verdict"])}">{escape(data["finding"])}</p>',
        _bullets(face_lines(data)) if data["faces"] else "",
        _bullets(data["warnings"]) if data["warnings"] else "",
        f'<p class="caution"><strong>Models used.</strong> {escape(data["models"]["good_for"])}</p>',
        _figure(data["pictures"]["photo"], photo_caption(data), "photo"),
    )


def _face(face: dict[str, Any], data: dict[str, Any]) -> str:
    pictures = face["pictures"]
    figures = _figure(pictures["crop"], CROP_CAPTION)
    legend = ""
    if pictures["overlay"]:
        figures += _figure(pictures["overlay"], OVERLAY_CAPTION)
        legend = (
            f'<p class="legend">0 <img src="{escape(data["pictures"]["legend"])}" alt="colour scale"> 1, '
            f"{escape(data['pictures']['legend_words'])}</p>"
        )
    if pictures["grad_cam_overlay"]:
        figures += _figure(pictures["grad_cam_overlay"], GRAD_CAM_CAPTION)
        legend += f'<p class="note">{escape(data["pictures"]["grad_cam_words"])}</p>'
    return _section(
        f"Face {face['number']}",
        f'<p class="verdict {escape(face["verdict"])}">{escape(face["finding"])}</p>',
        _facts(face_rows(face)),
        _told("What this score means", face["meaning"]),
        _told("Strength of the evidence", strength_line(face)),
        _told("Error rate", face["error_rate"]["words"]),
        f'<div class="figures">{figures}</div>{legend}',
        _paragraph(face["explanation"]),
        _bars(REGION_COLUMNS, region_bars(face)),
        _bars(FRAME_COLUMNS, frame_bars(face)),
        _paragraph(face["quality"]["words"]),
    )


def _bars(columns: tuple[str, ...], bars: list[Bar]) -> str:
    if not bars:
        return ""
    rows = "".join(
        f'<tr class="{bar.kind}"><td>{escape(bar.name)}</td>'
        f"<td>{'none' if bar.value is None else f'{bar.value:.4f}'}</td>"
        f'<td><span class="bar" style="width:{100 * (bar.value or 0):.1f}%"></span></td>'
        f"<td>{escape(bar.words)}</td></tr>"
        for bar in bars
    )
    head = "".join(f"<th>{escape(title)}</th>" for title in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _transcript(exchanges: list[dict[str, Any]]) -> str:
    if not exchanges:
        return ""
    items = "".join(
        f"<dt>{escape(question_line(row))}</dt><dd>{escape(answer_line(row))}</dd>" for row in exchanges
    )
    return _section("Questions and answers", f'<p class="note">{TRANSCRIPT_NOTE}</p>', f"<dl>{items}</dl>")


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _told(name: str, text: str) -> str:
    return f"<p><strong>{escape(name)}.</strong> {escape(text)}</p>"


def _bullets(texts: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _facts(rows: Rows) -> str:
    return (
        "<dl class='facts'>" + "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in rows) + "</dl>"
    )


def _figure(uri: str, caption: str, kind: str = "") -> str:
    return (
        f'<figure class="{kind}"><img src="{escape(uri)}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
