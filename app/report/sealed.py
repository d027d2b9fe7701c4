"""The sealed report: its canonical JSON, and the HTML and PDF made from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.analysis import Analysis
from app.report.data import SCHEMA, report_data
from common.storage import write_atomically
from media.images import sha256_of

SUFFIXES = (".pdf", ".html", ".json")


@dataclass(frozen=True)
class Report:
    """A sealed report. `data` holds plain JSON values, `seal` among them; see app.report.data."""

    data: dict[str, Any]

    @classmethod
    def of(cls, analysis: Analysis) -> Report:
        """The report on an analysis, with what was asked until now."""
        data = report_data(analysis)
        return cls({**data, "seal": seal_of(data)})

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read the canonical form, whose seal may be broken. Raises ValueError for anything else."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(
                f"expected the JSON form of a report, got text that is not JSON ({error})"
            ) from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or "seal" not in data:
            raise ValueError(f"expected a report with schema {SCHEMA!r} and a seal, got other JSON")
        return cls(data)

    @property
    def intact(self) -> bool:
        """True where the seal still fits the content."""
        return seal_of(self.data) == self.data["seal"]

    def to_json(self) -> str:
        """The canonical form, laid out for reading: layout is not part of what is sealed."""
        return json.dumps(self.data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def to_html(self) -> str:
        """One self-contained page that prints well."""
        from app.report.html import render_html

        return render_html(self.data)

    def to_pdf(self) -> bytes:
        """The same as a PDF document."""
        from app.report.pdf import render_pdf

        return render_pdf(self.data)

    def save(self, path: str | Path) -> Path:
        """Write the form that the suffix of `path` names (.pdf, .html or .json); whole or not at all."""
        path = Path(path)
        render: dict[str, Callable[[], str | bytes]]
        render = {".pdf": self.to_pdf, ".html": self.to_html, ".json": self.to_json}
        content = render[checked_suffix(path)]()
        data = content.encode("utf-8") if isinstance(content, str) else content
        write_atomically(path, lambda part: part.write_bytes(data))
        return path


def seal_of(data: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of `data` without its seal: sorted keys, no spaces, UTF-8."""
    content = {key: value for key, value in data.items() if key != "seal"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256_of(text.encode("utf-8"))


def checked_suffix(path: Path) -> str:
    """The suffix of a report file in lower case. Raises ValueError for any other suffix."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a report ends in .pdf, .html or .json, not in {suffix or 'nothing'!r}")
    return suffix
