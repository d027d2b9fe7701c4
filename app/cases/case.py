"""A case: the files that are examined together, and what the examiner says of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.analysis import Analysis
from common.verdicts import Verdict

MAX_FILES = 24  # of a case
MAX_NOTES = 4000  # letters
MAX_REASON = 1000  # letters


@dataclass(frozen=True)
class Override:
    """The examiner's own verdict on a file. It stands beside the machine's finding, never in its place.

    reason: why, in the examiner's words. Raises ValueError for a verdict that there is not, and for a reason
    that is missing or has more than MAX_REASON letters.
    """

    verdict: Verdict
    reason: str

    def __post_init__(self) -> None:
        if self.verdict not in list(Verdict):
            told = ", ".join(Verdict)
            raise ValueError(f"the examiner's verdict: expected one of {told}, got {self.verdict!r}")
        object.__setattr__(self, "verdict", Verdict(self.verdict))
        object.__setattr__(self, "reason", " ".join(self.reason.split()))
        if not self.reason:
            raise ValueError("a verdict that differs from the finding needs a reason: write one beside it")
        check_length("the reason of the examiner's verdict", self.reason, MAX_REASON)

    @classmethod
    def of(cls, verdict: Verdict | str, reason: str) -> Override | None:
        """The examiner's verdict out of a form; None where both entries are empty. Raises ValueError as the
        class does, and for a reason without a verdict."""
        if verdict:
            return cls(verdict, reason)
        if reason.strip():
            raise ValueError("a reason stands there without a verdict of the examiner: choose one beside it")
        return None


@dataclass(eq=False)
class ExaminedFile:
    """A file of a case.

    original: where the file itself is kept while the case is open, so that it can be saved with it; None
    where it is not. notes: the examiner's, lines of text. override: None where the examiner has none.
    """

    analysis: Analysis
    original: Path | None = None
    notes: str = ""
    override: Override | None = None

    def annotate(self, notes: str, override: Override | None) -> None:
        """Replace what the examiner says of it. Raises ValueError for notes of more than MAX_NOTES letters,
        and then changes nothing."""
        notes = "\n".join(" ".join(line.split()) for line in notes.strip().splitlines())
        check_length("notes", notes, MAX_NOTES)
        self.notes, self.override = notes, override


@dataclass(frozen=True)
class Unread:
    """A file that was given and could not be examined, and why: a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class Opened:
    """What is known of the saved case that a case was opened from.

    created: when its files were examined, as it says. seal: its own. signer: the public key that it is signed
    with, None of one that nobody signed. differences: a sentence for each file whose finding, examined again,
    is not the one saved.
    """

    created: str
    seal: str
    signer: str | None
    differences: tuple[str, ...] = ()


@dataclass(eq=False)
class Case:
    """The files examined together, in the order in which they came; one visit with one file is a case too.

    opened: None of a case that was not saved before. unread: files that belong to it and were not examined.
    """

    files: list[ExaminedFile] = field(default_factory=list)
    opened: Opened | None = None
    unread: list[Unread] = field(default_factory=list)

    @classmethod
    def of(cls, *analyses: Analysis) -> Case:
        """A case of analyses alone, whose files are not kept."""
        return cls([ExaminedFile(analysis) for analysis in analyses])

    def __iter__(self) -> Iterator[ExaminedFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> ExaminedFile:
        return self.files[number]

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """What was found, a file each."""
        return tuple(file.analysis for file in self.files)

    def add(self, file: ExaminedFile) -> None:
        """Take a file in. Raises ValueError where there are MAX_FILES."""
        self.check_room()
        self.files.append(file)

    def check_room(self) -> None:
        """Raise ValueError where no other file can be taken in."""
        if len(self.files) >= MAX_FILES:
            raise ValueError(
                f"a case has room for {MAX_FILES} files; begin another one for those that follow"
            )


def check_length(name: str, text: str, most: int) -> None:
    """Raise ValueError where a text has more letters than `most`. name: of the text, for the message."""
    if len(text) > most:
        raise ValueError(f"{name}: {len(text)} letters; {most} is the most, shorten it")
