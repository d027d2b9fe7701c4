"""Turn photographs into a face set that training and evaluation read.

    python -m data_sim.build photos/ --out runs/set
    python -m data_sim.build photos/ --manifest photos/manifest.csv --out runs/set --size 224

FOLDER is searched for images, recursively. Without a manifest every photograph is taken as
real, one face (the largest) from each, and every tenth group goes to validation. A manifest is
a CSV with the columns path (relative to FOLDER), label, split and, where known, the others of
data_sim.dataset.COLUMNS; a fake whose group holds a real photograph of the same frame and size is
cut at the same place, so that the two are aligned pixel by pixel: the likest of those of its own source, or
of any where its source has none. A column `landmarks`, 68 times "x y", says which face is meant and where;
`mask` is the path of an image of the same size that is white where the photograph is forged. Videos: see
data_sim.frames.

Writes manifest.csv, crops.npy, landmarks.npy, masks.npy where there are masks, set.json, rejected.csv and
contact_sheet.jpg. Faces are written as they are found, so a set may be larger than the memory: one face takes
150 KB on disk at the usual size.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from common.cli import parse
from common.locks import one_writer
from common.storage import digest_of, write_rows, write_text
from common.strict_json import to_json
from data_sim.dataset import BORDER, COLUMNS, MANIFEST_DIGEST
from data_sim.growing import GrowingArray, Rows, in_order
from data_sim.manifests import read_manifest, read_table
from media.decoding.sandbox import LIMITS
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


@dataclass(frozen=True)
class Stored:
    """A real face that is in the set already: its line there, the face and (H, W) of its photograph."""

    line: int
    face: Face
    shape: tuple[int, int]


def main() -> None:
    config = parse(BuildConfig, f"{__doc__}\n{LIMITS}")
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
    config.out.mkdir(parents=True, exist_ok=True)
    with SetWriter(config) as writer:
        for label, some in (("real", reals), ("fake", fakes)):
            jobs = ((row, writer.originals_of(row), writer.crops.rows(), config) for row in some)
            found = in_order(_extract_job, jobs, config.workers)
            for candidate in _progress(found, len(some), label):
                writer.add(candidate)
        writer.complete()
    write_contact_sheet(config.out, writer.rows)
    print(f"wrote {len(writer.rows)} faces to {config.out}; look at {config.out / 'contact_sheet.jpg'}")


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


def _failed_before(config: BuildConfig) -> list[dict[str, str]]:
    """List what gave no face already, where data_sim.frames left a list beside the manifest."""
    listed = None if config.manifest is None else config.manifest.with_name(FAILURES_FILE)
    if listed is None or not listed.is_file():
        return []
    return read_table(listed, ("split", "label", "kind", "source", "reason"))


def extract(row: dict[str, str], originals: list[Stored], crops: Rows, config: BuildConfig) -> Candidate:
    """Read one photograph and cut its largest face, or the one meant; or say why it cannot be used.

    originals: stored real faces of which one may be the photograph's own. crops: all that are stored.
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
    alike = [real for real in originals if real.shape == shape]
    gaps = [
        np.median(
            np.abs(crop_face(image, real.face, stored, zoom).pixels.astype(np.int16) - crops[real.line])
        )
        for real in alike
    ]
    if gaps and min(gaps) <= ALIGNED_GAP:
        real = alike[int(np.argmin(gaps))]
        row, faces = row | {"pair": str(real.line)}, [real.face]
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


def _extract_job(
    job: tuple[dict[str, str], list[Stored], Rows, BuildConfig],
) -> Candidate:
    return extract(*job)


def _progress(items: Iterator[Candidate], total: int, label: str) -> Iterator[Candidate]:
    from tqdm import tqdm

    return tqdm(items, total=total, desc=label, unit="photo")


class SetWriter:
    """Writes the files of a set face by face. A context manager; left early, arrays in part are removed.

    rows, crops: of what was stored, in order.
    """

    def __init__(self, config: BuildConfig):
        self.config = config
        self.rows: list[dict[str, str]] = []
        self._reals: dict[int, Stored] = {}  # by line
        # Of real faces, by group and frame: several people may be in a frame, several videos in a group.
        self._originals: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)  # (source, line)
        self._rejected: list[tuple[dict[str, str], str]] = []
        self._lines: dict[str, int] = {}  # of the first face of a picture, by its digest
        side, out = config.size + 2 * BORDER, config.out
        self._files = ExitStack()
        self.crops, self._landmarks, self._masks = (
            self._files.enter_context(GrowingArray(out / name, shape, dtype))
            for name, shape, dtype in (
                ("crops.npy", (side, side, 3), np.uint8),
                ("landmarks.npy", (68, 2), np.float32),
                ("masks.npy", (side, side), np.uint8),
            )
        )

    def __enter__(self) -> SetWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def originals_of(self, row: dict[str, str]) -> list[Stored]:
        """Find the stored real faces of a fake's group and frame; none of any other face.

        Those of its own source where there are any: another one's differ in compression, too.
        """
        found = self._originals.get((row["group"], row["frame"]), []) if row["label"] == "fake" else []
        own = [pair for pair in found if pair[0] == row["source"]]
        return [self._reals[line] for _, line in own or found]

    def add(self, found: Candidate) -> None:
        """Store a face, or note why not. Raises ValueError for one picture with two labels."""
        line, real = self._lines.get(found.digest), found.row["label"] == "real"
        if found.rejected or line is not None:
            twin = None if line is None else self.rows[line]
            if twin is not None and twin["label"] != found.row["label"]:
                raise ValueError(
                    f"{twin['path']} and {found.row['path']} are the same picture, labelled {twin['label']} "
                    f"and {found.row['label']}; one picture has one label"
                )
            self._rejected.append((found.row, found.rejected or f"duplicate of {twin['path']}"))
            if real and line is not None:  # what is forged of this frame is forged of its twin
                self._note_original(found.row, line)
            return
        line = self._lines[found.digest] = self.crops.append(found.crop)
        self._landmarks.append(found.landmarks)
        mask = "" if found.mask is None else str(self._masks.append(found.mask))
        self.rows.append(found.row | {"mask": mask})
        if real:
            self._reals[line] = Stored(line, found.face, found.shape)
            self._note_original(found.row, line)

    def _note_original(self, row: dict[str, str], line: int) -> None:
        self._originals[row["group"], row["frame"]].append((row["source"], line))

    def complete(self) -> None:
        """Put the arrays in place, write manifest and settings, print what was kept and what not.

        Raises ValueError where nothing could be used.
        """
        out = self.config.out
        if not self.rows:
            reasons = Counter(reason for _, reason in self._rejected)
            raise ValueError(f"no photograph of {self.config.folder} could be used; reasons: {reasons}")
        for array in (self.crops, self._landmarks, self._masks):
            array.complete()
        write_rows(out / "manifest.csv", COLUMNS, self.rows)
        columns = ("path", "reason")
        lines = ({"path": row["path"], "reason": reason} for row, reason in self._rejected)
        write_rows(out / "rejected.csv", columns, lines)
        failed = [row | {"reason": why} for row, why in self._rejected if not why.startswith("duplicate of ")]
        settings = {
            "size": self.config.size,
            "border": BORDER,
            MANIFEST_DIGEST: digest_of(out / "manifest.csv"),
            "build": asdict(self.config),
            "failures": count_failures(failed + _failed_before(self.config)),
        }
        write_text(out / "set.json", to_json(settings, indent=2, default=str))
        counts = Counter((row["split"], row["label"], row["source"]) for row in self.rows)
        for key, count in sorted(counts.items()):
            print(f"{count:6d}  {' / '.join(key)}")
        for reason, count in Counter(why.split(" of ")[0] for _, why in self._rejected).most_common():
            print(f"{count:6d}  rejected: {reason} (see rejected.csv)")


def write_contact_sheet(
    folder: Path, rows: list[dict[str, str]], columns: int = 12, rows_each: int = 3, side: int = 96
) -> None:
    """Draw faces of every source of a set beside forgeries simulated from the real ones. rows: all of it."""
    import torch
    from PIL import Image

    from data_sim.simulate import simulate

    crops, landmarks = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("crops", "landmarks"))
    strips = []
    by_kind = defaultdict(list)
    for line, row in enumerate(rows):
        by_kind[row["label"], row["source"]].append(line)
    for (label, _), found in sorted(by_kind.items()):
        some = found[:: max(1, len(found) // (columns * rows_each))][: columns * rows_each]
        pixels = torch.from_numpy(crops[some]).permute(0, 3, 1, 2).float() / 255
        lines = [pixels]
        if label == "real":
            points = torch.from_numpy(landmarks[some])
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
