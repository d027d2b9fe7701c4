"""Settings of the fine-tuned Qwen2.5-VL: what rebuilds it beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class QwenConfig:
    """encoder_digest: of the frozen model's weights, which are not saved with the system."""

    system: Literal["qwen-vl"] = "qwen-vl"
    encoder: Literal["qwen2.5-vl-7b"] = "qwen2.5-vl-7b"  # the frozen model; any of its kind by --encoder
    encoder_digest: str = ""
    image_size: int = 224  # side of the crops, in pixels
    quantize: bool = True  # the frozen weights in 4 bits (NF4), in training and afterwards alike
    rank: int = 16  # of LoRA, on all linear layers of language model and vision blocks
    alpha: float = 16.0  # of LoRA: its update counts alpha / rank
    dropout: float = 0.0  # of what enters LoRA

    def __post_init__(self) -> None:
        problems = [
            f"{n} must be positive, got {getattr(self, n)}"
            for n in ("image_size", "rank", "alpha")
            if getattr(self, n) <= 0
        ]
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout must lie in [0, 1), got {self.dropout}")
        if problems:
            raise ValueError("; ".join(problems))
