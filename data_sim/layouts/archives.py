"""One function for each public data set: its folder in, `data_sim.layouts.records.Record`s out.

Names of persons begin with the data set's, since all of them count from zero.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from data_sim.layouts.records import (
    LayoutError,
    Record,
    found,
    images_in,
    media,
    persons_of,
    read_json,
    records_of,
)
from data_sim.manifests import SPLITS, read_table

COMPRESSIONS = ("raw", "c0", "c23", "c40")


def read_ffpp(root: Path) -> list[Record]:
    """FaceForensics++ (Roessler et al. 2019) with FaceShifter: real videos NNN, forged TARGET_SOURCE."""
    partner, split_of = _ffpp_splits(root)
    records = []
    for kind, place in _ffpp_places(root, "youtube", exclude="DeepFakeDetection"):
        for compression, clips in _compressions(place):
            for name, paths in clips.items():
                persons = name.split("_")
                unknown = [person for person in persons if person not in split_of]
                if unknown:
                    raise LayoutError(
                        f"{place / compression}: video {name!r} is in none of the split files; expected "
                        "names like 000 or, of forged ones, 000_003"
                    )
                splits = {split_of[person] for person in persons}
                if len(splits) > 1:
                    raise LayoutError(f"{place}: {name} has persons of several splits, {sorted(splits)}")
                pair = sorted({persons[0], partner[persons[0]]})  # the two were exchanged both ways
                records += records_of(
                    paths,
                    split=splits.pop(),
                    source=f"ffpp-{compression}",
                    group=f"ffpp/{'_'.join(pair)}",
                    kind=kind,
                    video=name,
                    identity=persons_of("ffpp", persons),
                    masks=_ffpp_masks(place, compression, name) if kind else None,
                )
    return records


def read_dfd(root: Path) -> list[Record]:
    """Google's DeepFakeDetection: 28 actors, ACTOR__SCENE and TARGET_SOURCE__SCENE__ID. All of it is test."""
    records = []
    for kind, place in _ffpp_places(root, "actors", only="DeepFakeDetection"):
        for compression, clips in _compressions(place):
            for name, paths in clips.items():
                persons = name.split("__")[0].split("_")
                records += records_of(
                    paths,
                    split="test",
                    source=f"dfd-{compression}",
                    group=f"dfd/{persons[0]}",
                    kind=kind,
                    video=name,
                    identity=persons_of("dfd", persons),
                    masks=_ffpp_masks(place, compression, name) if kind else None,
                )
    return records


def read_celebdf(root: Path, source: str) -> list[Record]:
    """Celeb-DF (Li et al. 2020). Its list of test videos says 1 for real, and all others are for training."""
    folders = {"Celeb-real": "real", "YouTube-real": "real", "Celeb-synthesis": "fake"}
    listing = root / "List_of_testing_videos.txt"
    absent = [name for name in (*folders, listing.name) if not (root / name).exists()]
    if absent:
        raise LayoutError(f"{root} lacks {', '.join(absent)}, which Celeb-DF has; {found(root)}")
    tested = {}
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        folder = words[-1].split("/")[0]
        if len(words) != 2 or (words[0], folders.get(folder)) not in (("1", "real"), ("0", "fake")):
            raise LayoutError(
                f"{listing}, line {number}: expected `1 FOLDER/VIDEO.mp4` of a real or `0 ...` of a forged "
                f"video, got {line!r}"
            )
        tested[folder, Path(words[1]).stem] = root / words[1]
    records = []
    for folder, label in folders.items():
        clips = media(root / folder)
        listed = {name: [path] for (place, name), path in tested.items() if place == folder}
        for name, paths in (listed | clips).items():
            persons = re.findall(r"id\d+", name)
            records += records_of(
                paths,
                split="test" if (folder, name) in tested else "train",
                source=source,
                group=f"{source}/{persons[0] if persons else name}",
                kind="" if label == "real" else folder,
                video=name,
                identity=persons_of("celebdf", persons),  # both versions show the same people
            )
    return records


def read_dfdc(root: Path) -> list[Record]:
    """DFDC (Dolhansky et al. 2020): metadata.json beside each part's videos, labels.csv beside the test's."""
    parts = sorted({*root.glob("dfdc_train_part_*"), *root.glob("train/dfdc_train_part_*")})
    parts = [part for part in parts if part.is_dir()]
    parts += [root] if (root / "metadata.json").is_file() else []
    records = []
    for part in parts:
        for file, entry in read_json(part / "metadata.json").items():
            original = Path(entry.get("original") or file).stem
            records += _dfdc_clip(part, file, entry.get("label"), "train", original)
    for place, split in ((root / "test", "test"), (root / "validation", "val"), (root, "test")):
        if (place / "labels.csv").is_file():
            for row in read_table(place / "labels.csv", ("filename", "label")):
                label = {"0": "REAL", "1": "FAKE"}.get(row["label"])
                records += _dfdc_clip(place, row["filename"], label, split, None)
    if not records:
        raise LayoutError(
            f"{root} lists no videos; DFDC has dfdc_train_part_N/metadata.json, or labels.csv with its test "
            f"videos; {found(root)}"
        )
    return records


def _dfdc_clip(place: Path, file: str, label: object, split: str, original: str | None) -> list[Record]:
    if label not in ("REAL", "FAKE") or not file:
        raise LayoutError(
            f"{place}: expected a file with the label REAL or FAKE, got {file!r} with {label!r}"
        )
    name = Path(file).stem
    paths = _either(place / file, place / "videos" / file, place / "frames" / name)
    person = f"dfdc/{original}" if original else ""
    return records_of(
        paths, split=split, source="dfdc", group=person or f"dfdc/{name}",
        kind="dfdc" if label == "FAKE" else "", video=name, identity=person,
    )  # fmt: skip


def read_dfdcp(root: Path) -> list[Record]:
    """The preview of DFDC (Dolhansky et al. 2019): dataset.json names label, set and both actors."""
    records = []
    for file, entry in read_json(root / "dataset.json").items():
        label, split = entry.get("label"), entry.get("set")
        if label not in ("real", "fake") or split not in SPLITS:
            raise LayoutError(f"{root / 'dataset.json'}: {file} has label {label!r} and set {split!r}")
        place, _, rest = file.partition("/")
        name = file.removesuffix(Path(file).suffix)
        paths = _either(
            root / file, root / place / "videos" / rest, root / place / "frames" / Path(file).stem
        )
        actors = [str(entry[key]) for key in ("target_id", "swapped_id") if entry.get(key) is not None]
        actors = actors[:1] if label == "real" else actors
        records += records_of(
            paths, split=split, source="dfdcp", group=f"dfdcp/{actors[0] if actors else name}",
            kind=place if label == "fake" else "", video=name, identity=persons_of("dfdcp", actors),
        )  # fmt: skip
    return records


def _either(*places: Path) -> list[Path]:
    """The first place that is there, a folder as the images in it; the first of all when none is."""
    place = next((place for place in places if place.exists()), places[0])
    return images_in(place) if place.is_dir() else [place]


def _ffpp_places(root: Path, real: str, only: str = "", exclude: str = "") -> list[tuple[str, Path]]:
    """(kind, folder) of the real videos and of each forgery, those that are there."""
    forged = root / "manipulated_sequences"
    places = [("", root / "original_sequences" / real)]
    places += [(path.name, path) for path in sorted(forged.iterdir())] if forged.is_dir() else []
    places = [(kind, path) for kind, path in places if path.is_dir() and (not kind or kind != exclude)]
    places = [(kind, path) for kind, path in places if not only or kind in ("", only)]
    if {bool(kind) for kind, _ in places} != {False, True}:
        raise LayoutError(
            f"{root} needs real videos in original_sequences/{real} and forged ones in "
            f"manipulated_sequences/{only or 'METHOD'}; {found(root)}"
        )
    return places


def _compressions(place: Path) -> list[tuple[str, dict[str, list[Path]]]]:
    there = [(name, media(place / name)) for name in COMPRESSIONS if (place / name).is_dir()]
    if not any(clips for _, clips in there):
        raise LayoutError(
            f"{place} holds no videos; expected {' or '.join(COMPRESSIONS)} with videos/ or frames/ in it; "
            f"{found(place)}"
        )
    return there


def _ffpp_splits(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Each video's partner and split, out of the official lists of pairs."""
    folders = [folder for folder in (root / "splits", root) if (folder / "test.json").is_file()]
    if not folders:
        raise LayoutError(
            f"{root} lacks splits/train.json, val.json and test.json, which come with the download script of "
            f"FaceForensics++; {found(root)}"
        )
    partner, split_of = {}, {}
    for split in SPLITS:
        file = folders[0] / f"{split}.json"
        try:
            pairs = json.loads(file.read_text(encoding="utf-8"))
            for a, b in pairs:
                partner |= {a: b, b: a}
                split_of |= {a: split, b: split}
        except FileNotFoundError:
            raise LayoutError(f"{file} is missing; {found(folders[0])}") from None
        except (ValueError, TypeError):
            raise LayoutError(f'{file}: expected a list of pairs like [["071", "054"]]') from None
    return partner, split_of


def _ffpp_masks(place: Path, compression: str, name: str) -> dict[str, Path]:
    """The mask of a forged video by its name, or of each frame by the frame's."""
    video = place / "masks" / "videos" / f"{name}.mp4"
    if video.is_file():
        return {name: video}
    for folder in (place / compression / "masks" / name, place / "c23" / "masks" / name):
        if folder.is_dir():
            return {path.stem: path for path in images_in(folder)}
    return {}
