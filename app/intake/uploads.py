"""Uploads: each in a folder of its own, so that no two visitors share one, and no more than fit."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from app.intake.door import Refused
from media.files import MAX_FILE_BYTES

QUOTA = 4 * 2**30  # bytes of all uploads that wait to be examined
FORGOTTEN = 1800.0  # seconds after which an upload that nobody examined goes
ENVELOPE = 2**16  # bytes around a file in a form
MAX_NAME = 200  # bytes of a file's name


class Uploads:
    """The folder of uploads."""

    def __init__(self, folder: Path, quota: int = QUOTA, limit: int = MAX_FILE_BYTES):
        """folder: made when needed. limit: bytes of one file."""
        self.folder, self._quota, self._limit = folder, quota, limit
        self._arriving = 0  # bytes announced by requests that are being read

    async def take(self, request: Request, field: str, most: int = 1) -> list[Path]:
        """Store the files of a form. field: its name in the form. Returns their places, at least one.

        Raises Refused: 400 for another form, 411 without a length, 413 for too large a file, 507 when too
        much waits to be examined.
        """
        announced = request.headers.get("content-length", "")
        if not announced.isdecimal():
            raise Refused(411, "Say how long the upload is (Content-Length).")
        length = int(announced)
        if length > most * self._limit + ENVELOPE:
            raise Refused(413, f"A file may have {self._limit // 2**20} MB.")
        self.sweep()
        if self.waiting_bytes() + self._arriving + length > self._quota:
            raise Refused(507, "Too many uploads wait to be examined; try again in a while.")
        self._arriving += length
        try:
            async with request.form(max_files=most, max_fields=4) as form:
                return await self._store_all(form.getlist(field), field)
        except (MultiPartException, HTTPException):
            raise Refused(400, _expected(field, most)) from None
        finally:
            self._arriving -= length

    async def _store_all(self, files: list[UploadFile | str], field: str) -> list[Path]:
        if not files or not all(isinstance(file, UploadFile) for file in files):
            raise Refused(400, _expected(field, len(files)))
        if any((file.size or 0) > self._limit for file in files if isinstance(file, UploadFile)):
            raise Refused(413, f"A file may have {self._limit // 2**20} MB.")
        return [await asyncio.to_thread(self._store, file) for file in files if isinstance(file, UploadFile)]

    def waiting_bytes(self) -> int:
        """Bytes of all files that were uploaded and not yet examined."""
        return folder_bytes(self.folder)

    def forget(self, path: Path) -> None:
        """Delete an upload, and nothing else."""
        if path.parent.parent == self.folder:
            shutil.rmtree(path.parent, ignore_errors=True)

    def hold(self, path: Path | None) -> None:
        """Count the time of an upload anew that still waits for its turn."""
        if path is not None and path.parent.parent == self.folder:
            with suppress(FileNotFoundError):
                os.utime(path.parent)

    def sweep(self) -> None:
        """Delete what was uploaded long ago and never examined."""
        now = time.time()
        for place in self.folder.glob("*"):
            with suppress(FileNotFoundError):
                if now - place.stat().st_mtime > FORGOTTEN:
                    shutil.rmtree(place, ignore_errors=True)

    def _store(self, file: UploadFile) -> Path:
        place = self.folder / secrets.token_hex(16)
        place.mkdir(parents=True)
        path = place / safe_name(file.filename or "")
        try:
            with path.open("wb") as out:
                shutil.copyfileobj(file.file, out)
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return path


def folder_bytes(folder: Path) -> int:
    """The bytes of all files in a folder, in which others delete meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):  # unlike rglob, it passes over a folder that is gone
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def _expected(field: str, most: int) -> str:
    count = "one file" if most <= 1 else f"one to {most} files"
    return f"Expected a form (multipart/form-data) with {count} named {field}."


def without_path(message: str, path: Path) -> str:
    """A message about a file without the folder in which the server keeps it."""
    return message.replace(str(path), path.name).replace(str(path.parent), "")


def safe_name(name: str) -> str:
    """The last part of a name, without what a file system does not take; "upload" where nothing is left."""
    name = name.encode("utf-8", "replace").decode()  # halves of surrogate pairs are no text
    last = name.replace("\\", "/").rsplit("/", 1)[-1].replace("\0", "")
    if len(last.encode()) > MAX_NAME:
        suffix = Path(last).suffix if len(Path(last).suffix.encode()) < 10 else ""
        last = last.encode()[: MAX_NAME - 10].decode("utf-8", "ignore") + suffix
    return last if last.strip(". ") else "upload"
