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
import hashlib
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from common.cli import parse

EXAMPLE = Path(__file__).parents[1] / "app" / "example.jpg"
API = "/gradio_api"
QUESTIONS = ("Where are the signs?", "How sure are you?")
STEPS = {
    "upload": "upload",
    "seen": "first word from the server after the upload",
    "analysis": "photograph examined",
    "first piece": "first piece of an answer",
    "answer": "whole answer",
    "report": "report written",
}
CLOSED_SECONDS = 25.0  # until a window that was closed is forgotten
MIB = 2**20


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


@dataclass
class User:
    """One window: what it brought, what it was told, and how long it waited.

    seconds: by step of STEPS. said: all that the server sent. failures: what went wrong, in words.
    """

    number: int
    photo: bytes
    seconds: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    said: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    report: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"photo-of-user-{self.number:03d}.jpg"

    @property
    def secret(self) -> str:
        return f"secret{self.number:03d}"

    @property
    def window(self) -> str:
        return f"window{self.number:03d}"


def photograph(pair: int) -> bytes:
    """A JPEG of the example, in a size and brightness of its own."""
    with Image.open(EXAMPLE) as example:
        side = 400 + 8 * (pair % 16)
        pixels = np.asarray(example.convert("RGB").resize((side, side)), np.float32)
    data = BytesIO()
    Image.fromarray(np.clip(pixels * (0.8 + 0.01 * (pair % 37)), 0, 255).astype(np.uint8)).save(data, "JPEG")
    return data.getvalue()


@asynccontextmanager
async def served(checkpoint: Path) -> AsyncIterator[tuple[str, int]]:
    """The address and process id of a page of its own, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "app", "--port", str(port), "--checkpoint", str(checkpoint)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        while "Unmask is ready" not in "".join(lines):
            line = await asyncio.to_thread(server.stdout.readline)
            if not line:
                raise OSError("the page was not served:\n" + "".join(lines))
            lines.append(line)
        asyncio.get_running_loop().run_in_executor(None, server.stdout.read)  # or it would wait for a reader
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)


def resident_mib(pid: int) -> float:
    """Resident memory of a process and of those that it started, in MiB."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            text = status.read_text()
            if int(status.parent.name) == pid or re.search(rf"^PPid:\s+{pid}$", text, re.M):
                size = re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)
                total += int(size.group(1)) / 1024 if size else 0
    return total


class Visit:
    """What one user does."""

    def __init__(self, client: httpx.AsyncClient, user: User, handlers: dict[str, dict[str, Any]]):
        """handlers: what the page's own configuration says of each."""
        self._client, self._user, self._handlers = client, user, handlers

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
        first, whole, _ = await self._call("examine", [path])
        user.seconds["seen"].append(first - began)
        user.seconds["analysis"].append(whole - began)
        if user.name not in "".join(user.said):
            raise ValueError("the page did not show the photograph")
        asked = [("open", [None]), *(("ask", [None, f"{text} {user.secret}"]) for text in QUESTIONS)]
        for handler, data in asked:
            began = time.monotonic()
            first, whole, _ = await self._call(handler, data, 1)  # the first shows the question
            user.seconds["first piece"].append(first - began)
            user.seconds["answer"].append(whole - began)
        began = time.monotonic()
        _, whole, output = await self._call("write_report", [None])
        user.seconds["report"].append(whole - began)
        written = next(
            item["value"] for item in output if "report.json" in str(item) or ".json'" in str(item)
        )
        user.report = (await self._client.get(f"{API}/file={written['path']}")).json()

    async def _call(self, handler: str, data: list[Any], skip: int = 0) -> tuple[float, float, list[Any]]:
        """Call a handler through the queue.

        skip: how many messages come before the one that counts as the first. Returns when the first and the
        last came, and the last one's outputs. Raises ValueError where the page says that it failed.
        """
        known = self._handlers[handler]
        left_empty = [None] * (len(known["inputs"]) - len(data))  # as a browser sends a form never opened
        body = {"data": [*data, *left_empty], "fn_index": known["id"], "session_hash": self._user.window}
        (await self._client.post(f"{API}/queue/join", json=body)).raise_for_status()
        times: list[float] = []
        query = {"session_hash": self._user.window}
        async with self._client.stream("GET", f"{API}/queue/data", params=query) as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                self._user.said.append(line)
                message = json.loads(line[5:])
                if message["msg"] in ("process_generating", "process_completed"):
                    times.append(time.monotonic())
                if message["msg"] == "process_completed":
                    if not message["success"]:
                        raise ValueError(f"{handler} failed: {message['output']}")
                    return times[min(skip, len(times) - 1)], times[-1], message["output"].get("data", [])
        raise ValueError(f"{handler}: the stream ended early")


def mix_ups(users: list[User]) -> list[str]:
    """Every case in which a user was shown what is another's, in words."""
    found, scores = [], {}
    for user in users:
        told = "".join(user.said) + json.dumps(user.report)
        others = [other for other in users if other is not user]
        found += [f"{user.name} was shown {other.name}" for other in others if other.name in told]
        found += [f"{user.name} was shown {other.secret}" for other in others if other.secret in told]
        if user.report is None:
            continue
        if user.report["file"]["sha256"] != hashlib.sha256(user.photo).hexdigest():
            found.append(f"{user.name} got the report on another file")
        score = [face["score"] for face in user.report["faces"]]
        if scores.setdefault(user.photo, score) != score:
            found.append(f"{user.name} has the scores {score}, its pair {scores[user.photo]}")
    return found


async def soak(config: SoakConfig) -> tuple[list[User], dict[str, float]]:
    """Let all users in at once. Returns them, and the server's memory in MiB before, at most and after."""
    users = [User(number, photograph(number // 2)) for number in range(config.users)]
    memory = {}
    limits = httpx.Limits(max_connections=None)
    async with served(config.checkpoint) as (address, pid):
        async with httpx.AsyncClient(base_url=address, timeout=config.timeout, limits=limits) as client:
            handlers: dict[str, dict[str, Any]] = {}
            for item in (await client.get("/config")).json()["dependencies"]:
                handlers.setdefault(str(item["api_name"]), item)
            memory["before"] = memory["at most"] = resident_mib(pid)

            async def watch() -> None:
                while True:
                    memory["at most"] = max(memory["at most"], await asyncio.to_thread(resident_mib, pid))
                    await asyncio.sleep(0.3)

            watching = asyncio.create_task(watch())
            await asyncio.gather(*(Visit(client, user, handlers).run() for user in users))
            watching.cancel()
            memory["at the end"] = resident_mib(pid)
        await asyncio.sleep(CLOSED_SECONDS)
        memory["windows closed"] = resident_mib(pid)
    return users, memory


def table(users: list[User], memory: dict[str, float]) -> str:
    """What was measured, in Markdown."""
    failed = [f"{user.name}: {text}" for user in users for text in user.failures]
    mixed = mix_ups(users)
    lines = ["| step | p50 | p95 | longest |", "|---|---|---|---|"]
    for step, words in STEPS.items():
        times = [seconds for user in users for seconds in user.seconds[step]]
        if times:
            shown = (np.percentile(times, 50), np.percentile(times, 95), max(times))
            lines.append(f"| {words} | " + " | ".join(f"{value:.2f} s" for value in shown) + " |")
    sizes = ", ".join(f"{size:.0f} MiB {when}" for when, size in memory.items())
    done = f"{len(users)} users: {len(users) - len(failed)} finished, {len(failed)} failed"
    return "\n".join(
        [f"{done}, {len(mixed)} mix-ups.", "", *lines, "", f"Memory of the server: {sizes}.", *failed, *mixed]
    )


def page(config: SoakConfig, measured: str) -> str:
    """The page of docs/ that holds the table."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return (
        "# Many visitors at once\n\n"
        f"```sh\npython -m benchmarks.soak --users {config.users} --out docs/soak.md\n```\n\n"
        "All users come at the same moment, each with a photograph and a secret word of their own, in pairs\n"
        "that bring the same picture; each asks three questions and writes a report. A mix-up is another\n"
        "user's file or word in what a user was sent, or another score than the pair's. Freed memory stays\n"
        "with the process for the next visitors (common/memory.py), so the last figure does not fall.\n"
        f"{cores} processor cores ({platform.machine()}), load {load:.1f} at the end.\n\n{measured}\n"
    )


def main() -> None:
    """Exit status 1 when a user failed or was shown what is another's."""
    config = parse(SoakConfig, __doc__)
    users, memory = asyncio.run(soak(config))
    measured = table(users, memory)
    print(measured)
    if config.out is not None:
        config.out.write_text(page(config, measured), encoding="utf-8")
    sys.exit(1 if mix_ups(users) or any(user.failures for user in users) else 0)


if __name__ == "__main__":
    main()
