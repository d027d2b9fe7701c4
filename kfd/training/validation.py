"""Validation, by which a checkpoint is chosen; never on test faces."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from data_sim.dataset import FaceSet, evenly
from data_sim.simulate import simulate
from kfd.quality.corruptions import HELD_OUT_SEED, degrade_held_out
from kfd.reader import Reader

BATCH = 60


class Validation:
    """Real validation faces against simulated forgeries of them, and against each kind of known fake."""

    def __init__(
        self,
        faces: FaceSet,
        num_images: int,
        known_fakes: bool,
        simulated: bool = True,
        kinds: tuple[str, ...] = (),
    ):
        """num_images: most real faces, and most fakes of each kind, that are used.

        known_fakes: False keeps to real faces and simulation, as the paper's protocol asks. simulated: False
        keeps to known fakes. kinds: of the known fakes that are used; empty for all.
        Raises ValueError where nothing is left.
        """
        self.faces = faces
        reals = evenly(faces.where(label="real"), num_images)
        self.sets: dict[str, tuple[list[int], list[int] | None]] = {}
        if simulated:
            self.sets["simulated"] = (reals, None)
        found = {row["kind"] for row in faces.rows if known_fakes and row["label"] == "fake"}
        for kind in sorted(found & set(kinds) if kinds else found):
            fakes = evenly(faces.where(label="fake", kind=kind), num_images)
            sources = sorted({faces.rows[i]["source"] for i in fakes})
            partners = [i for s in sources for i in faces.where(label="real", source=s)]
            self.sets[kind] = (evenly(partners or reals, num_images), fakes)
        if not self.sets or not reals:
            wanted = f"fakes of the kinds {', '.join(kinds)}" if kinds else "fakes"
            raise ValueError(f"split val needs real faces and {wanted}: they choose the checkpoint")

    def logits_by_set(self, model: Reader) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """(labels, logits) of every validation set."""
        result = {}
        for name, (reals, fakes) in self.sets.items():
            real, fake = _images(self.faces, reals, fakes)
            logits = np.concatenate([_logits(model, real), _logits(model, fake)])
            result[name] = (np.repeat([0, 1], [len(real), len(fake)]), logits)
        return result

    def measure(self, model: Reader) -> dict[str, float]:
        """AUC on every set and their mean, which chooses the checkpoint."""
        aucs = {
            f"{name}_auc": float(roc_auc_score(labels, logits))
            for name, (labels, logits) in self.logits_by_set(model).items()
        }
        return {**aucs, "mean_auc": float(np.mean(list(aucs.values())))}


def _images(faces: FaceSet, reals: list[int], fakes: list[int] | None) -> tuple[Tensor, Tensor]:
    """Real and fake crops; a real one and its fake are degraded in the same way."""
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    real, landmarks = faces.read(reals)
    if fakes is None:
        forged = simulate(real, landmarks, generator)
        real, fake = forged.pristine, forged.images
    else:
        fake, _ = faces.read(fakes)
    real, fake = (
        degrade_held_out(crops, generator, torch.Generator().manual_seed(HELD_OUT_SEED))
        for crops in (real, fake)
    )
    return real, fake


@torch.no_grad()
def _logits(model: Reader, images: Tensor) -> np.ndarray:
    device = next(model.parameters()).device
    constants = model.constants()
    parts = [model(part.to(device), constants).logit.float().cpu() for part in images.split(BATCH)]
    return torch.cat(parts).numpy()
