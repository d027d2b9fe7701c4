"""What a command line says of the files of a case, each by its number: "2: Sent by a reader"."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.cases.case import Case, Override

_NUMBERED = re.compile(r"\s*(\d{1,3})\s*:\s*(.*?)\s*", re.DOTALL)


def numbered(flag: str, texts: Iterable[str]) -> dict[int, str]:
    """Texts by the index, from 0, of the file that each is about.

    flag: for messages. Raises ValueError for a text without a number, and for a number given twice.
    """
    found: dict[int, str] = {}
    for text in texts:
        match = _NUMBERED.fullmatch(text)
        if match is None or match[1] == "0":
            raise ValueError(
                f'{flag} {text!r}: expected the number of a file before it, as in "1: {text.strip()}"'
            )
        number = int(match[1]) - 1
        if number in found:
            raise ValueError(f"{flag}: file {number + 1} is named twice; write all of it in one")
        found[number] = match[2]
    return found


def overrides(texts: Iterable[str]) -> dict[int, Override]:
    """The examiner's verdicts out of "2: real: the reason". Raises ValueError for another form."""
    found = {}
    for number, text in numbered("--override", texts).items():
        verdict, _, reason = text.partition(":")
        found[number] = Override(verdict.strip(), reason)
    return found


def faces_shown(texts: Iterable[str]) -> dict[int, frozenset[int]] | None:
    """The faces that are not blurred out of "1: 2, 3", from 0; None where there are no texts.

    Raises ValueError for what is no number.
    """
    found = {}
    for number, text in numbered("--blur-all-but", texts).items():
        faces = [face.strip() for face in text.split(",") if face.strip()]
        if not all(re.fullmatch("[1-9][0-9]{0,3}", face) for face in faces):
            raise ValueError(f'--blur-all-but: expected numbers of faces, as in "1: 2, 3", got {text!r}')
        found[number] = frozenset(int(face) - 1 for face in faces)
    return found or None


def annotate(case: Case, notes: dict[int, str], verdicts: dict[int, Override]) -> None:
    """Write notes and verdicts to the files of a case; where none is given, those of before stay."""
    for number in sorted({*notes, *verdicts}):
        file = case[number]
        file.annotate(notes.get(number, file.notes), verdicts.get(number, file.override))


def check_numbers(count: int, *said: Iterable[int]) -> None:
    """Raise ValueError where something is said of a file that a case of `count` files does not have."""
    for numbers in said:
        for number in numbers:
            if number >= count:
                files = "1 file" if count == 1 else f"{count} files"
                raise ValueError(f"file {number + 1}: there is none; the case has {files}, counted from 1")
