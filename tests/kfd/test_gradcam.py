"""Grad-CAM: the right place, the textbook value, and nothing of the model changed."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from kfd.config import Decision
from kfd.detector import Detector
from kfd.encoders.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder
from kfd.gradcam import grad_cam
from kfd.model import KFD
from tests.tiny.kfd import SIZE, tiny_kfd


@pytest.fixture(scope="module")
def model() -> KFD:
    return tiny_kfd().eval()


def frozen_transformer(model: KFD) -> KFD:
    """The heads of `model` on a frozen ImageBind of three narrow blocks that computes in 16 bits."""
    torch.manual_seed(0)
    sizes = ImageBindConfig(
        image_size=56, vision_dim=16, vision_blocks=3, vision_heads=2, text_dim=16, text_blocks=1,
        text_heads=2, vocab_size=600, embed_dim=16, taps=(1, 2, 3),
    )  # fmt: skip
    encoder = ImageBindEncoder(ImageBind(sizes)).requires_grad_(False).bfloat16()
    return KFD(model.config, encoder, model.tokenizer).eval()


@pytest.mark.parametrize("build", [lambda model: model, frozen_transformer])
def test_map_is_a_share_of_its_highest_value(build, model: KFD) -> None:
    model = build(model)
    size = model.encoder.image_size
    maps = grad_cam(model, torch.rand(3, 3, size, size))
    assert maps.shape == (3, 1, size, size) and maps.dtype == torch.float32 and not maps.requires_grad
    assert maps.min() >= 0
    highest = maps.amax(dim=(1, 2, 3))
    assert ((highest == 1) | (highest == 0)).all() and highest.any()


def test_equals_grad_cam_through_the_whole_network(model: KFD) -> None:
    """Starting at the tap is a short cut, not another method: Captum on the real layer says the same."""
    images = torch.rand(2, 3, SIZE, SIZE)
    layer = model.encoder.image_tower.layer[model.encoder.config.taps[-1]]
    whole = LayerGradCam(lambda x: model(x).logit, layer).attribute(images, relu_attributions=True)
    wanted = LayerAttribution.interpolate(whole.detach(), (SIZE, SIZE), "bilinear")
    wanted /= wanted.amax(dim=(1, 2, 3), keepdim=True)
    torch.testing.assert_close(grad_cam(model, images), wanted)


class _Corner(nn.Module):
    """A classifier that looks at the lower right quarter of the last tap's `fake` map alone."""

    def forward(self, maps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        last = maps[-1][:, 1]
        side = last.shape[-1] // 2
        return last[:, side:, side:].amax(dim=(1, 2))


@pytest.mark.parametrize("sign", [1, -1])
def test_map_lights_where_the_evidence_lies(model: KFD, monkeypatch, sign: int) -> None:
    """Features that point at `fake` in one corner raise a logit that reads that corner, and do so there.

    Pointing away from `fake` (sign -1) they lower it, and the map is dark at that place.
    """
    frozen = frozen_transformer(model)
    monkeypatch.setattr(frozen, "classifier", _Corner())
    images = torch.rand(1, 3, 56, 56)
    image = frozen.encoder.image_features(images)
    fake = frozen.alignment.class_features(frozen.encoder)[1]
    direction = torch.linalg.pinv(frozen.alignment.projections[-1].weight) @ fake
    patches = 0.01 * image.patches[-1].unflatten(1, (4, 4))
    patches[:, 2, 3] = sign * 5 * direction
    changed = type(image)((*image.patches[:-1], patches.flatten(1, 2)), image.grids, image.embedding)
    monkeypatch.setattr(frozen.encoder, "image_features", lambda _: changed)
    found = grad_cam(frozen, images)[0, 0]
    corner = float(found[35, 49])  # the centre of that patch
    assert corner > 0.9 if sign == 1 else corner < 0.1
    assert found[49, 35] < 0.2


def test_it_leaves_no_trace(model: KFD) -> None:
    """Not in the gradients, not in the running statistics, and not in what the detector says."""
    images = torch.rand(2, 3, SIZE, SIZE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logit = model(images).logit.detach()
    grad_cam(model, images)
    assert all(p.grad is None for p in model.parameters()) and images.grad is None
    assert not images.requires_grad and not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model(images).logit, logit)
    with pytest.raises(ValueError, match="eval mode"):
        grad_cam(tiny_kfd(), images)


@pytest.mark.parametrize("build", [lambda model: model, frozen_transformer])
def test_it_works_where_gradients_are_off(build, model: KFD) -> None:
    """Crops and class features made under inference mode cannot carry gradients; the map needs some."""
    model = build(model)
    size = model.encoder.image_size
    crops = torch.rand(1, 3, size, size)
    wanted = grad_cam(model, crops)
    with torch.inference_mode():
        features = model.alignment.class_features(model.encoder)
        torch.testing.assert_close(grad_cam(model, crops.clone(), features), wanted)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(model, crops), wanted)
        assert not torch.is_grad_enabled()


def test_the_detector_gives_maps_for_its_crops(model: KFD) -> None:
    detector = Detector(model, Decision(), "")
    crops = torch.rand(2, 3, SIZE, SIZE)
    torch.testing.assert_close(detector.grad_cam(crops), grad_cam(model, crops))
