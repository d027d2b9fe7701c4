"""Write, or check, the report on a photograph or a video.

    python -m app.report photo.jpg -o report.pdf
    python -m app.report photo.jpg -o report.html --ask "Is this a deepfake image?" --ask "Where?"
    python -m app.report photo.jpg -o report.json
    python -m app.report photo.jpg -o report.pdf --case-number "3 O 12/26" --examiner "A. Miller" \
        --commissioned-by "Regional Court" --question "Was the face manipulated?" \
        --examiner-opinion "..." --no-annex
    python -m app.report photo.jpg -o report.pdf --llm-url http://127.0.0.1:8000/v1
    python -m app.report photo.jpg -o report.pdf --sign-with keys/examiner.pem
    python -m app.report photo.jpg -o report.pdf --language de
    python -m app.report --verify report.json
    python -m app.report --verify report.pdf --signer keys/examiner.pem.pub --photo photo.jpg --rerun
    python -m app.report --verify report.json --expect 0123abcd... --photo photo.jpg

The JSON form is the canonical one; HTML and PDF are rendered from it and carry it. Its `seal` is the SHA-256
digest of everything else in it: a checksum, which anybody who changes a report can compute anew. A signature
(--sign-with a key of `python -m app.keys new`) cannot be made anew without that key: --verify says whether
the report is unchanged since it was signed, and by which key; --signer, whether that is the examiner's.
--photo compares the file, --rerun examines it again and compares program, weights and figures. The models are
chosen as for `python -m app`.

Exit status of --verify: 0 all that was compared agrees, 1 something does not, 2 it could not be compared, for
instance because the file is no report.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import tyro

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.court import CourtForm
from app.models.choice import ModelChoice
from app.report.sealed import checked_suffix
from app.report.verify import verify
from app.signing import SigningKey
from app.wording.translated import sentences
from common.cli import parse
from common.terminal import printable
from llm.serving.endpoint import EndpointError
from media.images import ImageError


@dataclass(frozen=True)
class ReportConfig(ModelChoice):
    """The file to report on, and the place of the report."""

    source: Annotated[Path | None, tyro.conf.Positional] = None  # the photograph or video to examine
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None  # .pdf, .html or .json
    ask: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())  # a question about every face
    case_number: str = ""  # of the court or the file; this and the next four stand on the first page
    examiner: str = ""  # who answers for the report
    commissioned_by: str = ""  # who asked for it
    question: str = ""  # what the court asked, in its words; --ask puts questions to the language model
    language: str = "en"  # de, fr, es, pt, zh, ar, ru, hi: a summary in it beside the English text
    examiner_opinion: str = ""  # the examiner's own conclusion, printed as such above the signature line
    annex: bool = True  # the conversation stands at the end; --no-annex leaves it out
    sign_with: Path | None = None  # the key that signs the report (python -m app.keys new)
    verify: Path | None = None  # compare this report with its signature and seal, and with what follows
    signer: str | None = None  # the examiner's public key, or the file that holds it
    expect: str | None = (
        None  # the seal that was noted when the report was handed over, or its first 16 digits
    )
    photo: Path | None = None  # the file that the report is said to be on
    rerun: bool = False  # examine that file again, and compare the figures

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.verify is not None:
            if (
                self.source is not None
                or self.out is not None
                or self.ask
                or self.sign_with is not None
                or self.court_form() != CourtForm()
            ):
                raise ValueError("--verify writes nothing; it takes --signer, --expect, --photo and --rerun")
            if self.rerun and self.photo is None:
                raise ValueError("--rerun examines the file again: give it as --photo FILE")
            return
        if self.expect is not None or self.photo is not None or self.signer is not None or self.rerun:
            raise ValueError("--signer, --expect, --photo and --rerun belong to --verify REPORT")
        if self.source is None or self.out is None:
            raise ValueError("expected PHOTO and -o REPORT.pdf|.html|.json, or --verify REPORT.json")
        checked_suffix(self.out)
        sentences(self.language)
        self.court_form()
        if self.out.exists() and self.source.exists() and self.out.samefile(self.source):
            raise ValueError(f"{self.out} is the examined file itself; name another one for the report")

    def court_form(self) -> CourtForm:
        """The entries of the first page. Raises ValueError for one that is too long."""
        return CourtForm(**{entry.name: getattr(self, entry.name) for entry in fields(CourtForm)})


def write_report(config: ReportConfig) -> Path:
    """Examine `config.source`, ask the questions of every face, save the report.

    Where the language model's endpoint fails, the report says so and no more is asked.
    """
    key = None if config.sign_with is None else SigningKey.load(config.sign_with)
    assistant = Assistant.load(config, key)
    analysis = assistant.analyse(config.source)
    try:
        _ask_everything(assistant, analysis, config.ask)
    except EndpointError as error:
        print(f"warning: {error}; the report is written without further answers", file=sys.stderr)
    report = assistant.report(analysis, config.court_form(), config.language)
    print(printable(report.data["finding"]))
    return report.save(config.out)


def _ask_everything(assistant: Assistant, analysis: Analysis, questions: tuple[str, ...]) -> None:
    for finding in analysis.faces:
        for question in (OPENING_QUESTION, *questions):
            print(f"face {finding.index + 1} of {len(analysis.faces)}: {question}", file=sys.stderr)
            for _ in assistant.ask(analysis, question, finding.index):
                pass


def main() -> None:
    """Exit status 0: written, or all agrees. 1: something does not. 2: nothing could be done, and why."""
    try:
        config = parse(ReportConfig, __doc__)
        if config.verify is not None:
            choice = config if config.rerun else None
            agrees = verify(config.verify, config.expect, config.photo, config.signer, choice)
            sys.exit(0 if agrees else 1)
        print(f"written to {write_report(config)}")
    except (ImageError, ValueError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
