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
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from app.page import panels

LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
ANYWHERE = frozenset(("0.0.0.0", "::", ""))
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
GRACE = 20.0  # seconds after which a window that does not come back counts as closed
WRONG_PASSWORD_PAUSE = 1.0  # seconds; an address guesses once at a time
MAX_GUESSERS = 1000
CONTENT = (  # Gradio's own scripts stand inside its page and make functions out of text
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
FILE_CONTENT = "default-src 'none'; sandbox; frame-ancestors 'none'"  # an uploaded HTML or SVG runs nothing
HEADERS = {
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), usb=()",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Door:
    """Where the page is bound, and the password that opens it.

    host: the address to listen on. names: others under which a proxy in front makes it known.
    password: "" where none is asked for.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    password: str = ""

    @property
    def is_private(self) -> bool:
        """True where only this machine can reach it."""
        return self.host in LOOPBACK

    def address(self, port: int) -> str:
        """What to open in a browser, with the password where there is one."""
        name = "localhost" if self.host in ANYWHERE else self.host
        name = f"[{name}]" if ":" in name else name
        return f"http://{name}:{port}" + (f"/?key={quote(self.password)}" if self.password else "")

    def admits(self, host: str | None) -> bool:
        """True where a Host header names this page; a name that somebody's DNS lets point here does not.

        Bound to all addresses, any address in digits is admitted: no DNS answer is behind it.
        """
        name = _host_name(host or "")
        if name is None:
            return False
        if name in {other.lower() for other in self.names}:
            return True
        if self.host in LOOPBACK:
            return name in LOOPBACK
        if self.host in ANYWHERE:
            return name in LOOPBACK or _is_address(name)
        return name == self.host.lower()


class Refused(Exception):
    """A request that is turned away. status: of HTTP."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


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
        answer = _with_headers(send, FILE_CONTENT if path.startswith(f"{API}/file=") else CONTENT)
        try:
            self._check_sender(scope)
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
            return await self._listen(path.removeprefix(HEARTBEAT), scope, receive, answer)
        return await self._app(scope, receive, answer)

    def _check_sender(self, scope: Scope) -> None:
        host, origin = _header(scope, b"host"), _header(scope, b"origin")
        if not self._door.admits(host):
            raise Refused(421, "This page has another name. Behind a proxy, start it with --name.")
        if origin is not None and urlsplit(origin).netloc.lower() != (host or "").lower():
            raise Refused(403, "This request was sent by another site's page.")

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

    async def _listen(self, window: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a window's heartbeat on, and close the window when it has none for a while."""
        self._beating[window] = self._beating.get(window, 0) + 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._beating[window] -= 1
            asyncio.get_running_loop().call_later(GRACE, self._bury, window)

    def _bury(self, window: str) -> None:
        if self._beating.get(window, 1) == 0:
            del self._beating[window]
            self._close(window)

    def _is_known(self, scope: Scope) -> bool:
        try:
            shown = SimpleCookie(_header(scope, b"cookie") or "").get(self._cookie)
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


def _header(scope: Scope, name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key == name]
    if len(values) > 1 and name in (b"host", b"origin"):
        raise Refused(400, "This request names its sender twice.")
    return values[0].decode("latin-1") if values else None


def _host_name(host: str) -> str | None:
    """The name in a Host header without its port, in lower case; None where there is none."""
    try:
        split = urlsplit(f"//{host}")
        port = split.port  # raises ValueError for one that is no number
    except ValueError:
        return None
    plain = split.netloc == host and split.username is None and (port is None or port > 0)
    return split.hostname if plain else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(send: Send, content: str) -> Send:
    policy = {**HEADERS, b"content-security-policy": content.encode()}

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [item for item in message.get("headers", []) if item[0].lower() not in policy]
            message = {**message, "headers": [*kept, *policy.items()]}
        await send(message)

    return answer


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
