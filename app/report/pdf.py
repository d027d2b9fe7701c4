"""The report as a PDF on A4, set by Typst. Drawn from the JSON form alone; equal data gives equal bytes."""

from __future__ import annotations

import base64
import json
from dataclasses import is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typst

from app.palette import LIGHT
from app.report.document import document
from app.report.embedded import with_attachment
from app.report.fonts import FAMILIES, font_folders, printable_letters

TEMPLATE = Path(__file__).with_name("report.typ")


def render_pdf(data: dict[str, Any], source: str) -> bytes:
    """data: a report's JSON values (app.report.data). source: its JSON form, which is attached.

    Returns the document. Raises ValueError for data that cannot be drawn, FileNotFoundError without
    the fonts.
    """
    content = document(data)
    footer = f"{content.file_name[:60]}   ·   seal {content.seal[:16]}…"
    look = {"footer": footer, "palette": LIGHT, "fonts": FAMILIES}
    with TemporaryDirectory(prefix="unmask-pdf-") as folder:
        values = _plain({**_values(content), **look}, Path(folder))
        try:
            drawn = typst.compile(
                TEMPLATE.read_bytes(),
                root=folder,
                font_paths=font_folders(),
                ignore_system_fonts=True,  # the same pages on every machine
                sys_inputs={"document": json.dumps(values)},
            )
        except typst.TypstError as error:
            raise ValueError(f"the report cannot be drawn: {error}") from error
    return with_attachment(drawn, source)


def _values(block: Any) -> Any:
    """A block as plain values, with the name of its kind."""
    if is_dataclass(block):
        values = {name: _values(getattr(block, name)) for name in block.__dataclass_fields__}
        more = {name: getattr(block, name) for name in ("name", "printed") if hasattr(block, name)}
        return values | more
    return [_values(item) for item in block] if isinstance(block, (tuple, list)) else block


def _plain(value: Any, folder: Path) -> Any:
    """The values with their pictures as files in `folder`, and in letters that the fonts have."""
    if isinstance(value, dict):
        shown = {name: _plain(item, folder) for name, item in value.items()}
        if "uri" in value:
            shown["uri"] = _picture(value["uri"], folder)
        return shown
    if isinstance(value, (list, tuple)):
        return [_plain(item, folder) for item in value]
    return printable_letters(value) if isinstance(value, str) else value


def _picture(uri: str, folder: Path) -> str:
    """A data URI as a file, named as Typst finds it."""
    kind, _, code = uri.partition(",")
    name = f"{len(list(folder.iterdir()))}.{'png' if 'png' in kind else 'jpg'}"
    (folder / name).write_bytes(base64.b64decode(code))
    return f"/{name}"
