"""Find the people and pictures that two splits share.

    python -m evaluation.leakage runs/set:train runs/set:test --out runs/leaks.json

Compares two splits, of one set or of two: persons, groups and videos that both hold, identical crops, and
near duplicates, that is, crops whose perceptual hashes differ in at most SAME_PICTURE of 255 bits, mirrored
ones included. Prints what it finds, and ends with status 1 when it finds anything.

A near duplicate is the same recording: a copy saved anew, resized or recoloured, or another frame of a
person who hardly moved. Copies cut more than two or three hundredths of the side aside are not found.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from common.cli import parse
from common.locks import one_writer
from common.storage import write_text
from common.strict_json import to_json
from data_sim.dataset import FaceSet, video_of

HASH_SIDE = 16  # the lowest frequencies along each axis that the hash reads
SAME_PICTURE = 48  # bits; of 34 million pairs of unrelated faces, half of them mirrored, none was below 56
BLOCK = 4096  # hashes compared at once: 64 MB of distances
SHOWN = 20  # leaks that the text lists


@dataclass(frozen=True)
class LeaksConfig:
    a: Annotated[str, tyro.conf.Positional]  # FOLDER:SPLIT of a set made by data_sim.build
    b: Annotated[str, tyro.conf.Positional]  # FOLDER:SPLIT that must know nothing of it
    out: Path | None = None  # JSON file for every leak


@dataclass(frozen=True)
class Leak:
    """Something that both splits hold.

    kind: "identity", "group", "video", "identical" or "near_duplicate". what: the shared name, if it is one.
    a, b: paths of a row of each split that show it. distance: differing bits of 255, of pictures.
    """

    kind: str
    what: str
    a: str
    b: str
    distance: int | None = None


def main() -> None:
    config = parse(LeaksConfig, __doc__)
    try:
        with one_writer(config.out):
            leaks = find_leaks(_open(config.a), _open(config.b))
            if config.out is not None:
                report = {"a": config.a, "b": config.b, **as_report(leaks)}
                write_text(config.out, to_json(report, indent=2) + "\n")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{config.a} and {config.b}: {as_text(leaks)}")
    sys.exit(1 if leaks else 0)


def _open(place: str) -> FaceSet:
    folder, colon, split = place.rpartition(":")
    if not colon:
        raise ValueError(f"expected FOLDER:SPLIT, for instance runs/set:test; got {place!r}")
    return FaceSet.open(folder, split)


def find_leaks(a: FaceSet, b: FaceSet) -> list[Leak]:
    """Everything that two splits share: names once each, and for each picture of `b` the nearest of `a`.

    Names of persons are compared as they are; groups and videos within their source.
    """
    return [*shared_names(a.rows, b.rows), *shared_pictures(a, b)]


def shared_names(a: Iterable[dict[str, str]], b: Iterable[dict[str, str]]) -> list[Leak]:
    """Persons, groups and videos that rows of both sides name."""
    left, right = _named(a), _named(b)
    return [
        Leak(kind, what, left[kind, what], right[kind, what]) for kind, what in left if (kind, what) in right
    ]


def _named(rows: Iterable[dict[str, str]]) -> dict[tuple[str, str], str]:
    """The first row's path of everything that rows name: (kind of name, name) -> path."""
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        for person in filter(None, row["identity"].split("|")):
            first.setdefault(("identity", person), row["path"])
        if row["group"]:
            first.setdefault(("group", f"{row['source']} / {row['group']}"), row["path"])
        if row["video"]:
            first.setdefault(("video", " / ".join(video_of(row))), row["path"])
    return first


def shared_pictures(a: FaceSet, b: FaceSet) -> list[Leak]:
    """Identical and nearly identical crops, for each of `b` the nearest of `a`."""
    digests = {digest: row["path"] for digest, row in zip(_digests(a), a.rows, strict=True)}
    hashes, mirrored = _hashes(a, mirror=False), _hashes(a, mirror=True)
    nearest, distance = nearest_hashes(np.concatenate([hashes, mirrored]), _hashes(b, mirror=False))
    leaks = []
    for row, digest, i, bits in zip(b.rows, _digests(b), nearest % len(a), distance.tolist(), strict=True):
        if digest in digests:
            leaks.append(Leak("identical", "", digests[digest], row["path"], 0))
        elif bits <= SAME_PICTURE:
            leaks.append(Leak("near_duplicate", "", a.rows[i]["path"], row["path"], bits))
    return leaks


def perceptual_hash(crop: np.ndarray) -> np.ndarray:
    """Tell which of a picture's lowest frequencies lie above their median.

    crop: (S, S, 3) uint8 RGB. Returns (255,) bool; the mean brightness is not among them.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (2 * HASH_SIDE, 2 * HASH_SIDE), interpolation=cv2.INTER_AREA)
    lowest = cv2.dct(small.astype(np.float32))[:HASH_SIDE, :HASH_SIDE].ravel()[1:]
    return lowest > np.median(lowest)


def nearest_hashes(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each hash of `b` the nearest of `a`: (M,) positions and (M,) differing bits.

    a: (N, bits) bool. b: (M, bits) bool. Exact: bits compare as a product of matrices, about 5e7 pairs a
    second on one core. Buckets of hash parts would miss most copies that differ in a sixth of their bits.
    """
    best = np.full(len(b), a.shape[1] + 1)
    position = np.zeros(len(b), dtype=np.int64)
    for low in range(0, len(a), BLOCK):
        left = 2 * a[low : low + BLOCK].astype(np.float32) - 1
        for start in range(0, len(b), BLOCK):
            part = slice(start, start + BLOCK)
            differing = (a.shape[1] - left @ (2 * b[part].astype(np.float32) - 1).T) / 2  # (block, block)
            closest = differing.argmin(axis=0)
            value = differing[closest, np.arange(len(closest))].round().astype(int)
            nearer = value < best[part]
            best[part] = np.where(nearer, value, best[part])
            position[part] = np.where(nearer, closest + low, position[part])
    return position, best


def _crops(faces: FaceSet) -> Iterable[np.ndarray]:
    inner = slice(faces.border, faces.border + faces.size)
    return (np.array(faces.crops[i, inner, inner]) for i in faces.index)


def _hashes(faces: FaceSet, mirror: bool) -> np.ndarray:
    step = -1 if mirror else 1
    return np.stack([perceptual_hash(np.ascontiguousarray(crop[:, ::step])) for crop in _crops(faces)])


def _digests(faces: FaceSet) -> list[str]:
    return [hashlib.sha256(crop.tobytes()).hexdigest() for crop in _crops(faces)]


def as_report(leaks: list[Leak]) -> dict[str, object]:
    """The leaks as plain values for JSON: how many of each kind, and each one."""
    return {"counts": Counter(leak.kind for leak in leaks), "leaks": [asdict(leak) for leak in leaks]}


def as_text(leaks: list[Leak]) -> str:
    """One line that counts the leaks, and one for each of the first of every kind."""
    if not leaks:
        return "no leaks found"
    by_kind: dict[str, list[Leak]] = defaultdict(list)
    for leak in leaks:
        by_kind[leak.kind].append(leak)
    lines = [", ".join(f"{kind.replace('_', ' ')}: {len(some)}" for kind, some in by_kind.items())]
    each = max(1, SHOWN // len(by_kind))
    for kind, some in by_kind.items():
        for leak in sorted(some, key=lambda leak: leak.distance or 0)[:each]:
            told = leak.what or f"{leak.distance} of 255 bits differ"
            lines.append(f"  {kind.replace('_', ' ')}: {told}: {leak.a} | {leak.b}")
    hidden = len(leaks) - (len(lines) - 1)
    return "\n".join([*lines, f"  and {hidden} more"] if hidden else lines)


if __name__ == "__main__":
    main()
