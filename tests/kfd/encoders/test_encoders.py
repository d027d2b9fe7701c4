"""Every encoder keeps the contract of kfd.encoders.base.Encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kfd.encoders.base import BATCH_NORM_MOMENTUM, EmbeddedConfig, EmbeddedEncoder, Encoder, normalize_pixels
from kfd.encoders.clip import ClipEncoder
from kfd.encoders.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder

IMAGENET = Path(__file__).resolve().parents[4] / "shared" / "weights" / "mobilenet_v1_imagenet"


def _imagebind() -> ImageBindEncoder:
    config = ImageBindConfig(
        image_size=28,
        vision_dim=8,
        vision_blocks=3,
        vision_heads=2,
        text_dim=8,
        text_blocks=2,
        text_heads=2,
        vocab_size=11,
        context_length=6,
        embed_dim=4,
        taps=(1, 3),
    )
    return ImageBindEncoder(ImageBind(config))


def _embedded() -> EmbeddedEncoder:
    return EmbeddedEncoder(
        EmbeddedConfig(vocab_size=11, image_size=28, depth_multiplier=0.25, embed_dim=4, context_length=6)
    )


def _clip() -> ClipEncoder:
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = CLIPConfig(
        vision_config={**sizes, "image_size": 28, "patch_size": 14},
        text_config={**sizes, "vocab_size": 11, "max_position_embeddings": 6, "eos_token_id": 10},
        projection_dim=4,
    )
    return ClipEncoder(CLIPModel(config), taps=(1, 3))


@pytest.mark.parametrize("build", [_imagebind, _embedded, _clip])
def test_every_encoder_keeps_the_contract(build: Callable[[], Encoder]) -> None:
    torch.manual_seed(0)
    encoder = build().eval()
    features = encoder.image_features(torch.rand(2, 3, 28, 28))
    shapes = [tuple(patches.shape) for patches in features.patches]
    sizes = zip(features.grids, encoder.patch_dims, strict=True)
    assert shapes == [(2, height * width, dim) for (height, width), dim in sizes]
    torch.testing.assert_close(features.embedding.norm(dim=-1), torch.ones(2))
    assert features.embedding.shape[1] == encoder.embed_dim == 4

    tokens = encoder.embed_tokens(torch.tensor([[9, 3, 10, 0], [9, 10, 0, 0]]))
    assert tokens.shape == (2, 4, encoder.text_dim)
    context = torch.zeros(2, 2, encoder.text_dim, requires_grad=True)
    eot = torch.tensor([4, 3])
    text = encoder.text_features(torch.cat([tokens[:, :1], context, tokens[:, 1:]], dim=1), eot)
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(2))
    text[:, 0].sum().backward()
    assert context.grad.abs().sum() > 0, "learnable context must receive a gradient"
    with pytest.raises(ValueError, match="at most 6 text tokens, got 7"):
        encoder.text_features(torch.zeros(2, 7, encoder.text_dim), eot)


@pytest.mark.parametrize("build", [_imagebind, _embedded, _clip])
@torch.no_grad()
def test_tokens_after_the_end_are_never_seen(build: Callable[[], Encoder]) -> None:
    encoder = build().eval()
    tokens = encoder.embed_tokens(torch.tensor([[9, 3, 10, 0, 0], [9, 3, 10, 5, 7]]))
    first, second = encoder.text_features(tokens, torch.tensor([2, 2]))
    torch.testing.assert_close(first, second)


@torch.no_grad()
def test_clip_encoder_equals_clip() -> None:
    encoder = _clip().eval()
    input_ids, images = torch.tensor([[9, 3, 4, 10], [9, 5, 10, 0]]), torch.rand(2, 3, 28, 28)
    text = encoder.text_features(encoder.embed_tokens(input_ids), torch.tensor([3, 2]))
    output = encoder.model(input_ids=input_ids, pixel_values=normalize_pixels(images))
    torch.testing.assert_close(text, output.text_embeds)
    features = encoder.image_features(images)
    torch.testing.assert_close(features.embedding, output.image_embeds)
    torch.testing.assert_close(features.patches[-1], output.vision_model_output.last_hidden_state[:, 1:])


@torch.no_grad()
def test_embedded_taps_have_the_promised_strides() -> None:
    """The default taps look at strides 8, 16 and 16, and the last block of MobileNetV1 is gone."""
    encoder = EmbeddedEncoder(EmbeddedConfig(vocab_size=11)).eval()
    features = encoder.image_features(torch.rand(1, 3, 160, 160))
    assert features.grids == ((20, 20), (10, 10), (10, 10))
    assert encoder.patch_dims == (256, 512, 512)
    assert len(encoder.image_tower.layer) == 24


def test_batch_norm_keeps_a_running_mean() -> None:
    """transformers' momentum of 0.9997 would forget everything but the last batch."""
    norms = [m for m in _embedded().modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(norm.momentum == BATCH_NORM_MOMENTUM for norm in norms)


@pytest.mark.shared
def test_imagenet_start() -> None:
    if not IMAGENET.is_dir():
        pytest.skip("the ImageNet weights (../shared/weights) are not beside the checkout")
    encoder = EmbeddedEncoder(EmbeddedConfig(vocab_size=11))
    encoder.load_imagenet(IMAGENET)
    weights = load_file(IMAGENET / "model.safetensors")
    assert torch.equal(
        encoder.image_tower.layer[23].convolution.weight, weights["layer.23.convolution.weight"]
    )


def test_imagenet_start_takes_the_whole_classifier_and_refuses_others(tmp_path: Path) -> None:
    from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

    encoder = _embedded()
    with pytest.raises(FileNotFoundError, match="mobilenet_v1"):
        encoder.load_imagenet(tmp_path)
    whole = MobileNetV1ForImageClassification(MobileNetV1Config(depth_multiplier=0.25))
    whole.save_pretrained(tmp_path)
    encoder.load_imagenet(tmp_path)
    assert torch.equal(
        encoder.image_tower.conv_stem.convolution.weight, whole.mobilenet_v1.conv_stem.convolution.weight
    )
    save_file({"unknown": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="missing, unknown"):
        encoder.load_imagenet(tmp_path)
