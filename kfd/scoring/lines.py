"""From files to their lines: every face of a file, or why there is none.

Files are worked on in groups: while faces are looked for in one, the next is decoded, and the faces of all
are judged in common batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import torch

from kfd.detector import Detector
from kfd.examine import Examination, Sighting, examine_clip, judge_sightings, open_whole, sight
from kfd.scoring.described import (
    SKIPPED,
    Line,
    Readers,
    describe_all,
    nothing,
    passed_over,
    scale_of,
    start_line,
)
from kfd.scoring.opinions import agreement, heeded, load_readers, second_opinions
from media.errors import INTERNAL_ERROR, MediaError, contained
from media.files import MediaFile, open_file
from media.images import Photo
from media.kinds import claimed_kind, kind_of_file

GROUP = 8  # photographs, at most: with more, batches of faces are no faster on a CPU
HELD = 2**27  # bytes of pixels that wait for a common batch, and beyond which nothing is decoded ahead


@dataclass(frozen=True)
class Task:
    """An entry. code: "", SKIPPED or HIDDEN; words: why it is passed over. named: on the command line, so it
    is opened whatever it is.
    """

    path: Path
    code: str = ""
    words: str = ""
    named: bool = False


Group = tuple[Task, ...]


@dataclass(frozen=True)
class Start:
    """What a process begins with; see ScoreConfig. threads: in how many frames of a clip faces are looked for
    at the same time. scale: what `scale_of` has to be; None: any.
    """

    checkpoint: Path
    device: str
    encoder: str | None
    opinion: tuple[str, ...]
    threads: int = 1
    scale: Line | None = None

    def load(self) -> tuple[Detector, Readers]:
        """The detectors, computing on one thread: sums come out the same however many processes there are.

        Raises ValueError where they are others than those of `scale`, as on a machine with an older copy.
        """
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        detector = Detector.from_pretrained(self.checkpoint, self.device, self.encoder)
        readers = load_readers(self.opinion, detector, self.device)
        if self.scale is not None and scale_of(detector, readers) != self.scale:
            raise ValueError(f"{self.checkpoint} holds other weights or thresholds here than where it began")
        return detector, readers

    def __call__(self) -> Callable[[Group], list[list[Line]]]:
        detector, readers = self.load()
        return partial(lines_of_group, detector=detector, readers=readers, threads=self.threads)


def groups_of(tasks: Iterable[Task]) -> Iterator[Group]:
    """Cut entries into what is worked on together: GROUP of them, or one that by its name is a video.

    It depends on nothing else, whatever an earlier run has done of them: sums differ in their last bits with
    what else is in a batch, and a run that goes on must write what an undisturbed one would have written.
    """
    group: list[Task] = []
    for task in tasks:
        alone = claimed_kind(task.path) == "video"
        if group and (alone or len(group) == GROUP):
            yield tuple(group)
            group = []
        group.append(task)
        if alone:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def gave_up(scale: Line, task: Task) -> list[Line]:
    """The line of a file that ended its process again and again."""
    words = "A library that read this file ended its process, twice; the file may be damaged."
    return [start_line(task.path, scale) | nothing(INTERNAL_ERROR, words)]


def lines_of(path: Path, detector: Detector, readers: Readers = ()) -> list[Line]:
    """The output lines of one photograph or video, at least one, never an exception for a bad file."""
    return lines_of_group((Task(path, named=True),), detector, readers)[0]


def lines_of_group(
    group: Sequence[Task], detector: Detector, readers: Readers = (), threads: int = 1
) -> list[list[Line]]:
    """The lines of each entry of a group, in order; at least one each, never an exception for a bad file.

    threads: see Start.
    """
    entries: list[_Entry] = []
    waiting: list[_Entry] = []
    with ExitStack() as files:
        for entry in _read_ahead(group, scale_of(detector, readers)):
            files.enter_context(entry.files)
            entries.append(entry)
            with entry.contained():
                if entry.photo is not None:
                    entry.sighting = sight(detector, entry.photo)
                    waiting.append(entry)
                elif entry.file is not None and not entry.told:
                    found = examine_clip(detector, entry.file, entry.file.name, threads=threads)
                    entry.tell(found, readers)
            if sum(one.photo.pixels.nbytes for one in waiting) >= HELD:
                _judge(waiting, detector, readers)
                waiting = []
        _judge(waiting, detector, readers)
    return [entry.told for entry in entries]


@dataclass(eq=False)
class _Entry:
    """An entry while it is worked on.

    line: what its lines begin with. file: opened; files closes it. photo: decoded; None of a clip. sighting:
    the faces in it, until they are judged. told: its lines, once they are known.
    """

    task: Task
    line: Line
    files: ExitStack = field(default_factory=ExitStack)
    file: MediaFile | None = None
    photo: Photo | None = None
    sighting: Sighting | None = None
    told: list[Line] = field(default_factory=list)

    @classmethod
    def opened(cls, task: Task, scale: Line) -> _Entry:
        """The entry, its file opened, hashed and decoded."""
        entry = cls(task, start_line(task.path, scale))
        if task.code:
            entry.told = [passed_over(task.path, scale, task.code, task.words)]
        elif not task.named and kind_of_file(task.path) is None:
            words = "neither a photograph nor a video, by its content and its name"
            entry.told = [passed_over(task.path, scale, SKIPPED, words)]
        else:
            with entry.contained():
                entry.file = entry.files.enter_context(open_file(task.path))
                try:
                    entry.photo = open_whole(entry.file, entry.file.name)
                finally:
                    entry.line["sha256"] = entry.file.sha256
        return entry

    @contextmanager
    def contained(self) -> Iterator[None]:
        """Whatever goes wrong ends here, as the line of this file."""
        try:
            with contained(str(self.task.path)):
                yield
        except MediaError as error:
            self.told = [self.line | nothing(error.code, str(error))]

    def tell(self, found: Examination, readers: Readers) -> None:
        """Write its lines, and let go of its pixels."""
        opinions = second_opinions(readers, self.file, found) if readers and found.faces else ()
        found = heeded(found, opinions) if opinions else found
        self.told, self.photo, self.sighting = describe_all(self.line, found), None, None
        if opinions:
            for told, finding, others in zip(self.told, found.faces, opinions, strict=True):
                told["opinions"] = [opinion.as_json() for opinion in others]
                told["agreement"] = agreement(finding, others)


def _read_ahead(group: Sequence[Task], scale: Line) -> Iterator[_Entry]:
    """The entries of a group, each opened while the one before it is looked at, unless that one is large."""
    left = deque(group)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(_Entry.opened, left.popleft(), scale)
        while coming is not None:
            entry, coming = coming.result(), None
            if left and (entry.photo is None or entry.photo.pixels.nbytes < HELD):
                coming = reader.submit(_Entry.opened, left.popleft(), scale)
            yield entry
            if left and coming is None:
                coming = reader.submit(_Entry.opened, left.popleft(), scale)


def _judge(entries: Sequence[_Entry], detector: Detector, readers: Readers) -> None:
    """Judge the faces of several photographs together, or of each by itself where that goes wrong."""
    try:
        examinations = judge_sightings(detector, [entry.sighting for entry in entries])
    except Exception:  # whose fault it is shows next
        examinations = [None] * len(entries)
    for entry, found in zip(entries, examinations, strict=True):
        with entry.contained():
            entry.tell(found or judge_sightings(detector, [entry.sighting])[0], readers)
