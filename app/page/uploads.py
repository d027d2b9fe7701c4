"""Uploads: each in a folder of its own, so that no two windows share one, and no more than fit."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

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

    async def receive(self, request: Request) -> Response:
        """Take the one file of a form. Answers a list with its path, as Gradio's own route does.

        Status 411 without a length, 413 for too large a file, 507 when too much waits to be examined.
        """
        announced = request.headers.get("content-length", "")
        if not announced.isdecimal():
            return PlainTextResponse("Say how long the upload is (Content-Length).", 411)
        length = int(announced)
        if length > self._limit + ENVELOPE:
            return PlainTextResponse(f"A file may have {self._limit // 2**20} MB.", 413)
        self.sweep()
        if self.waiting_bytes() + self._arriving + length > self._quota:
            return PlainTextResponse("Too many uploads wait to be examined; try again in a while.", 507)
        self._arriving += length
        try:
            async with request.form(max_files=1, max_fields=4) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    return PlainTextResponse("Expected a form with one file named files.", 400)
                return JSONResponse([str(await asyncio.to_thread(self._store, file))])
        except (MultiPartException, HTTPException):
            return PlainTextResponse("This is not a form with one file.", 400)
        finally:
            self._arriving -= length

    async def progress(self, request: Request) -> Response:
        """Answer Gradio's question how far an upload is: its own count of bytes is the browser's affair."""
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    def waiting_bytes(self) -> int:
        """Bytes of all files that were uploaded and not yet examined."""
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # examined and forgotten meanwhile
                total += path.stat().st_size if path.is_file() else 0
        return total

    def forget(self, path: Path) -> None:
        """Delete an upload, and nothing else."""
        if path.parent.parent == self.folder:
            shutil.rmtree(path.parent, ignore_errors=True)

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


def safe_name(name: str) -> str:
    """The last part of a name, without what a file system does not take; "upload" where nothing is left."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1].replace("\0", "")
    if len(last.encode()) > MAX_NAME:
        suffix = Path(last).suffix if len(Path(last).suffix.encode()) < 10 else ""
        last = last.encode()[: MAX_NAME - 10].decode("utf-8", "ignore") + suffix
    return last if last.strip(". ") else "upload"
