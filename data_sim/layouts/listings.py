"""Data that come with a list, or sorted into folders: DeepfakeBench's JSON, real/ and fake/, manifest.csv."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_sim import manifests
from data_sim.dataset import COLUMNS
from data_sim.layouts.archives import COMPRESSIONS
from data_sim.layouts.records import (
    LayoutError,
    Record,
    found,
    persons_of,
    read_json,
    records_of,
    visible,
)
from data_sim.manifests import SPLITS
from media.kinds import is_hidden, kind_of_file

# DeepfakeBench's label -> (source, kind); real ones have no kind. Others: the label's words.
BENCH_LABELS = {
    "FF-real": ("ffpp", ""),
    "FF-DF": ("ffpp", "Deepfakes"),
    "FF-F2F": ("ffpp", "Face2Face"),
    "FF-FS": ("ffpp", "FaceSwap"),
    "FF-NT": ("ffpp", "NeuralTextures"),
    "FF-FH": ("ffpp", "FaceShifter"),
    "DFD_real": ("dfd", ""),
    "DFD_fake": ("dfd", "DeepFakeDetection"),
    "CelebDFv1_real": ("celebdf-v1", ""),
    "CelebDFv1_fake": ("celebdf-v1", "Celeb-synthesis"),
    "CelebDFv2_real": ("celebdf-v2", ""),
    "CelebDFv2_fake": ("celebdf-v2", "Celeb-synthesis"),
    "DFDC_Real": ("dfdc", ""),
    "DFDC_Fake": ("dfdc", "dfdc"),
    "DFDCP_Real": ("dfdcp", ""),
    "DFDCP_FakeA": ("dfdcp", "method_A"),
    "DFDCP_FakeB": ("dfdcp", "method_B"),
}


def read_deepfakebench(root: Path) -> list[Record]:
    """DeepfakeBench's JSON: {data set: {label: {split: {[compression:] {video: {label, frames}}}}}}.

    Paths of frames are taken as they are, else from the folder of the file, or from one of those above it.
    """
    files = [root] if root.is_file() else sorted(root.glob("*.json"))
    best: dict[tuple[str, str, str], tuple[int, list[Record]]] = {}
    for file in files:
        for labels in read_json(file).values():
            for label, by_split in labels.items():
                for split, videos in by_split.items():
                    if split not in SPLITS:
                        raise LayoutError(
                            f"{file}: {label} has a split {split!r}; expected {', '.join(SPLITS)}"
                        )
                    for compression, name, entry in _bench_videos(videos):
                        clip = _bench_clip(file, label, split, compression, name, entry)
                        if clip and SPLITS.index(split) >= best.get(clip[0].key, (-1, []))[0]:
                            best[clip[0].key] = SPLITS.index(split), clip
    records = [record for _, clip in best.values() for record in clip]
    group_of = {  # of FaceForensics++, where the two persons of a pair were exchanged both ways
        person: record.group for record in records for person in record.identity.split("|") if record.kind
    }
    return [
        replace(record, group=group_of.get(record.identity, record.group))
        if record.identity.startswith("ffpp/")
        else record
        for record in records
    ]


def _bench_videos(videos: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
    """Each video as (compression or "", name, entry)."""
    for name, entry in videos.items():
        if "frames" in entry:
            yield "", name, entry
        elif name in COMPRESSIONS:
            yield from ((name, video, inner) for video, inner in entry.items())


def _bench_clip(
    file: Path, label: str, split: str, compression: str, name: str, entry: dict[str, Any]
) -> list[Record]:
    if entry.get("label") != label:
        raise LayoutError(f"{file}: video {name} under {label!r} is labelled {entry.get('label')!r}")
    real = label.lower().endswith("real")
    source, kind = BENCH_LABELS.get(label, (re.split("[-_]", label)[0].lower(), "" if real else label))
    family = source.removesuffix("-v1").removesuffix("-v2")
    persons = {"ffpp": name.split("_"), "dfd": name.split("__")[0].split("_")}.get(family, [])
    persons = re.findall(r"id\d+", name) if family == "celebdf" else persons
    pair = "_".join(sorted(persons)) if family == "ffpp" else (persons or [name])[0]
    frames = [_bench_path(file, frame) for frame in entry["frames"]]
    masks = {Path(mask.replace("\\", "/")).stem: mask for mask in entry.get("masks") or []}
    return records_of(
        sorted(frames), split=split, source=f"{source}-{compression}" if compression else source,
        group=f"{source}/{pair}", kind=kind, video=name, identity=persons_of(family, persons),
        masks={stem: _bench_path(file, mask) for stem, mask in masks.items()},
    )  # fmt: skip


def _bench_path(file: Path, frame: str) -> Path:
    path = Path(frame.replace("\\", "/"))
    above = (folder / path for folder in file.resolve().parents)
    return next((place for place in (path, *above) if place.is_file()), path)


def read_folder(root: Path) -> list[Record]:
    """real/ and fake/, or train, val and test with these in them; a folder in fake/ names the forgery."""
    places = [(root / split, split) for split in SPLITS if (root / split).is_dir()] or [(root, "test")]
    records = []
    for place, split in places:
        for label in ("real", "fake"):
            for path in visible((place / label).rglob("*")):
                inside = path.relative_to(place / label)
                media_kind = kind_of_file(path) if path.is_file() else None
                if media_kind is None or any(map(is_hidden, inside.parts)):
                    continue
                kind = (inside.parts[0] if len(inside.parts) > 1 else "fake") if label == "fake" else ""
                name = str(path.relative_to(root))
                records.append(
                    Record(
                        path,
                        split,
                        label,
                        root.resolve().name,
                        name,
                        kind,
                        name if media_kind == "video" else "",
                    )
                )
    for label in ("real", "fake"):
        if not any(record.label == label for record in records):
            raise LayoutError(f"{root} holds no {label} images or videos in {label}/; {found(root)}")
    return records


def read_manifest(root: Path) -> list[Record]:
    """manifest.csv with at least path and label; columns it lacks are empty, and the split is test."""
    file = root if root.is_file() else root / "manifest.csv"
    try:
        rows = [dict.fromkeys(COLUMNS, "") | row for row in manifests.read_manifest(file)]
    except manifests.ManifestError as error:
        raise LayoutError(str(error)) from None
    records = []
    for row in rows:
        names = {name: row[name] for name in ("kind", "video", "identity", "frame", "regions")}
        if kind_of_file(file.parent / row["path"]) == "video":
            names["video"] = names["video"] or row["path"]
        records.append(
            Record(
                file.parent / row["path"], row["split"] or "test", row["label"], row["source"] or "manifest",
                row["group"] or row["path"], **names,
            )
        )  # fmt: skip
    return records
