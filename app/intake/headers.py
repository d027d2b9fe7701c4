"""ASGI messages, and what a browser may do with an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

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


def with_headers(send: Send, content: str) -> Send:
    """A `send` whose answers carry HEADERS and the content policy `content`, in place of what the
    application says of these."""
    policy = {**HEADERS, b"content-security-policy": content.encode()}

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [item for item in message.get("headers", []) if item[0].lower() not in policy]
            message = {**message, "headers": [*kept, *policy.items()]}
        await send(message)

    return answer
