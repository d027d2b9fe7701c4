"""A crowd before a server: users with photographs and secret words of their own, the server's memory, and
whether anybody was shown what is another's. benchmarks.soak sends it to the page, benchmarks.service_load to
the service.
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
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

EXAMPLE = Path(__file__).parents[1] / "app" / "example.jpg"
QUESTIONS = ("Where are the signs?", "How sure are you?")
MIB = 2**20


@dataclass
class User:
    """One window: what it brought, what it was told, and how long it waited.

    seconds: by step. said: all that the server sent. failures: what went wrong, in words.
    """

    number: int
    photo: bytes
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
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
async def served(module: str, words: Sequence[str]) -> AsyncIterator[tuple[str, int]]:
    """The address and process id of a server of its own, `python -m module --port N words`, until the block
    ends.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, "--port", str(port), *words]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        while "Unmask is ready" not in "".join(lines):
            line = await asyncio.to_thread(server.stdout.readline)
            if not line:
                raise OSError("nothing was served:\n" + "".join(lines))
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


@asynccontextmanager
async def watched(pid: int, memory: dict[str, float]) -> AsyncIterator[None]:
    """Note a server's memory in MiB before, at most in and at the end of the block."""
    memory["before"] = memory["at most"] = resident_mib(pid)

    async def watch() -> None:
        while True:
            memory["at most"] = max(memory["at most"], await asyncio.to_thread(resident_mib, pid))
            await asyncio.sleep(0.3)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        memory["at the end"] = resident_mib(pid)


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
        if user.report["files"][0]["file"]["sha256"] != hashlib.sha256(user.photo).hexdigest():
            found.append(f"{user.name} got the report on another file")
        score = [face["score"] for face in user.report["files"][0]["faces"]]
        if scores.setdefault(user.photo, score) != score:
            found.append(f"{user.name} has the scores {score}, its pair {scores[user.photo]}")
    return found


def table(users: list[User], memory: dict[str, float], steps: dict[str, str]) -> str:
    """What was measured, in Markdown. steps: the words of each step that is timed."""
    failed = [f"{user.name}: {text}" for user in users for text in user.failures]
    mixed = mix_ups(users)
    lines = ["| step | p50 | p95 | longest |", "|---|---|---|---|"]
    for step, words in steps.items():
        times = [seconds for user in users for seconds in user.seconds[step]]
        if times:
            shown = (np.percentile(times, 50), np.percentile(times, 95), max(times))
            lines.append(f"| {words} | " + " | ".join(f"{value:.2f} s" for value in shown) + " |")
    sizes = ", ".join(f"{size:.0f} MiB {when}" for when, size in memory.items())
    done = f"{len(users)} users: {len(users) - len(failed)} finished, {len(failed)} failed"
    return "\n".join(
        [f"{done}, {len(mixed)} mix-ups.", "", *lines, "", f"Memory of the server: {sizes}.", *failed, *mixed]
    )


def machine() -> str:
    """What it was measured on."""
    return (
        f"{os.cpu_count()} processor cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the end."
    )


def conclude(users: list[User], measured: str, out: Path | None, words: str) -> NoReturn:
    """Print the table, write the page of docs/ that holds it, and end.

    words: what stands above the table. The exit status is 1 when a user failed or was sent another's things.
    """
    print(measured)
    if out is not None:
        out.write_text(f"{words}\n{machine()}\n\n{measured}\n", encoding="utf-8")
    sys.exit(1 if mix_ups(users) or any(user.failures for user in users) else 0)
