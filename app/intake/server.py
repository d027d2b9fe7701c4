"""One server for page and service."""

from __future__ import annotations

import socket

import uvicorn

from app.intake.door import Door
from app.intake.headers import App


def serve_behind(door: Door, port: int, app: App, greeting: str) -> None:
    """Serve until interrupted. greeting: printed when the first request can come."""
    config = uvicorn.Config(
        app,
        host=door.host,
        port=port,
        log_level="warning",
        access_log=False,  # addresses hold a password, or the names of findings
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    _Server(config, greeting).run()


class _Server(uvicorn.Server):
    """A server that says when it can be asked."""

    def __init__(self, config: uvicorn.Config, greeting: str):
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._greeting, flush=True)
