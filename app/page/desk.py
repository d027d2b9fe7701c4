"""What lies before a visitor: the files of one browser window's case, and which of them is shown."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from app.analysis import Analysis
from app.cases.blur import faces_left
from app.cases.case import Case, ExaminedFile, Override, Unread
from app.court import CourtForm
from app.wording.translated import ENGLISH

CANCELLED = "It was not examined: the examination was cancelled."


@dataclass(eq=False)
class Entry:
    """A file of a case from its arrival on.

    path: where it lies until it is examined. file: None until then. reason: why it cannot be examined; such a
    file stays in the list. face: the one that is shown. opened: faces whose opening question was asked.
    blurred: faces that are blurred in reports. thumbnail: a data URI, drawn when first shown.
    """

    name: str
    path: Path | None = None
    file: ExaminedFile | None = None
    reason: str = ""
    face: int = 0
    opened: set[int] = field(default_factory=set)
    blurred: frozenset[int] = frozenset()
    thumbnail: str = ""
    answering: Lock = field(default_factory=Lock)  # one answer at a time; a second question waits

    @classmethod
    def of(cls, file: ExaminedFile) -> Entry:
        """A file that is examined; its most suspicious face is shown, which questions are about."""
        return cls(file.analysis.source.name, file=file, face=file.analysis.most_suspicious)

    @property
    def is_waiting(self) -> bool:
        """Whether it is still to be examined."""
        return self.file is None and not self.reason


@dataclass(eq=False)
class PageState:
    """One browser window's case.

    case: the files that are examined. entries: all files, in the order in which they came. shown: the index
    of the one that is shown, None until there is one. language: in which the finding stands besides English.
    narrated: whether the language model is to write the narrative of a report; what it writes ends where not.
    folder: where its files, reports and archive lie, which go with it. form: entries of the court form out of
    a saved case, until the page shows them. busy: an examination goes through the entries.
    """

    case: Case = field(default_factory=Case)
    entries: list[Entry] = field(default_factory=list)
    shown: int | None = None
    language: str = ENGLISH
    narrated: bool = True
    folder: Path | None = None
    form: CourtForm | None = None
    busy: bool = False
    is_put_away: bool = False
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, *analyses: Analysis, language: str = ENGLISH) -> PageState:
        """A case of analyses alone, the first of them shown."""
        state = cls(language=language)
        state.take(Case.of(*analyses))
        return state

    def take(self, case: Case, blurred: Sequence[frozenset[int]] = ()) -> None:
        """Lay a case that is examined before the visitor, its first file shown.

        blurred: of each file the faces that are blurred in reports; none of any where it is empty.
        """
        examined = [Entry.of(file) for file in case]
        for entry, faces in zip(examined, blurred, strict=False):
            entry.blurred = faces
        self.entries = [*examined, *(Entry(file.name, reason=file.reason) for file in case.unread)]
        self.case, self.shown = case, 0

    @property
    def entry(self) -> Entry | None:
        """The file that is shown."""
        return None if self.shown is None or self.is_put_away else self.entries[self.shown]

    @property
    def analysis(self) -> Analysis | None:
        """Of the file that is shown; None where it is not examined, and once the case was put away."""
        return None if self.entry is None or self.entry.file is None else self.entry.file.analysis

    @property
    def face(self) -> int | None:
        """The face that is shown, None when there is none."""
        return None if self.analysis is None or self.entry is None else self.entry.face

    @property
    def is_group(self) -> bool:
        """Whether there are several files, which then stand in a list."""
        return len(self.entries) > 1

    def number_of(self, entry: Entry) -> int | None:
        """The number under which reports tell of a file, from 1; None of one that is not examined."""
        return None if entry.file is None else self.case.files.index(entry.file) + 1

    def enlist(self, paths: Iterable[Path]) -> bool:
        """Take files in, to be examined in turn. Returns False where an examination is under way already,
        which then goes on to them."""
        with self.lock:
            self.entries += [Entry(path.name, path) for path in paths]
            was_busy, self.busy = self.busy, True
        return not was_busy

    def next_waiting(self) -> Entry | None:
        """The file to examine next; None ends the examination."""
        with self.lock:
            found = next((entry for entry in self.entries if entry.is_waiting), None)
            self.busy = found is not None
            return found

    def cancel(self) -> None:
        """Nothing that waits is examined any more; what is examined stays."""
        with self.lock:
            for entry in self.entries:
                entry.reason = CANCELLED if entry.is_waiting else entry.reason
            self.busy = False

    def annotate(
        self,
        number: str | int | None = None,
        notes: str | None = None,
        verdict: str | None = None,
        reason: str | None = None,
        blurred: Iterable[int] | None = None,
    ) -> None:
        """Keep what the examiner's fields say of the file that they are about.

        number: its index; the fields of a file that was left meanwhile are not those of the one shown. None
        stands in a field that the browser never drew, and leaves what is known. Raises ValueError as Override
        and ExaminedFile.annotate do, and then changes nothing.
        """
        if number in (None, "") or not 0 <= int(number) < len(self.entries):
            return
        entry = self.entries[int(number)]
        if entry.file is None:
            return
        file = entry.file
        override = file.override if verdict is None else Override.of(verdict, reason or "")
        file.annotate(file.notes if notes is None else notes, override)
        if blurred is not None:
            entry.blurred = frozenset(map(int, blurred))

    def to_report(self) -> tuple[Case, dict[int, frozenset[int] | None] | None]:
        """The case as it is now, while other files may still come, and the faces that its report shows."""
        unread = [Unread(entry.name, entry.reason) for entry in self.entries if entry.reason]
        case = Case(list(self.case.files), self.case.opened, unread)
        blurred = {entry.file: entry.blurred for entry in self.entries if entry.file is not None}
        return case, faces_left(case, {number: blurred[file] for number, file in enumerate(case)})

    def put_away(self) -> None:
        """Let go of the case and of its files; Gradio holds on to this object while the window is open."""
        self.is_put_away = True
        self.case, self.entries, self.shown = Case(), [], None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
