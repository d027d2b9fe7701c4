"""Sentences about a case: its files together, what the examiner says of them, what it was opened from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.wording.lead import whole_sentence
from common.verdicts import Verdict
from data_sim.dialogue import join_words

if TYPE_CHECKING:
    from app.cases.case import Case, Opened, Override

OPENED_HEADING = "Where this case comes from"
UNREAD_HEADING = "Files that were not examined"
NOTES_LEAD = "Notes of the examiner."
OVERRIDE_LEAD = "The examiner’s own verdict."
OVERRIDE_NOTE = (
    "This verdict is the examiner's own, and the examiner answers for it. Unmask's finding stands above it, "
    "unchanged; every figure in this report is Unmask's."
)
IN_GROUP = {  # of files with each verdict; the first is told first
    Verdict.FAKE: "signs of manipulation in {files}",
    Verdict.INCONCLUSIVE: "no verdict on {files}",
    Verdict.REAL: "no signs of manipulation found in {files}",
}
TOLD = 3  # files that are named one by one


def case_sentence(case: Case) -> str:
    """The findings about all files in one sentence; of a single file, the finding about it."""
    left = f" Not examined: {join_words([file.name for file in case.unread])}." if case.unread else ""
    if len(case) == 1:
        return whole_sentence(case[0].analysis) + left
    groups = []
    for verdict, words in IN_GROUP.items():
        numbers = [number for number, file in enumerate(case, 1) if file.analysis.verdict == verdict]
        groups += [words.format(files=files_words(numbers))] if numbers else []
    differs = [number for number, file in enumerate(case, 1) if file.override is not None]
    more = f" The examiner gives a verdict of their own on {files_words(differs)}." if differs else ""
    return f"{len(case)} files were examined: {'; '.join(groups)}.{more}{left}"


def files_words(numbers: Sequence[int]) -> str:
    """Numbers of files as words: "file 2", "files 1 and 3", "7 files"."""
    if len(numbers) > TOLD:
        return f"{len(numbers)} files"
    return f"file{'s' if len(numbers) > 1 else ''} {join_words([str(number) for number in numbers])}"


def file_label(number: int, name: str) -> str:
    """The heading of a file among several. number: from 1."""
    return f"File {number}: {name}"


def override_words(override: Override) -> str:
    """The examiner's verdict and the reason for it."""
    reason = override.reason if override.reason[-1:] in ".!?。" else f"{override.reason}."
    return f"{override.verdict.words}. Reason: {reason}"


def opened_words(opened: Opened) -> list[str]:
    """What a case was opened from, and what came out differently."""
    signed = f"signed with the key {opened.signer}" if opened.signer else "signed by nobody"
    came = "Notes, verdicts of the examiner and earlier questions and answers come from there"
    first = (
        f"This case was saved before, with files examined at {opened.created}, under the seal {opened.seal}, "
        f"{signed}. {came}; every file was examined again for this report."
    )
    return [first, *opened.differences]


def difference_words(number: int, name: str, saved: str, now: str) -> str:
    """That the finding about a file, examined again, is not the one that was saved."""
    which = file_label(number, name)
    if saved == now:
        return f"{which}: its verdict is the one that was saved, its figures differ: other program or models."
    before, after = Verdict(saved).words, Verdict(now).words
    return f"{which}: it was saved with “{before}”, and is “{after}” examined again: other program or models."


def blurred_words(faces: Sequence[int]) -> str:
    """That faces, by their numbers, are blurred in the pictures; "" for none."""
    if not faces:
        return ""
    which = f"Face{'s' if len(faces) > 1 else ''} {join_words([str(number) for number in faces])}"
    are = "are" if len(faces) > 1 else "is"
    return (
        f"{which} {are} blurred in the pictures of this report at the wish of whoever made it. All figures "
        "and maps are of the file as it was given, whose digest stands in this report. Faces that were not "
        "found are not blurred."
    )
