"""The blocks a report is made of: app.report.document fills them, app.report.html and .pdf draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Title:
    """The title, and above it in small print the kind of document."""

    name: ClassVar = "title"
    kind: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """A finding in one sentence, in the colour of its verdict."""

    name: ClassVar = "verdict"
    text: str
    verdict: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `lead` stands before it in bold."""

    name: ClassVar = "paragraph"
    text: str
    lead: str = ""


@dataclass(frozen=True)
class Note:
    """A paragraph in small print."""

    name: ClassVar = "note"
    text: str


@dataclass(frozen=True)
class Caution:
    """A paragraph in a box; `lead` stands before it in bold."""

    name: ClassVar = "caution"
    text: str
    lead: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    name: ClassVar = "bullets"
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Rows of name and value. long_names: a file's name and path may be one. language: of the names."""

    name: ClassVar = "facts"
    rows: Rows
    long_names: bool = False
    language: str = "en"


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, and what stands beneath it."""

    name: ClassVar = "picture"
    uri: str
    caption: str


@dataclass(frozen=True)
class FacePictures:
    """The pictures of a face side by side, the scale of the heat map, and remarks on both.

    scale: None where there is no heat map.
    """

    name: ClassVar = "face_pictures"
    pictures: tuple[Picture, ...]
    scale: Picture | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Bar:
    """A row of a table with bars.

    value: in [0, 1], or None. colour: a name of app.palette. bold: the row stands out.
    """

    label: str
    value: float | None
    words: str
    colour: str
    bold: bool = False

    @property
    def printed(self) -> str:
        """The value as every form prints it."""
        return "none" if self.value is None else f"{self.value:.4f}"


@dataclass(frozen=True)
class Bars:
    """A table with a bar in its third column. widths: of the columns, in percent."""

    name: ClassVar = "bars"
    columns: tuple[str, str, str, str]
    widths: tuple[int, int, int, int]
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Transcript:
    """Questions and answers, in order. note: what to know before reading them, in small print."""

    name: ClassVar = "transcript"
    note: str
    exchanges: Rows


@dataclass(frozen=True)
class Signature:
    """Lines to sign on by hand. labels: what stands under each; the last is the signature itself.
    signer: the name printed under it, or ""."""

    name: ClassVar = "signature"
    labels: tuple[str, ...]
    signer: str = ""


Block = (
    Title
    | Verdict
    | Paragraph
    | Note
    | Caution
    | Bullets
    | Facts
    | Picture
    | FacePictures
    | Bars
    | Transcript
    | Signature
)


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it. tall: it should not begin at the end of a page.

    language: a code of app.wording.languages. right_to_left: how that one is written. heading_language: that
    of the heading, where it is another.
    """

    heading: str
    blocks: tuple[Block, ...]
    tall: bool = False
    language: str = "en"
    right_to_left: bool = False
    heading_language: str = ""


@dataclass(frozen=True)
class Document:
    """A report, ready to be drawn. seal: of its canonical form, a hexadecimal digest. language: of its
    labels."""

    title: str
    author: str
    subject: str
    file_name: str
    seal: str
    opening: tuple[Block, ...]
    sections: tuple[Section, ...]
    language: str = "en"
