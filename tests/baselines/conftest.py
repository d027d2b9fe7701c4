"""Tiny frozen towers on disk, as users have the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kfd.checkpoint import save_kfd
from kfd.config import Decision
from tests.tiny.encoders import save_clip
from tests.tiny.kfd import SIZE, tiny_kfd


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    """A CLIP with 4 x 4 patches of 14 pixels, 16-d towers, an 8-d joint space and a tokenizer."""
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def kfd_folder(tmp_path_factory) -> Path:
    """A KFD on the embedded encoder, for crops of 64 pixels.

    Its BatchNorm statistics are true ones: with those of a new net all pictures look alike to it.
    """
    model = tiny_kfd()
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    images = torch.rand(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.encoder.train().image_features(images * torch.linspace(0.2, 1, 16)[:, None, None, None])
    folder = tmp_path_factory.mktemp("kfd")
    save_kfd(model, folder, Decision())
    return folder
