"""How far a face lies from the pictures that a detector was fitted on, where its scores mean what they say.

The distance is Mahalanobis' (Lee et al. 2018), of the image embedding, to the validation faces that the
thresholds were fitted on, real and manipulated, degraded in many ways: they come from the same worlds as the
training faces, and unlike those the detector has not fitted itself to them. Beyond a limit that few of them
pass there is no verdict. It notices pictures that are unlike any photograph of a face; it does not notice
a careful forgery of a kind never seen, which lies among the others.

familiar.safetensors, beside decision.json, which tells its digest: centre (D,), whitening (D, D), float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.storage import digest_of, naming, write_atomically
from kfd.config import Decision

FAMILIAR_FILE = "familiar.safetensors"
UNFAMILIAR_RATE = 0.01  # share of calibration faces, each held out from the fit, beyond the limit
FOLDS = 5
SPREAD = 1e-6  # of the embeddings, without which they tell nothing
ENOUGH = 40  # faces without which nothing is fitted, and of a source without which it is not left out


@dataclass(frozen=True, eq=False)
class Familiar:
    """The cloud of the calibration faces. centre: (D,). whitening: (D, D), W Wᵀ = inverse covariance."""

    centre: Tensor
    whitening: Tensor

    def strangeness(self, embeddings: Tensor) -> Tensor:
        """Mahalanobis distance of image embeddings (B, D): (B,) float32, 0 and up.

        Raises ValueError for embeddings of another width: the cloud is another detector's.
        """
        if embeddings.shape[-1] != len(self.centre):
            raise ValueError(
                f"{FAMILIAR_FILE} was fitted on embeddings of {len(self.centre)} numbers, the detector gives "
                f"{embeddings.shape[-1]}; calibrate again: python -m kfd.calibrate"
            )
        return ((embeddings.float() - self.centre) @ self.whitening).norm(dim=1)

    def save(self, folder: str | Path) -> str:
        """Write the file into a detector's folder; returns its SHA-256, hex, for the decision."""
        from safetensors.torch import save_file

        path = Path(folder) / FAMILIAR_FILE
        tensors = {"centre": self.centre.contiguous(), "whitening": self.whitening.contiguous()}
        write_atomically(path, lambda part: save_file(tensors, part))
        return digest_of(path)

    @classmethod
    def load(cls, folder: str | Path, decision: Decision) -> Familiar | None:
        """The cloud that a decision was fitted with; None where it was fitted without one.

        Raises FileNotFoundError or ValueError where the file is missing, damaged or another decision's.
        """
        from safetensors.torch import load_file

        if decision.max_strangeness is None:
            return None
        path = Path(folder) / FAMILIAR_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; calibrate again: python -m kfd.calibrate")
        if digest_of(path) != decision.familiar_sha256:
            raise ValueError(
                f"{path} belongs to another decision.json; calibrate again: python -m kfd.calibrate"
            )
        with naming(path):
            tensors = load_file(path)
            found = cls(tensors.pop("centre"), tensors.pop("whitening"))
            if tensors or found.whitening.shape != (len(found.centre),) * 2:
                raise ValueError("expected centre (D,) and whitening (D, D) alone")
            if not all(bool(t.isfinite().all()) for t in (found.centre, found.whitening)):
                raise ValueError("expected finite numbers")  # NaN would lie beyond no limit
        return found


def fit_familiar(
    embeddings: np.ndarray, groups: np.ndarray, sources: np.ndarray
) -> tuple[Familiar, float, dict[str, float]] | None:
    """Fit the cloud, the limit, and figures for Decision.measured.

    embeddings: (N, D). groups: (N,) what is not independent. sources: (N,) where faces come from.
    The limit is that of faces held out in folds of whole groups, because the faces of a fit lie nearer to it
    than any other. Measured: the share beyond it of each source that is left out of fit and limit, on average
    and at worst. None where there are fewer than ENOUGH faces, of fewer groups than folds, or all alike.
    """
    too_few = len(embeddings) < ENOUGH or len(set(groups.tolist())) < FOLDS
    if too_few or float(np.std(embeddings, axis=0).max()) < SPREAD:
        return None
    figures = {"unfamiliar": UNFAMILIAR_RATE}
    rates = []
    for source in sorted(set(sources.tolist())):
        own = sources == source
        rest = embeddings[~own], groups[~own]
        if own.sum() >= ENOUGH and len(rest[0]) >= ENOUGH and len(set(rest[1].tolist())) >= FOLDS:
            rates.append(float((_distances(_cloud(rest[0]), embeddings[own]) > _limit(*rest)).mean()))
    if rates:
        figures["left_out_unfamiliar"] = round(float(np.mean(rates)), 4)
        figures["left_out_unfamiliar_worst"] = round(max(rates), 4)
    return _cloud(embeddings), round(_limit(embeddings, groups), 3), figures


def _limit(embeddings: np.ndarray, groups: np.ndarray) -> float:
    """The distance that UNFAMILIAR_RATE of the faces pass, each from a cloud without its group."""
    from sklearn.model_selection import GroupKFold

    distances = np.zeros(len(embeddings))
    for fitted, held in GroupKFold(FOLDS).split(embeddings, groups=groups):
        distances[held] = _distances(_cloud(embeddings[fitted]), embeddings[held])
    return float(np.quantile(distances, 1 - UNFAMILIAR_RATE, method="higher"))


def _cloud(embeddings: np.ndarray) -> Familiar:
    """Mean and covariance, the latter shrunk by Ledoit's and Wolf's rule: there may be few faces."""
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf(store_precision=False).fit(embeddings.astype(np.float64))
    values, vectors = np.linalg.eigh(fitted.covariance_)
    whitening = vectors / np.sqrt(np.maximum(values, values.max() * 1e-9))
    return Familiar(torch.from_numpy(fitted.location_).float(), torch.from_numpy(whitening).float())


def _distances(cloud: Familiar, embeddings: np.ndarray) -> np.ndarray:
    return cloud.strangeness(torch.from_numpy(embeddings)).numpy()


def save_familiar(familiar: Familiar | None, decision: Decision, folder: str | Path) -> Decision:
    """Write the cloud into a detector's folder, before the decision; returns that with the file's digest."""
    return decision if familiar is None else replace(decision, familiar_sha256=familiar.save(folder))
