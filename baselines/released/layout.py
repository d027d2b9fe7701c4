"""The checkpoint file of the paper's public code: which tensors it holds under which names.

Everything is one state dict. Of the towers' linear layers some have LoRA matrices beside the weight they were
added to; the code adds the product, by 1 / rank, as soon as it measures. What belongs to ImageBind's other
modalities and to the language model is left aside.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baselines.released.model import CONTEXT, ReleasedConfig, ReleasedDetector, with_weights
from kfd.encoders.imagebind import OTHER_MODALITIES, STAGES, read_public_tensors

ENCODER = "visual_encoder."
LANGUAGE_MODEL = ("prompt_learner.", "llama_proj.", "llama_model.")
RANK = 32  # of LoRA; with its alpha of 1, the product counts 1 / RANK
OPTIONAL = "ctx"  # the public code neither saves nor reads its context vectors
_WITH_LORA = re.compile(
    r"visual_encoder\.(modality_trunks\.(vision|text)\.blocks\.\d+\.mlp\.fc[12]"
    r"|modality_heads\.vision\.2|modality_heads\.text\.proj\.1)\.weight"
)


@dataclass(frozen=True)
class Released:
    """A detector read from a file. left_aside: how many tensors of the file it does not need, by whose."""

    model: ReleasedDetector
    left_aside: dict[str, int]


def released_shapes(config: ReleasedConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the detector in such a file, and its shape."""
    with torch.device("meta"):
        state = ReleasedDetector(config).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if name != OPTIONAL}
    for name in [*shapes]:
        if _WITH_LORA.fullmatch(name):
            out, inside = shapes[name]
            stem = name.removesuffix("weight")
            shapes |= {f"{stem}lora_A": (RANK, inside), f"{stem}lora_B": (out, RANK)}
    return shapes


def load_released(path: str | Path, config: ReleasedConfig | None = None) -> Released:
    """Read the detector of such a file: `.pth`, mapped into memory, or `.safetensors`.

    config: sizes of its towers; imagebind-huge by default. Without context vectors in the file they are
    zeros, the mean of what the public code draws anew at each start: beside letters a hundred times as long
    they hardly count.
    Raises FileNotFoundError without the file, ValueError that names what is missing, unknown or misshapen.
    """
    path, config = Path(path), config or ReleasedConfig()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; name the checkpoint file of the paper's code (ckpt.pth)")
    tensors = read_public_tensors(path)
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise ValueError(f"{path}: expected one state dict, names and tensors; save that of the model in it")
    aside = {name: _owner(name) for name in tensors}
    own = {name: tensor for name, tensor in tensors.items() if aside[name] is None}
    shapes = released_shapes(config)
    if OPTIONAL in own:
        shapes[OPTIONAL] = (CONTEXT, config.towers.embed_dim)
    _check(path, shapes, {name: tuple(tensor.shape) for name, tensor in own.items()})
    merged = {name: _merged(name, own) for name in own if not name.endswith((".lora_A", ".lora_B"))}
    merged.setdefault(OPTIONAL, torch.zeros(CONTEXT, config.towers.embed_dim))
    owners = Counter(owner for owner in aside.values() if owner is not None)
    return Released(with_weights(config, merged, str(path)), dict(sorted(owners.items())))


def _owner(name: str) -> str | None:
    """Whose a tensor is that the detector does not need; None of one that it needs, or that is unknown."""
    if name.startswith(LANGUAGE_MODEL):
        return name.split(".", 1)[0]
    others = (
        modality
        for modality in OTHER_MODALITIES
        if name.startswith(tuple(f"{ENCODER}modality_{stage}.{modality}." for stage in STAGES))
    )
    return next(others, None)


def _check(path: Path, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unknown {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name}: expected {expected[name]}, got {found[name]}"
        for name in sorted(expected.keys() & found.keys())
        if expected[name] != found[name]
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(
            f"{path} is no checkpoint of the paper's public code: {'; '.join(problems[:4])}{more}. It holds "
            f"{len(expected)} tensors of the detector; one of this project is a folder, and needs no import"
        )


def _merged(name: str, tensors: dict[str, Tensor]) -> Tensor:
    """A tensor as it measures, float32: with the product of its LoRA matrices, where it has some."""
    tensor, stem = tensors[name], name.removesuffix("weight")
    if f"{stem}lora_A" not in tensors:
        return tensor.float() if tensor.is_floating_point() else tensor
    product = tensors[f"{stem}lora_B"].float() @ tensors[f"{stem}lora_A"].float()
    return tensor.float() + product / RANK
