"""The detector and the face set that the benchmark's tests measure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kfd.checkpoint import save_kfd
from tests.tiny.benchmark import DECISION, face_set
from tests.tiny.kfd import SIZE, tiny_kfd


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A random detector that has seen pictures, so that its scores differ: untouched statistics damp them."""
    model = tiny_kfd().train()
    with torch.no_grad():
        for seed in range(30):
            model(torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)))
        for layer in (model.classifier.head[0], model.classifier.head[2]):
            layer.weight.mul_(20)
    folder = tmp_path_factory.mktemp("kfd")
    save_kfd(model, folder, DECISION)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return face_set(tmp_path_factory.mktemp("set"), ("train", "val", "test"))
