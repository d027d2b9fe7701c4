"""CLIP adapted in four ways with few parameters (document 001; CoOp: Khan et al., CLIPping the Deception).

clip-probe   a linear layer on the image embedding: 513 parameters on ViT-B/32
clip-lora    the same, and LoRA on the queries and values of the image tower: 1,179,648 + 513
clip-vp      a learned patch added to the picture, and a linear layer on the pooled output: 43,969
clip-coop    learned words in front of the class names, compared with the image embedding: 12,288 on ViT-L/14
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from baselines.system import System
from baselines.towers import Tower, TowerName
from kfd.detection import CLASSES
from kfd.encoders.text import tokenize
from kfd.reader import ReaderOutput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ClipSystem = Literal["clip-probe", "clip-lora", "clip-vp", "clip-coop"]
COSINE_SCALE = 100.0  # of CoOp's logits, CLIP's own after its training


@dataclass(frozen=True)
class ClipConfig:
    """All that rebuilds one of the four beside its weights.

    encoder_digest: of the frozen tower's weights, which are not saved with the system.
    """

    system: ClipSystem = "clip-probe"
    encoder: TowerName = "clip-vit-b32"  # the frozen tower, see baselines.towers
    encoder_digest: str = ""
    rank: int = 32  # of LoRA
    alpha: float = 64.0  # of LoRA: its update counts alpha / rank
    dropout: float = 0.05  # of what enters LoRA
    prompt_size: int = 120  # side of the learned patch, in pixels
    num_context: int = 16  # learned words in front of a class name

    def __post_init__(self) -> None:
        positive = ("rank", "alpha", "prompt_size", "num_context")
        problems = [
            f"{n} must be positive, got {getattr(self, n)}" for n in positive if getattr(self, n) <= 0
        ]
        if self.system not in get_args(ClipSystem):
            problems.append(f"system must be one of {get_args(ClipSystem)}, got {self.system!r}")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout must lie in [0, 1), got {self.dropout}")
        if problems:
            raise ValueError("; ".join(problems))


class ClipProbe(System):
    """A linear layer on the frozen, L2-normalised image embedding."""

    words = "a linear layer on what a frozen image encoder says of the whole face."

    def __init__(self, config: ClipConfig, tower: Tower):
        super().__init__(config, tower.image_size, tower)
        self.head = nn.Linear(tower.embed_dim, 1)

    def forward(self, images: Tensor, constants: Tensor | None = None) -> ReaderOutput:
        embedding = self.tower.project(self.tower.pooled(self.tower.pixels(images)))
        return ReaderOutput(self.head(embedding).squeeze(1), embedding=embedding)


class ClipLora(ClipProbe):
    """The probe on an image tower with LoRA in it."""

    words = "a linear layer on what an image encoder, adapted with LoRA, says of the whole face."

    def __init__(self, config: ClipConfig, tower: Tower):
        from peft import LoraConfig, inject_adapter_in_model

        super().__init__(config, tower)
        lora = LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=tower.lora_targets,
        )
        inject_adapter_in_model(lora, self.tower)  # freezes what is not LoRA
        for module in self.tower.modules():
            if isinstance(getattr(module, "base_layer", None), nn.Conv2d):
                # The tower pads by what it reads off its convolutions, and peft's wrapper hides that.
                for name in ("stride", "kernel_size", "dilation", "padding"):
                    setattr(module, name, getattr(module.base_layer, name))


class ClipVisualPrompt(System):
    """A learned patch at a fixed place, added to the normalised picture, and a linear layer.

    The place is the upper left corner (Bahng et al.'s "fixed patch"); the report gives a size and a count of
    parameters, which is that of such a patch with a linear layer on the pooled output, and no place.
    """

    words = "a linear layer on what a frozen image encoder says of the face with a learned patch added to it."

    def __init__(self, config: ClipConfig, tower: Tower):
        super().__init__(config, tower.image_size, tower)
        if config.prompt_size > tower.image_size:
            raise ValueError(
                f"prompt_size ({config.prompt_size}) must fit into the picture ({tower.image_size} pixels)"
            )
        self.prompt = nn.Parameter(torch.zeros(1, 3, config.prompt_size, config.prompt_size))
        self.head = nn.Linear(tower.width, 1)

    def forward(self, images: Tensor, constants: Tensor | None = None) -> ReaderOutput:
        pixels = self.tower.pixels(images)
        room = self.image_size - self.config.prompt_size
        prompted = pixels + nn.functional.pad(self.prompt, (0, room, 0, room)).to(pixels.dtype)
        pooled = self.tower.pooled(prompted)
        return ReaderOutput(self.head(pooled).squeeze(1), embedding=self.tower.project(pooled))


class ClipCoop(System):
    """Learned words in front of "real" and "fake", the same for both; softmax of the scaled cosines."""

    words = "a frozen image encoder, whose view of the face is compared with learned texts for real and fake."

    def __init__(self, config: ClipConfig, tower: Tower, tokenizer: Tokenizer):
        super().__init__(config, tower.image_size, tower, tokenizer)
        encoder = tower.encoder
        input_ids, eot = tokenize(tokenizer, CLASSES, encoder.context_length - config.num_context)
        self.context = nn.Parameter(0.02 * torch.randn(config.num_context, encoder.text_dim))
        # Rebuilt from the tokenizer that travels with the weights, hence not in the state dict.
        self.register_buffer("input_ids", input_ids, persistent=False)  # (2, L)
        self.register_buffer("eot", eot, persistent=False)  # (2,)

    def constants(self) -> Tensor:
        """(2, C) L2-normalised features of the two texts, in CLASSES order."""
        tokens = self.tower.encoder.embed_tokens(self.input_ids)  # (2, L, D)
        context = self.context.expand(len(tokens), -1, -1).to(tokens.dtype)
        tokens = torch.cat([tokens[:, :1], context, tokens[:, 1:]], dim=1)  # the start token stays first
        return self.tower.encoder.text_features(tokens, self.eot + self.config.num_context)

    def forward(self, images: Tensor, constants: Tensor | None = None) -> ReaderOutput:
        texts = self.constants() if constants is None else constants
        embedding = self.tower.project(self.tower.pooled(self.tower.pixels(images)))
        real, fake = (COSINE_SCALE * embedding @ texts.T).unbind(1)
        return ReaderOutput(fake - real, embedding=embedding)  # two-class softmax = sigmoid of the difference


def build_clip(config: ClipConfig, tower: Tower, tokenizer: Tokenizer) -> System:
    """One of the four, untrained."""
    if config.system == "clip-coop":
        return ClipCoop(config, tower, tokenizer)
    kinds = {"clip-probe": ClipProbe, "clip-lora": ClipLora, "clip-vp": ClipVisualPrompt}
    return kinds[config.system](config, tower)
