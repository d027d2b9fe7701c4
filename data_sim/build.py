"""Turn photographs into a face set that training and evaluation read.

    python -m data_sim.build photos/ --out runs/set
    python -m data_sim.build photos/ --manifest photos/manifest.csv --out runs/set --size 224

FOLDER is searched for images, recursively. Without a manifest every photograph is taken as
real, one face (the largest) from each, and every tenth group goes to validation. A manifest is
a CSV with the columns path (relative to FOLDER), label, split and, where known, the others of
data_sim.dataset.COLUMNS; a fake whose group holds a real photograph of the same frame and size is
cut at the same place, so that the two are aligned pixel by pixel. A column
`landmarks`, 68 times "x y", says which face is meant and where; `mask` is the path of an image of the same
size that is white where the photograph is forged. Videos: see data_sim.frames.

Writes manifest.csv, crops.npy, landmarks.npy, masks.npy where there are masks, set.json, rejected.csv and
contact_sheet.jpg. All crops are held in memory: 150 KB each at the usual size.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from common.cli import parse
from common.locks import one_writer
from common.storage import digest_of, write_atomically, write_rows, write_text
from common.strict_json import to_json
from data_sim.dataset import BORDER, COLUMNS, MANIFEST_DIGEST
from data_sim.manifests import read_manifest, read_table
from media.faces import Face, crop_face, face_of, find_faces
from media.files import list_files
from media.images import ImageError, open_photo
from media.kinds import kind_of_file

ALIGNED_GAP = 12.0  # median difference, 0..255, up to which two crops show the same photograph
FAILURES_FILE = "failures.csv"  # beside a manifest: what gave no face while the photographs were prepared


@dataclass(frozen=True)
class BuildConfig:
    folder: Annotated[Path, tyro.conf.Positional]  # where the photographs are
    out: Path  # folder to write the set into
    manifest: Path | None = None  # CSV that names label, split and group of each photograph
    size: int = 192  # side of the crop the detector will see, in pixels
    group_by: Literal["file", "folder"] = "file"  # without a manifest: what is never split
    val_every: int = 10  # one group in so many goes from train to val; 0 keeps all in train
    workers: int = 2  # processes


@dataclass(frozen=True)
class Candidate:
    """A face to store, or the reason why a photograph gave none."""

    row: dict[str, str]
    digest: str = ""
    crop: np.ndarray | None = None  # (T, T, 3) uint8
    landmarks: np.ndarray | None = None  # (68, 2) in pixels of the crop
    face: Face | None = None
    shape: tuple[int, int] = (0, 0)  # (H, W) of the photograph
    mask: np.ndarray | None = None  # (T, T) uint8, 255 where forged
    rejected: str = ""


def main() -> None:
    config = parse(BuildConfig, __doc__)
    try:
        with one_writer(config.out, is_folder=True):
            build(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def build(config: BuildConfig) -> None:
    """Read every photograph and write the set.

    Raises FileNotFoundError or ValueError that says which input is of no use.
    """
    rows = read_rows(config)
    reals = [row for row in rows if row["label"] == "real"]
    fakes = [row for row in rows if row["label"] == "fake"]
    items = list(_progress(_extract_all([(row, None) for row in reals], config), len(reals), "real"))
    by_frame = {(i.row["group"], i.row["frame"]): i for i in items if i.face is not None}
    jobs = [(row, by_frame.get((row["group"], row["frame"]))) for row in fakes]
    items += _progress(_extract_all(jobs, config), len(jobs), "fake")
    kept = write_set(items, config)
    write_contact_sheet(config.out, kept)
    print(f"wrote {len(kept)} faces to {config.out}; look at {config.out / 'contact_sheet.jpg'}")


def read_rows(config: BuildConfig) -> list[dict[str, str]]:
    """The photographs to read, as manifest rows with every column filled.

    Raises FileNotFoundError or ValueError when the folder or the manifest is of no use.
    """
    if config.manifest is None:
        paths = [path for path in list_files([config.folder]).files if kind_of_file(path) == "image"]
        rows = [
            {"path": str(path.relative_to(config.folder)), "label": "real", "split": "train"}
            for path in paths
        ]
        for row in rows:
            parent = str(Path(row["path"]).parent)
            row["group"] = row["path"] if config.group_by == "file" or parent == "." else parent
            row["source"] = config.folder.name
    else:
        rows = read_manifest(config.manifest)
    for row in rows:
        row.setdefault("split", "train")
        row["group"] = row.get("group") or row["path"]
        if row["split"] == "train" and config.val_every and _bucket(row["group"]) % config.val_every == 0:
            row["split"] = "val"
    if not rows:
        raise ValueError(f"{config.folder} holds no photographs")
    return [{name: row.get(name, "") or "" for name in (*COLUMNS, "landmarks")} for row in rows]


def _bucket(group: str) -> int:
    """A number that depends on the group alone, so that a rebuilt set splits alike."""
    return int(hashlib.sha256(group.encode()).hexdigest()[:8], 16)


def count_failures(rows: Iterable[dict[str, str]]) -> list[dict[str, object]]:
    """Rows that gave no face, as dicts of split, label, kind, source, reason and count."""
    names = ("split", "label", "kind", "source", "reason")
    counts = Counter(tuple(row[name] for name in names) for row in rows)
    return [dict(zip(names, key, strict=True)) | {"count": n} for key, n in sorted(counts.items())]


def _failed_rows(items: list[Candidate], config: BuildConfig) -> list[dict[str, str]]:
    """List what gave no face here, and before, where data_sim.frames left a list beside the manifest."""
    rows = [item.row | {"reason": item.rejected} for item in items if item.rejected]
    listed = None if config.manifest is None else config.manifest.with_name(FAILURES_FILE)
    if listed is None or not listed.is_file():
        return rows
    return rows + read_table(listed, ("split", "label", "kind", "source", "reason"))


def extract(row: dict[str, str], real: Candidate | None, config: BuildConfig) -> Candidate:
    """Read one photograph and cut its largest face, or the one meant; or say why it cannot be used.

    real: the item of the pristine photograph of the same group and frame, if there is one.
    """
    try:
        photo = open_photo(config.folder / row["path"])
    except ImageError as error:
        return Candidate(row, rejected=error.code)
    image, digest = photo.pixels, photo.sha256
    if photo.damage:
        return Candidate(row, digest, rejected="damaged")
    shape = image.shape[:2]
    row = row if row["width"] else row | photo.facts  # a frame's facts are those of its video
    stored, zoom = config.size + 2 * BORDER, 1 + 2 * BORDER / config.size
    faces = [_meant(row["landmarks"])] if row["landmarks"] else []
    if real is not None and real.face is not None and real.shape == shape:
        crop = crop_face(image, real.face, stored, zoom)
        if np.median(np.abs(crop.pixels.astype(np.int16) - real.crop)) <= ALIGNED_GAP:
            row, faces = row | {"pair": real.row["path"]}, [real.face]
    faces = faces or find_faces(image)
    if not faces:
        return Candidate(row, digest, rejected="no_face")
    mask = None
    if row["mask"]:
        try:
            drawn = open_photo(config.folder / row["mask"]).pixels
        except ImageError as error:
            return Candidate(row, digest, rejected=f"mask_{error.code}")
        mask = crop_face(drawn, faces[0], stored, zoom).pixels.max(axis=2)
    crop = crop_face(image, faces[0], stored, zoom)
    row = row | {"box": " ".join(f"{value:.1f}" for value in faces[0].box)}
    return Candidate(row, digest, crop.pixels, crop.landmarks, faces[0], shape, mask)


def _meant(landmarks: str) -> Face:
    return face_of(np.array(landmarks.split(), dtype=np.float32).reshape(68, 2))


def _extract_job(job: tuple[dict[str, str], Candidate | None, BuildConfig]) -> Candidate:
    return extract(*job)


def _extract_all(
    jobs: list[tuple[dict[str, str], Candidate | None]], config: BuildConfig
) -> Iterator[Candidate]:
    full = ((row, real, config) for row, real in jobs)
    if config.workers <= 1:
        yield from map(_extract_job, full)
        return
    with ProcessPoolExecutor(config.workers) as pool:
        yield from pool.map(_extract_job, full, chunksize=16)


def _progress(items: Iterator[Candidate], total: int, label: str) -> Iterator[Candidate]:
    from tqdm import tqdm

    return tqdm(items, total=total, desc=label, unit="photo")


def write_set(items: list[Candidate], config: BuildConfig) -> list[Candidate]:
    """Drop duplicates, write the set's files, print what was rejected; returns what was kept."""
    seen: dict[str, dict[str, str]] = {}
    kept, rejected = [], []
    for item in items:
        twin = seen.get(item.digest)
        if twin is not None and twin["label"] != item.row["label"]:
            raise ValueError(
                f"{twin['path']} and {item.row['path']} are the same picture, labelled {twin['label']} and "
                f"{item.row['label']}; one picture has one label"
            )
        reason = item.rejected or (f"duplicate of {twin['path']}" if twin is not None else "")
        if reason:
            rejected.append((item.row["path"], reason))
            continue
        seen[item.digest] = item.row
        kept.append(item)
    if not kept:
        raise ValueError(
            f"no photograph of {config.folder} could be used; reasons: {Counter(r for _, r in rejected)}"
        )
    failures = count_failures(_failed_rows(items, config))
    position = {item.row["path"]: str(i) for i, item in enumerate(kept)}
    save_arrays(config.out / "crops.npy", [item.crop for item in kept])
    save_arrays(config.out / "landmarks.npy", [item.landmarks.astype(np.float32) for item in kept])
    masked = [item for item in kept if item.mask is not None]
    if masked:
        save_arrays(config.out / "masks.npy", [item.mask for item in masked])
    line = {item.row["path"]: str(i) for i, item in enumerate(masked)}
    rows = (
        item.row | {"pair": position.get(item.row["pair"], ""), "mask": line.get(item.row["path"], "")}
        for item in kept
    )
    write_rows(config.out / "manifest.csv", COLUMNS, rows)
    reasons = ("path", "reason")
    write_rows(config.out / "rejected.csv", reasons, (dict(zip(reasons, r, strict=True)) for r in rejected))
    settings = {
        "size": config.size,
        "border": BORDER,
        MANIFEST_DIGEST: digest_of(config.out / "manifest.csv"),
        "build": asdict(config),
        "failures": failures,
    }
    write_text(config.out / "set.json", to_json(settings, indent=2, default=str))
    counts = Counter((item.row["split"], item.row["label"], item.row["source"]) for item in kept)
    for key, count in sorted(counts.items()):
        print(f"{count:6d}  {' / '.join(key)}")
    for reason, count in Counter(reason.split(" of ")[0] for _, reason in rejected).most_common():
        print(f"{count:6d}  rejected: {reason} (see rejected.csv)")
    return kept


def save_arrays(path: Path, arrays: list[np.ndarray]) -> None:
    """Save the arrays as one .npy file, without a second copy of all of them in memory."""
    shape = (len(arrays), *arrays[0].shape)

    def write(part: Path) -> None:
        file = np.lib.format.open_memmap(part, "w+", arrays[0].dtype, shape)
        for i, array in enumerate(arrays):
            file[i] = array
        file.flush()

    write_atomically(path, write)


def write_contact_sheet(
    folder: Path, kept: list[Candidate], columns: int = 12, rows_each: int = 3, side: int = 96
) -> None:
    """Draw faces of every source beside forgeries simulated from the real ones."""
    import torch
    from PIL import Image

    from data_sim.simulate import simulate

    strips = []
    by_kind = defaultdict(list)
    for item in kept:
        by_kind[item.row["label"], item.row["source"]].append(item)
    for (label, _), items in sorted(by_kind.items()):
        some = items[:: max(1, len(items) // (columns * rows_each))][: columns * rows_each]
        pixels = torch.from_numpy(np.stack([item.crop for item in some])).permute(0, 3, 1, 2).float() / 255
        lines = [pixels]
        if label == "real":
            points = torch.from_numpy(np.stack([item.landmarks for item in some]))
            forged = simulate(pixels, points, torch.Generator().manual_seed(0))
            lines += [forged.images, forged.masks.expand(-1, 3, -1, -1)]
        for line in lines:
            small = torch.nn.functional.interpolate(line, (side, side), mode="area")
            blank = torch.ones(columns * rows_each - len(small), 3, side, side)
            grid = torch.cat([small, blank]).reshape(rows_each, columns, 3, side, side)
            strips.append(grid.permute(0, 3, 1, 4, 2).reshape(rows_each * side, columns * side, 3))
    sheet = (torch.cat(strips) * 255).round().byte().numpy()
    Image.fromarray(sheet).save(folder / "contact_sheet.jpg", quality=85)


if __name__ == "__main__":
    main()
