"""Public encoders: what is read and counted, what is refused, what stays frozen, what a checkpoint holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kfd import Detector
from kfd.checkpoint import load_kfd, load_trained, new_kfd, save_kfd, trained_state
from kfd.config import Decision, EncoderName, KFDConfig
from kfd.encoders.backbones import BACKBONES, encoder_tokenizer, find_weights, load_encoder, weights_digest
from kfd.encoders.text import END, tokenize
from kfd.model import KFD
from kfd.training.losses import LossWeights, kfd_loss
from tests.tiny.encoders import AUDIO, CLIP, IMAGEBIND, SIZE, save_clip, save_imagebind
from tests.tiny.kfd import save_tiny_kfd

SIZES = {"imagebind-huge": IMAGEBIND, "clip-vit-l14": CLIP, "openclip-vit-h14": CLIP}
NAMES = tuple(SIZES)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The weights of each encoder."""
    folder = tmp_path_factory.mktemp("encoders")
    return {
        "imagebind-huge": save_imagebind(folder / "imagebind"),
        "clip-vit-l14": save_clip(folder / "clip"),
        "openclip-vit-h14": save_clip(folder / "openclip", seed=1),
    }


@pytest.fixture(autouse=True)
def no_hub(monkeypatch) -> None:
    """The hub is out of reach: what is missing is missing at once, not after a minute of retries."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def build(files: dict[str, Path], name: str, dtype: str = "fp32", seed: int = 0) -> KFD:
    torch.manual_seed(seed)
    config = KFDConfig(encoder=name, encoder_settings=SIZES[name], num_context=2, branch_width=8, hidden=8)
    return new_kfd(config, encoder=files[name], dtype=dtype)


def loss_of(model: KFD) -> torch.Tensor:
    masks = torch.zeros(4, 1, SIZE, SIZE)
    masks[2:, :, 14:42, 14:42] = 1
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels, aligned = torch.tensor([0, 0, 1, 1]), torch.tensor([True, True])
    return kfd_loss(model, model(images), masks, labels, aligned, LossWeights())[0]


def test_the_registry_names_what_the_config_takes():
    assert tuple(BACKBONES) == EncoderName.__args__
    assert all(entry.licence and entry.taps for entry in BACKBONES.values())


def test_imagebind_takes_two_towers_and_names_the_rest(files):
    loaded = load_encoder("imagebind-huge", IMAGEBIND, files["imagebind-huge"])
    assert f"{len(AUDIO)} tensors left aside (2 of audio)" in loaded.note and "CC BY-NC 4.0" in loaded.note
    assert loaded.encoder.patch_dims == (16, 16, 16) and loaded.settings["vision_blocks"] == 3
    folder = load_encoder("imagebind-huge", IMAGEBIND, files["imagebind-huge"].parent)
    assert folder.digest == loaded.digest


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_are_one_message(name, tmp_path):
    """What to fetch, from where, under which licence, and the flag; for the default, a path and a hub id."""
    for given in (None, tmp_path / "nowhere", "someone/else", str(tmp_path)):
        with pytest.raises(FileNotFoundError) as caught:
            load_encoder(name, SIZES[name], given)
        text = str(caught.value)
        assert BACKBONES[name].fetch in text and BACKBONES[name].licence in text
        assert "--encoder-weights" in text and "\n" not in text


def test_a_broken_clip_is_refused(files, tmp_path):
    folder = save_clip(tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    key = "text_model.encoder.layers.0.layer_norm2.bias"
    for change, message in (
        ({k: v for k, v in weights.items() if k != key}, f"1 tensors missing.*missing {key}"),
        ({**weights, "stranger": torch.zeros(1)}, "unexpected key stranger"),
        ({**weights, key: torch.zeros(3)}, rf"{key}: expected \(16,\), got \(3,\)"),
    ):
        save_file(change, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=message):
            load_encoder("clip-vit-l14", CLIP, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="expected a model of type 'clip', got 'bert'"):
        load_encoder("clip-vit-l14", CLIP, folder)


def test_a_damaged_file_is_refused(files, tmp_path):
    folder = save_clip(tmp_path / "clip")
    for name, path in (("imagebind-huge", tmp_path / "x.pth"), ("imagebind-huge", tmp_path / "x.safetensors"),
                       ("clip-vit-l14", folder / "model.safetensors")):  # fmt: skip
        path.write_bytes(files["imagebind-huge"].read_bytes()[:3000])
        with pytest.raises(ValueError, match=r"cannot be read .*fetch it again"):
            load_encoder(name, SIZES[name], folder if name == "clip-vit-l14" else path)


def test_settings_that_do_not_belong_are_refused(files):
    with pytest.raises(ValueError, match="unknown settings of clip-vit-l14: \\['vision_dim'\\]"):
        load_encoder("clip-vit-l14", {"vision_dim": 3}, files["clip-vit-l14"])
    with pytest.raises(ValueError, match=r"unknown encoder settings \['depth'\]; known are"):
        load_encoder("imagebind-huge", {"depth": 3}, files["imagebind-huge"])
    with pytest.raises(ValueError, match="missing, unknown or of another shape"):
        load_encoder("imagebind-huge", IMAGEBIND | {"vision_blocks": 4}, files["imagebind-huge"])
    with pytest.raises(ValueError, match=r"taps must be blocks 1\.\.3"):
        load_encoder("clip-vit-l14", None, files["clip-vit-l14"])


@pytest.mark.parametrize("name", NAMES)
def test_the_tokenizer_lies_beside_the_weights(files, name):
    encoder = load_encoder(name, SIZES[name], files[name]).encoder
    tokenizer = encoder_tokenizer(name, encoder, files[name])
    ids, eot = tokenize(tokenizer, ["the face", "face " * 200], 77)
    assert ids.shape == (2, 77) and (eot == torch.tensor([3, 76])).all()
    assert (ids[torch.arange(2), eot] == tokenizer.token_to_id(END)).all()


def test_a_tokenizer_from_vocab_and_merges_is_the_same(files, tmp_path):
    """Older CLIP folders hold vocab.json and merges.txt instead of tokenizer.json."""
    folder = save_clip(tmp_path / "clip")
    whole = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(whole["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, whole["merges"])]))
    encoder = load_encoder("clip-vit-l14", CLIP, folder).encoder
    ours, theirs = (encoder_tokenizer("clip-vit-l14", encoder, f) for f in (folder, files["clip-vit-l14"]))
    assert torch.equal(*(tokenize(t, ["the skin of the FACE"], 77)[0] for t in (ours, theirs)))


def test_a_tokenizer_that_is_missing_or_too_large_is_said(files, tmp_path):
    path = tmp_path / "imagebind_huge.pth"
    path.write_bytes(files["imagebind-huge"].read_bytes())
    encoder = load_encoder("imagebind-huge", IMAGEBIND, path).encoder
    with pytest.raises(FileNotFoundError, match=r"hf download openai/clip-vit-large-patch14 tokenizer\.json"):
        encoder_tokenizer("imagebind-huge", encoder, path)
    encoder.vocab_size = 100
    with pytest.raises(ValueError, match="at most 100 tokens, the text tower's, got one of 520"):
        encoder_tokenizer("imagebind-huge", encoder, files["imagebind-huge"])


def test_a_path_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_weights("clip-vit-l14", "owner/name") == "owner/name"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "config.json").touch()
    assert find_weights("clip-vit-l14", "owner/name") == Path("owner/name")


@pytest.mark.parametrize("name", NAMES)
def test_frozen_stays_frozen_and_the_context_learns(files, name):
    """FIELD trap 7; and eval mode after train(), no gradient, the same bits after two steps."""
    model = build(files, name).train()
    assert not model.encoder.training and model.locator.training
    before = {n: t.clone() for n, t in model.encoder.state_dict().items()}
    context = model.alignment.context.detach().clone()
    trains = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trains <= trained_state(model).keys() and not any(n.startswith("encoder.") for n in trains)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(model).backward()
        assert {n for n, p in model.named_parameters() if p.grad is not None} == trains
        optimizer.step()
    assert all(torch.equal(before[n], t) for n, t in model.encoder.state_dict().items())
    assert not torch.equal(context, model.alignment.context)


def test_the_vision_tower_keeps_no_graph(files):
    """A tower's activations would need many times the memory of the heads'."""
    model = build(files, "imagebind-huge").train()
    features = model.encode(torch.rand(1, 3, SIZE, SIZE))
    assert not any(patches.requires_grad for patches in features.patches)
    assert model.alignment.class_features(model.encoder).requires_grad


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("name", NAMES[:2])
def test_towers_compute_in_16_bits_and_heads_in_32(files, name, dtype):
    model, exact = build(files, name, dtype), build(files, name)
    wanted = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    features = model.encode(images)
    assert {patches.dtype for patches in features.patches} == {wanted}
    assert features.embedding.dtype == torch.float32
    assert {t.dtype for t in trained_state(model).values()} == {torch.float32}
    loss = loss_of(model)
    loss.backward()
    assert loss.dtype == torch.float32 and float(loss.detach()) == pytest.approx(
        float(loss_of(exact).detach()), rel=0.05
    )
    assert model.alignment.context.grad.abs().sum() > 0
    texts = {p.dtype for part in model.encoder.text_parts for p in part.parameters()}
    assert texts == {torch.float32 if dtype == "fp16" else torch.bfloat16}


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_holds_the_heads_and_names_the_encoder(files, name, tmp_path):
    model = build(files, name)
    save_kfd(model, tmp_path, Decision(slope=2.0))
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == trained_state(model).keys() and "alignment.context" in saved
    assert not any(key.startswith("encoder.") for key in saved)
    loaded, decision = load_kfd(tmp_path, files[name])
    assert decision.slope == 2 and json.dumps(asdict(loaded.config)) == json.dumps(asdict(model.config))
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(loaded(images).logit, model.eval()(images).logit)
    detector = Detector.from_pretrained(tmp_path, encoder=files[name])
    assert detector.image_size == SIZE and 0 <= float(detector(images).score[0]) <= 1


def test_other_weights_are_refused(files, tmp_path):
    """Heads read maps of one encoder; those of another would look plausible and mean nothing."""
    model = build(files, "clip-vit-l14")
    save_kfd(model, tmp_path, Decision())
    digest = model.config.encoder_digest
    with pytest.raises(ValueError, match=rf"expected digest {digest[:12]}, got .*as --encoder"):
        load_kfd(tmp_path, files["openclip-vit-h14"])
    with pytest.raises(ValueError, match=r"expected openclip-vit-h14 .*, got clip-vit-l14"):
        load_trained(build(files, "openclip-vit-h14"), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for change, message in (
        ({**state, "encoder.stranger": torch.zeros(1)}, r"unexpected key encoder\.stranger"),
        ({k: v for k, v in state.items() if k != "alignment.context"}, r"missing alignment\.context"),
    ):
        save_file(change, tmp_path / "model.safetensors")
        with pytest.raises(ValueError, match=message):
            load_kfd(tmp_path, files["clip-vit-l14"])


def test_the_digest_sees_one_changed_weight_and_covers_heads_and_encoder(files, tmp_path):
    model = build(files, "clip-vit-l14")
    before = weights_digest(model.encoder)
    assert before == model.config.encoder_digest
    with torch.no_grad():
        model.encoder.model.vision_model.post_layernorm.bias[3] += 1e-6
    assert weights_digest(model.encoder) != before
    digests = set()
    for name, seed in (("clip-vit-l14", 0), ("clip-vit-l14", 1), ("openclip-vit-h14", 0)):
        save_kfd(build(files, name, seed=seed), tmp_path, Decision())
        digests.add(Detector.from_pretrained(tmp_path, encoder=files[name]).digest)
    assert len(digests) == 3


def test_the_digest_does_not_depend_on_the_dtype_of_the_run(files):
    assert build(files, "clip-vit-l14").config.encoder_digest == (
        build(files, "clip-vit-l14", "bf16").config.encoder_digest
    )


def test_the_embedded_encoder_takes_no_weights_and_no_16_bits(tmp_path):
    folder = save_tiny_kfd(tmp_path)
    with pytest.raises(ValueError, match="in the detector's own folder"):
        load_kfd(folder, encoder="x")
    with pytest.raises(ValueError, match="measured in fp32, got bf16"):
        load_kfd(folder, dtype="bf16")
