"""Turn videos into face crops that data_sim.build makes a face set from.

    python -m data_sim.frames /data/FaceForensics++ --layout ffpp --split test --out runs/frames
    python -m data_sim.frames clips/ --frames 4 --out /tmp/frames       # clips/real, clips/fake; seconds
    python -m data_sim.build runs/frames --manifest runs/frames/manifest.csv --val-every 0 --out runs/ffpp

Layouts: see data_sim.layouts. From every video N frames are taken, spread over the whole of it; every face
in them is kept, with the track of the person it belongs to. A crop is twice as wide as the face, at the
pixels of the video, and saved as PNG: JPEG would lay its own traces over those that a detector looks for.
A crop of a face 200 pixels wide takes about 300 KB.

Writes faces/, manifest.csv (the columns of data_sim.dataset, and the landmarks found in the whole frame) and
failures.csv: videos that cannot be read and frames without a face, with the reason. A killed run continues
where it stopped. Of a forged video with several people every track is labelled fake; masks, where the data
set has them, are cut alike and say who was forged.
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from PIL import Image

from common.cli import parse
from common.locks import one_writer
from common.storage import write_rows, write_text
from common.strict_json import read_json_object, to_json
from data_sim.build import FAILURES_FILE
from data_sim.dataset import COLUMNS
from data_sim.layouts.read import LayoutName, read_layout
from data_sim.layouts.records import LayoutError, Record
from media.decoding.sandbox import LIMITS
from media.faces import Face, find_faces
from media.images import ImageError, open_photo, read_image
from media.kinds import kind_of_file
from media.tracks import track_faces
from media.video import VideoError, frame_times, read_frames, spread

WIDE = 2.0  # side of a crop in sides of the face; the widest square that training cuts is 1.5 of them
GRID = 16  # crops begin at multiples of it, so that shrinking one averages the same pixels as in the frame
MASKED = 40  # grey, 0..255, from which a mask counts as forged: masks are compressed, and some of them dim
FAILURE_COLUMNS = ("path", "split", "label", "kind", "source", "video", "frame", "reason")


@dataclass(frozen=True)
class FramesConfig:
    root: Annotated[Path, tyro.conf.Positional]  # where the data set lies
    out: Path  # folder to write into, or to continue
    layout: LayoutName | None = None  # None: told by the tree, where there is no doubt
    frames: int = 32  # frames of each video
    split: Literal["train", "val", "test"] | None = None  # None: all of them
    source: str | None = None  # only this one, for instance ffpp-c23; None: all
    allow_missing: bool = False  # count listed videos that are not there as failures
    workers: int = 2  # processes

    def __post_init__(self):
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, got {self.frames}")


@dataclass(frozen=True)
class Sample:
    """A frame: its name, pixels (H, W, 3) uint8, the facts of its file, and its mask, like the pixels."""

    name: str
    pixels: np.ndarray
    facts: dict[str, str]
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Crop:
    """A face of a frame with its surroundings.

    face: in pixels of the frame. pixels, mask: (h, w, 3) uint8. corner: (X, Y) of the crop in the frame.
    """

    frame: str
    facts: dict[str, str]
    face: Face
    pixels: np.ndarray
    corner: tuple[int, int]
    mask: np.ndarray | None

    @classmethod
    def cut(cls, sample: Sample, face: Face) -> Crop:
        mask = None if sample.mask is None else wide_crop(sample.mask, face)[0]
        return cls(sample.name, sample.facts, face, *wide_crop(sample.pixels, face), mask)


def main() -> None:
    try:
        config = parse(FramesConfig, f"{__doc__}\n{LIMITS}")
        with one_writer(config.out, is_folder=True):
            extract(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def extract(config: FramesConfig) -> None:
    """Cut the faces out of all videos of a data set. Raises FileNotFoundError or ValueError."""
    from tqdm import tqdm

    clips = select(config)
    start(config)
    jobs = [clip for clip in clips if not finished(part_of(config.out, clip))]
    done = tqdm(total=len(clips), initial=len(clips) - len(jobs), desc="videos", unit="video")
    for _ in _map(jobs, config):
        done.update()
    done.close()
    rows, failures = collect(config.out, clips)
    print(f"wrote {len(rows)} faces of {len(clips)} videos or photographs to {config.out}")
    if failures:
        print(f"{len(failures)} videos or frames gave no face; {config.out / FAILURES_FILE} says why")


def select(config: FramesConfig) -> list[list[Record]]:
    """The wanted videos, each as its records: one video file, or the images of its frames in order."""
    records = read_layout(config.root, config.layout, config.allow_missing)
    chosen = [
        record
        for record in records
        if config.split in (None, record.split) and config.source in (None, record.source)
    ]
    if not chosen:
        there = sorted({(record.source, record.split) for record in records})
        raise LayoutError(
            f"{config.root} has nothing of source {config.source} and split {config.split}; it has {there}"
        )
    return [list(clip) for _, clip in groupby(chosen, key=lambda record: record.key)]


def start(config: FramesConfig) -> None:
    """Write down what the run depends on. Raises ValueError when the folder holds another run."""
    settings = {"frames": config.frames, "root": str(config.root.resolve())}
    file = config.out / "settings.json"
    if file.is_file() and (old := read_json_object(file)) != settings:
        raise ValueError(
            f"{config.out} holds a run with {old}, not {settings}; delete it or use another folder"
        )
    write_text(file, to_json(settings))


def _map(jobs: list[list[Record]], config: FramesConfig) -> Iterator[None]:
    arguments = jobs, [config.out] * len(jobs), [config.frames] * len(jobs)
    if config.workers <= 1:
        yield from map(write_clip, *arguments)
        return
    with ProcessPoolExecutor(config.workers) as pool:
        yield from pool.map(write_clip, *arguments)


def part_of(out: Path, clip: list[Record]) -> Path:
    """File that notes the rows of a finished video."""
    return out / "parts" / f"{_name(clip)}.json"


def finished(part: Path) -> bool:
    """Whether a video has been read; one that was missing is looked for again."""
    if not part.is_file():
        return False
    failures = read_json_object(part)["failures"]
    return all(failure["reason"] != "missing" for failure in failures)


def _name(clip: list[Record]) -> str:
    """A file name for a video: readable, and different for different full keys."""
    key = "/".join(clip[0].key)
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '_', key)[-80:]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def write_clip(clip: list[Record], out: Path, count: int) -> None:
    """Write the crops of one video, then, in one step, the note that it is finished."""
    crops: list[list[Crop]] = []
    rows, failures = [], []
    try:
        for sample in read_clip(clip, count, failures):
            crops.append([Crop.cut(sample, face) for face in find_faces(sample.pixels)])
            if not crops[-1]:
                failures.append(_failure(clip[0], sample.name, "no_face"))
    except VideoError as error:
        failures.append(_failure(clip[0], "", error.code))
    folder = out / "faces" / _name(clip)
    folder.mkdir(parents=True, exist_ok=True)
    for some, tracks in zip(
        crops, track_faces([[crop.face for crop in some] for some in crops]), strict=True
    ):
        for crop, track in zip(some, tracks, strict=True):
            path = folder / f"{crop.frame}_{track}.png"
            Image.fromarray(crop.pixels).save(path)
            if crop.mask is not None:
                Image.fromarray(crop.mask).convert("L").save(path.with_suffix(".mask.png"))
            rows.append(_row(clip[0], crop, path.relative_to(out), track))
    write_text(part_of(out, clip), to_json({"rows": rows, "failures": failures}))


def read_clip(clip: list[Record], count: int, failures: list[dict[str, str]]) -> Iterator[Sample]:
    """Frames spread over a video; those that are images and cannot be read are added to `failures`.

    Raises VideoError.
    """
    first = clip[0].path
    if kind_of_file(first) == "video":
        yield from _video_samples(clip[0], count)
        return
    for position in spread(np.arange(len(clip), dtype=np.float64), count):
        record = clip[position]
        try:
            photo = open_photo(record.path)
            if photo.damage:
                raise ImageError("damaged", photo.damage)
            pixels = photo.pixels
            mask = None if record.mask is None else _fitted(read_image(record.mask), pixels)
            yield Sample(record.frame or "0", pixels, photo.facts, mask)
        except ImageError as error:
            failures.append(_failure(record, record.frame, error.code))


def _video_samples(record: Record, count: int) -> Iterator[Sample]:
    path = record.path
    try:
        masks = {} if record.mask is None else dict(read_frames(record.mask, count))
    except VideoError as error:
        raise VideoError(f"mask_{error.code}", str(error)) from None
    size = str(round(path.stat().st_size / len(frame_times(path)))) if path.is_file() else ""
    for position, pixels in read_frames(path, count):
        height, width = pixels.shape[:2]
        facts = {"width": str(width), "height": str(height), "jpeg_quality": "", "bytes": size}
        mask = _fitted(masks[position], pixels) if position in masks else None
        yield Sample(f"{position:06d}", pixels, facts, mask)


def _fitted(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A mask (h, w, 3) at the size of its frame, 255 where forged."""
    mask = np.where(mask.max(axis=2, keepdims=True) > MASKED, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    size = pixels.shape[1::-1]
    return mask if mask.shape == pixels.shape else cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def wide_crop(image: np.ndarray, face: Face) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut a face with its surroundings, at the pixels of the frame.

    image: (H, W, 3) uint8. Returns the crop, about WIDE sides of the face wide where the frame goes on that
    far, and its corner (X, Y) in the frame. `media.faces.crop_face` cuts the same pixels out of it.
    """
    x0, y0, x1, y1 = face.box
    centre, reach = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), WIDE / 2 * face.side
    reach *= math.sqrt(2) if face.roll else 1  # a turned square reaches further
    end = np.array(image.shape[1::-1])
    low = np.clip(np.floor((centre - reach) / GRID).astype(int) * GRID, 0, end)
    high = np.clip(np.ceil((centre + reach) / GRID).astype(int) * GRID, 0, end)
    crop = image[low[1] : high[1], low[0] : high[0]]
    return np.ascontiguousarray(crop), (int(low[0]), int(low[1]))


def _row(record: Record, crop: Crop, path: Path, track: int) -> dict[str, str]:
    """The manifest row of a crop."""
    names = ("split", "label", "kind", "source", "group", "regions", "video", "identity")
    landmarks = crop.face.landmarks - np.array(crop.corner)
    return {
        "path": path.as_posix(),
        **{name: getattr(record, name) for name in names},
        "frame": crop.frame,
        "track": str(track),
        "mask": "" if crop.mask is None else path.with_suffix(".mask.png").as_posix(),
        "landmarks": " ".join(f"{value:.2f}" for value in landmarks.ravel()),
        **crop.facts,
    }


def _failure(record: Record, frame: str, reason: str) -> dict[str, str]:
    names = ("split", "label", "kind", "source", "video")
    fields = {name: getattr(record, name) for name in names}
    return {"path": str(record.path), **fields, "frame": frame, "reason": reason}


def collect(out: Path, clips: list[list[Record]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Put the notes of all videos together into manifest.csv and failures.csv, in the order of the videos."""
    parts = [read_json_object(part_of(out, clip)) for clip in clips]
    rows = [row for part in parts for row in part["rows"]]
    failures = [failure for part in parts for failure in part["failures"]]
    for name, columns, lines in (
        ("manifest.csv", (*COLUMNS, "landmarks"), rows),
        (FAILURES_FILE, FAILURE_COLUMNS, failures),
    ):
        write_rows(out / name, columns, lines)
    return rows, failures


if __name__ == "__main__":
    main()
