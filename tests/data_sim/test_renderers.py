"""Both renderers make the same forgeries of one recipe: OpenCV on a CPU, tensors elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_sim.simulate import simulate
from data_sim.simulation import render_batch, render_opencv
from data_sim.simulation.recipe import ALTERATIONS, Recipe, SimulationConfig, draw_recipe
from media.images import read_image
from tests.data_sim.test_degrade import EXAMPLE
from tests.tiny.faces import drawn_landmarks

CONFIG = SimulationConfig(reenact=0.3, upsample=0.2, untouched=0.2)
KINDS = tuple(ALTERATIONS)


def faces(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Places of a photograph (count, 3, size, size) and landmarks (count, 68, 2) of a drawn face on them."""
    photo = read_image(EXAMPLE)
    corners = np.random.default_rng(0).integers(0, min(photo.shape[:2]) - size, (count, 2))
    crops = np.stack([photo[y : y + size, x : x + size] for x, y in corners])
    landmarks = torch.from_numpy(drawn_landmarks(size)).repeat(count, 1, 1)
    noise = torch.randn(count, 68, 2, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255, landmarks + 0.004 * size * noise


def of_kind(recipe: Recipe, name: str) -> Recipe:
    """The same recipe with one kind of alteration for all."""
    how, kind = recipe.alteration, KINDS.index(name)
    low, high = ALTERATIONS[name]
    amount = torch.linspace(low, high, len(how.kind))
    return replace(recipe, alteration=replace(how, kind=torch.full_like(how.kind, kind), amount=amount))


# 76 is not divisible by 16, so that boxes and pyramids meet the edge of the picture.
@pytest.mark.parametrize("size", [64, 76, 160])
@pytest.mark.parametrize("name", KINDS)
def test_both_renderers_agree_to_two_255ths(size, name):
    images, landmarks = faces(10, size)
    recipe = of_kind(draw_recipe(landmarks, size, torch.Generator().manual_seed(1), CONFIG), name)
    ours, theirs = (r.render(images, landmarks, recipe) for r in (render_opencv, render_batch))
    torch.testing.assert_close(ours[2], theirs[2], atol=2 / 255, rtol=0)
    for fast, batched in zip(ours[:2], theirs[:2], strict=True):
        apart = (fast - batched).abs() * 255
        # A JPEG coefficient on the edge between two steps falls either way: there, the mean of each picture.
        assert (apart.mean((1, 2, 3)) if name == "compress" else apart).max() < 2


@pytest.mark.parametrize(
    "config",
    [
        SimulationConfig(poisson=1.0),
        SimulationConfig(swap=1.0, whole_face=0.0),
        SimulationConfig(swap=0.0, poisson=1.0, unaltered=1.0, elastic=0.0, seamless=True),
    ],
)
def test_they_agree_on_every_way_of_blending_and_with_donors(config):
    images, landmarks = faces(12, 96)
    donors = images.flip(0), landmarks.flip(0) + 1.0
    recipe = draw_recipe(landmarks, 96, torch.Generator().manual_seed(2), config, donors[1])
    recipe = of_kind(recipe, "colour_only")
    ours, theirs = (r.render(images, landmarks, recipe, donors[0]) for r in (render_opencv, render_batch))
    for fast, batched in zip(ours, theirs, strict=True):
        torch.testing.assert_close(fast, batched, atol=2 / 255, rtol=0)


def test_a_face_at_the_edge_or_outside_is_rendered_alike():
    images, landmarks = faces(4, 64)
    landmarks = landmarks + torch.tensor([[[-40.0, 0]], [[0, 35]], [[30, -30]], [[500, 0]]])
    recipe = of_kind(draw_recipe(landmarks, 64, torch.Generator().manual_seed(3)), "blur")
    ours, theirs = (r.render(images, landmarks, recipe) for r in (render_opencv, render_batch))
    for fast, batched in zip(ours, theirs, strict=True):
        torch.testing.assert_close(fast, batched, atol=2 / 255, rtol=0)
    assert ours[2][3].max() == 0 and torch.equal(ours[0][3], ours[1][3]), "nothing is replaced out there"


def test_a_forgery_depends_on_its_recipe_only():
    """Not on its neighbours in the batch, nor on how the batch lies in memory, nor on OpenCV's threads."""
    import cv2

    images, landmarks = faces(6, 64)
    whole = simulate(images, landmarks, torch.Generator().manual_seed(4)).images
    copied = simulate(images.contiguous(), landmarks.clone(), torch.Generator().manual_seed(4)).images
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    threaded = simulate(images, landmarks, torch.Generator().manual_seed(4)).images
    cv2.setNumThreads(threads)
    assert torch.equal(whole, copied) and torch.equal(whole, threaded)
