"""Whole faces re-rendered as a generator would: new pixels of the same picture."""

from __future__ import annotations

import pytest
import torch

from data_sim.dataset import training_batch
from data_sim.simulation.resynthesis import resynthesise, retextured, through_grid
from tests.tiny.faces import drawn_landmarks

SIZE = 64


def faces(count: int = 6, size: int = SIZE) -> torch.Tensor:
    """Pictures with coarse and fine detail. Returns (count, 3, size, size) in [0, 1]."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    coarse = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")
    fine = 0.08 * torch.randn(count, 3, size, size, generator=generator)
    return (0.5 + 0.5 * (coarse - 0.5) + fine).clamp(0, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_picture_stays_and_its_pixels_change():
    images = faces()
    before = images.clone()
    made = resynthesise(images, seeded())
    torch.testing.assert_close(images, before)
    torch.testing.assert_close(made, resynthesise(images, seeded()))
    assert made.shape == images.shape and made.min() >= 0 and made.max() <= 1
    gap = (made - images).abs().mean((1, 2, 3))
    assert (gap > 1e-3).all() and (gap < 0.1).all()
    small = [torch.nn.functional.avg_pool2d(x, 8) for x in (made, images)]
    assert (small[0] - small[1]).abs().max() < 0.12, "what can be seen from afar is the same"


def test_the_grid_repeats_and_a_blur_does_not_pass_for_it():
    """The marks of transposed convolutions return with the period of the grid: an even picture shows them."""
    even = torch.full((8, 3, SIZE, SIZE), 0.5)
    made = through_grid(even, seeded(1))[:, 0]
    assert (made - 0.5).abs().amax((1, 2)).min() > 1e-3
    torch.testing.assert_close(made[:, 8:-16, 8:-16], made[:, 16:-8, 16:-8])
    spectrum = torch.fft.rfft2(made[:, 16:48, 16:48] - 0.5).abs().square()
    lattice = torch.zeros_like(spectrum, dtype=torch.bool)
    lattice[:, ::4, ::4] = True  # a period of eight pixels at most
    assert (spectrum[lattice].sum() / spectrum.sum()) > 0.999


def test_texture_is_as_strong_as_it_was_but_made_up():
    images = faces(size=192)
    made = retextured(images, seeded(2))

    def fine(x: torch.Tensor) -> torch.Tensor:
        return x - torch.nn.functional.avg_pool2d(x, 3, 1, 1)

    old, new = fine(images).flatten(1), fine(made).flatten(1)
    likeness = torch.nn.functional.cosine_similarity(old, new)
    assert (likeness < 0.97).all()
    assert ((new.norm(dim=1) / old.norm(dim=1)) > 0.4).all(), "softness alone is no forgery"


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match=r"divisible by 8, got \(60, 60\)"):
        resynthesise(torch.rand(1, 3, 60, 60), seeded())


def test_a_batch_ends_with_them_forged_as_a_whole():
    images = faces(4)
    landmarks = torch.from_numpy(drawn_landmarks(SIZE)).expand(4, 68, 2)
    batch = training_batch(images, landmarks, seeded(), strength=0.0, resynthesised=2)
    assert batch.masks[2:].min() == 1 and batch.masks[:2].mean() < 0.9
    assert batch.aligned.all()
    torch.testing.assert_close(batch.real[2:].sort(-1).values, images[2:].sort(-1).values, atol=0.05, rtol=0)
    assert ((batch.fake - batch.real)[2:].abs().mean((1, 2, 3)) > 1e-3).all()
