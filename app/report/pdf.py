"""The report as a PDF on A4. Drawn from the JSON form alone; equal data gives equal bytes."""

from __future__ import annotations

import base64
from functools import singledispatch
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
    SimpleDocTemplate,
    Spacer,
    Table,
)
from reportlab.platypus import Paragraph as Text

from app.palette import LIGHT
from app.report.blocks import (
    Bars,
    Block,
    Bullets,
    Caution,
    FacePictures,
    Facts,
    Note,
    Paragraph,
    Picture,
    Section,
    Title,
    Transcript,
    Verdict,
)
from app.report.document import document
from app.report.embedded import with_attachment

WIDTH = A4[0] - 40 * mm  # between the margins
FACE_SIDE = 52 * mm
WHOLE_TABLE = 12  # rows; a table of no more is not broken over two pages
INK, SOFT, LINE = (HexColor(LIGHT[name]) for name in ("ink", "soft", "line"))

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
FINDING = ParagraphStyle("finding", BODY, fontSize=13, leading=18, spaceAfter=0)
BULLET = ParagraphStyle("bullet", BODY, leftIndent=10, bulletIndent=0, spaceAfter=3)
TITLE = ParagraphStyle("title", BODY, fontSize=26, leading=31, spaceAfter=8)
HEADING = ParagraphStyle(
    "heading",
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


def render_pdf(data: dict[str, Any], source: str) -> bytes:
    """data: a report's JSON values (app.report.data). source: its JSON form, which is attached.

    Returns the document.
    """
    content, buffer = document(data), BytesIO()
    template = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=20 * mm,
        rightMargin=20 * mm,
        topMargin=20 * mm,
        bottomMargin=22 * mm,
        title=_plain(content.title),
        author=content.author,
        subject=content.subject,
        invariant=1,
    )
    story = [flowable for block in content.opening for flowable in draw(block)]
    for section in content.sections:
        story += _section(section)
    footer = _plain(f"{content.file_name}   ·   seal {content.seal[:16]}…")
    template.build(story, canvasmaker=lambda *args, **kw: _NumberedCanvas(footer, *args, **kw))
    return with_attachment(buffer.getvalue(), source)


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


def _section(section: Section) -> list[Flowable]:
    story = [CondPageBreak(120 * mm)] if section.tall else []
    story.append(_text(section.heading, HEADING))
    for block in section.blocks:
        story += draw(block)
    return story


@singledispatch
def draw(block: Block) -> list[Flowable]:
    """A block as flowables of reportlab; one function for each kind of app.report.blocks."""
    raise TypeError(f"expected a block of app.report.blocks, got {type(block).__name__}")


@draw.register
def _(block: Title) -> list[Flowable]:
    return [_text(block.kind, SMALL), _text(block.text, TITLE)]


@draw.register
def _(block: Verdict) -> list[Flowable]:
    style = [("LINEBEFORE", (0, 0), (0, -1), 3, HexColor(LIGHT[block.verdict]))]
    style += [("LEFTPADDING", (0, 0), (-1, -1), 9)]
    return [
        Table([[_text(block.text, FINDING)]], colWidths=[WIDTH], hAlign="LEFT", style=style, spaceAfter=6)
    ]


@draw.register
def _(block: Paragraph) -> list[Flowable]:
    return [_led(block.lead, block.text, BODY)]


@draw.register
def _(block: Note) -> list[Flowable]:
    return [_text(block.text, SMALL)]


@draw.register
def _(block: Caution) -> list[Flowable]:
    style = [
        ("BOX", (0, 0), (-1, -1), 0.7, HexColor(LIGHT["inconclusive"])),
        ("BACKGROUND", (0, 0), (-1, -1), HexColor(LIGHT["caution"])),
        ("LEFTPADDING", (0, 0), (-1, -1), 8),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
    ]
    content = _led(block.lead, block.text, CELL)
    return [Spacer(0, 6), Table([[content]], colWidths=[WIDTH], hAlign="LEFT", style=style), Spacer(0, 8)]


@draw.register
def _(block: Bullets) -> list[Flowable]:
    return [Text(_markup(text), BULLET, bulletText="–") for text in block.texts]


@draw.register
def _(block: Facts) -> list[Flowable]:
    label_width = (66 if block.long_names else 42) * mm
    cells = [
        [_text(name, LABEL), _text(value, CODE if _is_digest(value) else CELL)] for name, value in block.rows
    ]
    style = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("TOPPADDING", (0, 0), (-1, -1), 1.5)]
    style += [("BOTTOMPADDING", (0, 0), (-1, -1), 1.5), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    widths = [label_width, WIDTH - label_width]
    return [Table(cells, colWidths=widths, hAlign="LEFT", style=style, spaceAfter=5)]


@draw.register
def _(block: Picture) -> list[Flowable]:
    return [KeepTogether([_image(block.uri, WIDTH, 85 * mm), Spacer(0, 3), _text(block.caption, SMALL)])]


@draw.register
def _(block: FacePictures) -> list[Flowable]:
    cells = [
        [_image(picture.uri, FACE_SIDE, FACE_SIDE) for picture in block.pictures],
        [_text(picture.caption, SMALL) for picture in block.pictures],
    ]
    style = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    widths = [FACE_SIDE + 4 * mm] * len(block.pictures)
    parts: list[Flowable] = [Table(cells, colWidths=widths, hAlign="LEFT", style=style)]
    if block.scale:
        bar = [_text("0", SMALL), _image(block.scale.uri, 40 * mm, 3 * mm), _text("1", SMALL)]
        style = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "MIDDLE")]
        parts.append(Table([bar], colWidths=[4 * mm, 42 * mm, 6 * mm], hAlign="LEFT", style=style))
        parts.append(_text(block.scale.caption, SMALL))
    parts += [_text(note, SMALL) for note in block.notes]
    return [KeepTogether([*parts, Spacer(0, 4)])]


@draw.register
def _(block: Bars) -> list[Flowable]:
    widths = [WIDTH * width / 100 for width in block.widths]
    rows: list[list[Any]] = [list(block.columns)]
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
    for number, bar in enumerate(block.bars, start=1):
        value = "none" if bar.value is None else f"{bar.value:.4f}"
        drawn = _Bar(bar.value or 0.0, LIGHT[bar.colour], widths[2] - 12)  # 12 points: a cell's padding
        rows.append([bar.label, value, drawn, bar.words if bar.bold else _text(bar.words, CELL)])
        if bar.bold:
            style.append(("FONT", (0, number), (-1, number), "Times-Bold", 9.5))
    table = Table(rows, colWidths=widths, hAlign="LEFT", style=style, repeatRows=1)
    return [KeepTogether(table) if len(block.bars) <= WHOLE_TABLE else table, Spacer(0, 6)]


@draw.register
def _(block: Transcript) -> list[Flowable]:
    story = [_text(block.note, NOTE)]
    for question, answer in block.exchanges:
        story += [_text(question, QUESTION), _text(answer, ANSWER)]
    return story


class _Bar(Flowable):
    """A horizontal bar for a value in [0, 1]. width: of the value 1, in points."""

    def __init__(self, value: float, colour: str, width: float):
        super().__init__()
        self.width, self.height = width, 2.2 * mm
        self._value, self._colour = value, colour

    def draw(self) -> None:
        self.canv.setFillColor(HexColor(LIGHT["fill"]))
        self.canv.rect(0, 0, self.width, self.height, stroke=0, fill=1)
        self.canv.setFillColor(HexColor(self._colour))
        self.canv.rect(0, 0, self.width * self._value, self.height, stroke=0, fill=1)


def _text(text: str, style: ParagraphStyle) -> Text:
    return Text(_markup(text).replace("\n", "<br/>"), style)


def _led(lead: str, text: str, style: ParagraphStyle) -> Text:
    """A paragraph after a few words in bold."""
    return Text((f"<b>{_markup(lead)}</b> " if lead else "") + _markup(text).replace("\n", "<br/>"), style)


def _image(uri: str, width: float, height: float) -> Image:
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
