"""VLAForge: what its masks may touch, what its texts depend on, what trains, and its ablation."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from baselines.checkpoint import new_system, save_system
from baselines.system import count_trained, fuse
from baselines.vlaforge.config import VlaForgeConfig
from baselines.vlaforge.losses import orthogonality
from baselines.vlaforge.model import VlaForge
from kfd.config import Decision
from kfd.encoders.text import load_tokenizer
from kfd.reader import load_reader

SMALL = {"num_queries": 5, "width": 24, "blocks": 2, "hidden": 16, "mask_dim": 8}
ABLATION = {
    "base": {"masks": False, "location": False, "vla": False, "orthogonal": False},
    "T1": {"location": False, "vla": False, "orthogonal": False},
    "T2": {"vla": False, "orthogonal": False},
    "T3": {"orthogonal": False},
    "T4": {},
}


@pytest.fixture(params=["clip-vit-b32", "embedded"])
def tower(request, clip_folder, kfd_folder):
    """Name and folder of a tower."""
    return request.param, clip_folder if request.param == "clip-vit-b32" else kfd_folder


def small(tower, **changes) -> VlaForge:
    torch.manual_seed(0)
    config = VlaForgeConfig(encoder=tower[0], **(SMALL | changes))
    return new_system(config, tower[1], say=lambda note: None)


def pictures(model: VlaForge, count: int = 2) -> torch.Tensor:
    side = model.image_size
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_the_masks_change_nothing_but_the_copies(tower):
    """The class token and the patches are those of the untouched tower, whatever the bias is."""
    model = small(tower).eval()
    images = pictures(model)
    begun = model.injection.begin(model.tower, model.tower.pixels(images))
    places = model.injection.grid[0] * model.injection.grid[1]
    bias = 5 * torch.randn(2, model.injection.heads, 5, places)
    plain = model.injection.finish(model.tower, begun, None)
    biased = model.injection.finish(model.tower, begun, bias)
    expected = model.tower.encoder.image_features(images).embedding
    torch.testing.assert_close(biased.embedding, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(biased.patches, plain.patches, rtol=0, atol=1e-6)
    other = model.injection.finish(model.tower, begun, bias.flip(-1))
    assert (other.queries - biased.queries).abs().max() > 1e-4
    assert plain.queries.shape[1] == 0


@torch.no_grad()
def test_a_mask_without_bias_reads_the_patches_evenly(kfd_folder):
    """MobileNet's mean is attention without bias, so a bias of zero gives its own embedding."""
    model = small(("embedded", kfd_folder)).eval()
    begun = model.injection.begin(model.tower, model.tower.pixels(pictures(model)))
    places = model.injection.grid[0] * model.injection.grid[1]
    seen = model.injection.finish(model.tower, begun, torch.zeros(2, 1, 5, places))
    torch.testing.assert_close(seen.queries, seen.embedding[:, None].expand(-1, 5, -1), rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_bias_on_one_place_is_felt_by_its_own_query_alone(clip_folder):
    model = small(("clip-vit-b32", clip_folder)).eval()
    begun = model.injection.begin(model.tower, model.tower.pixels(pictures(model)))
    zero = torch.zeros(2, 2, 5, 16)
    one = zero.clone()
    one[:, :, 3, 7] = 6.0
    before, after = (model.injection.finish(model.tower, begun, bias).queries for bias in (zero, one))
    moved = (after - before).abs().amax(dim=(0, 2))
    assert moved[3] > 1e-4 and moved[[0, 1, 2, 4]].max() <= 1e-6


def test_orthogonal_masks_cost_nothing_and_equal_ones_everything():
    assert orthogonality(torch.eye(4)[None, None]) == 0
    torch.testing.assert_close(orthogonality(torch.ones(2, 3, 4, 6)), torch.tensor(1.0))
    torch.testing.assert_close(orthogonality(-torch.ones(1, 1, 2, 6)), torch.tensor(1.0))
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    torch.testing.assert_close(orthogonality(torch.stack([one, other])[None, None]), torch.tensor(0.5).sqrt())
    assert orthogonality(torch.randn(1, 1, 1, 4)) == 0  # one query has no other to be like


@torch.no_grad()
def test_another_person_gives_other_texts(tower):
    model = small(tower).eval()
    embedding = F.normalize(torch.randn(2, model.tower.embed_dim), dim=-1)
    texts, swapped = model.text_features(embedding), model.text_features(embedding.flip(0))
    torch.testing.assert_close(texts, swapped.flip(0), rtol=0, atol=1e-6)
    assert (texts - swapped).abs().max() > 1e-5  # another person
    assert (texts[:, 0] - texts[:, 1]).abs().max() > 1e-5  # another class
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(2, 2))


def test_the_person_stands_at_the_placeholder(clip_folder):
    """The published code overwrites "of" and leaves the word "id" standing: an index off by one."""
    model = small(("clip-vit-b32", clip_folder))
    tokenizer = load_tokenizer(clip_folder)
    sentences = zip(("real", "fake"), model.input_ids, model.person, model.eot, strict=True)
    for label, row, person, end in sentences:
        place = int(person.nonzero())
        words = tokenizer.decode(row[1:place].tolist()), tokenizer.decode(row[place + 1 : int(end)].tolist())
        letters = ["".join(text.replace("</w>", "").split()) for text in words]
        assert letters == [f"thisisa{label}photoof", "person."]


def test_no_gradient_reaches_the_tower_and_all_else_has_one(tower):
    model = small(tower).train()
    with torch.no_grad():
        model.perceiver.affine[1] = 0.5
    images, labels = pictures(model, 4), torch.tensor([0, 0, 1, 1])
    masks = torch.zeros(4, 1, model.image_size, model.image_size)
    masks[2:, :, : model.image_size // 2] = 1
    loss, terms = model.loss(model(images), labels, masks)
    loss.backward()
    assert set(terms) == {"global", "local", "location", "vla", "orthogonal"}
    assert all(p.grad is None for p in model.tower.parameters())
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert model.perceiver.queries.grad.abs().max() > 0
    assert not model.tower.training and model.perceiver.training


@pytest.mark.parametrize("mode", [True, False])
def test_a_batch_of_one_works(tower, mode):
    """The published code squeezes the batch away with one picture."""
    model = small(tower).train(mode)
    output = model(pictures(model, 1))
    assert output.logit.shape == output.global_logit.shape == output.local_logit.shape == (1,)
    assert output.mask_logits.shape == (1, 1, model.image_size, model.image_size)
    loss, _ = model.loss(output, torch.ones(1), torch.ones_like(output.mask_logits))
    assert loss.isfinite()


@pytest.mark.parametrize("step", ABLATION)
def test_every_step_of_the_ablation_learns(clip_folder, step):
    model = small(("clip-vit-b32", clip_folder), **ABLATION[step])
    images = pictures(model, 4)
    images[2:] = 0.3 * images[2:] + 0.6
    labels, masks = torch.arange(4) // 2, torch.zeros(4, 1, 56, 56)
    masks[2:] = 1
    rate = 0.1 if step == "base" else 0.02  # a head on one embedding, against a whole perceiver
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    losses = []
    for _ in range(15):
        loss, _ = model.train().loss(model(images), labels, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    output = model.eval()(images)
    assert (output.bias is None) == (step == "base")
    assert (output.mask_logits is None) == (step in ("base", "T1"))
    assert (output.local_logit is None) == (step in ("base", "T1", "T2")) == (output.consistency_maps == ())


@pytest.mark.parametrize("sees", ["tokens", "pixels", "both"])
def test_save_and_load_give_the_same_logits(tower, sees, tmp_path):
    model = small(tower, sees=sees).eval()
    save_system(model, tmp_path, Decision())
    loaded, _, _ = load_reader(tmp_path, tower[1])
    images = pictures(model)
    with torch.no_grad():
        expected, found = model(images), loaded(images)
    assert loaded.config == model.config
    torch.testing.assert_close(found.logit, expected.logit, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.mask_logits, expected.mask_logits, rtol=0, atol=1e-6)


def test_scores_are_fused_as_probabilities():
    logits, others = torch.tensor([2.0, -40.0, 90.0]), torch.tensor([-1.0, -60.0, 95.0])
    fused = fuse(logits, others, 0.25)
    expected = 0.25 * logits.double().sigmoid() + 0.75 * others.double().sigmoid()
    torch.testing.assert_close(fused[:2].double().sigmoid(), expected[:2], rtol=1e-5, atol=0)
    assert fused.isfinite().all() and fused[2] > 80


def test_the_parameters_that_train_at_full_size(clip_folder):
    """With eight blocks; the released code (8.35 million) builds twelve and uses eight."""
    from tests.baselines.test_clip import full_size

    with torch.device("meta"):
        tower = full_size("clip-vit-l14")
    model = VlaForge(VlaForgeConfig(), tower, load_tokenizer(clip_folder))
    assert count_trained(model) == FULL_SIZE
    assert model.injection.grid == (16, 16) and model.injection.heads == 16
    assert isinstance(model.to_token, torch.nn.Identity)


FULL_SIZE = 6_064_647


def test_settings_that_cannot_be_are_named_together():
    with pytest.raises(ValueError, match=r"heads \(3\) must divide width \(16\); alpha .*; orthogonal needs"):
        dataclasses.replace(VlaForgeConfig(), width=16, alpha=1.0, masks=False)
