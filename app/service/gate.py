"""What stands before the routes: the sender's names, the length of a body, headers, and the count."""

from __future__ import annotations

import time

from app.intake.door import Door, Refused, header_of
from app.intake.headers import App, Message, Receive, Scope, Send, with_headers
from app.service.metrics import Metrics
from app.service.problems import problem_of

MAX_JSON_BYTES = 64 * 2**10  # of a request that is no upload
# The page of the documentation has a script of its own in it; a report has its style and its pictures.
DOCS = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ANSWER = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"


class Gate:
    """The service behind its door, as an ASGI application."""

    def __init__(self, app: App, door: Door, metrics: Metrics):
        self._app, self._door, self._metrics = app, door, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send) if scope["type"] == "lifespan" else None
        is_docs = scope["path"] == "/docs" or scope["path"].startswith("/static")
        answer = with_headers(self._counted(scope, send), DOCS if is_docs else ANSWER)
        try:
            self._door.check_sender(scope)
            _check_length(scope)
        except Refused as refused:
            return await problem_of(refused).response()(scope, receive, answer)
        return await self._app(scope, receive, answer)

    def _counted(self, scope: Scope, send: Send) -> Send:
        """A `send` that counts the answer under the pattern of its route, never under an address."""
        began = time.monotonic()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(route, str(message["status"])).inc()
                self._metrics.seconds.labels(route).observe(time.monotonic() - began)
            await send(message)

        return counted


def _check_length(scope: Scope) -> None:
    """Refuse a long body that is no upload; of uploads app.intake.uploads asks."""
    if scope["method"] != "POST" or (header_of(scope, b"content-type") or "").startswith("multipart/"):
        return
    length = header_of(scope, b"content-length") or ""
    if not length.isdecimal():
        raise Refused(411, "Say how long the request is (Content-Length).")
    if int(length) > MAX_JSON_BYTES:
        raise Refused(413, f"This request is too long: {MAX_JSON_BYTES // 2**10} KB is the most.")
