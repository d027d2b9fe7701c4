"""Count the faces found, and the time: CenterFace at our scales against dlib's finder as it was used before.

    python -m benchmarks.faces --data FOLDER --per-source 100     # FOLDER: manifest.csv, one face a picture

Before: dlib's finder on the picture with a replicated border of 30 %, at most 1,200 pixels long, enlarged at
most twice; and once more at 2,600 pixels where it found nothing sure. A picture counts as found when there is
a face of which the finder is sure. The manifest names path, split, label and source of every picture.
"""

from __future__ import annotations

import csv
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from common.cli import parse
from media.errors import MediaError
from media.faces import find_faces, finder_name
from media.images import read_image

PADDING, WORK_SIDE, RETRY_SIDE, SURE = 0.3, 1200, 2600, 0.3  # of dlib's search as it was


@dataclass(frozen=True)
class FacesConfig:
    data: Path  # folder with manifest.csv
    per_source: int = 100  # pictures of each source and label
    split: str = "test"
    seed: int = 0


def main() -> None:
    """Exit status 1, with the reason, where the manifest cannot be used."""
    config = parse(FacesConfig, __doc__)
    try:
        print("\n".join(table(config)))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")


def table(config: FacesConfig) -> list[str]:
    """Measure, and lay the counts out as the lines of a Markdown table."""
    with (config.data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == config.split]
    if not rows:
        raise ValueError(f"{config.data} has no split {config.split!r}")
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[f"{row['source']}, {row['label']}"].append(row["path"])
    draw = random.Random(config.seed)
    _dlib()
    finder_name()
    lines = [f"| {config.split} | pictures | dlib | {finder_name()} | several |", "|---|---|---|---|---|"]
    total, spent = np.zeros(4, int), np.zeros(2)
    for name, paths in sorted(groups.items()):
        counts = np.zeros(4, int)
        for path in draw.sample(paths, min(config.per_source, len(paths))):
            try:
                image = read_image(config.data / path)
            except MediaError:
                continue
            before, seconds_before = _timed(dlib_before, image)
            after, seconds_after = _timed(_sure_faces, image)
            counts += (1, before > 0, after > 0, after > 1)
            spent += (seconds_before, seconds_after)
        total += counts
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
    before, after = spent / max(total[0], 1) * 1000
    lines.append(f"| all | {' | '.join(map(str, total))} |")
    lines.append(f"| CPU milliseconds a picture, landmarks included | | {before:.0f} | {after:.0f} | |")
    return lines


def _timed(find: Callable[[np.ndarray], int], image: np.ndarray) -> tuple[int, float]:
    start = time.process_time()
    return find(image), time.process_time() - start


def _sure_faces(image: np.ndarray) -> int:
    return sum(face.sure for face in find_faces(image))


def dlib_before(image: np.ndarray) -> int:
    """How many sure faces dlib's finder saw, without landmarks."""
    pad = round(PADDING * max(image.shape[:2]))
    padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    longest, detector = max(padded.shape[:2]), _dlib()
    for scale in (min(2.0, WORK_SIDE / longest), min(1.0, RETRY_SIDE / longest)):
        size = round(padded.shape[1] * scale), round(padded.shape[0] * scale)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        found = len(detector.run(cv2.resize(padded, size, interpolation=method), 0, SURE)[0])
        if found:
            return found
    return 0


@cache
def _dlib():
    """dlib's finder; to unpack it takes longer than to search a picture, and is not what is timed."""
    import dlib

    return dlib.get_frontal_face_detector()


if __name__ == "__main__":
    main()
