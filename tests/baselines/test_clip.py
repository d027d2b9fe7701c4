"""CLIP four ways: the counts of the papers, learning, and checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines.checkpoint import load_system, new_system, save_system
from baselines.clip import ClipConfig, build_clip
from baselines.system import count_trained
from baselines.towers import ClipTower
from kfd.checkpoint import new_kfd, save_kfd
from kfd.config import Decision
from kfd.encoders.clip import ClipEncoder
from kfd.encoders.text import load_tokenizer
from kfd.reader import load_reader
from tests.tiny.kfd import tiny_kfd

SYSTEMS = ("clip-probe", "clip-lora", "clip-vp", "clip-coop")
SMALL = {"rank": 2, "alpha": 4, "prompt_size": 24, "num_context": 4}


def silent(note: str) -> None:
    """What a loader says is not printed in tests."""


def small(system: str, encoder: str, folder) -> torch.nn.Module:
    torch.manual_seed(0)
    return new_system(ClipConfig(system, encoder, **SMALL), folder, say=silent)


def full_size(name: str) -> ClipTower:
    """A CLIP of the true shape without memory for its weights."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig()  # its defaults are ViT-B/32
    if name == "clip-vit-l14":
        config = CLIPConfig(
            vision_config={
                "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                "num_attention_heads": 16, "patch_size": 14,
            },
            text_config={"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            projection_dim=768,
        )  # fmt: skip
    return ClipTower(ClipEncoder(CLIPModel(config), (1,)))


@pytest.mark.parametrize(
    ("system", "encoder", "count"),
    [
        ("clip-probe", "clip-vit-b32", 513),
        ("clip-lora", "clip-vit-b32", 1_179_648 + 513),
        ("clip-vp", "clip-vit-b32", 43_969),
        ("clip-coop", "clip-vit-l14", 12_288),
    ],
)
def test_as_many_parameters_train_as_the_papers_say(system, encoder, count, clip_folder):
    tokenizer = load_tokenizer(clip_folder)
    with torch.device("meta"):
        model = build_clip(ClipConfig(system, encoder), full_size(encoder), tokenizer)
    assert count_trained(model) == count


@pytest.fixture(params=["clip-vit-b32", "embedded"])
def tower(request, clip_folder, kfd_folder):
    """Name and folder of a tower."""
    return request.param, clip_folder if request.param == "clip-vit-b32" else kfd_folder


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_loss_falls_and_the_tower_stays(system, tower):
    model = small(system, *tower)
    frozen = {n: t.clone() for n, t in model.state_dict().items() if n not in model.trained_state()}
    side = model.image_size
    images = torch.rand(8, 3, side, side, generator=torch.Generator().manual_seed(1))
    images[4:] = 0.3 * images[4:] + 0.5  # what is to be learned: less contrast, brighter
    labels, masks = torch.arange(8) // 4, torch.zeros(8, 1, side, side)
    rate = 0.005 if system == "clip-lora" else 0.05
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    for _ in range(40):
        loss, terms = model.train().loss(model(images), labels, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(terms["cls"])
    assert losses[-1] < 0.9 * losses[0]
    state = model.state_dict()
    assert frozen and all(torch.equal(state[name], tensor) for name, tensor in frozen.items())


@pytest.mark.parametrize("system", SYSTEMS)
def test_save_and_load_give_the_same_logits(system, tower, tmp_path):
    model = small(system, *tower).eval()
    with torch.no_grad():  # what training would have changed
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    save_system(model, tmp_path, Decision())
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 200_000  # no frozen tower in it
    loaded, decision, _ = load_reader(tmp_path, tower[1])
    images = torch.rand(3, 3, model.image_size, model.image_size)
    with torch.no_grad():
        expected = model(images)
        found = loaded(images, loaded.constants())
    torch.testing.assert_close(found.logit, expected.logit, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.embedding.norm(dim=1), torch.ones(3))
    assert not decision.is_fitted and not loaded.training


def test_another_tower_is_refused(clip_folder, kfd_folder, tmp_path):
    from tests.tiny.encoders import save_clip

    save_system(small("clip-probe", "clip-vit-b32", clip_folder), tmp_path / "probe", Decision())
    other = save_clip(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match="was trained on other weights of clip-vit-b32"):
        load_system(tmp_path / "probe", other)


def test_the_prompt_lies_in_one_corner_and_starts_as_nothing(clip_folder):
    model = small("clip-vp", "clip-vit-b32", clip_folder).eval()
    images = torch.rand(2, 3, 56, 56)
    pooled = model.tower.pooled(model.tower.pixels(images))
    torch.testing.assert_close(model(images).logit, model.head(pooled).squeeze(1))
    with torch.no_grad():
        model.prompt.fill_(1.0)
    seen = []
    model.tower.pooled = lambda pixels: seen.append(pixels) or pooled
    model(images)
    changed = (seen[0] - model.tower.pixels(images)).abs() > 0.5
    assert changed[..., :24, :24].all() and changed.sum() == 2 * 3 * 24 * 24


def test_settings_that_cannot_be_are_named_together(tmp_path):
    with pytest.raises(ValueError, match=r"rank must be positive.*system must be one of"):
        ClipConfig("clip", rank=0)
    (tmp_path / "config.json").write_text('{"system": "os.path"}')
    with pytest.raises(ValueError, match=r"system must be one of clip-probe, .*, got 'os.path'"):
        load_reader(tmp_path)


@pytest.mark.parametrize("image_tower", ["mobilenet_v1", "efficientnet_lite0"])
def test_lora_adapts_every_pointwise_convolution_of_the_embedded_tower(image_tower, tmp_path):
    settings = dict(tiny_kfd().config.encoder_settings) | {"tower": image_tower, "taps": ()}
    model = new_kfd(replace(tiny_kfd().config, encoder_settings=settings))
    save_kfd(model, tmp_path, Decision())
    lora = small("clip-lora", "embedded", tmp_path)
    adapted = {name.rsplit(".lora_A", 1)[0] for name, _ in lora.named_parameters() if "lora_A" in name}
    pointwise = [
        m for m in model.encoder.image_tower.layer.modules()
        if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (1, 1)
    ]  # fmt: skip
    assert len(adapted) == len(pointwise) > 10
    assert lora(torch.rand(2, 3, 64, 64)).logit.shape == (2,)
