"""The detector's network and losses against the paper's equations, and its checkpoint folder."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from common import storage
from kfd.checkpoint import load_kfd, save_kfd
from kfd.config import Decision, KFDConfig
from kfd.model import KFD
from kfd.training.losses import LossWeights, dice_loss, kfd_loss
from tests.tiny.kfd import SIZE, tiny_kfd


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def loss_of(model: KFD) -> torch.Tensor:
    """The full loss of two pairs, one of them aligned."""
    masks = torch.zeros(4, 1, SIZE, SIZE)
    masks[2:, :, 16:40, 16:40] = 1
    labels, aligned = torch.tensor([0, 0, 1, 1]), torch.tensor([True, False])
    return kfd_loss(model, model(pictures(4)), masks, labels, aligned, LossWeights())[0]


# ---------------------------------------------------------------- the network


@torch.no_grad()
def test_shapes_and_unit_length():
    model = tiny_kfd().eval()
    output = model(pictures(2))
    assert output.logit.shape == (2,) and output.mask_logits.shape == (2, 1, SIZE, SIZE)
    assert [tuple(m.shape) for m in output.consistency_maps] == [(2, 2, 8, 8), (2, 2, 4, 4), (2, 2, 4, 4)]
    for features in (*output.features, output.embedding):
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(features.shape[:-1]))


@torch.no_grad()
def test_consistency_maps_equal_eq_1():
    """C_text = scale * F_vis F_text^T; channel 0 compares with `real`, channel 1 with `fake`."""
    model = tiny_kfd().eval()
    output, text = model(pictures(2)), model.alignment.class_features(model.encoder)
    assert text.shape == (2, 16)
    for features, maps in zip(output.features, output.consistency_maps, strict=True):
        for label in (0, 1):
            cosine = F.cosine_similarity(features, text[label], dim=-1)  # (B, N), row-major patches
            torch.testing.assert_close(maps[:, label].flatten(1), model.config.map_scale * cosine)


@torch.no_grad()
def test_cached_class_features_give_the_same_answer():
    model = tiny_kfd().eval()
    cached = model(pictures(2), model.alignment.class_features(model.encoder))
    torch.testing.assert_close(cached.logit, model(pictures(2)).logit)


@torch.no_grad()
def test_reference_maps_equal_eq_2_and_share_the_locator():
    """C_ref = cos(F_vref, F_vis) enters the same phi as (C_ref, -C_ref)."""
    model = tiny_kfd().eval()
    output = model(pictures(4))
    seen = []
    handle = model.locator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    located = model.locate_by_reference(output, torch.tensor([2, 3]), torch.tensor([0, 1]))
    handle.remove()
    assert located.shape == (2, 1, SIZE, SIZE)
    for maps, features in zip(seen[0], output.features, strict=True):
        expected = model.config.map_scale * F.cosine_similarity(features[2:], features[:2], dim=-1)
        torch.testing.assert_close(maps[:, 0].flatten(1), expected)
        torch.testing.assert_close(maps[:, 1], -maps[:, 0])
    torch.testing.assert_close(located, model.locator(seen[0], SIZE))


def test_every_parameter_is_saved_and_trains():
    """FIELD trap 7: the learnable context of a peer was never registered, trained or saved.

    FIELD trap 12: BatchNorm statistics belong to the checkpoint and move while training.
    """
    model = tiny_kfd().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    assert parameters.keys() <= before.keys() and "alignment.context" in parameters
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    loss_of(model).backward()
    # Past the last tap only the image embedding is made, which the LLM reads and no loss of ours does.
    last = max(model.encoder.config.taps)
    unread = ("image_head.", *(f"image_tower.layer.{i}." for i in range(last + 1, 24)))
    silent = {name for name, p in parameters.items() if p.grad is None}
    assert silent == {n for n in parameters if n.removeprefix("encoder.").startswith(unread)}
    optimizer.step()
    after = model.state_dict()
    still = [name for name in parameters.keys() - silent if torch.equal(before[name], after[name])]
    assert not still
    statistics = [name for name in before if name.endswith("running_mean")]
    assert statistics and all(not torch.equal(before[name], after[name]) for name in statistics)


def test_without_text_guidance_the_class_vectors_are_fixed_and_saved(tmp_path):
    model = tiny_kfd(text_guidance=False).train()
    vectors = model.alignment.class_vectors.clone()
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    loss_of(model).backward()
    optimizer.step()
    assert torch.equal(model.alignment.class_vectors, vectors)
    save_kfd(model, tmp_path, Decision())
    assert torch.equal(load_kfd(tmp_path)[0].alignment.class_vectors, vectors)


# ---------------------------------------------------------------- losses


def test_dice_equals_the_closed_form():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    even = dice_loss(torch.zeros(1, 1, 4, 4), mask, smooth=0.0)  # P = 1/2 everywhere
    assert float(even) == pytest.approx(1 - 2 * (8 * 0.5) / (16 * 0.5 + 8))
    perfect = dice_loss(100 * (2 * mask - 1), mask)
    assert float(perfect) == pytest.approx(0, abs=1e-6)
    assert float(dice_loss(-100 * (2 * mask - 1), mask)) == pytest.approx(1 - 1 / 17)


def test_dice_of_an_empty_mask_is_defined():
    """Nothing to find: an empty map loses nothing, a larger false alarm loses more."""
    empty = torch.zeros(1, 1, 8, 8)
    nothing, some, everything = (torch.full((1, 1, 8, 8), -100.0) for _ in range(3))
    some[..., 0, :4] = 100
    everything[:] = 100
    losses = [float(dice_loss(m, empty)) for m in (nothing, some, everything)]
    assert losses == pytest.approx([0, 1 - 1 / 5, 1 - 1 / 65], abs=1e-6)


def test_the_commands_of_the_model_card_train_with_these_weights():
    """No flag names them: with another default the same commands would train another detector."""
    assert LossWeights() == LossWeights(cls=1.0, loc=0.5, reference=0.5, pixel=0.5, align=0.5)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    model = tiny_kfd().eval()
    output = model(pictures(4))
    masks = torch.zeros(4, 1, SIZE, SIZE)
    masks[2:, :, :30] = 1
    labels, aligned = torch.tensor([0, 0, 1, 1]), torch.tensor([False, True])
    weights = LossWeights(cls=1.0, loc=2.0, reference=0.5, pixel=0.25, align=0.125)
    total, terms = kfd_loss(model, output, masks, labels, aligned, weights)
    expected = {
        "cls": -(F.logsigmoid(-output.logit[:2]).sum() + F.logsigmoid(output.logit[2:]).sum()) / 4,
        "loc": dice_loss(output.mask_logits, masks),
        "reference": dice_loss(
            model.locate_by_reference(output, torch.tensor([3]), torch.tensor([1])), masks[3:]
        ),
        "pixel": F.binary_cross_entropy(output.mask_logits.sigmoid(), masks),
    }
    for name, value in expected.items():
        assert terms[name] == pytest.approx(float(value.detach()), rel=1e-4), name
    together = terms["cls"] + 2 * (terms["loc"] + 0.5 * terms["reference"])
    together += 0.25 * terms["pixel"] + 0.125 * terms["align"]
    assert float(total.detach()) == pytest.approx(together, rel=1e-5)


def test_without_an_aligned_pair_there_is_no_reference_term():
    model = tiny_kfd().eval()
    masks, labels = torch.zeros(2, 1, SIZE, SIZE), torch.tensor([0, 1])
    _, terms = kfd_loss(model, model(pictures(2)), masks, labels, torch.tensor([False]), LossWeights())
    assert "reference" not in terms
    _, terms = kfd_loss(
        model, model(pictures(2)), masks, labels, torch.tensor([True]), LossWeights(reference=0.0)
    )
    assert "reference" not in terms


# ---------------------------------------------------------------- checkpoints


def test_save_and_load_give_the_same_output(tmp_path):
    model = tiny_kfd().train()
    loss_of(model)  # moves the BatchNorm statistics
    decision = Decision(slope=2.0, intercept=0.5, fitted_on="here")
    save_kfd(model, tmp_path, decision)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "decision.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip
    loaded, read = load_kfd(tmp_path)
    assert read == decision and not loaded.training
    assert json.dumps(asdict(loaded.config)) == json.dumps(asdict(model.config))
    with torch.no_grad():
        ours, theirs = model.eval()(pictures(2)), loaded(pictures(2))
    assert torch.equal(ours.logit, theirs.logit) and torch.equal(ours.mask_logits, theirs.mask_logits)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    save_kfd(tiny_kfd(), tmp_path, Decision())
    weights = tmp_path / "model.safetensors"
    state = load_file(weights)
    key = "alignment.context"
    for change, message in (
        ({k: v for k, v in state.items() if k != key}, f"missing {key}"),
        ({**state, "stranger": torch.zeros(1)}, "unexpected key stranger"),
        ({**state, key: torch.zeros(3)}, rf"{key}: expected \(2, 2, 16\), got \(3,\)"),
    ):
        save_file(change, weights)
        with pytest.raises(ValueError, match=message):
            load_kfd(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_kfd(tmp_path)


def test_an_unknown_setting_is_refused(tmp_path):
    save_kfd(tiny_kfd(), tmp_path, Decision())
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"stranger": 1}))
    with pytest.raises(ValueError, match="stranger"):
        load_kfd(tmp_path)
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_kfd(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        storage.write_atomically(path, fail)
    assert path.read_text() == "old"


def test_bad_settings_are_reported_together():
    with pytest.raises(ValueError, match=r"align_dim must be positive.*branch_width must be a multiple"):
        KFDConfig(align_dim=0, branch_width=6)
    with pytest.raises(ValueError, match=r"encoder must be one of .*'imagebind-huge'.* got 'clip'"):
        KFDConfig(encoder="clip")
    with pytest.raises(ValueError, match=r"align_dim \(12\) must equal the encoder's embed_dim \(16\)"):
        tiny_kfd(align_dim=12)
