"""The report as a PDF on A4. Rendered from the JSON form alone; equal data gives equal bytes."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    CondPageBreak,
    Flowable,
    Image,
    KeepTogether,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
)

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
from media.regions import REGIONS

WIDTH = A4[0] - 40 * mm  # between the margins
INK, SOFT, LINE = HexColor("#1d2429"), HexColor("#5c666d"), HexColor("#d5dade")
VERDICT_INK = {"fake": HexColor("#b23d22"), "real": HexColor("#1f6a83"), "inconclusive": HexColor("#8a6914")}

BODY = ParagraphStyle(
    "body", fontName="Times-Roman", fontSize=10.5, leading=14.5, textColor=INK, spaceAfter=5
)
SMALL = ParagraphStyle(
    "small", BODY, fontName="Helvetica", fontSize=8, leading=11, textColor=SOFT, spaceAfter=3
)
NOTE = ParagraphStyle("note", SMALL, keepWithNext=1)
CELL = ParagraphStyle("cell", BODY, fontSize=9.5, leading=12.5, spaceAfter=0, splitLongWords=True)
LABEL = ParagraphStyle("label", CELL, textColor=SOFT)
CODE = ParagraphStyle("code", CELL, fontName="Courier", fontSize=7.5, leading=12)
TITLE = ParagraphStyle("title", BODY, fontSize=26, leading=31, spaceAfter=8)
SECTION = ParagraphStyle(
    "section",
    BODY,
    fontName="Helvetica-Bold",
    fontSize=11,
    leading=14,
    spaceBefore=14,
    spaceAfter=6,
    keepWithNext=1,
)
QUESTION = ParagraphStyle(
    "question", BODY, fontName="Times-Bold", spaceBefore=5, spaceAfter=2, keepWithNext=1
)
ANSWER = ParagraphStyle("answer", BODY, leftIndent=12)


def render_pdf(data: dict[str, Any]) -> bytes:
    """data: a report's JSON values (app.report.data). Returns the document."""
    buffer = BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=20 * mm,
        rightMargin=20 * mm,
        topMargin=20 * mm,
        bottomMargin=22 * mm,
        title=f"Report on {_plain(data['file']['name'])}",
        author=f"{data['software']['name']} {data['software']['version']}",
        subject=kind(data),
        invariant=1,
    )
    story = [*_heading(data), *_finding(data)]
    for face in data["faces"]:
        story += _face(face, data)
    story += _transcript(data["transcript"])
    story += [*_section("Method"), *(_text(text) for text in data["method"])]
    story += [*_section("Limits"), *_bullets(data["limits"])]
    story += [
        *_section("Identification of the file and of the models"),
        _facts(identification_rows(data), 66 * mm),
    ]
    story += [*_section("How to check this report"), *_bullets(data["checking"])]
    story += [_facts([("Seal", data["seal"])])]
    footer = f"{data['file']['name']}   ·   seal {data['seal'][:16]}…"
    document.build(story, canvasmaker=lambda *args, **kw: _NumberedCanvas(_plain(footer), *args, **kw))
    return buffer.getvalue()


class _NumberedCanvas(Canvas):
    """Writes "page 2 of 5" and the seal under each page, once the number of pages is known."""

    def __init__(self, footer: str, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._footer = footer
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self.setFont("Helvetica", 7.5)
            self.setFillColor(SOFT)
            self.drawString(20 * mm, 12 * mm, self._footer[:100])
            self.drawRightString(A4[0] - 20 * mm, 12 * mm, f"page {number} of {len(self._pages)}")
            super().showPage()
        super().save()


def _heading(data: dict[str, Any]) -> list[Flowable]:
    return [_text(kind(data), SMALL), _text("Report", TITLE), _facts(heading_rows(data))]


def _finding(data: dict[str, Any]) -> list[Flowable]:
    photo = _picture(data["pictures"]["photo"], WIDTH, 85 * mm)
    caution = Paragraph(f"<b>Models used.</b> {_markup(data['models']['good_for'])}", CELL)
    caption = _text(photo_caption(data), SMALL)
    return [
        *_section("Finding"),
        _verdict(data["finding"], data["verdict"]),
        *_bullets(face_lines(data)),
        *_bullets(data["warnings"]),
        Spacer(0, 6),
        _boxed(caution),
        Spacer(0, 8),
        KeepTogether([photo, Spacer(0, 3), caption]),
    ]


def _face(face: dict[str, Any], data: dict[str, Any]) -> list[Flowable]:
    told = {
        "What this score means": face["meaning"],
        "Strength of the evidence": strength_line(face),
        "Error rate": face["error_rate"]["words"],
    }
    return [
        CondPageBreak(120 * mm),
        *_section(f"Face {face['number']}"),
        _verdict(face["finding"], face["verdict"]),
        _facts(face_rows(face)),
        Spacer(0, 5),
        *(Paragraph(f"<b>{name}.</b> {_markup(text)}", BODY) for name, text in told.items()),
        _figures(face["pictures"], data["pictures"]),
        _text(face["explanation"]),
        *_bars(REGION_COLUMNS, region_bars(face), (53, 35, 55, 24)),
        *_bars(FRAME_COLUMNS, frame_bars(face), (16, 18, 55, 78)),
        _text(face["quality"]["words"], SMALL),
    ]


def _figures(pictures: dict[str, str | None], shared: dict[str, str]) -> Flowable:
    side = 52 * mm
    figures = [("crop", CROP_CAPTION), ("overlay", OVERLAY_CAPTION), ("grad_cam_overlay", GRAD_CAM_CAPTION)]
    figures = [(name, caption) for name, caption in figures if pictures[name]]
    cells = [
        [_picture(pictures[name], side, side) for name, _ in figures],
        [_text(caption, SMALL) for _, caption in figures],
    ]
    table = Table(cells, colWidths=[side + 4 * mm] * len(figures), hAlign="LEFT")
    table.setStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")])
    if not pictures["overlay"]:
        return table
    bar = Table(
        [[_text("0", SMALL), _picture(shared["legend"], 40 * mm, 3 * mm), _text("1", SMALL)]],
        colWidths=[4 * mm, 42 * mm, 6 * mm],
        hAlign="LEFT",
        style=[("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "MIDDLE")],
    )
    words = [_text(shared["legend_words"], SMALL)]
    if pictures["grad_cam_overlay"]:
        words.append(_text(shared["grad_cam_words"], SMALL))
    return KeepTogether([table, bar, *words, Spacer(0, 4)])


def _bars(columns: tuple[str, ...], bars: list[Bar], millimetres: tuple[int, ...]) -> list[Flowable]:
    if not bars:
        return []
    rows: list[list[Any]] = [list(columns)]
    style: list[tuple[Any, ...]] = [
        ("FONT", (0, 0), (-1, -1), "Times-Roman", 9.5),
        ("FONT", (0, 0), (-1, 0), "Helvetica", 8),
        ("TEXTCOLOR", (0, 0), (-1, 0), SOFT),
        ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
    ]
    for number, bar in enumerate(bars, start=1):
        named = bar.kind == "named"
        ink = VERDICT_INK["fake"] if named else VERDICT_INK.get(bar.kind, HexColor("#9aa4ab"))
        value = "none" if bar.value is None else f"{bar.value:.4f}"
        words = "named" if named else _text(bar.words, CELL)
        rows.append([bar.name, value, _Drawn(bar.value or 0.0, ink), words])
        if named:
            style.append(("FONT", (0, number), (-1, number), "Times-Bold", 9.5))
    widths = [width * mm for width in millimetres]
    table = Table(rows, colWidths=widths, hAlign="LEFT", style=style, repeatRows=1)
    return [KeepTogether(table) if len(bars) <= len(REGIONS) else table, Spacer(0, 6)]


class _Drawn(Flowable):
    """A horizontal bar for a value in [0, 1]."""

    def __init__(self, value: float, colour: HexColor):
        super().__init__()
        self.width, self.height = 50 * mm, 2.2 * mm
        self._value, self._colour = value, colour

    def draw(self) -> None:
        self.canv.setFillColor(HexColor("#eef0f2"))
        self.canv.rect(0, 0, self.width, self.height, stroke=0, fill=1)
        self.canv.setFillColor(self._colour)
        self.canv.rect(0, 0, self.width * self._value, self.height, stroke=0, fill=1)


def _transcript(exchanges: list[dict[str, Any]]) -> list[Flowable]:
    if not exchanges:
        return []
    story = [*_section("Questions and answers"), _text(TRANSCRIPT_NOTE, NOTE)]
    for row in exchanges:
        story += [_text(question_line(row), QUESTION), _text(answer_line(row), ANSWER)]
    return story


def _section(title: str) -> list[Flowable]:
    return [_text(title, SECTION)]


def _verdict(text: str, verdict: str) -> Flowable:
    style = ParagraphStyle("verdict", BODY, fontSize=13, leading=18, spaceAfter=0)
    bar = [("LINEBEFORE", (0, 0), (0, -1), 3, VERDICT_INK[verdict]), ("LEFTPADDING", (0, 0), (-1, -1), 9)]
    return Table([[_text(text, style)]], colWidths=[WIDTH], hAlign="LEFT", style=bar, spaceAfter=6)


def _boxed(content: Flowable) -> Flowable:
    ink = VERDICT_INK["inconclusive"]
    style = [("BOX", (0, 0), (-1, -1), 0.7, ink), ("BACKGROUND", (0, 0), (-1, -1), HexColor("#fbf6e7"))]
    padding = [("LEFTPADDING", (0, 0), (-1, -1), 8), ("BOTTOMPADDING", (0, 0), (-1, -1), 6)]
    return Table([[content]], colWidths=[WIDTH], hAlign="LEFT", style=style + padding)


def _facts(rows: Rows, label_width: float = 42 * mm) -> Flowable:
    cells = [[_text(name, LABEL), _text(value, CODE if _is_digest(value) else CELL)] for name, value in rows]
    style = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1.5)]
    style += [("BOTTOMPADDING", (0, 0), (-1, -1), 1.5), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    return Table(cells, colWidths=[label_width, WIDTH - label_width], hAlign="LEFT", style=style)


def _bullets(texts: list[str]) -> list[Flowable]:
    style = ParagraphStyle("bullet", BODY, leftIndent=10, bulletIndent=0, spaceAfter=3)
    return [Paragraph(_markup(text), style, bulletText="–") for text in texts]


def _text(text: str, style: ParagraphStyle = BODY) -> Paragraph:
    return Paragraph(_markup(text).replace("\n", "<br/>"), style)


def _picture(uri: str, width: float, height: float) -> Image:
    """A data URI as a picture that fits into width x height points."""
    data = BytesIO(base64.b64decode(uri.partition(",")[2]))
    return Image(data, width, height, kind="proportional", hAlign="LEFT")


def _markup(text: str) -> str:
    return escape(_plain(text), quote=False)


def _plain(text: str) -> str:
    """The text in the letters that PDF's built-in fonts have; any other is written as its code, \\u0416."""
    return text.encode("cp1252", "backslashreplace").decode("cp1252")


def _is_digest(value: str) -> bool:
    return len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)
