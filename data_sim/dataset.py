"""A built set of face crops on disk, and the batches a detector is trained on.

A set is a folder (made by `python -m data_sim.build`):

    manifest.csv    one row per face, see COLUMNS
    crops.npy       (N, T, T, 3) uint8 RGB, T = size + 2 * border
    landmarks.npy   (N, 68, 2) float32, pixels of the stored crop
    masks.npy       (M, T, T) uint8, 255 where forged, of the faces whose data set has masks
    set.json        size, border, the command's settings, what gave no face (see read_failures), and the
                    SHA-256 of manifest.csv: rows belong to crops by place, so one lost row shifts labels

The stored crop is a little wider than what a detector sees; its centre is, pixel for
pixel, the crop that `media.faces.crop_face` gives at inference.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.storage import digest_of, naming
from common.strict_json import fits, read_json_object
from data_sim.degrade import Degradation, chance, degrade, gaussian_blur
from data_sim.manifests import read_manifest
from data_sim.simulate import SimulationConfig, simulate
from data_sim.simulation import warp
from data_sim.simulation.resynthesis import partly, resynthesise

# Any may be empty. `group` is never split. `video` and `frame` say where a frame was taken from; the full
# key of a video is (source, kind, video), since different forgeries share their videos' names. `identity`
# names the persons seen, joined by "|", the one who was filmed first, the one whose face was put in after.
# `track` counts the people of a video. `mask`: a line of masks.npy, where the data set shows what was forged.
# `box`: "x0 y0 x1 y1", the face in pixels of the file. The last four are facts of the file: its size in
# pixels, libjpeg quality (empty where it is no JPEG), size in bytes.
COLUMNS = (
    "path", "split", "label", "kind", "source", "group", "regions", "pair", "video", "identity", "frame",
    "track", "mask", "box", "width", "height", "jpeg_quality", "bytes",
)  # fmt: skip
MANIFEST_DIGEST = "manifest_sha256"  # in set.json
BORDER = 14  # pixels stored around what a detector sees: room to shift a crop while training
SAMPLED_CROPS = 100  # of a split, by which a digest knows its pixels


@dataclass(frozen=True)
class FaceSet:
    """The faces of one split of a built set.

    size: side of the crop a detector sees. border: stored pixels around it.
    rows: this split's rows of the manifest; `pair` is a line of the whole manifest, counted from 0, or empty.
    crops: (N, T, T, 3) uint8 RGB memory map of the whole set; landmarks: (N, 68, 2) float32.
    index: (len(rows),) positions of the rows in `crops` and `landmarks`.
    masks: (M, T, T) uint8 memory map of the data set's own masks, see `mask_of`; None without any.
    """

    size: int
    border: int
    rows: tuple[dict[str, str], ...]
    crops: np.ndarray
    landmarks: np.ndarray
    index: np.ndarray
    masks: np.ndarray | None = None

    @classmethod
    def open(cls, folder: str | Path, split: str) -> FaceSet:
        """Open one split. Raises FileNotFoundError or ValueError that says what to do."""
        folder = Path(folder)
        table = _manifest(folder)
        settings = _settings(folder)
        crops = _array(folder / "crops.npy")
        if len(crops) != len(table):
            raise ValueError(
                f"{folder}: manifest.csv has {len(table)} rows and crops.npy {len(crops)} faces; rows belong "
                "to faces by their place, so build the set again"
            )
        index = np.array([i for i, row in enumerate(table) if row["split"] == split], dtype=np.int64)
        if not len(index):
            raise ValueError(f"{folder} has no split {split!r}; it has {sorted({r['split'] for r in table})}")
        masks = _array(folder / "masks.npy") if (folder / "masks.npy").is_file() else None
        landmarks = np.array(_array(folder / "landmarks.npy"))
        if landmarks.shape != (len(table), 68, 2) or not np.isfinite(landmarks).all():
            raise ValueError(
                f"{folder / 'landmarks.npy'}: expected {(len(table), 68, 2)} finite numbers, got "
                f"{landmarks.shape}; build the set again"
            )
        size, border = settings["size"], settings["border"]
        rows = tuple(table[i] for i in index)
        return cls(size, border, rows, crops, landmarks, index, masks)

    @staticmethod
    def splits(folder: str | Path) -> set[str]:
        """The splits that a set has. Raises FileNotFoundError where there is no set."""
        return {row["split"] for row in _manifest(Path(folder))}

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, positions: list[int]) -> FaceSet:
        """Some of the faces, in rising order of their positions."""
        rows = tuple(self.rows[position] for position in positions)
        return replace(self, rows=rows, index=self.index[positions])

    def where(self, **values: str) -> list[int]:
        """Positions of the rows whose columns have the given values."""
        return [i for i, row in enumerate(self.rows) if all(row[k] == v for k, v in values.items())]

    def pair_of(self, position: int) -> int | None:
        """Position of the pixel-aligned pristine face of a fake one, or None."""
        pair = self.rows[position]["pair"]
        if pair == "":
            return None
        found = np.searchsorted(self.index, int(pair))
        return int(found) if found < len(self.index) and self.index[found] == int(pair) else None

    def mask_of(self, position: int, shift: tuple[int, int] = (0, 0)) -> Tensor | None:
        """The data set's own mask of a face: (size, size) float32 in [0, 1], 1 where forged; None without.

        shift: (X, Y) in [-border, border], as `read` takes it.
        """
        line = self.rows[position]["mask"]
        if self.masks is None or line == "":
            return None
        x, y = (self.border + step for step in shift)
        mask = self.masks[int(line), y : y + self.size, x : x + self.size]
        return torch.from_numpy(np.array(mask)).float() / 255

    def read(self, positions: list[int], shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Crops as a detector sees them.

        shift: (len(positions), 2) int64 (X, Y) in [-border, border], or None for the centre.
        Returns (B, 3, size, size) float32 in [0, 1] and landmarks (B, 68, 2) in their pixels.
        """
        images, points = [], []
        for k, position in enumerate(positions):
            dx, dy = (0, 0) if shift is None else shift[k].tolist()
            x, y, row = self.border + dx, self.border + dy, int(self.index[position])
            images.append(np.array(self.crops[row, y : y + self.size, x : x + self.size]))
            points.append(self.landmarks[row] - np.array([x, y], dtype=np.float32))
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        return pixels, torch.from_numpy(np.stack(points))


def _settings(folder: Path) -> dict[str, object]:
    """What set.json says. Raises FileNotFoundError without it, ValueError for a damaged one."""
    path = folder / "set.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no face set (set.json); make one: python -m data_sim.build")
    settings = read_json_object(path)
    if not all(fits(settings.get(name), int) and settings[name] >= 0 for name in ("size", "border")):
        raise ValueError(f"{path}: expected size and border in pixels; build the set again")
    return settings


def _array(path: Path) -> np.ndarray:
    """A memory map of a .npy file. Raises ValueError naming it where it is damaged."""
    with naming(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _manifest(folder: Path) -> list[dict[str, str]]:
    """The rows of a set's manifest with every column; old sets have fewer, and no digest of it.

    Raises ValueError for a manifest that is not the one which the set was built with.
    """
    expected = _settings(folder).get(MANIFEST_DIGEST)
    if expected is not None and digest_of(folder / "manifest.csv") != expected:
        raise ValueError(
            f"{folder / 'manifest.csv'} was changed after the set was built: its rows belong to crops by "
            "their place. Restore it, or build the set again"
        )
    rows = read_manifest(folder / "manifest.csv", inside=False)  # the photographs are not read any more
    return [dict.fromkeys(COLUMNS, "") | row for row in rows]


def evenly(positions: list[int], count: int) -> list[int]:
    """At most `count` positions, evenly spread over the list."""
    count = min(count, len(positions))
    return [positions[int(k)] for k in np.linspace(0, len(positions) - 1, count)] if count > 0 else []


def unit_of(row: dict[str, str]) -> str:
    """Name the unit that a bootstrap draws whole: the person filmed, or where nobody is named the group."""
    return row["identity"].split("|")[0] or f"{row['source']}/{row['group']}"


def video_of(row: dict[str, str]) -> tuple[str, str, str]:
    """The full key of a row's video; a photograph is its own video."""
    return row["source"], row["kind"], row["video"] or row["path"]


def faces_digest(*sets: FaceSet | None) -> str:
    """SHA-256, hex, of splits: rows and landmarks, and samples of crops and masks, which may be gigabytes."""
    digest = hashlib.sha256()
    for faces in filter(None, sets):
        digest.update(json.dumps([faces.size, faces.border, faces.rows]).encode())
        digest.update(faces.landmarks[faces.index].tobytes())
        for place in range(0, len(faces), max(1, len(faces) // SAMPLED_CROPS)):
            digest.update(faces.crops[faces.index[place]].tobytes())
            if faces.masks is not None and (line := faces.rows[place]["mask"]):
                digest.update(faces.masks[int(line)].tobytes())
    return digest.hexdigest()


def read_failures(folder: str | Path, split: str) -> list[dict[str, object]] | None:
    """Count the files and frames of a split that gave no face, by source and reason.

    Returns dicts of label, kind, source, reason and count; None where a set does not tell, being old.
    """
    settings = _settings(Path(folder))
    if "failures" not in settings:
        return None
    return [
        {name: value for name, value in failure.items() if name != "split"}
        for failure in settings["failures"]
        if failure["split"] == split
    ]


@dataclass(frozen=True)
class TrainingBatch:
    """Real faces and the forgeries made of them, B of each, row by row alike but for the forgery.

    real, fake: (B, 3, S, S) float32 RGB in [0, 1]. masks: (B, 1, S, S) in [0, 1], of `fake`.
    aligned: (B,) bool, whether `real` shows the same photograph, so that Eq. 2 applies.
    """

    real: Tensor
    fake: Tensor
    masks: Tensor
    aligned: Tensor


def difference_mask(real: Tensor, fake: Tensor) -> Tensor:
    """Find where a fake differs from its pixel-aligned real: (B, 3, S, S) twice -> (B, 1, S, S) in [0, 1].

    The difference is smoothed over two hundredths of the side first, because compression
    makes every pixel differ a little.
    """
    side = real.shape[-1]
    gap = (real - fake).abs().mean(1, keepdim=True)
    smooth = gaussian_blur(gap, torch.full((len(gap),), 0.02 * side, device=gap.device))
    peak = smooth.flatten(1).quantile(0.98, dim=1).clamp(min=0.02)[:, None, None, None]
    return ((smooth / peak - 0.15) * 4).clamp(0, 1)


def training_batch(
    real: Tensor,
    landmarks: Tensor,
    generator: torch.Generator,
    simulation: SimulationConfig | None = None,
    known_fake: Tensor | None = None,
    known_aligned: Tensor | None = None,
    strength: float = 1.0,
    donors: tuple[Tensor, Tensor] | None = None,
    known_masks: Tensor | None = None,
    resynthesised: int = 0,
    rerendered: Tensor | None = None,
    known_compared: Tensor | None = None,
) -> TrainingBatch:
    """Make a batch of pairs: known fakes first, then simulated, then re-rendered ones; all degraded alike.

    real: (B, 3, S, S) in [0, 1]. landmarks: (B, 68, 2).
    known_fake: (K, 3, S, S), K <= B, fakes that belong to the first K reals; the rest is simulated.
    known_aligned: (K,) bool, whether they are pixel-aligned.
    strength: how often degradations happen, in [0, 1].
    donors: of the faces that are simulated, see data_sim.simulate.simulate.
    known_masks: (K, 1, S, S) in [0, 1], what is forged of those that are not compared; all of it without.
    resynthesised: how many faces after those are re-rendered as a whole (data_sim.simulation.resynthesis).
    rerendered: (R, 3, S, S), what a real generator made of the last R faces (data_sim.rerender); of half of
        them only a part is shown.
    known_compared: (K,) bool, whose mask is the difference from the real face; None: of all that are aligned.
    """
    known = 0 if known_fake is None else len(known_fake)
    made = len(real) - (0 if rerendered is None else len(rerendered))  # where each kind begins
    last = made - resynthesised
    pristine, fake, masks = real[:0], real[:0], real[:0, :1]
    if known < last:
        forged = simulate(real[known:last], landmarks[known:last], generator, simulation, donors)
        pristine, fake, masks = forged.pristine, forged.images, forged.masks
    if resynthesised:
        pristine = torch.cat([pristine, real[last:made]])
        fake = torch.cat([fake, resynthesise(real[last:made], generator)])
        masks = torch.cat([masks, masks.new_ones(resynthesised, *masks.shape[1:])])
    if made < len(real):
        shown, where = partly(real[made:], rerendered, landmarks[made:], generator, simulation)
        pristine = torch.cat([pristine, real[made:]])
        fake, masks = torch.cat([fake, shown]), torch.cat([masks, where])
    aligned = torch.ones(len(real), dtype=torch.bool, device=real.device)
    if known:
        whole = torch.ones_like(known_fake[:, :1]) if known_masks is None else known_masks
        seen = difference_mask(real[:known], known_fake)
        compared = known_aligned if known_compared is None else known_compared
        known_masks = torch.where(compared[:, None, None, None], seen, whole)
        pristine = torch.cat([real[:known], pristine])
        fake = torch.cat([known_fake, fake])
        masks = torch.cat([known_masks, masks])
        aligned[:known] = known_aligned
    how = Degradation.draw(len(real), generator, strength)
    flip = chance(generator, len(real), 0.5)
    real, _ = warp.mirror(degrade(pristine, how, generator), landmarks, flip)
    fake, _ = warp.mirror(degrade(fake, how, generator), landmarks, flip)
    masks, _ = warp.mirror(masks, landmarks, flip)
    return TrainingBatch(real, fake, masks, aligned)
