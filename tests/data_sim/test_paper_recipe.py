"""The paper's own simulation (§3.3): regions only, moved a little, Poisson blended, Eq. 6, no more."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from common.cli import parse
from data_sim.simulate import simulate
from data_sim.simulation.recipe import SimulationConfig, draw_recipe
from data_sim.simulation.seamless import seamless_foreground
from kfd.training.config import TrainConfig
from media.regions import REGION_NAMES, WHOLE_FACE
from tests.data_sim.test_renderers import faces

TABLES = Path(__file__).parents[2] / "configs/tables"
SIZE = 96


def recipe_of_the_tables(monkeypatch) -> SimulationConfig:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    words = ["--config", str(TABLES / "table1.kfd.train.yaml"), "--data", "x", "--out", "y"]
    return parse(TrainConfig, None, words).simulation


def test_the_tables_forge_regions_only_by_poisson_blending_of_a_moved_copy(monkeypatch):
    _, landmarks = faces(24, SIZE)
    recipe = draw_recipe(landmarks, SIZE, torch.Generator().manual_seed(0), recipe_of_the_tables(monkeypatch))
    assert not recipe.regions[:, REGION_NAMES.index(WHOLE_FACE)].any()
    assert set(recipe.regions.sum(1).tolist()) == {1, 2, 3}
    assert not recipe.swapped.any() and recipe.poisson.all() and recipe.seamless and recipe.untouched.all()
    assert (recipe.ratio == 1).all() and not recipe.elastic.any()
    moved = (recipe.matrix - torch.eye(2, 3)).abs().amax((1, 2))
    assert (moved > 0).all() and moved.max() < 0.15 * SIZE


def test_the_background_of_such_a_forgery_is_the_photograph_itself(monkeypatch):
    images, landmarks = faces(8, SIZE)
    forged = simulate(images, landmarks, torch.Generator().manual_seed(0), recipe_of_the_tables(monkeypatch))
    torch.testing.assert_close(forged.pristine, images, rtol=0, atol=1e-6)
    outside = (forged.masks == 0).expand_as(images)
    torch.testing.assert_close(forged.images[outside], images[outside], rtol=0, atol=1e-6)
    changed = (forged.images - images).abs().amax((1, 2, 3))
    assert (changed > 0).all() and changed.mean() > 0.1


def test_blending_is_that_of_opencv():
    """Within two hundredths of the range, also where the mask meets the picture's edge."""
    images, _ = faces(2, SIZE)
    front, back = (image.permute(1, 2, 0).numpy() for image in images)
    front = np.clip(back[:, ::-1] * 0.8 + 0.1, 0, 1)
    mask = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(mask, (50, 45), (25, 18), 20, 0, 360, 1.0, -1)
    x, y, width, height = cv2.boundingRect((mask * 255).astype(np.uint8))
    theirs = cv2.seamlessClone(
        *(np.rint(p * 255).astype(np.uint8) for p in (front, back, mask)),
        (x + width // 2, y + height // 2),
        cv2.NORMAL_CLONE,
    )
    ours = seamless_foreground(front, back, mask)
    assert np.abs(ours - theirs / 255).mean() < 0.02 and np.abs(ours - back)[mask > 0].mean() > 0.02
    mask[:, :30] = 1
    assert np.abs(seamless_foreground(back, back, mask) - back).max() <= 1.6 / 255


def test_defaults_forge_as_they_did():
    """The fields of the paper's recipe draw nothing unless they are set."""
    _, landmarks = faces(6, SIZE)
    drawn = [
        draw_recipe(landmarks, SIZE, torch.Generator().manual_seed(4), config)
        for config in (None, SimulationConfig(opaque=True, seamless=True))
    ]
    assert torch.equal(drawn[0].matrix, drawn[1].matrix) and torch.equal(drawn[0].poisson, drawn[1].poisson)
    assert not drawn[0].seamless and set(drawn[0].ratio.tolist()) <= {0.5, 0.75, 1.0}
