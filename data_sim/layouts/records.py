"""The records that every reader of a data set gives, and the parts the readers share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from media.kinds import is_hidden, kind_of_file


class LayoutError(ValueError):
    """A tree that is not laid out as expected; the message says how it should be, and what was found."""


@dataclass(frozen=True)
class Record:
    """One video file, or one image: a frame of a video, or a photograph.

    path: the file. split: "train", "val" or "test". label: "real" or "fake". kind: the forgery, "" of real.
    source: the data set, with its compression. video: its name, "" of photographs. identity: the
    persons seen, joined by "|", the one who was filmed first, then the one whose face was put in. frame: the
    frame's name, "" of video files. group: what must not be split. mask: the forged pixels, as a video with
    the same frames or an image, where the data set has them. regions: as in data_sim.dataset.
    """

    path: Path
    split: str
    label: str
    source: str
    group: str
    kind: str = ""
    video: str = ""
    identity: str = ""
    frame: str = ""
    mask: Path | None = None
    regions: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """The full key of the video; a photograph is its own."""
        return self.source, self.kind, self.video or str(self.path)


def records_of(paths: list[Path], *, masks: dict[str, Path] | None = None, **fields: str) -> list[Record]:
    """Records of one video: the file itself, or its frames; masks by the stem of frame or video."""
    label = "fake" if fields["kind"] else "real"
    return [
        Record(
            path, label=label, mask=(masks or {}).get(path.stem),
            frame=path.stem if kind_of_file(path) == "image" else "", **fields,
        )
        for path in paths
    ]  # fmt: skip


def persons_of(source: str, names: Iterable[str]) -> str:
    return "|".join(f"{source}/{name}" for name in names)


def media(folder: Path) -> dict[str, list[Path]]:
    """Videos of a folder by name: one video file each, or the images of its frames.

    They lie in `videos`, in `frames` or `images` (a folder each), or in the folder itself; where there are
    several, in this order.
    """
    for place in (folder / "videos", folder / "frames", folder / "images", folder):
        if not place.is_dir():
            continue
        entries = visible(place.iterdir())
        clips = {path.stem: [path] for path in entries if path.is_file() and kind_of_file(path) == "video"}
        if not clips and place.name in ("frames", "images"):
            clips = {path.name: images_in(path) for path in entries if path.is_dir()}
        clips = {name: paths for name, paths in clips.items() if paths}
        if clips:
            return clips
    return {}


def images_in(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted."""
    return [path for path in visible(folder.iterdir()) if path.is_file() and kind_of_file(path) == "image"]


def visible(paths: Iterable[Path]) -> list[Path]:
    """Paths without hidden ones, sorted: macOS leaves a `._000.mp4` beside a 000.mp4, which is no video."""
    return sorted(path for path in paths if not is_hidden(path.name))


def found(root: Path) -> str:
    """List what a folder holds, for an error."""
    if not root.is_dir():
        return f"found a file {root.name}"
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir())
    told = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"found there: {told or 'nothing'}"


def read_json(file: Path) -> dict[str, Any]:
    """An object of objects out of a file. Raises LayoutError that says what is wrong with it."""
    if not file.is_file():
        raise LayoutError(f"{file} is missing; {found(file.parent)}")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LayoutError(f"{file} is not JSON: {error}") from None
    if not isinstance(values, dict) or not all(isinstance(value, dict) for value in values.values()):
        raise LayoutError(f"{file}: expected an object of objects, as the data set's own file is")
    return values
