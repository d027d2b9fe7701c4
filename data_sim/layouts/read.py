"""Read the folder layouts in which the public data sets come.

    python -m data_sim.layouts /data/FaceForensics++            # what is there, by split, source and kind
    python -m data_sim.layouts /data/Celeb-DF-v2 --layout celebdf-v2

Nothing is decoded; data_sim.frames does that. Labels and splits are the data set's own, the full key of a
video is (source, kind, video), and `identity` names every person that the layout tells of, the one who was
filmed first and the one whose face was put in after. Layouts:

    ffpp           original_sequences/youtube, manipulated_sequences/METHOD, each with raw, c23 or c40 and in
                   it videos/ or frames/; splits/train.json, val.json, test.json; METHOD/masks
    dfd            the same tree: original_sequences/actors, manipulated_sequences/DeepFakeDetection
    celebdf-v1/-v2 Celeb-real, YouTube-real, Celeb-synthesis, List_of_testing_videos.txt
    dfdc           dfdc_train_part_N/metadata.json with its videos; test/labels.csv with test/videos
    dfdcp          dataset.json, original_videos, method_A, method_B (the preview of DFDC)
    deepfakebench  DeepfakeBench's JSON files; a video that they list in several splits counts for the
                   test split, else for val: they repeat test videos in train and in val
    folder         real/ and fake/ with images or videos, or train, val and test with those in them
    manifest       manifest.csv with the columns of data_sim.dataset
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from common.cli import parse
from data_sim.layouts import archives, listings
from data_sim.layouts.records import LayoutError, Record, found
from data_sim.manifests import SPLITS

LayoutName = Literal[
    "ffpp", "dfd", "celebdf-v1", "celebdf-v2", "dfdc", "dfdcp", "deepfakebench", "folder", "manifest"
]


@dataclass(frozen=True)
class LayoutsConfig:
    root: Annotated[Path, tyro.conf.Positional]  # where the data set lies
    layout: LayoutName | None = None  # None: told by the tree, where there is no doubt
    allow_missing: bool = False  # go on although files that the data set lists are not there


def main() -> None:
    config = parse(LayoutsConfig, __doc__)
    try:
        records = read_layout(config.root, config.layout, config.allow_missing)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(summary(records))


def read_layout(root: Path, layout: str | None = None, allow_missing: bool = False) -> list[Record]:
    """Everything a data set holds, sorted by its full key and frame.

    root: its folder, or a DeepfakeBench JSON or a manifest itself.
    layout: a name of LAYOUTS; None recognises the tree.
    allow_missing: keep records of listed files that are not there, so that they can be reported as such.
    Raises FileNotFoundError or LayoutError.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; expected the folder of a data set")
    records = readers()[layout or recognise(root)](root)
    if not records:
        raise LayoutError(f"{root} holds no videos and no images where the layout has them; {found(root)}")
    missing = [record.path for record in records if not record.path.exists()]
    if missing and not allow_missing:
        raise LayoutError(
            f"{root} is incomplete: {len(missing)} of {len(records)} listed files are not there, the first "
            f"being {missing[0]}. Complete it, or give --allow-missing to count them as failures"
        )
    return sorted(records, key=lambda record: (record.key, record.frame, str(record.path)))


def readers() -> dict[str, Callable[[Path], list[Record]]]:
    """The function of each layout: root -> records."""
    return {
        "ffpp": archives.read_ffpp,
        "dfd": archives.read_dfd,
        "celebdf-v1": lambda root: archives.read_celebdf(root, "celebdf-v1"),
        "celebdf-v2": lambda root: archives.read_celebdf(root, "celebdf-v2"),
        "dfdc": archives.read_dfdc,
        "dfdcp": archives.read_dfdcp,
        "deepfakebench": listings.read_deepfakebench,
        "folder": listings.read_folder,
        "manifest": listings.read_manifest,
    }


def recognise(root: Path) -> str:
    """The one layout that a tree has. Raises LayoutError when there is none, or more than one."""
    if root.is_file():
        names = {".json": ["deepfakebench"], ".csv": ["manifest"]}.get(root.suffix.lower(), [])
    else:
        names = [name for name, here in _signs(root).items() if here]
    if len(names) != 1:
        told = f"looks like {' and '.join(names)}" if names else "has none of the known layouts"
        raise LayoutError(
            f"{root} {told}; name one with --layout: {', '.join(readers())} "
            f"(python -m data_sim.layouts --help shows them). {found(root)}"
        )
    return names[0]


def _signs(root: Path) -> dict[str, bool]:
    """List what each layout is recognised by."""
    forged = root / "manipulated_sequences"
    methods = {path.name for path in forged.iterdir()} if forged.is_dir() else set()
    celebs = (root / "Celeb-synthesis").is_dir() or (root / "List_of_testing_videos.txt").is_file()
    version = root.resolve().name.lower()
    splits = [root, *(root / split for split in SPLITS)]
    return {
        "ffpp": (root / "original_sequences/youtube").is_dir() or bool(methods - {"DeepFakeDetection"}),
        "dfd": (root / "original_sequences/actors").is_dir() or "DeepFakeDetection" in methods,
        "celebdf-v1": celebs and "v2" not in version,
        "celebdf-v2": celebs and "v1" not in version,
        "dfdc": any(
            any(root.glob(sign))
            for sign in (
                "dfdc_train_part_*",
                "train/dfdc_train_part_*",
                "metadata.json",
                "labels.csv",
                "*/labels.csv",
            )
        ),
        "dfdcp": (root / "dataset.json").is_file(),
        "folder": any((place / "real").is_dir() or (place / "fake").is_dir() for place in splits),
        "manifest": (root / "manifest.csv").is_file(),
    }


def summary(records: list[Record]) -> str:
    """Count videos and files, by split, source, label and kind."""
    files = Counter((r.split, r.source, r.label, r.kind) for r in records)
    videos = Counter(where for where, _ in {((r.split, r.source, r.label, r.kind), r.key) for r in records})
    return "\n".join(
        f"{videos[where]:7d} videos or photographs in {count:7d} files  {' / '.join(filter(None, where))}"
        for where, count in sorted(files.items())
    )


if __name__ == "__main__":
    main()
