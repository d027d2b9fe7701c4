"""LoRA through PEFT: added, saved and loaded strictly."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from common.storage import check_finite, check_state, naming, read_tensors

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

# It warns of a fused 4-bit kernel for CPUs that it could fetch; see llm.base for why that is not used.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
EVERY_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")  # of a decoder layer
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def add_adapter(
    llm: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: tuple[str, ...] = ATTENTION
) -> PeftModel:
    """Freeze `llm` and put trainable LoRA matrices, in float32, beside its `targets`.

    PEFT's preparation for 4-bit training is left out: it turns embeddings, norms and output layer into
    float32, which for a vocabulary of 152,000 words costs gigabytes and takes attention off its fast path;
    without it the model computes after a reload exactly as it did in training.
    Raises ValueError when the model has no such layers.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), task_type="CAUSAL_LM"
    )
    return _with_lora(llm, config)


def _with_lora(llm: PreTrainedModel, config: LoraConfig) -> PeftModel:
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*base_model_name_or_path.*")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # PEFT asks by an old name
        return get_peft_model(llm, config)


def save_adapter(llm: PeftModel, folder: Path) -> None:
    """Write PEFT's own two files."""
    llm.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card; ours is MODEL_CARD.md


def load_adapter(llm: PreTrainedModel, folder: Path, trainable: bool = False) -> PeftModel:
    """Put the saved adapter of `folder` onto its base model.

    PEFT itself only warns of keys that do not fit; here they are an error.
    Raises FileNotFoundError, or ValueError naming the keys or shapes that differ.
    """
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict

    missing = [name for name in ADAPTER_FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"expected a PEFT adapter in {folder}, but it has no {' and no '.join(missing)}"
        )
    with naming(folder / ADAPTER_FILES[0]):
        config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode = not trainable
    with naming(folder / ADAPTER_FILES[0]):
        model = _with_lora(llm, config)
    state = read_tensors(folder / ADAPTER_FILES[1])
    adapter = get_peft_model_state_dict(model, save_embedding_layers=False)  # as they were saved
    expected = {name: tuple(value.shape) for name, value in adapter.items()}
    check_state(expected, state, str(folder / ADAPTER_FILES[1]))
    check_finite(state, folder / ADAPTER_FILES[1])
    set_peft_model_state_dict(model, state)
    return model if trainable else model.eval()
