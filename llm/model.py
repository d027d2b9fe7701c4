"""A causal language model that reads forgery soft prompts (paper §3.2)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import torch
from torch import Tensor, nn

from common.storage import save_config
from common.strict_json import fits, read_json_object
from data_sim.dialogue import untuned_task
from kfd.detection import Detection
from llm.adapter import load_adapter, save_adapter
from llm.base import BaseShape, base_digest, base_shape, load_base, shard_base
from llm.packaged import PACKAGED
from llm.prompt import PromptStyle
from llm.questions.hearing import EAR_FILE, ModelEar
from llm.questions.likeness import Ear, by_letters
from llm.tokens import IGNORED, NO_SOFT, Batch, Counts, PromptTokenizer, Tokens, collate
from llm.training.losses import Losses, conversation_losses
from prompt_learner import ForgeryPromptLearner, VisualProjector

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Info = TypeVar("Info")

FORMAT_VERSION = 1
INFO_FILE = "assistant.json"
RUN_FILE = "finetune.json"  # the settings of the run that trained it


@dataclass(frozen=True)
class AssistantInfo:
    """assistant.json: what belongs to the trained parts of an assistant.

    base: folder (relative to the assistant's) or hub id of the base model.
    base_shape, base_digest: of the base model the parts were trained for.
    style: the prompt's wording. adapter: whether there is a LoRA adapter.
    kfd_digest: of the detector whose findings the prompt learner has learnt to read; "" when unknown.
    base_sha256: of the base model's file, where a Python package brings it; else "".
    facts: what the training run wants remembered (commit, data, seed, time).
    """

    base: str
    base_shape: BaseShape
    base_digest: str
    style: PromptStyle
    adapter: bool
    kfd_digest: str = ""
    base_sha256: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


class ForgeryLLM(nn.Module):
    """Language model, tokenizer, Forgery Prompt Learner and visual projector."""

    def __init__(
        self,
        llm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        style: PromptStyle,
        prompt_learner: ForgeryPromptLearner | None = None,
        projector: VisualProjector | None = None,
    ) -> None:
        """prompt_learner, projector: both; the projector alone for a model that sees nothing but the picture;
        neither for one that reads evidence as text.

        Raises ValueError when their width is not the language model's.
        """
        super().__init__()
        self.llm = llm
        self.prompt_learner = prompt_learner
        self.projector = projector
        self.info: AssistantInfo | None = None  # set by from_pretrained
        self.ear: Ear = by_letters  # set by from_pretrained where the assistant has one of its own
        self._digest: str | None = None  # of the base model, where its weights are no longer in one place
        self.width = width = llm.get_input_embeddings().embedding_dim
        for part in (prompt_learner, projector):
            if part is not None and part.config.llm_dim != width:
                raise ValueError(
                    f"{type(part).__name__} was made for a language model of width {part.config.llm_dim}, "
                    f"got one of width {width}: use the base model it was trained with, or train it anew"
                )
        num_prompts = 0 if prompt_learner is None else prompt_learner.config.num_prompts
        self.prompter = PromptTokenizer(tokenizer, style, num_prompts)

    @property
    def device(self) -> torch.device:
        return self.llm.get_input_embeddings().weight.device

    @property
    def max_tokens(self) -> int:
        """The most tokens that a conversation may have."""
        return self.llm.config.get_text_config().max_position_embeddings

    def soft_prompts(self, detection: Detection) -> tuple[Tensor, Tensor]:
        """(E_visual (B, 1, C), E_forgery (B, n_f, C)) of B faces, float32; n_f is 0 without prompt learner.

        Raises ValueError when this model has no projector.
        """
        if self.projector is None:
            raise ValueError("this model reads evidence as text and has no soft prompts: pass no detection")
        visual = self.projector(detection.embedding)
        if self.prompt_learner is None:
            return visual, visual[:, :0]
        return visual, self.prompt_learner(detection)

    def embed(self, input_ids: Tensor, soft_index: Tensor, soft: Tensor | None) -> Tensor:
        """Token embeddings with the soft prompts spliced in.

        input_ids, soft_index: (B, T) int64, see llm.tokens.Batch.
        soft: (B, 1 + n_f, C) E_visual and E_forgery one behind the other, or None for blank evidence:
            zeros, which is what the base model is pretrained on.
        Returns (B, T, C) in the embedding table's dtype.
        """
        words = self.llm.get_input_embeddings()(input_ids)
        if soft is None:
            soft = words.new_zeros(words.shape[0], 1, words.shape[2])
            rows = torch.zeros_like(soft_index)
        else:
            rows = soft_index.clamp(min=0)
        spliced = soft.to(words.dtype).gather(1, rows[..., None].expand(-1, -1, words.shape[2]))
        return torch.where((soft_index == NO_SOFT)[..., None], words, spliced)

    def forward(
        self, batch: Batch, detection: Detection | None = None, verdict_weight: float = 1.0
    ) -> Losses:
        """The losses of B conversations.

        detection: of the B faces, or None for blank evidence or evidence as text.
        verdict_weight: how much one verdict counts against one token of text.
        """
        soft = None if detection is None else torch.cat(self.soft_prompts(detection), dim=1)
        return self.losses(batch, soft, verdict_weight)

    def losses(
        self,
        batch: Batch,
        soft: Tensor | None,
        verdict_weight: float = 1.0,
        counts: Counts | None = None,
    ) -> Losses:
        """The losses of B conversations with given soft prompts, see `embed`. counts: see llm.tokens."""
        embeds = self.embed(batch.input_ids, batch.soft_index, soft)
        # Only where some conversation has a target: over 152,000 words the other logits would fill gigabytes.
        wanted = ((batch.labels[:, 1:] != IGNORED) | (batch.yes_targets[:, 1:] >= 0)).any(dim=0)
        places = wanted.nonzero().flatten()
        logits = self.llm(inputs_embeds=embeds, use_cache=False, logits_to_keep=places).logits
        labels, yes_targets = batch.labels[:, places + 1], batch.yes_targets[:, places + 1]
        ids = self.prompter.yes_id, self.prompter.no_id
        return conversation_losses(logits, labels, yes_targets, *ids, verdict_weight, counts)

    @torch.inference_mode()
    def yes_probabilities(self, prompts: Sequence[Tokens], found: Detection | None = None) -> Tensor:
        """P(Yes | Yes or No) as the next word behind each of B prompts, (B,) float64 on the CPU.

        found: of the B faces, or None for blank soft prompts or evidence as text.
        """
        batch = collate(prompts).to(self.device)
        soft = None if found is None else torch.cat(self.soft_prompts(found), dim=1)
        embeds = self.embed(batch.input_ids, batch.soft_index, soft)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        places, row = last.unique(return_inverse=True)
        logits = self.llm(inputs_embeds=embeds, use_cache=False, logits_to_keep=places).logits
        logits = logits[torch.arange(len(prompts), device=self.device), row]
        margin = logits[:, self.prompter.yes_id].double() - logits[:, self.prompter.no_id].double()
        return margin.sigmoid().cpu()

    def shard(self, device: str) -> None:
        """Split the frozen base model over the processes, see llm.base.shard_base."""
        self._digest = base_digest(self._base())
        shard_base(self.llm, device)

    def _base(self) -> PreTrainedModel:
        return self.llm.get_base_model() if hasattr(self.llm, "peft_config") else self.llm

    def merge_adapter(self) -> None:
        """Fold the LoRA matrices into the base weights: same answers, fewer products per token.

        Not into weights in 4 bits, which would be rounded anew and answer otherwise.
        """
        if hasattr(self.llm, "merge_and_unload") and not getattr(self._base(), "is_loaded_in_4bit", False):
            self.llm = self.llm.merge_and_unload()

    def load_ear(self, folder: str | Path) -> None:
        """Hear with the ear in a folder, by letters where there is none. Raises ValueError for another's."""
        self.ear = ModelEar.load(folder, self) or by_letters

    def save_pretrained(
        self, folder: str | Path, base: str | Path, kfd_digest: str = "", **facts: Any
    ) -> None:
        """Write what was trained, the tokenizer and the wording; the base model stays where it is.

        base: folder or hub id of the base model; a folder is remembered relative to `folder`.
        facts: plain values about the training run.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / EAR_FILE).unlink(missing_ok=True)  # one fitted to other weights
        has_adapter = hasattr(self.llm, "peft_config")
        base = os.path.relpath(base, folder) if Path(base).is_dir() else str(base)
        if has_adapter:
            for config in self.llm.peft_config.values():  # PEFT would note where this machine keeps the base
                config.base_model_name_or_path = base
            save_adapter(self.llm, folder)
        for name, part in (("prompt_learner", self.prompt_learner), ("projector", self.projector)):
            if part is not None:
                part.save_pretrained(folder / name)
        self.prompter.tokenizer.save_pretrained(str(folder))
        info = AssistantInfo(
            base=base,
            base_shape=base_shape(self._base()),
            base_digest=self._digest or base_digest(self._base()),
            style=self.prompter.style,
            adapter=has_adapter,
            kfd_digest=kfd_digest,
            base_sha256=PACKAGED[base].sha256 if base in PACKAGED else "",
            facts=facts,
        )
        save_config(info, folder / INFO_FILE)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        base: str | Path | None = None,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        quantize: bool = False,
        trainable: bool = False,
    ) -> ForgeryLLM:
        """Load an assistant saved by `save_pretrained` onto its base model.

        base: folder or hub id, where it is not the one the assistant remembers.
        dtype, quantize: see llm.base.load_base. trainable: leave the adapter open for more training.
        Raises FileNotFoundError when something is missing; ValueError when the base model is another one or
        a checkpoint does not fit.
        """
        from transformers import AutoTokenizer

        folder = Path(folder)
        info = read_info(folder)
        base = find_base(folder, info) if base is None else base
        llm, _ = load_base(base, device, dtype, quantize)
        _check_base(info, llm, folder, base)
        if info.adapter:
            llm = load_adapter(llm, folder, trainable)
        learner = projector = None
        if info.style.mode == "soft_prompts":
            learner = ForgeryPromptLearner.from_pretrained(folder / "prompt_learner").to(device)
        if info.style.has_soft_prompts:
            projector = VisualProjector.from_pretrained(folder / "projector").to(device)
        model = cls(llm, AutoTokenizer.from_pretrained(str(folder)), info.style, learner, projector)
        model.info = info
        model.load_ear(folder)
        return model if trainable else model.eval()

    @classmethod
    def untuned(
        cls,
        base: str | Path,
        template: str = "chat",
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        quantize: bool = False,
    ) -> ForgeryLLM:
        """Any instruct model as it is, reading the evidence as text."""
        llm, tokenizer = load_base(base, device, dtype, quantize)
        return cls(llm, tokenizer, PromptStyle(template, "evidence_text", untuned_task())).eval()


def trained_in_4_bits(folder: str | Path) -> bool:
    """Whether an assistant was trained on a base model in 4 bits: it is then measured on one, too."""
    path = Path(folder) / RUN_FILE
    return path.is_file() and bool(read_json_object(path).get("quantize"))


def read_info(folder: Path) -> AssistantInfo:
    """assistant.json of a folder.

    Raises FileNotFoundError when there is none, ValueError when it is of another format.
    """
    path = folder / INFO_FILE
    if not path.is_file():
        raise FileNotFoundError(f"expected an assistant in {folder}, but it has no {INFO_FILE}")
    values = read_json_object(path)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path}: expected format version {FORMAT_VERSION}, got {version}: use the release that wrote it"
        )
    return described(AssistantInfo, values, path)


def described(info_class: type[Info], values: dict[str, Any], path: Path) -> Info:
    """Rebuild what a JSON file says of a saved assistant, with its `base_shape` and `style`.

    Raises ValueError naming the file for what is missing, unknown or of another type.
    """
    try:
        shape, style = values.pop("base_shape"), values.pop("style")
        parts = {"base_shape": (BaseShape, shape), "style": (PromptStyle, style)}
        for cls, given in [*parts.values(), (info_class, values)]:
            hints = get_type_hints(cls)
            wrong = [name for name, value in given.items() if name in hints and not fits(value, hints[name])]
            if wrong:
                raise TypeError(f"{', '.join(wrong)} of another type than expected")
        return info_class(**{name: cls(**given) for name, (cls, given) in parts.items()}, **values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a complete {path.name}: {error}") from None


def find_base(folder: Path, info: AssistantInfo) -> str:
    """Find the base model of an assistant: a folder relative to it, or a hub id."""
    beside = folder / info.base
    if beside.is_dir():
        return str(beside.resolve())
    if info.base.startswith("."):
        raise FileNotFoundError(
            f"the base model of {folder} is expected in {beside}, which does not exist: "
            "put it there or pass base="
        )
    return info.base


def _check_base(info: AssistantInfo, llm: PreTrainedModel, folder: Path, base: str | Path) -> None:
    got = base_shape(llm)
    advice = f"pass base={info.base!r}, or fine-tune for {base}"
    packaged = PACKAGED.get(str(base))
    if packaged is not None and info.base_sha256 not in ("", packaged.sha256):
        raise ValueError(
            f"{folder} was trained for a file {info.base} with SHA-256 {info.base_sha256}, got "
            f"{packaged.sha256}: {advice}"
        )
    if got != info.base_shape:
        raise ValueError(f"{folder} was trained for a base model with {info.base_shape}, got {got}: {advice}")
    if base_digest(llm) != info.base_digest:
        raise ValueError(
            f"{folder} was trained for the base model {info.base!r}, but {base} has other weights of the "
            f"same shape: {advice}"
        )
