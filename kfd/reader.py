"""What can stand behind a Detector: whatever reads face crops and gives a logit.

The Knowledge-guided Forgery Detector is one such system. The others lie in the room `baselines`, above this
one, which must not import them: `config.json` of their checkpoints names a system, and the module that
loads it is looked up by name, when it is asked for. A checkpoint names a system, never a module.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from common.storage import CONFIG_FILE
from common.strict_json import read_json_object
from kfd.checkpoint import kfd_digest, load_kfd
from kfd.config import Decision
from kfd.encoders.backbones import Dtype

if TYPE_CHECKING:
    from torch import nn

KFD_NAME = "kfd"
OTHER_SYSTEMS = "baselines.checkpoint"  # its `load_system` loads what is not the KFD


@dataclass(frozen=True)
class ReaderOutput:
    """What a system says of B crops of side S, before calibration; see kfd.model.KFDOutput, which has more.

    logit: (B,) float32, the higher the likelier fake.
    mask_logits: (B, 1, S, S) of where it is forged, or None where a system does not say.
    consistency_maps: (B, 2, H_i, W_i) comparisons with real and fake; empty without any.
    embedding: (B, C) float32, L2-normalised, or None.
    """

    logit: Tensor
    mask_logits: Tensor | None = None
    consistency_maps: tuple[Tensor, ...] = ()
    embedding: Tensor | None = None


class Reader(Protocol):
    """A system, an `nn.Module`.

    words: what it does, as a clause with its full stop, for the report; the KFD has none.
    config: a flat dataclass, what rebuilds it, with `encoder` and `encoder_digest` of a frozen model
        underneath ("" without one). image_size: side S of the crops it sees, in pixels.
    A system may have `grad_cam(images)`, see kfd.detector.Detector.grad_cam.
    """

    config: object
    image_size: int

    def constants(self) -> Tensor | None:
        """Return what no crop changes, such as features of texts: computed once, given to every call."""
        ...

    def __call__(self, images: Tensor, constants: Tensor | None = None) -> ReaderOutput:
        """images: (B, 3, S, S) float RGB in [0, 1]; the system's own normalisation happens inside."""
        ...


def system_of(folder: str | Path) -> str:
    """The name of the system whose checkpoint a folder holds; a config.json without one is of the KFD.

    Raises FileNotFoundError without config.json, ValueError for a damaged one.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {path.parent} is not a checkpoint folder of this kind")
    return str(read_json_object(path).get("system", KFD_NAME))


def load_reader(
    folder: str | Path, encoder: str | Path | None = None, dtype: Dtype | None = None, device: str = "cpu"
) -> tuple[nn.Module, Decision, str]:
    """Load the system of a checkpoint folder, in eval mode, how it decides, and the digest of its weights.

    encoder, dtype: of a frozen model underneath, its weights and what it computes in, see `load_kfd`.
    Raises FileNotFoundError or ValueError that says what is missing or does not fit.
    """
    if system_of(folder) == KFD_NAME:
        return *load_kfd(folder, encoder, dtype, device), kfd_digest(folder)
    others = importlib.import_module(OTHER_SYSTEMS)
    return *others.load_system(folder, encoder, dtype, device), others.system_digest(folder)
