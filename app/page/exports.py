"""What a visitor takes along: the report in its forms, and the saved case."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from app.assistant import Assistant
from app.cases.opening import save_case
from app.court import ENTRIES, CourtForm
from app.page.desk import PageState
from app.report.sealed import SUFFIXES
from media.files import MAX_FILE_BYTES

NARRATED = 3  # files whose narrative the language model writes; of others it is composed out of the facts
NARRATING = (
    "Writing the narrative{file}, passage {number} of {count}. Untick it to have the report at once, with a "
    "narrative by fixed rules."
)
EMPTY_FORM = [*[""] * len(ENTRIES), True]  # the last is whether the conversation is annexed
COURT_FIELDS = len(EMPTY_FORM)


def narrating(assistant: Assistant, state: PageState) -> Iterator[str]:
    """Have the language model write the narratives that the report will hold, for as long as they are wanted.

    Yields how far it is, before each passage. What is not finished the report composes out of the findings.
    """
    if assistant.models.chat.host:  # nothing is sent anywhere that was not asked
        return
    files = state.case.analyses[:NARRATED]
    for index, analysis in enumerate(files, start=1):
        of_file = f" on file {index} of {len(files)}" if len(files) > 1 else ""
        with closing(assistant.narrating(analysis, most=1)) as passages:
            for number, count in passages:
                if not state.narrated or state.is_put_away:
                    return
                yield NARRATING.format(file=of_file, number=number, count=count)


def write_reports(assistant: Assistant, state: PageState, folder: Path, form: CourtForm) -> list[Path]:
    """Write one report on all files of a case, in each of its forms. folder: emptied first.

    Raises ValueError where faces are to be blurred that cannot be.
    """
    _emptied(folder)
    case, shown = state.to_report()
    report = assistant.report(case, form, state.language, shown)
    name = "unmask-" + report.data["seal"][:12]
    return [report.save(folder / f"{name}{suffix}") for suffix in SUFFIXES]


def write_archive(assistant: Assistant, state: PageState, folder: Path, form: CourtForm) -> Path:
    """Save a case as a zip file. folder: emptied first. Raises ValueError for files that are not kept."""
    _emptied(folder)
    case, shown = state.to_report()
    return save_case(assistant, case, folder / "unmask-case.zip", form, state.language, shown)


def opened_elsewhere(archive: Path, most: int = MAX_FILE_BYTES) -> str:
    """How a saved case is opened that is too large to be given to this page; "" of one that is not."""
    size = archive.stat().st_size
    if size <= most:
        return ""
    return (
        f"This saved case has {size / 2**20:.0f} MB, and this page takes files of up to {most // 2**20} MB. "
        f"Open it on the command line: python -m app.report {archive.name} -o report.pdf; or save fewer "
        "files in one case."
    )


def court_form(entries: Sequence[str | bool | None]) -> CourtForm:
    """The court form out of its entries on the page, in their order; the last is whether the conversation is
    annexed. A browser sends None for those of a form never opened. Raises ValueError as CourtForm does."""
    *texts, annex = entries or (None,)
    return CourtForm(*(str(text or "") for text in texts), annex=annex is not False)


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # an earlier one of this window
    folder.mkdir(parents=True)
