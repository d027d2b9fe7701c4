"""The JSON form inside the other two: a report can be checked, whichever of them somebody has."""

from __future__ import annotations

import base64
import binascii
import re
from io import BytesIO

from pypdf import PdfReader, PdfWriter
from pypdf.errors import PyPdfError

ATTACHMENT = "report.json"
LINK = "data:application/json;base64,"
MAX_REPORT_BYTES = 256 * 2**20
_LINK = re.compile(rb'href="' + re.escape(LINK.encode()) + rb'([A-Za-z0-9+/=]+)"')


def to_link(source: str) -> str:
    """A JSON form as the address of a link; nothing is fetched to follow it."""
    return LINK + base64.b64encode(source.encode("utf-8", "surrogatepass")).decode("ascii")


def with_attachment(pdf: bytes, source: str) -> bytes:
    """A PDF document with a JSON form attached; equal arguments give equal bytes."""
    writer, buffer = PdfWriter(clone_from=BytesIO(pdf)), BytesIO()
    writer.add_attachment(ATTACHMENT, source.encode("utf-8", "surrogatepass"))
    writer.write(buffer)
    return buffer.getvalue()


def json_form(data: bytes) -> tuple[bytes, str]:
    """Find the JSON form in a report of any form.

    data: the whole file. Returns the JSON and the suffix of the form it was in. Raises ValueError where there
    is none, or more than one.
    """
    if len(data) > MAX_REPORT_BYTES:
        raise ValueError(f"expected a report of at most {MAX_REPORT_BYTES // 2**20} MB, got a larger file")
    if data.startswith(b"%PDF-"):
        found, suffix = _attached(data), ".pdf"
    elif data.lstrip()[:1] == b"<":
        found, suffix = [_decoded(match) for match in _LINK.findall(data)], ".html"
    else:
        return data, ".json"
    if len(found) != 1:
        raise ValueError(
            f"expected a report with one {ATTACHMENT} in it, got {len(found)}; ask for the JSON form"
        )
    return found[0], suffix


def _attached(data: bytes) -> list[bytes]:
    try:
        return [content for content in PdfReader(BytesIO(data)).attachments.get(ATTACHMENT, [])]
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"expected a report, got a PDF file that cannot be read ({error})") from None


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"expected a report, got a page whose data are damaged ({error})") from None
