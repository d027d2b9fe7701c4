"""Merge an assistant's adapter into its base model, for a server such as vLLM.

    python -m llm.export --assistant checkpoints/qwen --out runs/export
    python -m llm.export --assistant checkpoints/embedded/assistant --out runs/export      # seconds, CPU

Writes OUT, which vLLM and transformers load, and OUT/prompts, with which the app computes prompt embeddings
(see docs/deploy.md):

    vllm serve runs/export --served-model-name unmask --enable-prompt-embeds --host 127.0.0.1
    python -m app --kfd DETECTOR --llm runs/export --llm-url http://127.0.0.1:8000/v1 --llm-model unmask

Adapters are merged into the base model's own weights in 16 or 32 bits, also those trained on weights in
4 bits: rounding a merged matrix to 4 bits would lose much of what was learnt.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from common.cli import parse
from common.locks import one_writer
from common.storage import save_config, told_when_full
from data_sim.dialogue import Case
from kfd.encoders.backbones import DTYPES, Dtype
from llm.model import AssistantInfo, ForgeryLLM, find_base, read_info, trained_in_4_bits
from llm.packaged import PACKAGED
from llm.questions.hearing import ModelEar
from llm.serving.exported import INFO_FILE, PROMPTS, TABLE, TABLE_FILE, ExportInfo
from media.regions import REGION_NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

LARGEST_CHANGE = 0.05  # of the next word's distribution, by merging: rounding, and nothing else


@dataclass(frozen=True)
class ExportConfig:
    """Settings: what to merge, and where to."""

    assistant: Path  # folder of python -m llm.finetune
    out: Path  # a folder that does not exist yet, or is empty
    base: str = ""  # folder or hub id of the base model, where it is not the one the assistant remembers
    dtype: Dtype | Literal["auto"] = "auto"  # of the merged weights; auto: as the base's
    device: str = "cpu"  # where to merge


def export(config: ExportConfig) -> ExportInfo:
    """Write the exported assistant, whole or not at all.

    Raises FileExistsError for a folder that holds something, FileNotFoundError for a missing part, and
    ValueError when assistant and base model do not fit, the base model is stored quantised, or the merged
    model answers otherwise than the unmerged.
    """
    out = config.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"expected a new or empty folder for --out, but {out} holds something already")
    info = read_info(config.assistant)
    base = config.base or find_base(config.assistant, info)
    stored = _stored_dtype(base)
    dtype = stored if config.dtype == "auto" else DTYPES[config.dtype]
    if trained_in_4_bits(config.assistant):
        print(f"the adapter was trained on 4-bit weights; it is merged into {base} unquantised, in {dtype}")
    model = ForgeryLLM.from_pretrained(config.assistant, base, config.device, dtype)
    _merge(model)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with told_when_full(out):
            exported = _write(model, info, base, dtype, part)
        if out.exists():
            out.rmdir()
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return exported


def _merge(model: ForgeryLLM) -> None:
    """Merge the adapter, and see that the model still speaks as it did."""
    before = _first_words(model)
    model.merge_adapter()
    change = float((_first_words(model) - before).abs().sum()) / 2
    if not change <= LARGEST_CHANGE:  # also where it is no number
        raise ValueError(
            f"merging changed the distribution of the next word by {change:.3f}, expected at most "
            f"{LARGEST_CHANGE}: merge in another --dtype"
        )


@torch.inference_mode()
def _first_words(model: ForgeryLLM) -> Tensor:
    """(V,) the distribution of the first word said about a face without findings."""
    heat = tuple((name, 0.1) for name in REGION_NAMES)
    tokens = model.prompter.conversation(Case("real", 0.1, heat=heat), [])
    ids, index = ([row] for row in (tokens.input_ids, tokens.soft_index))
    embeds = model.embed(
        torch.tensor(ids, device=model.device), torch.tensor(index, device=model.device), None
    )
    return torch.softmax(model.llm(inputs_embeds=embeds, use_cache=False).logits[0, -1].float(), dim=-1)


def _write(model: ForgeryLLM, info: AssistantInfo, base: str, dtype: torch.dtype, folder: Path) -> ExportInfo:
    from safetensors.torch import save_file

    prompts = folder / PROMPTS
    prompts.mkdir(parents=True)
    model.llm.save_pretrained(str(folder))
    model.llm.config.save_pretrained(str(prompts))
    for place in (folder, prompts):
        model.prompter.tokenizer.save_pretrained(str(place))
    if model.prompt_learner is not None:
        model.prompt_learner.save_pretrained(prompts / "prompt_learner")
    if model.projector is not None:
        model.projector.save_pretrained(prompts / "projector")
    if isinstance(model.ear, ModelEar):
        model.ear.save(prompts)
    save_file({TABLE: _token_embeddings(model)}, str(prompts / TABLE_FILE))
    exported = ExportInfo(
        base=Path(base).name if Path(base).is_dir() else base,
        base_shape=info.base_shape,
        base_digest=info.base_digest,
        dtype=str(dtype).removeprefix("torch."),
        style=info.style,
        kfd_digest=info.kfd_digest,
        facts=info.facts,
    )
    save_config(exported, prompts / INFO_FILE)
    return exported


@torch.inference_mode()
def _token_embeddings(model: ForgeryLLM) -> Tensor:
    """(V, C) what the first layer gives for every token: some models scale what their table holds."""
    layer = model.llm.get_input_embeddings()
    ids = torch.arange(layer.num_embeddings, device=model.device)
    return torch.cat([layer(part).cpu() for part in ids.split(8192)]).contiguous()


def _stored_dtype(base: str) -> torch.dtype:
    """Read the dtype that the base model's weights are stored in; a packaged one's, in which it was trained.

    Raises ValueError when they are stored quantised, except in a package: those are unpacked at load.
    """
    from transformers import AutoConfig

    if base in PACKAGED:
        return PACKAGED[base].trained_in
    config: PreTrainedConfig = AutoConfig.from_pretrained(base)
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(
            f"expected a base model in 16 or 32 bits to merge into, but {base} is stored quantised: "
            "pass the original as --base"
        )
    return config.get_text_config().dtype or torch.float32


def main(args: list[str] | None = None) -> None:
    config = parse(ExportConfig, __doc__, args)
    try:
        with one_writer(config.out):
            exported = export(config)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{config.out}: {exported.base} with the adapter of {config.assistant}, in {exported.dtype}")


if __name__ == "__main__":
    main()
