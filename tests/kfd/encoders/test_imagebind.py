"""ImageBind's towers equal the original code, and its checkpoint loads strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kfd.encoders.base import normalize_pixels
from kfd.encoders.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder, load_imagebind
from tests.tiny.imagebind import CONFIG, TOKEN_STEP, official_shapes, original_outputs, pictures, weights

NANO = ImageBindConfig(
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
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def parity() -> dict[str, torch.Tensor]:
    """Inputs and outputs of the original code, made with random weights."""
    return original_outputs() | pictures()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ImageBind:
    path = tmp_path_factory.mktemp("imagebind") / "tiny.safetensors"
    save_file(weights(), path)
    model, left_aside = load_imagebind(path, CONFIG)
    assert left_aside == ()
    return model.eval()


@pytest.mark.parametrize("image", ["image", "image_280", "clips"])
@torch.no_grad()
def test_vision_embedding_equals_original(
    tiny: ImageBind, parity: dict[str, torch.Tensor], image: str
) -> None:
    """At the learned size, at a size whose positions are interpolated, and for a video of two clips."""
    wanted = {"image": "", "image_280": "_280px", "clips": "_clips_mean"}[image]
    torch.testing.assert_close(
        tiny.encode_images(parity[image]), parity["vision_embedding" + wanted], **CLOSE
    )


@torch.no_grad()
def test_vision_tokens_and_blocks_equal_original(tiny: ImageBind, parity: dict[str, torch.Tensor]) -> None:
    tower = tiny.vision_tower
    tokens, grid = tower.stem(parity["image"])
    assert grid == (16, 16)
    torch.testing.assert_close(tokens[:, ::TOKEN_STEP], parity["vision_tokens_in"], **CLOSE)
    for index, output in enumerate(tower.trunk(tokens, taps=range(1, 7))[1]):
        torch.testing.assert_close(output[:, ::TOKEN_STEP], parity[f"vision.block{index}"], **CLOSE)


@torch.no_grad()
def test_text_tower_equals_original(tiny: ImageBind, parity: dict[str, torch.Tensor]) -> None:
    input_ids = parity["text_ids"]
    eot = input_ids.argmax(dim=-1)
    tower = tiny.text_tower
    tokens, mask = tower.stem(tower.embed_tokens(input_ids))
    torch.testing.assert_close(tokens[:, ::TOKEN_STEP], parity["text_tokens_in"], **CLOSE)
    for index, output in enumerate(tower.trunk(tokens, mask, taps=range(1, 4))[1]):
        torch.testing.assert_close(output[:, ::TOKEN_STEP], parity[f"text.block{index}"], **CLOSE)
    torch.testing.assert_close(tiny.encode_texts(input_ids, eot), parity["text_embedding"], **CLOSE)


@torch.no_grad()
def test_text_temperature_is_clipped_as_in_the_original(
    tiny: ImageBind, parity: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = tiny.modality_postprocessors["text"][1]
    monkeypatch.setattr(scale, "log_logit_scale", torch.nn.Parameter(torch.tensor(5.0)))
    input_ids = parity["text_ids"]
    embedding = tiny.encode_texts(input_ids, input_ids.argmax(dim=-1))
    torch.testing.assert_close(embedding, parity["text_embedding_logscale5_clipped100"], atol=1e-3, rtol=1e-4)


@torch.no_grad()
def test_encoder_taps_are_the_original_blocks(tiny: ImageBind, parity: dict[str, torch.Tensor]) -> None:
    """The encoder normalises pixels itself, so undoing it first must give the original's numbers."""
    encoder = ImageBindEncoder(tiny)
    blank = torch.zeros_like(parity["image"])
    offset, span = normalize_pixels(blank), normalize_pixels(blank + 1) - normalize_pixels(blank)
    features = encoder.image_features((parity["image"] - offset) / span)
    for patches, tap in zip(features.patches, encoder.taps, strict=True):
        # The class token is dropped: patch k is token k + 1.
        kept = patches[:, TOKEN_STEP - 1 :: TOKEN_STEP]
        torch.testing.assert_close(kept, parity[f"vision.block{tap - 1}"][:, 1:], **CLOSE)
    torch.testing.assert_close(features.embedding, parity["vision_embedding"], **CLOSE)


def test_full_size_has_the_official_keys() -> None:
    with torch.device("meta"):
        model = ImageBind(ImageBindConfig())
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == official_shapes()
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == 986_868_010


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoint_round_trip_names_other_modalities(tmp_path: Path, suffix: str) -> None:
    model = ImageBind(NANO)
    path = tmp_path / f"imagebind{suffix}"
    weights = model.state_dict() | {"modality_trunks.audio.blocks.0.norm_1.bias": torch.zeros(3)}
    torch.save(weights, path) if suffix == ".pth" else save_file(weights, path)
    loaded, left_aside = load_imagebind(path, NANO)
    assert left_aside == ("modality_trunks.audio.blocks.0.norm_1.bias",)
    images = torch.rand(2, 3, 28, 28)
    assert torch.equal(loaded.encode_images(images), model.encode_images(images))


def test_checkpoint_surprises_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"imagebind_huge\.pth.*CC BY-NC"):
        load_imagebind(tmp_path / "imagebind_huge.pth")
    weights = ImageBind(NANO).state_dict()
    del weights["modality_trunks.text.blocks.0.mlp.fc1.bias"]
    weights["modality_trunks.vision.blocks.9.norm_1.bias"] = torch.zeros(8)
    save_file(weights, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"2 missing, unknown.*text\.blocks\.0\.mlp\.fc1\.bias.*blocks\.9"):
        load_imagebind(tmp_path / "broken.safetensors", NANO)


def test_config_reports_all_problems_at_once() -> None:
    with pytest.raises(ValueError, match=r"patch_size \(14\).*taps must be blocks 1..32"):
        ImageBindConfig(image_size=225, taps=(0,))
