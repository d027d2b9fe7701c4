"""PandaGPT's public weights as a start: the projector of the picture and LoRA in Vicuna (paper §4.1).

The file that PandaGPT publishes beside its base model (a "delta", `pytorch_model.pt`) holds what was trained
and nothing else, as one state dict:

    llama_proj.weight, llama_proj.bias                                        E_visual out of the embedding
    llama_model.base_model.model.model.layers.N.self_attn.Q.lora_A.weight     and lora_B; Q is q_proj, k_proj,
                                                                              v_proj or o_proj

Files written by a later PEFT say `lora_A.default.weight`; both are read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from common.storage import check_finite, check_state
from kfd.encoders.imagebind import read_public_tensors
from prompt_learner import VisualProjector

if TYPE_CHECKING:
    from peft import PeftModel

PROJECTOR = "llama_proj."
_LORA = re.compile(r"llama_model\.(?P<layer>base_model\.model\..+\.lora_[AB])(?:\.default)?\.weight")


def start_from_pandagpt(path: str | Path, projector: VisualProjector, llm: PeftModel | None) -> int:
    """Load such a file into a fresh projector and fresh LoRA matrices; returns how many tensors were read.

    llm: the base model with LoRA in it; None trains none, and those of the file are left out.
    Raises FileNotFoundError without the file; ValueError naming what is missing, unknown, of another shape or
    not finite, with neither part changed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; name PandaGPT's delta file (pytorch_model.pt)")
    tensors = read_public_tensors(path)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{path}: expected one state dict, names and tensors, as PandaGPT publishes it")
    projection, lora = _parts(tensors, path)
    linear = projector.linear.state_dict()
    check_state(_shapes(linear), projection, str(path))
    check_finite(projection, path)
    if llm is not None:
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        expected = _shapes(get_peft_model_state_dict(llm, save_embedding_layers=False))
        _check_layers(expected, lora, path)
        check_state(expected, lora, str(path))
        check_finite(lora, path)
        set_peft_model_state_dict(llm, lora)
    projector.linear.load_state_dict(projection)
    return len(projection) + (0 if llm is None else len(lora))


def _parts(tensors: dict[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors of the projector and of LoRA, float32, by the names they have here."""
    projection: dict[str, Tensor] = {}
    lora: dict[str, Tensor] = {}
    unknown = []
    for name, value in tensors.items():
        found = _LORA.fullmatch(name)
        if name.startswith(PROJECTOR):
            projection[name.removeprefix(PROJECTOR)] = value.float()
        elif found is not None:
            lora[f"{found['layer']}.weight"] = value.float()
        else:
            unknown.append(name)
    if unknown:
        more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
        raise ValueError(
            f"{path} is no delta of PandaGPT's: unknown {', '.join(sorted(unknown)[:4])}{more}; it holds "
            f"{PROJECTOR}* and LoRA matrices under llama_model.base_model.model.*"
        )
    return projection, lora


def _check_layers(expected: dict[str, tuple[int, ...]], lora: dict[str, Tensor], path: Path) -> None:
    """Another rank or other layers are settings of the run, which the message then names."""
    ranks = {value.shape[0] for name, value in lora.items() if ".lora_A." in name}
    ours = {shape[0] for name, shape in expected.items() if ".lora_A." in name}
    targets, wanted = _targets(lora), _targets(expected)
    if lora and (ranks != ours or targets != wanted):
        raise ValueError(
            f"{path} has LoRA of rank {_listed(ranks)} on {_listed(targets)}, this run of rank "
            f"{_listed(ours)} on {_listed(wanted)}: set rank, alpha and targets to the file's (PandaGPT: "
            "rank 32, alpha 32, q_proj, k_proj, v_proj, o_proj)"
        )


def _targets(names: dict[str, object]) -> set[str]:
    return {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names}


def _listed(values: set[object]) -> str:
    return ", ".join(sorted(map(str, values)))


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
