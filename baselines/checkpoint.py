"""Build a system by its name, save it as a folder, load it again.

config.json         its config dataclass; `system` is the name
decision.json       calibration and thresholds, fitted on validation
familiar.safetensors  as of a KFD, where the system gives embeddings
model.safetensors   what trains, LoRA included: one file, loaded strictly, with one digest; no frozen model
tokenizer.json      of systems that read texts
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from baselines.clip import ClipConfig, build_clip
from baselines.convnets import ConvConfig, build_conv
from baselines.qwen.config import QwenConfig
from baselines.released.model import ReleasedConfig, with_weights
from baselines.system import System
from baselines.towers import LoadedTower, load_tower
from baselines.vlaforge.config import VlaForgeConfig
from baselines.vlaforge.model import VlaForge
from common import storage
from kfd.checkpoint import DECISION_FILE
from kfd.config import Decision
from kfd.encoders.backbones import DTYPES, Dtype, usual_dtype
from kfd.encoders.text import TOKENIZER_FILE, load_tokenizer, save_tokenizer
from kfd.reader import system_of

if TYPE_CHECKING:
    from baselines.qwen.model import LoadedQwen

CONFIGS: dict[str, type] = {
    "clip-probe": ClipConfig,
    "clip-lora": ClipConfig,
    "clip-vp": ClipConfig,
    "clip-coop": ClipConfig,
    "vlaforge": VlaForgeConfig,
    "sbi": ConvConfig,
    "mesonet4": ConvConfig,
    "qwen-vl": QwenConfig,
    "lvlm-dfd": ReleasedConfig,  # imported (baselines.import_released), not trained
}
SystemName = Literal[
    "clip-probe", "clip-lora", "clip-vp", "clip-coop", "vlaforge", "sbi", "mesonet4", "qwen-vl"
]


def config_class(system: str) -> type:
    """The config dataclass of a system; raises ValueError where there is no such system."""
    if system not in CONFIGS:
        raise ValueError(f"system must be one of {', '.join(CONFIGS)}, got {system!r}")
    return CONFIGS[system]


def new_system(
    config: object,
    weights: str | Path | None = None,
    dtype: Dtype | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> System:
    """A system to be trained, on `device`.

    weights, dtype: of the frozen model underneath, see `load_underneath`. say: is told what was read.
    """
    if isinstance(config, ConvConfig):
        return build_conv(config).to(device)
    loaded = load_underneath(config, weights, dtype, device, say)
    return build(replace(config, encoder_digest=loaded.digest), loaded).to(device)


def load_underneath(
    config: object,
    weights: str | Path | None,
    dtype: Dtype | None,
    device: str,
    say: Callable[[str], None],
) -> LoadedTower | LoadedQwen:
    """The frozen model underneath a system; see `load_tower` and baselines.qwen.model.load_qwen."""
    if isinstance(config, QwenConfig):
        from baselines.qwen.model import load_qwen

        return load_qwen(config, weights, dtype, device, say)
    return load_tower(config.encoder, weights, dtype, device, say)


def build(config: object, loaded: LoadedTower | LoadedQwen) -> System:
    """A system on what is frozen underneath, untrained."""
    if isinstance(config, QwenConfig):
        from baselines.qwen.model import QwenClassifier

        return QwenClassifier(config, loaded)
    kind = VlaForge if isinstance(config, VlaForgeConfig) else build_clip
    return kind(config, loaded.tower, loaded.tokenizer)


def save_system(model: System, folder: str | Path, decision: Decision) -> None:
    """Write the checkpoint folder; the weights file last, because loading asks for it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if model.tokenizer is not None:
        save_tokenizer(model.tokenizer, folder)
    storage.save_config(decision, folder / DECISION_FILE)
    storage.save_module(model, model.config, folder, state=model.trained_state())


def load_system(
    folder: str | Path,
    encoder: str | Path | None = None,
    dtype: Dtype | None = None,
    device: str = "cpu",
) -> tuple[System, Decision]:
    """Rebuild a saved system, in eval mode, on `device`.

    encoder, dtype: of the frozen model, which `folder` does not hold; see `load_underneath`.
    Raises FileNotFoundError or ValueError that says what is missing or does not fit.
    """
    folder = Path(folder)
    with storage.naming(folder / storage.CONFIG_FILE):
        kind = config_class(system_of(folder))
    config = storage.read_config(kind, folder / storage.CONFIG_FILE)
    decision = storage.read_config(Decision, folder / DECISION_FILE)
    if isinstance(config, ConvConfig | ReleasedConfig) and encoder is not None:
        raise ValueError(f"{config.system} stands on no frozen model: leave --encoder {encoder} out")
    if isinstance(config, ReleasedConfig):
        with storage.naming(folder / storage.CONFIG_FILE):
            source = str(folder / storage.WEIGHTS_FILE)
            model = with_weights(config, storage.read_weights(folder), source).to(device)
        model.visual_encoder.to(DTYPES[dtype or usual_dtype("imagebind-huge", device)])
        return model, decision
    if isinstance(config, ConvConfig):
        return _with_weights(build_conv(config), folder, device), decision
    loaded = load_underneath(config, encoder, dtype, device, say=lambda note: None)
    if loaded.digest != config.encoder_digest:
        raise ValueError(
            f"{folder} was trained on other weights of {config.encoder}: expected digest "
            f"{config.encoder_digest[:12]}, got {loaded.digest[:12]}; pass the file, folder or hub id it was "
            "trained with as --encoder"
        )
    if isinstance(loaded, LoadedTower) and (folder / TOKENIZER_FILE).is_file():
        loaded = replace(loaded, tokenizer=load_tokenizer(folder))
    return _with_weights(build(config, loaded), folder, device), decision


def _with_weights(model: System, folder: Path, device: str) -> System:
    load_trained_state(model, storage.read_weights(folder), str(folder / storage.WEIGHTS_FILE))
    return model.eval().to(device)


def system_digest(folder: str | Path) -> str:
    """SHA-256, hex, that names a saved system: its weights file and, where there is one, its frozen tower."""
    folder = Path(folder)
    own = storage.digest_of(folder / storage.WEIGHTS_FILE)
    config = storage.read_config(config_class(system_of(folder)), folder / storage.CONFIG_FILE)
    return hashlib.sha256(f"{own} {config.encoder_digest}".encode()).hexdigest()


def load_trained_state(model: System, state: dict[str, Tensor], source: str) -> None:
    """Load what `System.trained_state` gave, strictly; source: where it comes from, for the message."""
    storage.load_part(model, model.trained_state(), state, source)
