"""Degradations do what cameras and codecs do, per image, repeatably, and leave their inputs alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data_sim import pictures
from data_sim.degrade import (
    NO_JPEG,
    NO_VIDEO,
    Degradation,
    add_noise,
    degrade,
    degrade_batch,
    degrade_pictures,
    gaussian_blur,
    jpeg,
    resize,
    smooth,
    video,
)
from media.images import read_image

EXAMPLE = Path(__file__).parents[2] / "app" / "example.jpg"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(96, 128, 3) uint8 RGB with a face's detail; sides that no 16 divides come from slices of it."""
    return np.ascontiguousarray(read_image(EXAMPLE)[150:246, 200:328])


def to_tensor(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize("shape", [(96, 128), (89, 101)])
def test_jpeg_equals_a_decoded_file(photo, quality, shape):
    part = np.ascontiguousarray(photo[: shape[0], : shape[1]])
    bgr = part[..., ::-1]
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)
    ours = jpeg(to_tensor(part), torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy() * 255
    apart = np.abs(ours - decoded).mean()
    undone = np.abs(part.astype(np.float32) - decoded).mean()
    assert apart < 1.0 and apart < 0.5 * undone


@pytest.mark.parametrize("shape", [(96, 128), (89, 101)])
def test_video_loses_more_at_a_higher_rate_factor(photo, shape):
    part = to_tensor(np.ascontiguousarray(photo[: shape[0], : shape[1]])).repeat(3, 1, 1, 1)
    coded = video(part, torch.tensor([18.0, 28.0, 40.0]))
    assert coded.shape == part.shape and coded.min() >= 0 and coded.max() <= 1
    lost = (coded - part).square().mean(dim=(1, 2, 3)).sqrt()
    assert 0 < 1.5 * lost[0] < lost[1] < lost[2] / 1.5 < 0.1
    shifted = (coded[0, :, :, 1:] - part[0, :, :, :-1]).square().mean().sqrt()
    assert lost[0] < 0.5 * shifted  # the frame that comes back is the one in its place


def test_blur_equals_opencv(photo):
    sigmas = (0.8, 2.0)
    ours = gaussian_blur(to_tensor(photo, photo), torch.tensor(sigmas))
    for blurred, sigma in zip(ours, sigmas, strict=True):
        expected = cv2.GaussianBlur(
            photo.astype(np.float32) / 255, (13, 13), sigma, borderType=cv2.BORDER_REFLECT_101
        )
        np.testing.assert_allclose(blurred.permute(1, 2, 0).numpy(), expected, atol=2e-3)


def test_blur_of_a_kernel_wider_than_the_picture():
    flat = torch.full((1, 3, 6, 6), 0.4)
    torch.testing.assert_close(gaussian_blur(flat, torch.tensor([9.0])), flat)


@pytest.mark.parametrize("shape", [(96, 128), (89, 101)])
def test_smooth_is_a_gaussian_blur_of_any_width(photo, shape):
    images = to_tensor(*[np.ascontiguousarray(photo[: shape[0], : shape[1]])] * 4)
    images = torch.nn.functional.pad(images, (50,) * 4)  # beyond the edges one mirrors, the other repeats
    sigma = torch.tensor([1.5, 4.0, 7.0, 13.0])
    assert float((smooth(images, sigma) - gaussian_blur(images, sigma)).abs().max()) < 2 / 255
    one_by_one = [
        pictures.smooth(p, s) for p, s in zip(pictures.pictures_of(images), sigma.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        pictures.batch_of(np.stack(one_by_one)), smooth(images, sigma), atol=1e-4, rtol=0
    )


def test_neutral_strengths_change_nothing(photo):
    image = to_tensor(photo)
    assert torch.equal(resize(image, torch.ones(1)), image)
    torch.testing.assert_close(gaussian_blur(image, torch.zeros(1)), image)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(add_noise(image, torch.zeros(1), generator), image)
    neutral = Degradation.draw(1, generator, strength=0.0)
    torch.testing.assert_close(degrade(image, neutral, generator), image, atol=1.01e-4, rtol=0)


def test_resize_loses_detail_but_keeps_the_light(photo):
    image = to_tensor(photo)
    small = resize(image, torch.tensor([0.4]))
    assert small.shape == image.shape and abs(float(small.mean() - image.mean())) < 0.01
    assert small.diff(dim=-1).abs().mean() < 0.8 * image.diff(dim=-1).abs().mean()


def test_noise_has_the_stated_strength():
    grey = torch.full((1, 3, 64, 64), 0.5)
    noisy = add_noise(grey, torch.tensor([0.03]), torch.Generator().manual_seed(0))
    assert float((noisy - grey).std()) == pytest.approx(0.03, rel=0.05)


def test_the_seed_fixes_the_result_and_inputs_stay(photo):
    images = to_tensor(photo, photo[::-1].copy(), photo[:, ::-1].copy())
    before = images.clone()

    def run(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return degrade(images, Degradation.draw(3, generator), generator)

    first = run(1)
    assert torch.equal(run(1), first) and not torch.equal(run(2), first)
    assert torch.equal(images, before)
    assert first.min() >= 0 and first.max() <= 1 and first.shape == images.shape


@pytest.mark.parametrize("shape", [(96, 128), (89, 101)])
@pytest.mark.parametrize("jpeg_too", [False, True])
def test_pictures_and_batches_are_degraded_alike(photo, shape, jpeg_too):
    part = np.ascontiguousarray(photo[: shape[0], : shape[1]])
    images = to_tensor(*[part] * 12)
    generator = torch.Generator().manual_seed(0)
    how = Degradation.draw(12, generator, strength=2.0)
    how = replace(how, crf=torch.full((12,), NO_VIDEO))  # a codec may answer a rounding with another bit
    how = how if jpeg_too else replace(how, quality=torch.full((12,), NO_JPEG))
    rows = how.noise.nonzero().flatten()
    assert all(int((getattr(how, name) != neutral).sum()) > 0 for name, neutral in
               (("blur", 0), ("noise", 0), ("scale", 1), ("gamma", 1)))  # fmt: skip
    noise = torch.randn(len(rows), *shape, 3, generator=generator)
    batch = degrade_batch(images, how, rows, noise.permute(0, 3, 1, 2))
    one_by_one = degrade_pictures(images, how, dict(zip(rows.tolist(), noise.numpy(), strict=True)))
    apart = (batch - one_by_one).abs() * 255
    # A JPEG coefficient on the edge between two steps falls either way: there, the mean of each picture.
    assert (apart.mean((1, 2, 3)) if jpeg_too else apart).max() < 2


def test_a_batch_equals_its_images_one_by_one(photo):
    """Every image has its own strengths: a neighbour in the batch must not change it."""
    images = to_tensor(photo, photo[:, ::-1].copy(), photo[::-1].copy(), photo)
    generator = torch.Generator().manual_seed(0)
    drawn = Degradation.draw(4, generator)
    how = Degradation(
        drawn.gain,
        drawn.gamma,
        blur=torch.tensor([0.0, 1.2, 0.5, 0.0]),
        noise=torch.zeros(4),
        crf=torch.tensor([NO_VIDEO, 30.0, 23.0, 40.0]),
        scale=torch.tensor([0.5, 1.0, 0.8, 1.0]),
        quality=torch.tensor([60.0, NO_JPEG, 35.0, 90.0]),
    )
    together = degrade(images, how, generator)
    for i in range(4):
        alone = degrade(images[i : i + 1], how[torch.tensor([i])], generator)
        # A quantised coefficient on the edge between two steps may fall either way.
        assert float((alone[0] - together[i]).abs().mean()) < 1e-3


def test_strength_scales_how_often():
    generator = torch.Generator().manual_seed(0)
    full, half = (Degradation.draw(4000, generator, strength) for strength in (1.0, 0.5))
    touched = [float((how.quality <= 100).float().mean()) for how in (full, half)]
    assert touched == pytest.approx([0.6, 0.3], abs=0.03)
