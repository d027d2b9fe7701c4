"""Files that were opened by us, once: what is hashed is what is examined; and all files of a folder."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from common.locks import lock_file
from media.errors import ImageError
from media.kinds import HEAD, Kind, is_hidden, kind_of, refuse_irregular

CHUNK = 2**20
MAX_FILE_BYTES = 512 * 2**20  # of a photograph, which is read whole; a video is read in pieces


class MediaFile:
    """A regular file, open for reading.

    Decoders get its descriptor or its bytes, never its name: FFmpeg would take a name such as
    `concat:other.mp4` for an instruction. name: for messages, without its folder. size: in bytes.
    """

    def __init__(self, descriptor: int, name: str):
        self.descriptor = descriptor
        self.name = readable(name)
        self._state = _state_of(descriptor)
        self.size = self._state[1]

    @cached_property
    def head(self) -> bytes:
        """The first bytes, which tell what the file is."""
        return os.pread(self.descriptor, HEAD, 0)

    @property
    def kind(self) -> Kind | None:
        """What the content is; None for neither photograph nor video."""
        return kind_of(self.head)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content, 64 hexadecimal digits."""
        digest, position = hashlib.sha256(), 0
        while piece := os.pread(self.descriptor, CHUNK, position):
            digest.update(piece)
            position += len(piece)
        return digest.hexdigest()

    def read(self) -> bytes:
        """All bytes of a photograph. Raises ImageError "too_large" for more than MAX_FILE_BYTES."""
        if self.size > MAX_FILE_BYTES:
            limit = MAX_FILE_BYTES // 2**20
            raise ImageError(
                "too_large", f"{self.name} has {self.size / 2**20:.0f} MB; the limit is {limit} MB."
            )
        with os.fdopen(os.dup(self.descriptor), "rb") as file:
            file.seek(0)
            data = file.read(MAX_FILE_BYTES)
        self.__dict__["sha256"] = hashlib.sha256(data).hexdigest()  # of the very bytes that are examined
        return data

    def check_unchanged(self) -> None:
        """Raise ImageError "changed" when somebody wrote into the file since it was opened."""
        if _state_of(self.descriptor) != self._state:
            raise ImageError("changed", f"{self.name} changed while it was read; examine it again.")


def readable(name: str) -> str:
    """A file's name as text that can be written anywhere: bytes that are no UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _state_of(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def open_file(path: str | Path) -> Iterator[MediaFile]:
    """Open a regular file. Raises ImageError: "missing", "not_a_file" for a pipe or a device, "not_an_image"
    for a folder."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError("not_an_image", f"{path} is a folder; give a file inside it.")
        refuse_irregular(path, mode)
        # Between the two looks the name may have been given to a pipe, which would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ImageError("missing", f"There is no file {path}; check the path.") from None
    except OSError as error:
        raise ImageError(
            "missing", f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from None
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError("missing", f"{path!r} is not a name of a file ({error}).") from None
    try:
        refuse_irregular(path, os.fstat(descriptor).st_mode)
        yield MediaFile(descriptor, path.name)
    finally:
        os.close(descriptor)


@contextmanager
def file_of(data: bytes, name: str = "the file") -> Iterator[MediaFile]:
    """The same of bytes in memory."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield MediaFile(file.fileno(), name)


@dataclass
class Listing:
    """All that is in some files and folders.

    files: regular files, each once, sorted. skipped: (path, reason) of what is neither a file nor a folder
    that can be searched. hidden: by folder named, how many hidden files and folders were passed over.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    hidden: dict[Path, int] = field(default_factory=dict)


def list_files(paths: Iterable[str | Path], but: Path | None = None) -> Listing:
    """Every entry of files and folders, searched to any depth.

    A file that is named itself is taken also when it is hidden. Links to files are followed, links to folders
    are not, because they may lead in a circle. but: a file to leave out, such as the one written to. Raises
    FileNotFoundError naming the first path that does not exist.
    """
    listing, found, skipped = Listing(), set(), {}
    for path in map(Path, paths):
        if path.is_dir():
            ours = () if but is None else (lock_file(but).name,)
            listing.hidden[path] = _walk(path, found, skipped, ours)
        elif os.path.lexists(path):
            found.add(path)
        else:
            raise FileNotFoundError(f"{path} does not exist; expected a file or a folder")
    listing.files = sorted(path for path in found if but is None or not _is_same(path, but))
    listing.skipped = sorted((path, reason) for path, reason in skipped.items() if path not in found)
    return listing


def _is_same(path: Path, other: Path) -> bool:
    return path.name == other.name and path.resolve() == other.resolve()


def _walk(root: Path, found: set[Path], skipped: dict[Path, str], ours: tuple[str, ...]) -> int:
    """Sort the entries below a folder into files and others; returns how many hidden ones there are, without
    those named `ours`."""

    def locked(error: OSError) -> None:
        skipped[Path(error.filename)] = f"the folder cannot be listed ({error.strerror})"

    hidden = 0
    for place, folders, names in os.walk(root, onerror=locked):
        hidden += sum(map(is_hidden, folders)) + sum(is_hidden(name) and name not in ours for name in names)
        for name in filter(lambda name: not is_hidden(name), folders):
            if os.path.islink(os.path.join(place, name)):
                skipped[Path(place, name)] = "a link to a folder; name the folder itself to have it searched"
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in filter(lambda name: not is_hidden(name), names):
            path = Path(place, name)
            try:
                refuse_irregular(path, path.stat().st_mode)
                found.add(path)
            except ImageError as error:
                skipped[path] = str(error)
            except OSError as error:
                skipped[path] = f"a link that leads nowhere ({error.strerror})"
    return hidden
