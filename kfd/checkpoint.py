"""Build a detector from its config, save it as a folder, load it again.

config.json         KFDConfig
decision.json       Decision: calibration and thresholds, fitted on validation
tokenizer.json      of the text tower
model.safetensors   all weights; without the encoder's where that is a frozen public model
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from kfd import storage
from kfd.config import Decision, KFDConfig
from kfd.encoders import EmbeddedConfig, EmbeddedEncoder
from kfd.model import KFD
from kfd.text import DESCRIPTIONS, load_tokenizer, save_tokenizer, train_tokenizer

DECISION_FILE = "decision.json"


def new_kfd(config: KFDConfig, start: str | Path | None = None) -> KFD:
    """A detector to be trained.

    start: folder of the public weights of the encoder (see the encoders' own loaders); None
        starts the embedded encoder from random weights.
    """
    if config.encoder != "embedded":
        raise ValueError(f"encoder {config.encoder!r} cannot be trained by this version yet; use 'embedded'")
    tokenizer = train_tokenizer([text for texts in DESCRIPTIONS.values() for text in texts])
    settings = {**(config.encoder_settings or {}), "vocab_size": tokenizer.get_vocab_size()}
    encoder = EmbeddedEncoder(_embedded_config(settings))
    if start is not None:
        encoder.load_imagenet(start)
    config = KFDConfig(**{**asdict(config), "encoder_settings": asdict(encoder.config)})
    return KFD(config, fast_layout(encoder), tokenizer)


def save_kfd(model: KFD, folder: str | Path, decision: Decision) -> None:
    """Write the checkpoint folder; the weights file last, because loading asks for it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(model.tokenizer, folder)
    storage.save_config(decision, folder / DECISION_FILE)
    storage.save_module(model, model.config, folder)


def load_kfd(folder: str | Path) -> tuple[KFD, Decision]:
    """Rebuild a saved detector, in eval mode.

    Raises FileNotFoundError or ValueError that says what is missing or does not fit.
    """
    folder = Path(folder)
    config = storage.read_config(KFDConfig, folder / storage.CONFIG_FILE)
    decision = storage.read_config(Decision, folder / DECISION_FILE)
    encoder = EmbeddedEncoder(_embedded_config(config.encoder_settings or {}))
    model = KFD(config, encoder, load_tokenizer(folder))
    storage.load_weights(model, folder)
    fast_layout(encoder)
    return model.eval(), decision


def fast_layout(encoder: nn.Module) -> nn.Module:
    """Lay convolution weights out channels-last, which halves their time on a CPU."""
    return encoder.to(memory_format=torch.channels_last)


def _embedded_config(settings: dict[str, object]) -> EmbeddedConfig:
    return EmbeddedConfig(**{name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()})
