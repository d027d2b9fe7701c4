"""Build a detector from its config, save it as a folder, load it again.

config.json         KFDConfig
decision.json       Decision: calibration and thresholds, fitted on validation
familiar.safetensors  the pictures that its max_strangeness is measured from (kfd.calibration.familiar)
tokenizer.json      of the text tower
model.safetensors   all weights; without the encoder's where that is a frozen public model
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common import storage
from kfd.config import Decision, KFDConfig
from kfd.encoders.backbones import (
    DTYPES,
    Dtype,
    LoadedEncoder,
    config_of,
    encoder_tokenizer,
    load_encoder,
    usual_dtype,
)
from kfd.encoders.base import EmbeddedConfig, EmbeddedEncoder
from kfd.encoders.text import DESCRIPTIONS, load_tokenizer, save_tokenizer, train_tokenizer
from kfd.model import KFD

DECISION_FILE = "decision.json"
IMAGE_TOWER = ("encoder.image_tower.", "encoder.image_head.", "alignment.projections.")  # as wide as it is


def new_kfd(
    config: KFDConfig,
    start: str | Path | None = None,
    encoder: str | Path | None = None,
    dtype: Dtype | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> KFD:
    """A detector to be trained, on `device`.

    start: folder of ImageNet weights for the embedded image tower; None starts from random ones.
    encoder, dtype: weights of a frozen encoder and what it computes in, see `load_kfd`. The embedded image
        tower trains in `dtype`, by default fp32, and is measured in fp32.
    say: is told what was read of a frozen encoder's file, and its licence.
    """
    if config.frozen_encoder:
        if start is not None:
            raise ValueError(f"start is for the embedded encoder; {config.encoder} has its own weights")
        loaded = _load_frozen(config, encoder, dtype, device)
        say(loaded.note)
        tokenizer = encoder_tokenizer(config.encoder, loaded.encoder, encoder)
        config = replace(
            config,
            encoder_settings=loaded.settings,
            encoder_digest=loaded.digest,
            align_dim=loaded.encoder.embed_dim,
        )
        return KFD(config, loaded.encoder, tokenizer).to(device)
    _check_embedded(encoder)
    if dtype == "fp16":
        raise ValueError("the embedded encoder trains in fp32 or bf16; in fp16 its gradients would vanish")
    tokenizer = train_tokenizer([text for texts in DESCRIPTIONS.values() for text in texts])
    settings = {**(config.encoder_settings or {}), "vocab_size": tokenizer.get_vocab_size()}
    embedded = EmbeddedEncoder(config_of(EmbeddedConfig, settings), DTYPES[dtype or "fp32"])
    if start is not None:
        embedded.load_imagenet(start)
    config = replace(config, encoder_settings=asdict(embedded.config))
    return KFD(config, fast_layout(embedded), tokenizer).to(device)


def save_kfd(model: KFD, folder: str | Path, decision: Decision) -> None:
    """Write the checkpoint folder; the weights file last, because loading asks for it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(model.tokenizer, folder)
    storage.save_config(decision, folder / DECISION_FILE)
    storage.save_module(model, model.config, folder, state=trained_state(model))


def load_kfd(
    folder: str | Path,
    encoder: str | Path | None = None,
    dtype: Dtype | None = None,
    device: str = "cpu",
) -> tuple[KFD, Decision]:
    """Rebuild a saved detector, in eval mode, on `device`.

    encoder: file, folder or hub id of a frozen encoder's weights, which `folder` does not hold; by default
        the public ones (see kfd.encoders.backbones).
    dtype: what a frozen encoder computes in; by default bf16 on a GPU and fp32 on a CPU.
    Raises FileNotFoundError or ValueError that says what is missing or does not fit.
    """
    folder = Path(folder)
    config = storage.read_config(KFDConfig, folder / storage.CONFIG_FILE)
    decision = storage.read_config(Decision, folder / DECISION_FILE)
    tokenizer = load_tokenizer(folder)
    if config.frozen_encoder:
        loaded = _load_frozen(config, encoder, dtype, device)
        if loaded.digest != config.encoder_digest:
            raise ValueError(
                f"{folder} was trained on other weights of {config.encoder}: expected digest "
                f"{config.encoder_digest[:12]}, got {loaded.digest[:12]}; pass the file, folder or hub id it "
                "was trained with as --encoder"
            )
        model = KFD(config, loaded.encoder, tokenizer)
    else:
        _check_embedded(encoder)
        if dtype not in (None, "fp32"):
            raise ValueError(f"the embedded encoder is measured in fp32, got {dtype}")
        with storage.naming(folder / storage.CONFIG_FILE):
            settings = config_of(EmbeddedConfig, config.encoder_settings)
        storage.check_sizes(lambda: KFD(config, EmbeddedEncoder(settings), tokenizer), folder)
        model = KFD(config, EmbeddedEncoder(settings), tokenizer)
    load_trained(model, folder)
    if not config.frozen_encoder:
        fast_layout(model.encoder)
    return model.eval().to(device), decision


def load_trained(model: KFD, folder: str | Path, image_tower: bool = True) -> None:
    """Load the weights file of a checkpoint into a model of the same kind.

    image_tower: False leaves the model its embedded image tower, which may be another than the checkpoint's,
        and takes the rest: text tower, learned descriptions, locator and classifier.
    Raises ValueError when the checkpoint was trained on another encoder or a tensor does not fit.
    """
    folder = Path(folder)
    other = storage.read_config(KFDConfig, folder / storage.CONFIG_FILE)
    theirs, ours = ((c.encoder, c.encoder_digest[:12]) for c in (other, model.config))
    if theirs != ours:
        raise ValueError(
            f"{folder} was trained on another encoder: expected {' '.join(ours)}, got {' '.join(theirs)}; "
            "choose the encoder and the weights it was trained with"
        )
    state, source = storage.read_weights(folder), str(folder / storage.WEIGHTS_FILE)
    if image_tower:
        load_trained_state(model, state, source)
    else:
        ours, theirs = (
            {name: tensor for name, tensor in tensors.items() if not name.startswith(IMAGE_TOWER)}
            for tensors in (trained_state(model), state)
        )
        storage.load_part(model, ours, theirs, source)


def trained_state(model: KFD) -> dict[str, Tensor]:
    """The tensors that training changes and a checkpoint holds: all of them, but for a frozen encoder's."""
    return {name: t for name, t in model.state_dict().items() if not _frozen(model, name)}


def load_trained_state(model: KFD, state: dict[str, Tensor], source: str) -> None:
    """Load what `trained_state` gave, strictly; source: where it comes from, for the message."""
    storage.load_part(model, trained_state(model), state, source)


def kfd_digest(folder: str | Path) -> str:
    """SHA-256, hex, that names a saved detector: its weights file and, where it is frozen, its encoder."""
    folder = Path(folder)
    heads = storage.digest_of(folder / storage.WEIGHTS_FILE)
    encoder = storage.read_config(KFDConfig, folder / storage.CONFIG_FILE).encoder_digest
    return hashlib.sha256(f"{heads} {encoder}".encode()).hexdigest() if encoder else heads


def fast_layout(encoder: nn.Module) -> nn.Module:
    """Lay convolution weights out channels-last, which halves their time on a CPU."""
    return encoder.to(memory_format=torch.channels_last)


def _frozen(model: KFD, name: str) -> bool:
    return model.config.frozen_encoder and name.startswith("encoder.")


def _load_frozen(
    config: KFDConfig, encoder: str | Path | None, dtype: Dtype | None, device: str
) -> LoadedEncoder:
    dtype = dtype or usual_dtype(config.encoder, device)
    return load_encoder(config.encoder, config.encoder_settings, encoder, dtype, device)


def _check_embedded(encoder: str | Path | None) -> None:
    if encoder is not None:
        raise ValueError(f"the embedded encoder is in the detector's own folder; leave out {encoder}")
