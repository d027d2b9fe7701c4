"""An exported assistant on disk, as `python -m llm.export` writes it.

    OUT/            the language model with its adapter merged in, and the tokenizer: what a server loads
    OUT/prompts/    what computes prompt embeddings: prompt learner, projector, token embeddings, wording

`prompts` can be copied to a machine that has no room for the language model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from common.storage import check_finite, read_tensors
from common.strict_json import read_json_object
from llm.base import BaseShape, load_base
from llm.model import ForgeryLLM, described
from llm.prompt import PromptStyle
from prompt_learner import ForgeryPromptLearner, VisualProjector

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FORMAT_VERSION = 1
PROMPTS = "prompts"  # subfolder of an exported assistant
INFO_FILE = "export.json"
TABLE_FILE = "tokens.safetensors"
TABLE = "weight"  # name of the one tensor in it


@dataclass(frozen=True)
class ExportInfo:
    """export.json: where an exported assistant comes from, and how it is talked to.

    base, base_shape, base_digest: of the model the adapter was merged into; base is its hub id, or the name
    of its folder without the path. dtype: of the merged weights.
    style: the prompt's wording. kfd_digest: of the detector it learnt to read; "" when unknown.
    facts: of the training run.
    """

    base: str
    base_shape: BaseShape
    base_digest: str
    dtype: str
    style: PromptStyle
    kfd_digest: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


class TokenTable(nn.Module):
    """The first layer of a language model, which is all that prompt embeddings need of it."""

    def __init__(self, weight: Tensor, config: PreTrainedConfig) -> None:
        """weight: (V, C) the embedding of every token."""
        super().__init__()
        self.config = config
        self.table = nn.Embedding.from_pretrained(weight)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table


def prompts_folder(folder: str | Path) -> Path | None:
    """Find the prompt parts of an exported assistant: `folder`/prompts or `folder` itself, else None."""
    places = (Path(folder) / PROMPTS, Path(folder))
    return next((place for place in places if (place / INFO_FILE).is_file()), None)


def read_export(folder: str | Path) -> ExportInfo:
    """export.json of an exported assistant.

    Raises FileNotFoundError when there is none, ValueError when it is of another format.
    """
    place = prompts_folder(folder)
    if place is None:
        raise FileNotFoundError(
            f"expected an exported assistant in {folder}, but it has no {PROMPTS}/{INFO_FILE}: "
            "make one with python -m llm.export"
        )
    values = read_json_object(place / INFO_FILE)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{place / INFO_FILE}: expected format version {FORMAT_VERSION}, got {version}: "
            "export the assistant again with this release"
        )
    return described(ExportInfo, values, place / INFO_FILE)


def load_prompts(folder: str | Path, device: str = "cpu") -> ForgeryLLM:
    """Load what computes prompt embeddings: a ForgeryLLM whose language model is a TokenTable.

    Raises FileNotFoundError or ValueError like `read_export`, or when a part does not fit.
    """
    from transformers import AutoConfig

    info, place = read_export(folder), prompts_folder(folder)
    weight = read_tensors(place / TABLE_FILE).get(TABLE)
    if weight is None:
        raise ValueError(f"{place / TABLE_FILE} has no tensor {TABLE!r}: export again")
    expected = (info.base_shape.vocab_size, info.base_shape.hidden_size)
    if tuple(weight.shape) != expected:
        raise ValueError(
            f"{place / TABLE_FILE}: expected {expected}, got {tuple(weight.shape)}: export again"
        )
    check_finite({TABLE: weight}, place / TABLE_FILE)
    table = TokenTable(weight, AutoConfig.from_pretrained(str(place)))
    return _with_parts(table.to(device), place, info, device)


def load_exported(
    folder: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, quantize: bool = False
) -> ForgeryLLM:
    """The whole exported assistant, to be run here. dtype, quantize: see llm.base.load_base."""
    info, place = read_export(folder), prompts_folder(folder)
    llm, _ = load_base(folder, device, dtype, quantize)
    model = _with_parts(llm, place, info, device)
    model.load_ear(place)
    return model


def _with_parts(llm: nn.Module, place: Path, info: ExportInfo, device: str) -> ForgeryLLM:
    from transformers import AutoTokenizer

    learner = projector = None
    if info.style.mode == "soft_prompts":
        learner = ForgeryPromptLearner.from_pretrained(place / "prompt_learner").to(device)
    if info.style.has_soft_prompts:
        projector = VisualProjector.from_pretrained(place / "projector").to(device)
    tokenizer = AutoTokenizer.from_pretrained(str(place))
    return ForgeryLLM(llm, tokenizer, info.style, learner, projector).eval()
