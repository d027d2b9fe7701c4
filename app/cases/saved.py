"""A saved case: its report as JSON, and the files that it is on, in one folder or one zip file.

    case.zip / report.json     what was found, noted and asked, sealed, and signed where there was a key
             / files/1.jpg     the examined files, numbered as in the report
             / files/2.mp4

What is opened comes from anywhere. Nothing in it is believed that can be done again: the names inside are
those above or it is no case, sizes are bounded while they are read, seal, signature and every file's digest
must fit, and every file is examined anew. What cannot be done again, the examiner's words and the
conversation, is taken over with the statement where it comes from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.cases.case import MAX_FILES
from app.report.sealed import Report
from common.storage import digest_of, write_atomically
from common.terminal import printable

REPORT = "report.json"
FOLDER = "files"
CHUNK = 2**20
MAX_REPORT_BYTES = 2**28
SMALL_REPORT_BYTES = 2**24
MAX_INFLATION = 20  # of a report that is not small: it is pictures most of all, which pack to two thirds
MAX_SAVED_BYTES = 2**31 - 2**20  # of the files together; a zip file of more would need another format
MAX_DIRECTORY_BYTES = 2**16  # of a zip file's list of what is in it
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
_DAMAGED = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    zlib.error,
    struct.error,
    UnicodeError,
)


def member_of(number: int, name: str) -> str:
    """Where the file with that number, from 1, lies in a saved case; `name` gives its suffix alone."""
    suffix = Path(name).suffix
    return f"{FOLDER}/{number}{suffix if _SUFFIX.fullmatch(suffix) else ''}"


def write_case(report: Report, originals: list[Path | None], path: str | Path) -> Path:
    """Write a case as a zip file, where `path` ends in .zip, else as a folder; whole or not at all.

    originals: the files that the report is on, in its order. Raises ValueError for one that is not kept, or
    changed since it was examined, and where they are too large together; FileExistsError for a folder that
    has something in it already.
    """
    path = Path(path)
    members = {}
    for number, (told, original) in enumerate(zip(report.files, originals, strict=True), 1):
        name, digest = told["file"]["name"], told["file"]["sha256"]
        if original is None or digest is None:
            raise ValueError(f"{name} is not kept, so it cannot be saved with the case; give the file again")
        if not original.is_file() or digest_of(original) != digest:
            raise ValueError(f"{name} changed since it was examined; examine it again, then save the case")
        members[member_of(number, name)] = original
    if sum(original.stat().st_size for original in members.values()) > MAX_SAVED_BYTES:
        raise ValueError(
            f"a saved case has room for {MAX_SAVED_BYTES // 2**20} MB; save fewer files at a time"
        )
    if path.suffix.lower() == ".zip":
        write_atomically(path, lambda part: _write_zip(part, report, members))
    else:
        _write_folder(path, report, members)
    return path


def is_case(path: str | Path) -> bool:
    """Whether this looks like a saved case, so that `read_case` can say what is wrong with it."""
    path = Path(path)
    if path.is_dir():
        return (path / REPORT).is_file()
    if not path.is_file() or path.stat().st_size < 30:
        return False
    with path.open("rb") as file:
        head = file.read(30 + len(REPORT))
    return head.startswith(b"PK\x03\x04") and head[30:] == REPORT.encode()


@dataclass(frozen=True)
class SavedCase:
    """A saved case whose seal, signature and digests fit.

    files: where its files were copied to, in the order of the report.
    """

    report: Report
    files: tuple[Path, ...]


def read_case(path: str | Path, folder: Path) -> SavedCase:
    """Check a saved case and copy its files into `folder`, which must be empty.

    Raises ValueError that says what is wrong for anything but a case as `write_case` writes it, unchanged.
    """
    path = Path(path)
    with _opened(path) as read, tempfile.TemporaryFile() as file:
        read(REPORT, file, MAX_REPORT_BYTES)
        file.seek(0)
        report = Report.from_json(file.read())
        _check_seal(report)
        wanted = [told["file"] for told in report.files]
        if len(wanted) > MAX_FILES:
            raise ValueError(f"a case has at most {MAX_FILES} files, this one tells of {len(wanted)}")
        members = [member_of(number, told["name"]) for number, told in enumerate(wanted, 1)]
        read.check_names({REPORT, *members})
        left, copies = MAX_SAVED_BYTES, []
        for member, told in zip(members, wanted, strict=True):
            copy = folder / Path(member).name
            with copy.open("xb") as out:
                digest = read(member, out, left)
            left -= copy.stat().st_size
            if digest != told["sha256"]:
                raise ValueError(
                    f"CHANGED: {member} is not the file that was saved as {printable(told['name'])}"
                )
            copies.append(copy)
    return SavedCase(report, tuple(copies))


def _check_seal(report: Report) -> None:
    """Raise ValueError where a report is not what was sealed and signed."""
    if not report.intact or (report.signer is not None and not report.is_signed):
        raise ValueError(
            "CHANGED: this case is not as it was saved, its seal or its signature does not fit. Nothing in "
            "it can be relied on; its files can be examined by themselves"
        )


class _Reader:
    """Reads the members of a case by name."""

    def __init__(self, names: set[str], open_member: Callable[[str], IO[bytes]]):
        self._names, self._open = names, open_member

    def __call__(self, name: str, out: IO[bytes], limit: int) -> str:
        """Copy a member of at most `limit` bytes; its SHA-256. Raises ValueError where it is missing or
        larger."""
        if name not in self._names:
            raise ValueError(f"this is no saved case: {name} is missing")
        digest, size = hashlib.sha256(), 0
        with self._open(name) as source:
            while piece := source.read(CHUNK):
                size += len(piece)
                if size > limit:
                    raise ValueError(f"{name} is larger than a saved case has room for")
                digest.update(piece)
                out.write(piece)
        return digest.hexdigest()

    def check_names(self, expected: set[str]) -> None:
        """Raise ValueError where there is anything else than `expected`."""
        if more := sorted(self._names - expected):
            raise ValueError(f"this is no case as it was saved: it also holds {printable(more[0])[:80]}")


@contextmanager
def _opened(path: Path):
    """A reader of a folder or of a zip file."""
    if path.is_dir():
        yield _Reader(_names_in(path), lambda name: _open_inside(path, name))
        return
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if not all(map(_is_plain, members)):
                raise ValueError("this is no saved case: it is encrypted, or packed in an unusual way")
            names = {member.filename for member in members}
            if len(names) < len(members):
                raise ValueError("this is no saved case: a name stands in it twice")
            yield _Reader(names - {f"{FOLDER}/"}, archive.open)
    except _DAMAGED as error:
        raise ValueError(
            f"this saved case is damaged ({printable(str(error))[:120]}); take another copy"
        ) from None


def _is_plain(member: zipfile.ZipInfo) -> bool:
    """Whether a member is packed as `_write_zip` packs it: small ones of other ways can fill a disk.

    What it is said to hold is all that is read of it.
    """
    if member.flag_bits & 1:  # encrypted
        return False
    if member.filename != REPORT or member.compress_type != zipfile.ZIP_DEFLATED:
        return member.compress_type == zipfile.ZIP_STORED
    return member.file_size <= max(SMALL_REPORT_BYTES, MAX_INFLATION * member.compress_size)


def _check_directory(path: Path) -> None:
    """Raise ValueError before a list of members is read that is longer than a case's can be.

    The record at the end of a zip file says how long it is; one that comes in another format, or that hides
    behind a comment, is none that we wrote.
    """
    with path.open("rb") as file:
        file.seek(-min(42, path.stat().st_size), os.SEEK_END)
        end = file.read()[-42:].rjust(42, b"\0")
    mark, _, _, _, entries, size, _, comment = struct.unpack("<4s4H2LH", end[20:])
    plain = mark == b"PK\x05\x06" and comment == 0 and end[:4] != b"PK\x06\x07"
    if not plain or entries > MAX_FILES + 1 or size > MAX_DIRECTORY_BYTES:
        raise ValueError("this is no saved case, or not all of it; give the zip file as it was saved")


def _names_in(folder: Path) -> set[str]:
    """The files in a folder and in the one inside it. Raises ValueError for links, and for anything else."""
    names: set[str] = set()
    left = [(folder, "")]
    while left:
        place, before = left.pop()
        for entry in os.scandir(place):
            name = before + entry.name
            if name == FOLDER and entry.is_dir(follow_symlinks=False):
                left.append((folder / FOLDER, f"{FOLDER}/"))
                continue
            if not entry.is_file(follow_symlinks=False):
                raise ValueError(f"this is no saved case: {printable(name)[:80]} is no file")
            names.add(name)
            if len(names) > MAX_FILES + 1:
                raise ValueError("this is no saved case: it holds more files than a case can")
    return names


def _open_inside(folder: Path, name: str) -> IO[bytes]:
    """Open a file by one of our own names, without following a link that took its place."""
    descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"this is no saved case: {name} is no file")
    return os.fdopen(descriptor, "rb")


def _write_zip(part: Path, report: Report, members: dict[str, Path]) -> None:
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        archive.writestr(
            REPORT, report.to_json(), zipfile.ZIP_DEFLATED
        )  # first, so that a case is known by it
        for name, original in members.items():
            archive.write(original, name)  # pictures and videos are compressed already


def _write_folder(path: Path, report: Report, members: dict[str, Path]) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists; name a new folder, or a file that ends in .zip")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".case-", dir=path.parent) as made:
        part = Path(made) / "case"
        (part / FOLDER).mkdir(parents=True)
        report.save(part / REPORT)
        for name, original in members.items():
            shutil.copyfile(original, part / name)
        os.replace(part, path)
