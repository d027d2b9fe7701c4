"""Many visitors of the page at once: how long each waits, what the server keeps, whether cases mix.

    python -m benchmarks.soak --users 32 --out docs/soak.md
    python -m benchmarks.soak --users 4

Serves the page as `python -m app` does and lets every user upload a photograph of their own at the same
moment, have it examined, ask three questions and write a report, over HTTP, as a browser would. Users come in
pairs that bring the same picture under two names: their scores must be equal. A mix-up is an answer of the
server that names another user's file or secret word, or a report on another file or with another score than
the pair's.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.crowd import (
    QUESTIONS,
    User,
    conclude,
    photograph,
    resident_mib,
    served,
    table,
    watched,
)
from common.cli import parse

API = "/gradio_api"
STEPS = {
    "upload": "upload",
    "seen": "first word from the server after the upload",
    "analysis": "photograph examined",
    "first piece": "first piece of an answer",
    "answer": "whole answer",
    "report": "report written",
}
ANSWER = '"assistant"'  # whose words a message of the conversation holds
CLOSED_SECONDS = 25.0  # until a window that was closed is forgotten


@dataclass(frozen=True)
class SoakConfig:
    """The crowd."""

    users: int = 32  # windows at once
    checkpoint: Path = Path("checkpoints/embedded")  # models of the page
    out: Path | None = None  # Markdown file of the table; it is printed in any case
    timeout: float = 300.0  # seconds that one step of one user may take

    def __post_init__(self) -> None:
        if self.users < 1:
            raise ValueError(f"--users is {self.users}; expected 1 or more")


class Visit:
    """What one user does."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        user: User,
        handlers: dict[str, dict[str, Any]],
        fields: dict[int, Any],
    ):
        """handlers: what the page's own configuration says of each. fields: what stands in its components
        when nobody filled them in."""
        self._client, self._user, self._handlers, self._fields = client, user, handlers, fields

    async def run(self) -> None:
        """Go through all steps; what goes wrong is noted with the user, who then leaves."""
        beating = asyncio.create_task(self._beat())
        try:
            await self._steps()
        except (httpx.HTTPError, TimeoutError, ValueError, KeyError) as error:
            self._user.failures.append(f"{type(error).__name__}: {error}")
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        with suppress(asyncio.CancelledError, httpx.HTTPError):
            async with self._client.stream("GET", f"{API}/heartbeat/{self._user.window}") as answer:
                async for _ in answer.aiter_raw():
                    pass

    async def _steps(self) -> None:
        user, began = self._user, time.monotonic()
        answer = await self._client.post(f"{API}/upload", files={"files": (user.name, user.photo)})
        answer.raise_for_status()
        user.seconds["upload"].append(time.monotonic() - began)
        path = {"path": answer.json()[0], "orig_name": user.name, "meta": {"_type": "gradio.FileData"}}
        began = time.monotonic()
        first, whole, _ = await self._call("examine", [[path]])
        user.seconds["seen"].append(first - began)
        user.seconds["analysis"].append(whole - began)
        if user.name not in "".join(user.said):
            raise ValueError("the page did not show the photograph")
        asked = [("open", [None]), *(("ask", [None, f"{text} {user.secret}"]) for text in QUESTIONS)]
        for handler, data in asked:
            began = time.monotonic()
            first, whole, _ = await self._call(handler, data, ANSWER)
            user.seconds["first piece"].append(first - began)
            user.seconds["answer"].append(whole - began)
        began = time.monotonic()
        await self._call("narrate", [None, True])
        _, whole, output = await self._call("write_report", [None])
        user.seconds["report"].append(whole - began)
        written = next(
            item["value"] for item in output if "report.json" in str(item) or ".json'" in str(item)
        )
        user.report = (await self._client.get(f"{API}/file={written['path']}")).json()

    async def _call(self, handler: str, data: list[Any], word: str = "") -> tuple[float, float, list[Any]]:
        """Call a handler through the queue.

        word: what the first message that counts holds besides what stood there when the handler began.
        Returns when that and the last came, and the last one's outputs. Raises ValueError where the page says
        that it failed.
        """
        known = self._handlers[handler]
        left_empty = [self._fields.get(number) for number in known["inputs"][len(data) :]]
        body = {"data": [*data, *left_empty], "fn_index": known["id"], "session_hash": self._user.window}
        (await self._client.post(f"{API}/queue/join", json=body)).raise_for_status()
        first, number = 0.0, 0
        query = {"session_hash": self._user.window}
        async with self._client.stream("GET", f"{API}/queue/data", params=query) as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                self._user.said.append(line)
                message = json.loads(line[5:])
                if message["msg"] in ("process_generating", "process_completed"):
                    counts = word in line and (number > 0 or not word)  # the first has all that stood there
                    first, number = first or (time.monotonic() if counts else 0.0), number + 1
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise ValueError(f"{handler} failed: {message['output']}")
                    now = time.monotonic()
                    return first or now, now, message["output"].get("data", [])
        raise ValueError(f"{handler}: the stream ended early")


async def soak(config: SoakConfig) -> tuple[list[User], dict[str, float]]:
    """Let all users in at once. Returns them, and the server's memory in MiB before, at most and after."""
    users = [User(number, photograph(number // 2)) for number in range(config.users)]
    memory: dict[str, float] = {}
    limits = httpx.Limits(max_connections=None)
    async with served("app", ["--checkpoint", str(config.checkpoint)]) as (address, pid):
        async with httpx.AsyncClient(base_url=address, timeout=config.timeout, limits=limits) as client:
            handlers: dict[str, dict[str, Any]] = {}
            page = (await client.get("/config")).json()
            for item in page["dependencies"]:
                handlers.setdefault(str(item["api_name"]), item)
            fields = {item["id"]: item["props"].get("value") for item in page["components"]}
            async with watched(pid, memory):
                await asyncio.gather(*(Visit(client, user, handlers, fields).run() for user in users))
        await asyncio.sleep(CLOSED_SECONDS)
        memory["windows closed"] = resident_mib(pid)
    return users, memory


def introduction(config: SoakConfig) -> str:
    """What the page of docs/ says above the table."""
    return (
        "# Many visitors at once\n\n"
        f"```sh\npython -m benchmarks.soak --users {config.users} --out docs/soak.md\n```\n\n"
        "All users come at the same moment, each with a photograph and a secret word of their own, in pairs\n"
        "that bring the same picture; each asks three questions and writes a report. A mix-up is another\n"
        "user's file or word in what a user was sent, or another score than the pair's. Waiting in line is\n"
        "part of every figure: photographs go first, and answers give way to those who wait for one. Freed\n"
        "memory stays with the process for the next visitors (common/memory.py), so the last does not fall."
    )


def main() -> None:
    """Exit status 1 when a user failed or was shown what is another's."""
    config = parse(SoakConfig, __doc__)
    users, memory = asyncio.run(soak(config))
    conclude(users, table(users, memory, STEPS), config.out, introduction(config))


if __name__ == "__main__":
    main()
