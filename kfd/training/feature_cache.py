"""Batches as a frozen image tower sees them, on disk, so that training its heads pays the tower once.

A cache is a folder: cache.json says what its features depend on, and step_000000.safetensors, ... hold one
batch each, written whole or not at all. A killed run goes on where it stopped; a longer one adds steps.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common import storage
from common.distributed import Processes
from common.strict_json import read_json_object, to_json
from data_sim.dataset import TrainingBatch
from kfd.encoders.base import ImageFeatures
from kfd.model import KFD

SETTINGS_FILE = "cache.json"


@dataclass(frozen=True)
class EncodedBatch:
    """A training batch behind the image tower: B real faces, then the B forgeries of them.

    image: the tower's features of all 2 B. masks: (B, 1, S, S) in [0, 1], of the forgeries.
    aligned: (B,) bool, whether a pair shows the same photograph.
    """

    image: ImageFeatures
    masks: Tensor
    aligned: Tensor


def encode(model: KFD, batch: TrainingBatch, part: slice = slice(None)) -> EncodedBatch:
    """Pass the pairs `part` of a batch through the image tower."""
    images = torch.cat([batch.real[part], batch.fake[part]])
    return EncodedBatch(model.encode(images), batch.masks[part], batch.aligned[part])


class FeatureCache:
    """One folder of encoded batches; patches keep the tower's dtype, so fp32 features come back exactly.

    settings: all that the features depend on. Raises ValueError when the folder was made with other ones.
    """

    def __init__(self, folder: Path, settings: dict[str, str], processes: Processes):
        self.folder = folder
        path = folder / SETTINGS_FILE
        if processes.main and not path.is_file():
            text = to_json(settings, indent=2) + "\n"
            storage.write_text(path, text)
        processes.wait()
        storage.check_settings(path, read_json_object(path), settings)

    def path_of(self, step: int) -> Path:
        """The file of one step's batch."""
        return self.folder / f"step_{step:06d}.safetensors"

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("step_*.safetensors"))

    def write(self, step: int, encoded: EncodedBatch) -> None:
        """Keep one step's whole batch."""
        from safetensors.torch import save_file

        tensors = {f"patches_{tap}": patches for tap, patches in enumerate(encoded.image.patches)}
        tensors |= {"embedding": encoded.image.embedding, "masks": encoded.masks, "aligned": encoded.aligned}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        grids = {"grids": json.dumps(encoded.image.grids)}
        storage.write_atomically(self.path_of(step), lambda part: save_file(tensors, part, metadata=grids))

    def read(self, step: int, part: slice, device: str = "cpu") -> EncodedBatch:
        """The pairs `part` of one step's batch; only these are read from the disk.

        Raises FileNotFoundError for a step that is not kept, ValueError for a file that is damaged.
        """
        from safetensors import SafetensorError, safe_open

        path = self.path_of(step)
        try:
            with safe_open(path, framework="pt") as file:
                pairs = file.get_slice("aligned").get_shape()[0]
                start, stop, _ = part.indices(pairs)

                def rows(name: str) -> Tensor:
                    tensor = file.get_slice(name)
                    return torch.cat([tensor[start:stop], tensor[pairs + start : pairs + stop]]).to(device)

                grids = json.loads(file.metadata()["grids"])
                patches = tuple(rows(f"patches_{tap}") for tap in range(len(grids)))
                features = ImageFeatures(patches, tuple(map(tuple, grids)), rows("embedding"))
                masks, aligned = (file.get_slice(n)[start:stop].to(device) for n in ("masks", "aligned"))
        except SafetensorError as error:
            raise ValueError(
                f"{path} cannot be read ({error}); delete it, the next run makes it anew"
            ) from None
        return EncodedBatch(features, masks, aligned)


@torch.no_grad()
def fill(
    cache: FeatureCache,
    model: KFD,
    batch_of: Callable[[int], TrainingBatch],
    steps: int,
    processes: Processes,
) -> None:
    """Encode the batches of steps 0 to `steps` - 1 that are not kept yet; the processes share them out.

    Raises ValueError when the disk is too small for all of them.
    """
    from tqdm import tqdm

    missing = [step for step in range(steps) if not cache.path_of(step).is_file()]
    processes.wait()  # until all have looked, none may write
    model.eval()
    mine = missing[processes.index :: processes.count]
    for step in tqdm(mine, "cached steps", disable=not processes.main or not mine):
        encoded = encode(model, batch_of(step))
        if step == mine[0]:
            _check_room(cache.folder, encoded, len(missing))
        cache.write(step, encoded)
    processes.wait()
    size = cache.size() / 1e9
    processes.print0(
        f"features of {steps} steps, {len(missing)} of them new, in {cache.folder}: {size:.2f} GB"
    )


def _check_room(folder: Path, encoded: EncodedBatch, steps: int) -> None:
    tensors = (*encoded.image.patches, encoded.image.embedding, encoded.masks)
    needed = steps * sum(tensor.nbytes for tensor in tensors)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{folder}: features of {steps} steps need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "choose fewer --cache-steps, a smaller --batch or another --cache"
        )
