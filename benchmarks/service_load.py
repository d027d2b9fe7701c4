"""Many clients of the service at once: how long each waits, what the server keeps, whether cases mix.

    python -m benchmarks.service_load --users 32 --out docs/service.md
    python -m benchmarks.service_load --users 4

Serves `python -m app.serve` with an API key for every client and lets all of them send a photograph of their
own at the same moment, ask three questions and fetch the report. The crowd, and what counts as a mix-up, are
those of benchmarks.soak. An answer 503 is asked again after its Retry-After, as a client should.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.crowd import QUESTIONS, User, conclude, photograph, served, table, watched
from common.cli import parse
from data_sim.dialogue import FIRST_QUESTION

STEPS = {
    "analysis": "photograph sent and examined",
    "first piece": "first piece of an answer",
    "answer": "whole answer",
    "report": "report as JSON",
    "pdf": "report as PDF",
}
BUSY = 503


@dataclass(frozen=True)
class LoadConfig:
    """The crowd."""

    users: int = 32  # clients at once
    checkpoint: Path = Path("checkpoints/embedded")  # models of the service
    out: Path | None = None  # Markdown file of the table; it is printed in any case
    timeout: float = 300.0  # seconds that one step of one client may take

    def __post_init__(self) -> None:
        if self.users < 1:
            raise ValueError(f"--users is {self.users}; expected 1 or more")


class Visit:
    """What one client does."""

    def __init__(self, client: httpx.AsyncClient, user: User, key: str):
        self._client, self._user = client, user
        self._headers = {"Authorization": f"Bearer {key}"}

    async def run(self) -> None:
        """Go through all steps; what goes wrong is noted with the user, who then leaves."""
        try:
            await self._steps()
        except (httpx.HTTPError, TimeoutError, ValueError, KeyError) as error:
            self._user.failures.append(f"{type(error).__name__}: {error}")

    async def _steps(self) -> None:
        user = self._user
        files = {"file": (user.name, user.photo)}
        found = (await self._timed("analysis", "POST", "/v1/findings", files=files)).json()
        if found["finding"]["file"]["name"] != user.name:
            raise ValueError("the finding is on another file")
        place = f"/v1/findings/{found['id']}"
        for question in (FIRST_QUESTION, *(f"{text} {user.secret}" for text in QUESTIONS)):
            await self._ask(place, question)
        user.report = (await self._timed("report", "GET", f"{place}/report.json")).json()
        await self._timed("pdf", "GET", f"{place}/report.pdf")

    async def _timed(self, step: str, method: str, path: str, **given: Any) -> httpx.Response:
        began = time.monotonic()
        while True:
            answer = await self._client.request(method, path, headers=self._headers, **given)
            if answer.status_code != BUSY:
                break
            await asyncio.sleep(float(answer.headers["retry-after"]))
        answer.raise_for_status()
        self._user.seconds[step].append(time.monotonic() - began)
        if step != "pdf":
            self._user.said.append(answer.text)
        return answer

    async def _ask(self, place: str, question: str) -> None:
        """Ask, and read the events as they come. Raises ValueError for an answer without its end."""
        began, first, name = time.monotonic(), None, ""
        sent = {"json": {"question": question}, "headers": self._headers}
        async with self._client.stream("POST", f"{place}/questions", **sent) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                self._user.said.append(line)
                name = line.removeprefix("event: ") if line.startswith("event: ") else name
                if name == "piece" and first is None:
                    first = time.monotonic()
        if name != "answer" or first is None:
            raise ValueError(f"an answer ended with {name or 'nothing'}")
        self._user.seconds["first piece"].append(first - began)
        self._user.seconds["answer"].append(time.monotonic() - began)


async def load(config: LoadConfig) -> tuple[list[User], dict[str, float]]:
    """Let all clients in at once. Returns them, and the server's memory in MiB before, at most and after."""
    users = [User(number, photograph(number // 2)) for number in range(config.users)]
    keys = [secrets.token_urlsafe(32) for _ in users]
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.txt"
        digests = (hashlib.sha256(key.encode()).hexdigest() for key in keys)
        file.write_text("\n".join(f"c{number}:{digest}" for number, digest in enumerate(digests)))
        words = ["--checkpoint", str(config.checkpoint), "--keys", str(file)]
        limits = httpx.Limits(max_connections=None)
        async with (
            served("app.serve", words) as (address, pid),
            httpx.AsyncClient(base_url=address, timeout=config.timeout, limits=limits) as client,
            watched(pid, memory),
        ):
            visits = zip(users, keys, strict=True)
            await asyncio.gather(*(Visit(client, user, key).run() for user, key in visits))
    return users, memory


def introduction(config: LoadConfig) -> str:
    """What the page of docs/ says above the table."""
    return (
        "# Many clients of the service at once\n\n"
        f"```sh\npython -m benchmarks.service_load --users {config.users} --out docs/service.md\n```\n\n"
        "All clients come at the same moment, each with an API key, a photograph and a secret word of their\n"
        "own, in pairs that send the same picture; each asks three questions and fetches the report in two\n"
        "forms. Waiting in line is part of every figure. A mix-up is another client's file or word in what\n"
        "a client was sent, or another score than the pair's."
    )


def main() -> None:
    """Exit status 1 when a client failed or was sent what is another's."""
    config = parse(LoadConfig, __doc__)
    users, memory = asyncio.run(load(config))
    conclude(users, table(users, memory, STEPS), config.out, introduction(config))


if __name__ == "__main__":
    main()
