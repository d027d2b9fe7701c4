"""Write, or check, the report on a photograph or a video, or on a case of several.

    python -m app.report photo.jpg -o report.pdf
    python -m app.report photo.jpg -o report.html --ask "Is this a deepfake image?" --ask "Where?"
    python -m app.report photo.jpg -o report.json
    python -m app.report photo.jpg -o report.pdf --case-number "3 O 12/26" --examiner "A. Miller" \
        --commissioned-by "Regional Court" --question "Was the face manipulated?" \
        --examiner-opinion "..." --no-annex
    python -m app.report photo.jpg -o report.pdf --llm-url http://127.0.0.1:8000/v1
    python -m app.report photo.jpg -o report.pdf --sign-with keys/examiner.pem
    python -m app.report photo.jpg -o report.pdf --language de
    python -m app.report one.jpg two.jpg clip.mp4 -o report.pdf --note "2: Sent by a reader." \
        --override "1: real: The negative lies in the archive." --save-case case.zip
    python -m app.report case.zip -o report.pdf --blur-all-but "1: 2"
    python -m app.report --verify report.json
    python -m app.report --verify report.pdf --signer keys/examiner.pem.pub --photo photo.jpg --rerun
    python -m app.report --verify report.json --expect 0123abcd... --photo photo.jpg

Several files are one case, with one report. --save-case writes it with its files to a folder or a zip file,
which is given in place of the files to open it again: seal, signature and digests are checked and every file
is examined anew. --override is the examiner's own verdict (fake, real or inconclusive) with its reason; it
stands beside the finding, which stays. Files are counted from 1, as in the report.

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
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import tyro

from app.analysis import Analysis
from app.assistant import OPENING_QUESTION, Assistant
from app.cases.case import MAX_FILES, Case, ExaminedFile, Override
from app.cases.command import annotate, check_numbers, faces_shown, numbered, overrides
from app.cases.opening import open_case, save_case
from app.cases.saved import is_case
from app.court import CourtForm
from app.models.choice import ModelChoice
from app.report.sealed import checked_suffix
from app.report.verify import verify
from app.signing import SigningKey
from app.wording.case import opened_words
from app.wording.translated import ENGLISH, sentences
from common.cli import parse
from common.terminal import printable
from llm.serving.endpoint import EndpointError
from media.decoding.sandbox import LIMITS
from media.files import open_file
from media.images import ImageError


@dataclass(frozen=True)
class ReportConfig(ModelChoice):
    """The files to report on, and the place of the report."""

    source: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()  # photographs and videos, or a saved case
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None  # .pdf, .html or .json
    ask: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())  # a question about every face
    case_number: str = ""  # of the court or the file; this and the next four stand on the first page
    examiner: str = ""  # who answers for the report
    commissioned_by: str = ""  # who asked for it
    question: str = ""  # what the court asked, in its words; --ask puts questions to the language model
    language: str = "en"  # de, fr, es, pt, zh, ar, ru, hi: a summary in it beside the English text
    examiner_opinion: str = ""  # the examiner's own conclusion, printed as such above the signature line
    narrative: bool = True  # written by the language model; --no-narrative: composed out of the findings
    annex: bool = True  # the conversation stands at the end; --no-annex leaves it out
    note: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())  # "2: text", on the second file
    override: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())  # "1: real: the reason for it"
    blur_all_but: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())  # "1: 2, 3": faces to show
    save_case: Path | None = None  # a new folder, or a file that ends in .zip
    sign_with: Path | None = None  # the key that signs the report (python -m app.keys new)
    verify: Path | None = None  # compare this report with its signature and seal, and with what follows
    signer: str | None = None  # the examiner's public key, or the file that holds it
    expect: str | None = (
        None  # the seal that was noted when the report was handed over, or its first 16 digits
    )
    photo: tyro.conf.UseAppendAction[tuple[Path, ...]] = field(default=())  # a file the report should be on
    rerun: bool = False  # examine those files again, and compare the figures

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.verify is not None:
            if (
                self.source
                or self.out is not None
                or self.save_case is not None
                or any((self.ask, self.note, self.override, self.blur_all_but))
                or self.sign_with is not None
                or self.court_form() != CourtForm()
            ):
                raise ValueError("--verify writes nothing; it takes --signer, --expect, --photo and --rerun")
            if self.rerun and not self.photo:
                raise ValueError("--rerun examines the file again: give it as --photo FILE")
            return
        if self.expect is not None or self.photo or self.signer is not None or self.rerun:
            raise ValueError("--signer, --expect, --photo and --rerun belong to --verify REPORT")
        if not self.source or (self.out is None and self.save_case is None):
            raise ValueError("expected PHOTO and -o REPORT.pdf|.html|.json, or --verify REPORT.json")
        if len(self.source) > MAX_FILES:
            raise ValueError(f"a case has room for {MAX_FILES} files, got {len(self.source)}; make several")
        sentences(self.language)
        self.court_form()
        self.said()
        if self.out is not None:
            checked_suffix(self.out)
        for out in filter(None, (self.out, self.save_case)):
            if out.exists() and any(source.exists() and out.samefile(source) for source in self.source):
                raise ValueError(f"{out} is the examined file itself; name another one for the report")

    def court_form(self) -> CourtForm:
        """The entries of the first page. Raises ValueError for one that is too long."""
        return CourtForm(**{entry.name: getattr(self, entry.name) for entry in fields(CourtForm)})

    def said(self) -> tuple[dict[int, str], dict[int, Override], dict[int, frozenset[int]] | None]:
        """Notes, verdicts of the examiner, and faces to show, by file. Raises ValueError for a wrong form."""
        return numbered("--note", self.note), overrides(self.override), faces_shown(self.blur_all_but)


def write_report(config: ReportConfig) -> list[Path]:
    """Examine `config.source`, ask the questions of every face, save the report and the case.

    Where the language model's endpoint fails, the report says so and no more is asked. Returns what was
    written.
    """
    key = None if config.sign_with is None else SigningKey.load(config.sign_with)
    notes, verdicts, shown = config.said()
    saved = len(config.source) == 1 and is_case(config.source[0])
    if not saved:  # said before the models are loaded
        check_numbers(len(config.source), notes, verdicts, shown or ())
        for path in config.source:
            with open_file(path):
                pass
    assistant = Assistant.load(config, key)
    with TemporaryDirectory(prefix="unmask-case-") as folder:
        case, form, language, kept = _case(assistant, config, Path(folder) if saved else None)
        shown = kept if shown is None else shown
        check_numbers(len(case), notes, verdicts, shown or ())
        annotate(case, notes, verdicts)
        try:
            for analysis in case.analyses:
                _ask_everything(assistant, analysis, config.ask)
        except EndpointError as error:
            print(f"warning: {error}; the report is written without further answers", file=sys.stderr)
        for analysis in case.analyses if config.narrative else ():
            assistant.narrate(analysis)
        report = assistant.report(case, form, language, shown)
        print(printable(report.data["finding"]))
        written = [] if config.out is None else [report.save(config.out)]
        if config.save_case is not None:
            written.append(save_case(assistant, case, config.save_case, form, language, shown))
    return written


def _case(
    assistant: Assistant, config: ReportConfig, folder: Path | None
) -> tuple[Case, CourtForm, str, dict[int, frozenset[int] | None] | None]:
    """The case with its court form, its language and the faces that are not blurred.

    Flags change them where it was saved before, but for a conversation that was to be left out.
    folder: where the files of a saved case go; None where the files themselves are given.
    """
    given = config.court_form()
    if folder is None:
        files = [ExaminedFile(assistant.analyse(path), path) for path in config.source]
        return Case(files), given, config.language, None
    opened = open_case(assistant, config.source[0], folder)
    for words in opened_words(opened.case.opened):
        print(printable(words), file=sys.stderr)
    form = replace(opened.form, **given.as_json(), annex=opened.form.annex and given.annex)
    language = opened.language if config.language == ENGLISH else config.language
    return opened.case, form, language, opened.shown


def _ask_everything(assistant: Assistant, analysis: Analysis, questions: tuple[str, ...]) -> None:
    for finding in analysis.faces:
        asked_before = {exchange.question for exchange in analysis.session.about(finding.index)}
        opening = () if OPENING_QUESTION in asked_before else (OPENING_QUESTION,)
        for question in (*opening, *questions):
            print(f"face {finding.index + 1} of {len(analysis.faces)}: {question}", file=sys.stderr)
            for _ in assistant.ask(analysis, question, finding.index):
                pass


def main() -> None:
    """Exit status 0: written, or all agrees. 1: something does not. 2: nothing could be done, and why."""
    try:
        config = parse(ReportConfig, f"{__doc__}\n{LIMITS}")
        if config.verify is not None:
            choice = config if config.rerun else None
            agrees = verify(config.verify, config.expect, config.photo, config.signer, choice)
            sys.exit(0 if agrees else 1)
        for path in write_report(config):
            print(f"written to {path}")
    except (ImageError, ValueError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
