"""Runs of kfd.score in processes of their own, to be killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 500  # seconds after which a run hangs


def start_scoring(archive: Path, checkpoint: Path, out: Path, *more: str) -> subprocess.Popen:
    """Begin to score a folder with two processes."""
    words = [archive, "--checkpoint", checkpoint, "--out", out, "--workers", "2", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "kfd.score", *map(str, words)], cwd=ROOT, env=environment)


def wait_for(happened: Callable[[], bool], run: subprocess.Popen) -> None:
    """Wait until something happened; fails where the run ended before, or hangs."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert run.poll() is None and time.monotonic() < deadline, "the run ended early, or hangs"
        time.sleep(0.05)


def lines_in(out: Path) -> list[bytes]:
    """The lines written so far, the last perhaps not whole."""
    return out.read_bytes().split(b"\n")[:-1] if out.is_file() else []
