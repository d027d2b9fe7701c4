"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app.assistant import Assistant
from app.intake.door import Door
from app.report.program import software_version
from app.service.access import ApiKeys
from app.service.clients import Clients
from app.service.desk import Desk, Limits
from app.service.gate import Gate
from app.service.jobs import Jobs
from app.service.problems import answer_with_problems
from app.service.routes import router

SWEEP = 5.0  # seconds between two looks at what was kept long enough
DESCRIPTION = """Send a photograph or a video, get a finding: how strongly its pixels speak for or against
manipulation, where, and what forbids a verdict. A finding is evidence about pixels, not proof. Every error is
one JSON object with a `code` and a `detail` that says what to do; none of them holds a score."""


def application(
    assistant: Assistant, door: Door, folder: Path, keys: ApiKeys, limits: Limits | None = None
) -> Gate:
    """The service behind its door.

    folder: an empty one, for uploads; the caller removes it. keys: none: whoever reaches the port may ask.
    """
    desk = Desk(assistant, folder, limits or Limits())
    jobs = Jobs(desk)

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP)
            desk.kept.sweep()
            jobs.sweep()
            await asyncio.to_thread(desk.uploads.sweep)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(sweep())
        yield
        sweeping.cancel()
        jobs.close()
        desk.close()

    server = FastAPIOffline(
        title="Unmask",
        version=software_version(),
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan,
    )
    server.state.desk, server.state.jobs = desk, jobs
    server.state.clients = Clients(keys, desk.limits.rate)
    server.include_router(router)
    answer_with_problems(server)
    return Gate(server, door, desk.metrics)
