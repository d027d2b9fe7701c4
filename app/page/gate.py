"""What stands before the page: who may come in, with which request, and what a browser does with the answer.

Gradio serves far more than the page needs: it fetches URLs that it is given, redirects, proxies. Everything
passes here first, and what is not named here is not there.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import StreamingResponse

from app.intake.door import Door, Refused, header_of
from app.intake.headers import App, Message, Receive, Scope, Send, with_headers
from app.page import panels

API = "/gradio_api"
UPLOAD, PROGRESS, HEARTBEAT, UNLOCK = (
    f"{API}/upload",
    f"{API}/upload_progress",
    f"{API}/heartbeat/",
    "/unlock",
)
ROUTES = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|pwa_icon(/\d+)?)/?|/(assets|static|svelte)/.+"
    rf"|{API}/(upload|upload_progress|queue/join|queue/data|heartbeat/\w+|cancel|reset|startup-events|theme\.css|app_id)/?"
    rf"|{API}/file=.+"
)
MAX_JSON_BYTES = 256 * 2**10  # of a request that is no upload
BEAT = 15.0  # seconds between two signs of life on a connection, which show whether it still is one
GRACE = 20.0  # seconds after which a window that does not come back counts as closed
WRONG_PASSWORD_PAUSE = 1.0  # seconds; an address guesses once at a time
MAX_GUESSERS = 1000
CONTENT = (  # Gradio's own scripts stand inside its page and make functions out of text
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
FILE_CONTENT = "default-src 'none'; sandbox; frame-ancestors 'none'"  # an uploaded HTML or SVG runs nothing


class Gate:
    """The page behind its door, as an ASGI application."""

    def __init__(self, app: App, door: Door, uploads: Path, close: Callable[[str], None]):
        """uploads: the folder in which every file that a request names must lie. close: is told the name of
        each window that was closed."""
        self._app, self._door, self._uploads, self._close = app, door, uploads.resolve(), close
        self._cookie = f"unmask-{secrets.token_hex(4)}"  # two pages on one host keep theirs apart
        self._session = secrets.token_urlsafe(32)  # what a browser shows that gave the password once
        self._beating: dict[str, int] = {}  # heartbeats of each window
        self._guessing: dict[str, asyncio.Lock] = {}  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return None  # there is no websocket on this page
        path = scope["path"]
        answer = with_headers(send, FILE_CONTENT if path.startswith(f"{API}/file=") else CONTENT)
        try:
            self._door.check_sender(scope)
            if self._door.password and not self._is_known(scope):
                return await self._unlock(scope, receive, answer)
            _check_route(scope)
            scope = {
                **scope,
                "headers": [item for item in scope["headers"] if item[0] != b"x-forwarded-host"],
            }
            if scope["method"] == "POST" and path != UPLOAD:
                receive = await self._checked_body(receive)
        except Refused as refused:
            return await _say(answer, refused.status, str(refused))
        if path.startswith(HEARTBEAT):
            return await self._beat(path.removeprefix(HEARTBEAT), scope, receive, answer)
        return await self._app(scope, receive, answer)

    async def _checked_body(self, receive: Receive) -> Receive:
        """Read a JSON body and refuse files that were not uploaded; Gradio would fetch a URL."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > MAX_JSON_BYTES:
                raise Refused(413, "This request is too long.")
        try:
            content = json.loads(body or b"null")
        except (ValueError, RecursionError):
            raise Refused(400, "This request is not JSON.") from None
        for named in _files_in(content):
            if not isinstance(named, str) or not self._was_uploaded(named):
                raise Refused(400, "Only files that were uploaded can be examined.")
        first = {"type": "http.request", "body": body, "more_body": False}
        kept: list[Message] = [first]

        async def replay() -> Message:
            return kept.pop() if kept else await receive()

        return replay

    def _was_uploaded(self, name: str) -> bool:
        path = Path(name)
        return path.is_absolute() and "\0" not in name and path.resolve().is_relative_to(self._uploads)

    async def _beat(self, window: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a window its heartbeat, and close the window when it has none for a while.

        Gradio's own would take the case from a window an hour after its connection broke, back or not.
        """
        self._beating[window] = self._beating.get(window, 0) + 1
        try:
            await StreamingResponse(_beats(), media_type="text/event-stream")(scope, receive, send)
        finally:
            self._beating[window] -= 1
            asyncio.get_running_loop().call_later(GRACE, self._bury, window)

    def _bury(self, window: str) -> None:
        if self._beating.get(window, 1) == 0:
            del self._beating[window]
            self._close(window)

    def _is_known(self, scope: Scope) -> bool:
        try:
            shown = SimpleCookie(header_of(scope, b"cookie") or "").get(self._cookie)
        except CookieError:
            return False
        return shown is not None and hmac.compare_digest(shown.value.encode(), self._session.encode())

    async def _unlock(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for the password, or take it out of a form or of the address that was printed."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("key", [None])[0]
        if scope["method"] == "POST" and scope["path"] == UNLOCK:
            message = await receive()
            given = parse_qs(message.get("body", b"").decode("utf-8", "replace")).get("key", [""])[0]
        if given is None:
            return await _say(send, 401, panels.password_page(False), "text/html")
        if len(self._guessing) > MAX_GUESSERS:
            self._guessing.clear()
        async with self._guessing.setdefault((scope.get("client") or ("",))[0], asyncio.Lock()):
            right = hmac.compare_digest(given.encode(), self._door.password.encode())
            if not right:
                await asyncio.sleep(WRONG_PASSWORD_PAUSE)
                return await _say(send, 401, panels.password_page(True), "text/html")
        cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        return await _say(send, 303, "", more=[(b"location", b"/"), (b"set-cookie", cookie.encode())])


async def _beats() -> AsyncIterator[str]:
    while True:
        yield "data: ALIVE\n\n"
        await asyncio.sleep(BEAT)


def _check_route(scope: Scope) -> None:
    path = scope["path"]
    if scope["method"] not in ("GET", "HEAD", "POST") or not ROUTES.fullmatch(path):
        raise Refused(404, "There is nothing here.")
    if "file=" in path and not path.removeprefix(f"{API}/file=").startswith("/"):
        raise Refused(404, "There is nothing here.")


def _files_in(value: Any) -> list[Any]:
    """What the files in a JSON value are called, wherever they stand."""
    found, left = [], [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            found += [item["path"]] if "path" in item else []
            left += item.values()
        elif isinstance(item, list):
            left += item
    return found


async def _say(
    send: Send,
    status: int,
    text: str,
    kind: str = "text/plain",
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    headers = [(b"content-type", f"{kind}; charset=utf-8".encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": text.encode()})
