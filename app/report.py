"""Write, or check, the report on a photograph or a video.

    python -m app.report photo.jpg -o report.pdf
    python -m app.report photo.jpg -o report.html --ask "Is this a deepfake image?" --ask "Where?"
    python -m app.report photo.jpg -o report.json
    python -m app.report photo.jpg -o report.pdf --llm-url http://127.0.0.1:8000/v1
    python -m app.report --verify report.json

The JSON form is the canonical one; HTML and PDF are rendered from it. Its `seal` is the SHA-256 digest
of everything else in it, so that a later change shows. The models are chosen as for `python -m app`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from app.models import ModelChoice
from app.report_data import SCHEMA, report_data
from data_sim.images import ImageError, sha256_of
from kfd.storage import write_atomically

if TYPE_CHECKING:
    from app.analysis import Analysis
    from app.assistant import Assistant

SUFFIXES = (".pdf", ".html", ".json")


@dataclass(frozen=True)
class Report:
    """A sealed report. `data` holds plain JSON values, `seal` among them; see app.report_data."""

    data: dict[str, Any]

    @classmethod
    def of(cls, analysis: Analysis) -> Report:
        """The report on an analysis, with what was asked until now."""
        data = report_data(analysis)
        return cls({**data, "seal": seal_of(data)})

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read the canonical form. Raises ValueError for anything else; a broken seal is no error here."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(
                f"expected the JSON form of a report, got text that is no JSON ({error})"
            ) from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or "seal" not in data:
            raise ValueError(f"expected a report with schema {SCHEMA!r} and a seal, got other JSON")
        return cls(data)

    @property
    def intact(self) -> bool:
        """Whether the seal still fits the content."""
        return seal_of(self.data) == self.data["seal"]

    def to_json(self) -> str:
        """The canonical form, laid out for reading: layout is not part of what is sealed."""
        return json.dumps(self.data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def to_html(self) -> str:
        """One self-contained page that prints well."""
        from app.report_html import render_html

        return render_html(self.data)

    def to_pdf(self) -> bytes:
        """The same as a PDF document."""
        from app.report_pdf import render_pdf

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
    """The suffix of a report file in lower case. Raises ValueError for one that is no form of a report."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a report ends in .pdf, .html or .json, not in {suffix or 'nothing'!r}")
    return suffix


@dataclass(frozen=True)
class ReportConfig(ModelChoice):
    """What to report on, and where to."""

    photo: Annotated[Path | None, tyro.conf.Positional] = None  # the photograph or video to examine
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None  # .pdf, .html or .json
    ask: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())  # a question about every face
    verify: Path | None = None  # check the seal of this JSON report instead

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.verify is not None:
            return
        if self.photo is None or self.out is None:
            raise ValueError("expected PHOTO and -o REPORT.pdf|.html|.json, or --verify REPORT.json")
        checked_suffix(self.out)
        if self.out.exists() and self.photo.exists() and self.out.samefile(self.photo):
            raise ValueError(f"{self.out} is the examined file itself; name another one for the report")


def write_report(config: ReportConfig) -> Path:
    """Examine `config.photo`, ask the questions of every face, save the report.

    Where the language model's endpoint fails, the report says so and no more is asked.
    """
    from app.assistant import Assistant
    from llm.endpoint import EndpointError

    assistant = Assistant.load(config)
    analysis = assistant.analyse(config.photo)
    try:
        _ask_everything(assistant, analysis, config.ask)
    except EndpointError as error:
        print(f"warning: {error}; the report is written without further answers", file=sys.stderr)
    report = assistant.report(analysis)
    print(report.data["finding"])
    return report.save(config.out)


def _ask_everything(assistant: Assistant, analysis: Analysis, questions: tuple[str, ...]) -> None:
    from app.assistant import OPENING_QUESTION

    for finding in analysis.faces:
        for question in (OPENING_QUESTION, *questions):
            print(f"face {finding.index + 1} of {len(analysis.faces)}: {question}", file=sys.stderr)
            for _ in assistant.ask(analysis, question, finding.index):
                pass


def verify(path: Path) -> bool:
    """Print whether the seal of a JSON report fits its content, and what it speaks of."""
    report = Report.from_json(path.read_text(encoding="utf-8"))
    file = report.data["file"]
    state = "intact" if report.intact else "BROKEN: the report was changed after it was sealed"
    print(f"seal {report.data['seal']}: {state}")
    print(f"report of {report.data['created']} on {file['name']}, SHA-256 {file['sha256']}")
    return report.intact


def main() -> None:
    """Exit status 0: written, or intact. 1: the seal is broken. 2: nothing could be done, and why."""
    from data_sim.cli import parse

    try:
        config = parse(ReportConfig, __doc__)
        if config.verify is not None:
            sys.exit(0 if verify(config.verify) else 1)
        print(f"written to {write_report(config)}")
    except (ImageError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
