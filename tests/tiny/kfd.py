"""A detector of the real classes, at a tiny size and with random weights; its scores mean nothing."""

from __future__ import annotations

from pathlib import Path

import torch

from kfd.checkpoint import new_kfd, save_kfd
from kfd.config import Decision, KFDConfig
from kfd.model import KFD

SIZE = 64


def tiny_kfd(seed: int = 0, **changes: object) -> KFD:
    """A KFD for 64-pixel crops; `changes` go to its KFDConfig."""
    torch.manual_seed(seed)
    settings = {
        "image_size": SIZE, "depth_multiplier": 0.25, "embed_dim": 16, "text_dim": 16, "text_blocks": 1,
    }  # fmt: skip
    sizes = {"align_dim": 16, "num_context": 2, "branch_width": 8, "hidden": 8}
    return new_kfd(KFDConfig(encoder_settings=settings, **(sizes | changes)))


def save_tiny_kfd(folder: Path, decision: Decision | None = None, seed: int = 0) -> Path:
    """Write a checkpoint folder of `tiny_kfd` and return it."""
    save_kfd(tiny_kfd(seed), folder, decision or Decision(fitted_on="a test"))
    return folder
