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

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.model_choice import ModelChoice
from app.report.sealed import Report, checked_suffix
from common.cli import parse
from llm.serving.endpoint import EndpointError
from media.images import ImageError


@dataclass(frozen=True)
class ReportConfig(ModelChoice):
    """The file to report on, and the place of the report."""

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
