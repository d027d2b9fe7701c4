"""Simulated forgeries: Eq. 6 holds, masks and names agree, seams are closed, mirrors keep left and right."""

from __future__ import annotations

import pytest
import torch

from data_sim.simulate import simulate
from data_sim.simulation.recipe import Alteration, SimulationConfig, Softening, Upsampling, draw_masks
from data_sim.simulation.render_batch import alter, poisson_foreground, soften, upsampled
from data_sim.simulation.warp import (
    MIRROR,
    draw_elastic,
    draw_expression,
    elastic_flow,
    expression_flow,
    fit_affine,
    mirror,
    random_affine,
    warp,
)
from media import regions
from tests.tiny.faces import drawn_landmarks

SIZE = 64


def faces(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random pictures (count, 3, SIZE, SIZE) in [0.2, 0.8] and their landmarks (count, 68, 2)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = 0.2 + 0.6 * torch.rand(count, 3, 12, 12, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    landmarks = torch.from_numpy(drawn_landmarks(SIZE)).repeat(count, 1, 1)
    return images, landmarks + torch.randn(count, 68, 2, generator=generator) * 0.3


def disc() -> torch.Tensor:
    """(1, 1, SIZE, SIZE) hard mask in the middle."""
    axis = torch.arange(SIZE) - SIZE / 2
    return ((axis[:, None] ** 2 + axis[None] ** 2) < (SIZE / 4) ** 2).float()[None, None]


def test_outside_the_mask_the_forgery_is_the_pristine_face():
    """Eq. 6: I = alpha * foreground + (1 - alpha) * background, alpha 0 outside the mask."""
    forged = simulate(*faces(12), torch.Generator().manual_seed(0))
    outside = (forged.masks == 0).expand_as(forged.images)
    assert outside.float().mean() > 0.2
    torch.testing.assert_close(forged.images[outside], forged.pristine[outside])
    inside = (forged.images - forged.pristine).abs() * (forged.masks > 0.9)
    assert (inside.flatten(1).amax(1) > 0.01).all(), "every forgery shows something"
    for tensor in (forged.images, forged.pristine, forged.masks):
        assert tensor.min() >= 0 and tensor.max() <= 1


def test_the_seed_fixes_the_result_and_inputs_stay():
    images, landmarks = faces(6)
    before = images.clone(), landmarks.clone()
    first, second, other = (
        simulate(images, landmarks, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first.images, second.images) and torch.equal(first.masks, second.masks)
    assert not torch.equal(first.images, other.images)
    assert torch.equal(images, before[0]) and torch.equal(landmarks, before[1])


def test_parts_are_one_to_three_or_the_whole_face():
    _, landmarks = faces(200)
    chosen, _, _ = draw_masks(landmarks, 16, torch.Generator().manual_seed(0), SimulationConfig())
    whole = chosen[:, regions.REGION_NAMES.index(regions.WHOLE_FACE)]
    counts = chosen.sum(1)
    assert set(counts[~whole].tolist()) == {1, 2, 3} and (counts[whole] == 1).all()
    assert float(whole.float().mean()) == pytest.approx(0.55, abs=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_named_regions_are_where_the_mask_is(seed):
    """A brow beside a larger part was eroded to nothing, and still named: one forgery in some thirty."""
    images, landmarks = faces(24)
    config = SimulationConfig(whole_face=0.0, elastic=0.0)
    forged = simulate(images, landmarks, torch.Generator().manual_seed(seed), config)
    hulls = regions.region_masks(landmarks, SIZE)
    for i in range(24):
        names = forged.names(i)
        assert 1 <= len(names) <= 3 and set(names) <= set(regions.PART_NAMES)
        union = hulls[i][forged.regions[i]].amax(0)
        shown = forged.masks[i, 0]
        assert float((shown * union).sum() / shown.sum()) > 0.6, f"the mask has left {names}"
        for region in forged.regions[i].nonzero().flatten().tolist():
            assert float((shown * hulls[i, region]).max()) > 0.3, f"{names} is named but not touched"


def test_a_batch_of_one_works():
    forged = simulate(*faces(1), torch.Generator().manual_seed(0), SimulationConfig(swap=1.0, poisson=1.0))
    assert forged.images.shape == (1, 3, SIZE, SIZE) and bool(forged.images.isfinite().all())


def test_a_swap_shows_the_donor_it_was_given():
    images, landmarks = faces(6)
    dark = torch.zeros_like(images)
    config = SimulationConfig(swap=1.0, whole_face=1.0, poisson=0.0, alter_background=1.0, untouched=1.0)
    forged = simulate(images, landmarks, torch.Generator().manual_seed(0), config, (dark, landmarks))
    assert torch.equal(forged.pristine, images), "statistics left as they are"
    inside = (forged.masks > 0.9).expand_as(images)
    detail = (forged.images - forged.images.mean((2, 3), keepdim=True))[inside].abs().mean()
    real = (images - images.mean((2, 3), keepdim=True))[inside].abs().mean()
    assert detail < 0.7 * real, "a flat donor must make the face flatter"


def test_a_reenacted_face_moves_where_expressions_are_and_nowhere_else():
    _, landmarks = faces(40)
    flow = expression_flow(landmarks, draw_expression(40, torch.Generator().manual_seed(0)), SIZE)
    length = flow.norm(dim=1).mean(0)  # (SIZE, SIZE)
    x, y = landmarks[0, 57].round().int().tolist()
    assert 0.3 < float(length[y, x]) < 0.1 * SIZE, "the lower lip moves by some pixels"
    assert float(length[0, 0]) < 0.05 * float(length[y, x]), "the corner of the picture does not"


def test_upsampling_leaves_a_grid_of_two_pixels_and_the_mean():
    grey = torch.full((64, 3, SIZE, SIZE), 0.5)
    kernels = Upsampling.draw(torch.arange(64), torch.Generator().manual_seed(0)).kernels
    made = upsampled(grey, kernels)[..., 2:-2, 2:-2]
    assert float((made.mean((1, 2, 3)) - 0.5).abs().max()) < 1e-4
    assert float(made.std((1, 2, 3)).mean()) > 0.005, "a grid is to be seen"
    torch.testing.assert_close(made[..., 2:, :], made[..., :-2, :], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[..., 2:], made[..., :-2], atol=1e-5, rtol=0)


def test_soften_never_loses_a_mask():
    thin = torch.zeros(8, 1, SIZE, SIZE)
    thin[:, :, 30:32, 20:40] = 1
    soft = soften(thin, Softening.draw(8, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(soft.amax((1, 2, 3)), torch.ones(8))


def test_alter_changes_every_picture_a_little():
    images, _ = faces(20)
    changed = alter(images, Alteration.draw(20, torch.Generator().manual_seed(0)))
    gap = (changed - images).abs().mean((1, 2, 3))
    assert (gap > 0.001).all() and (gap < 0.25).all()


def test_poisson_meets_the_background_at_the_edge():
    foreground, background = faces(1, 0)[0], faces(1, 1)[0]
    blended = poisson_foreground(foreground, background, disc())
    outside = (disc() < 0.5).expand_as(blended)
    torch.testing.assert_close(blended[outside], background[outside])

    def seam(image: torch.Tensor) -> float:
        pasted = torch.where(outside, background, image)
        across = (disc().diff(dim=-1) != 0).expand(-1, 3, -1, -1)
        return float(pasted.diff(dim=-1)[across].abs().mean())

    assert seam(blended) < 0.5 * seam(foreground)


def test_poisson_removes_a_constant_and_keeps_gradients():
    """A foreground that is the background under other light comes back as the background."""
    background = faces(1)[0]
    blended = poisson_foreground(background + 0.15, background, disc())
    torch.testing.assert_close(blended, background, atol=0.01, rtol=0)

    foreground = faces(1, 1)[0]
    correction = poisson_foreground(foreground, background, disc()) - foreground
    core = (slice(None), slice(None), slice(26, 38), slice(26, 38))
    rough = foreground[core].diff(dim=-1).abs().mean()
    assert correction[core].diff(dim=-1).abs().mean() < rough, "the correction must be smoother than the face"


def test_mirror_twice_is_the_same_and_keeps_the_persons_left():
    images, landmarks = faces(3)
    all_of_them = torch.ones(3, dtype=torch.bool)
    flipped, points = mirror(images, landmarks, all_of_them)
    assert torch.equal(flipped, images.flip(-1))
    # Landmark 36 is the outer corner of the person's right eye, left of the nose in the picture.
    assert (points[:, 36, 0] < points[:, 30, 0]).all() and (points[:, 30, 0] < points[:, 45, 0]).all()
    back, points = mirror(flipped, points, all_of_them)
    assert torch.equal(back, images)
    torch.testing.assert_close(points, landmarks)
    which = torch.tensor([True, False, True])
    some, _ = mirror(images, landmarks, which)
    assert torch.equal(some[1], images[1]) and torch.equal(some[0], images[0].flip(-1))
    assert sorted(MIRROR) == list(range(68))


def test_warps_follow_their_matrices():
    images, landmarks = faces(2)
    identity = torch.eye(2, 3).expand(2, 2, 3)
    torch.testing.assert_close(warp(images, identity), images, atol=1e-5, rtol=0)
    shifted = identity.clone()
    shifted[..., 2] = torch.tensor([5.0, -3.0])  # column c shows input column c + 5
    torch.testing.assert_close(warp(images, shifted)[..., 3:, :-5], images[..., :-3, 5:], atol=1e-4, rtol=0)
    generator = torch.Generator().manual_seed(0)
    matrix = random_affine(2, SIZE, generator, 0.1, 0.1, 0.3)
    moved = landmarks @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
    torch.testing.assert_close(fit_affine(landmarks, moved), matrix, atol=1e-3, rtol=1e-3)
    flow = elastic_flow(2.0 * draw_elastic(4, generator), SIZE)
    assert flow.shape == (4, 2, SIZE, SIZE) and 0.1 < float(flow.abs().max()) < 4.0
