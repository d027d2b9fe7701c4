"""Files of a case, examined by a tiny model for which every score counts as fake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.assistant import Assistant
from app.intake.examples import EXAMPLE
from kfd.config import Decision
from tests.tiny.checkpoint import save_tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    decision = Decision(real_below=0.0, fake_above=0.001, min_sharpness=0.0, fitted_on="a test")
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), decision)


@pytest.fixture(scope="module")
def assistant(folder) -> Assistant:
    return Assistant.from_pretrained(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Path]:
    """A portrait, the portrait beside its mirror image, and a wall."""
    place = tmp_path_factory.mktemp("photos")
    portrait = np.asarray(Image.open(EXAMPLE))
    (place / "portrait.jpg").write_bytes(EXAMPLE.read_bytes())
    Image.fromarray(np.concatenate([portrait, portrait[:, ::-1]], axis=1)).save(place / "two.png")
    Image.new("RGB", (400, 300), "grey").save(place / "wall.png")
    return [place / name for name in ("portrait.jpg", "two.png", "wall.png")]
