"""The numbers of ImageBind's original code, and the random weights and pictures they were computed from.

The weights are drawn again from their seed: only what the original code made of them has to be kept.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from kfd.encoders.imagebind import ImageBind, ImageBindConfig

FIXTURES = Path(__file__).parents[1] / "kfd" / "encoders" / "fixtures"
TOKEN_STEP = 8  # of the tokens between the blocks, one in so many is kept
CONFIG = ImageBindConfig(
    vision_dim=64, vision_blocks=6, vision_heads=4, text_dim=32, text_blocks=3, text_heads=4, embed_dim=24,
    taps=(2, 4, 6),
)  # fmt: skip
STEM = "modality_preprocessors.vision.rgbt_stem.proj.1.weight"
LOG_SCALE = "modality_postprocessors.text.1.log_logit_scale"


def original_outputs() -> dict[str, Tensor]:
    """What the original code gave, float32, by name.

    vision_tokens_in, block0 to block5 of `vision`: (2, 33, 64); text_tokens_in, block0 to block2 of `text`:
    (6, 10, 32), one token in TOKEN_STEP; embeddings: (N, 24). text_ids: (6, 77) int64, what went in.
    """
    return load_file(FIXTURES / "imagebind.safetensors")


def official_shapes() -> dict[str, list[int]]:
    """Shape of every vision and text tensor in the official checkpoint, by name."""
    return json.loads(gzip.decompress((FIXTURES / "imagebind_huge_keys.json.gz").read_bytes()))


def pictures() -> dict[str, Tensor]:
    """Normalised pictures that went in: two of 224 pixels, one of 280, a video of two clips of two frames."""
    draw = torch.Generator().manual_seed(1)
    shapes = {"image": (2, 3, 224, 224), "image_280": (1, 3, 280, 280), "clips": (1, 2, 3, 2, 224, 224)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def weights() -> dict[str, Tensor]:
    """The state dict, drawn in alphabetic order; none of a layer's parts is at its start value."""
    draw = torch.Generator().manual_seed(0)
    buffers = ImageBind(CONFIG).state_dict()
    return {name: _drawn(name, tensor, draw) for name, tensor in sorted(buffers.items())}


def _drawn(name: str, tensor: Tensor, draw: torch.Generator) -> Tensor:
    if name.endswith(".mask"):
        return tensor  # causal: not learned
    values = torch.randn(tensor.shape, generator=draw)
    if name == LOG_SCALE:
        return torch.tensor(3.1)
    if tensor.ndim == 1:
        return 1 + 0.25 * values if name.endswith("weight") else 0.2 * values
    if name.endswith(("pos_embed", "cls_token")):
        return 0.5 * values
    if name.endswith("token_embedding.weight"):
        return 0.3 * values
    return (1.0 if name == STEM else 1.2) / tensor[0].numel() ** 0.5 * values
