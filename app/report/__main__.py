"""Write, or check, the report on a photograph or a video.

    python -m app.report photo.jpg -o report.pdf
    python -m app.report photo.jpg -o report.html --ask "Is this a deepfake image?" --ask "Where?"
    python -m app.report photo.jpg -o report.json
    python -m app.report photo.jpg -o report.pdf --llm-url http://127.0.0.1:8000/v1
    python -m app.report --verify report.json
    python -m app.report --verify report.json --expect 0123abcd... --photo photo.jpg

The JSON form is the canonical one; HTML and PDF are rendered from it. Its `seal` is the SHA-256 digest
of everything else in it: a checksum, which anybody who changes a report can compute anew. Only a seal that
was noted elsewhere, given as --expect, shows that a report is still the one it was. --photo compares the file
that is named in it. The models are chosen as for `python -m app`.

Exit status of --verify: 0 all that was compared agrees, 1 something does not, 2 it could not be compared, for
instance because the file is no report.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from re import fullmatch
from typing import Annotated

import tyro

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.model_choice import ModelChoice
from app.report.sealed import Report, checked_suffix, seal_of
from common.cli import parse
from common.terminal import printable
from llm.serving.endpoint import EndpointError
from media.files import open_file
from media.images import ImageError

# What a comparison found, by whether it agrees.
CHECKSUM = {
    True: "the checksum fits the content",
    False: "CHANGED: the content is not what the seal was computed of",
}
EXPECTED = {
    True: "agrees; this is the report whose seal was noted",
    False: "DIFFERS; this is not the report whose seal was noted",
}
PHOTO = {
    True: "is the file that the report is on",
    False: "is ANOTHER file than the one that the report is on",
}
NOT_PROVEN = (
    "This shows accidental changes alone: whoever changes a report on purpose can compute its seal anew. "
    "Compare it with the one that was noted when the report was handed over: --expect SEAL."
)


@dataclass(frozen=True)
class ReportConfig(ModelChoice):
    """The file to report on, and the place of the report."""

    source: Annotated[Path | None, tyro.conf.Positional] = None  # the photograph or video to examine
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None  # .pdf, .html or .json
    ask: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())  # a question about every face
    verify: Path | None = None  # compare this JSON report with its seal instead, and with the two below
    expect: str | None = (
        None  # the seal that was noted when the report was handed over, or its first 16 digits
    )
    photo: Path | None = None  # the file that the report is said to be on

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.verify is not None:
            if self.source is not None or self.out is not None or self.ask:
                raise ValueError("--verify examines nothing; give it --expect SEAL and --photo FILE alone")
            return
        if self.expect is not None or self.photo is not None:
            raise ValueError("--expect and --photo belong to --verify REPORT.json")
        if self.source is None or self.out is None:
            raise ValueError("expected PHOTO and -o REPORT.pdf|.html|.json, or --verify REPORT.json")
        checked_suffix(self.out)
        if self.out.exists() and self.source.exists() and self.out.samefile(self.source):
            raise ValueError(f"{self.out} is the examined file itself; name another one for the report")


def write_report(config: ReportConfig) -> Path:
    """Examine `config.source`, ask the questions of every face, save the report.

    Where the language model's endpoint fails, the report says so and no more is asked.
    """
    assistant = Assistant.load(config)
    analysis = assistant.analyse(config.source)
    try:
        _ask_everything(assistant, analysis, config.ask)
    except EndpointError as error:
        print(f"warning: {error}; the report is written without further answers", file=sys.stderr)
    report = assistant.report(analysis)
    print(printable(report.data["finding"]))
    return report.save(config.out)


def _ask_everything(assistant: Assistant, analysis: Analysis, questions: tuple[str, ...]) -> None:
    for finding in analysis.faces:
        for question in (OPENING_QUESTION, *questions):
            print(f"face {finding.index + 1} of {len(analysis.faces)}: {question}", file=sys.stderr)
            for _ in assistant.ask(analysis, question, finding.index):
                pass


def verify(path: Path, expect: str | None = None, photo: Path | None = None) -> bool:
    """Print what of a JSON report agrees with its seal, with the seal that was noted, and with a file.

    expect: the seal that was noted, 16 or more of its digits. Returns whether all of it agrees.
    Raises ValueError for a file that is no report, OSError and ImageError for one that cannot be read.
    """
    if expect is not None and not fullmatch("[0-9a-fA-F]{16,64}", expect.strip()):
        raise ValueError(f"--expect: expected 16 to 64 hexadecimal digits, got {expect!r}")
    report = Report.from_json(path.read_bytes())
    file = {name: printable(str(report.data["file"][name])) for name in ("name", "sha256")}
    own = seal_of(report.data)
    agrees = [report.intact]
    print(f"report of {printable(report.data['created'])} on {file['name']}, SHA-256 {file['sha256']}")
    print(f"seal {report.data['seal']}: {CHECKSUM[report.intact]}")
    if expect is not None:
        agrees.append(own.startswith(expect.strip().lower()))
        print(f"the seal noted elsewhere: {EXPECTED[agrees[-1]]}")
    elif report.intact:
        print(NOT_PROVEN)
    if photo is not None:
        with open_file(photo) as opened:
            agrees.append(opened.sha256 == report.data["file"]["sha256"])
        print(f"{printable(str(photo))}: {PHOTO[agrees[-1]]}")
    return all(agrees)


def main() -> None:
    """Exit status 0: written, or all agrees. 1: something does not. 2: nothing could be done, and why."""
    try:
        config = parse(ReportConfig, __doc__)
        if config.verify is not None:
            sys.exit(0 if verify(config.verify, config.expect, config.photo) else 1)
        print(f"written to {write_report(config)}")
    except (ImageError, ValueError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
