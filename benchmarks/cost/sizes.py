"""The shapes that are measured: the paper's models, and tiny ones that run anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfd.encoders.imagebind import ImageBindConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig

VICUNA = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
    "max_position_embeddings": 4096,
}  # fmt: skip
QWEN = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "max_position_embeddings": 32768,
}  # fmt: skip
TINY_LLM = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 1024, "max_position_embeddings": 2048,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What is measured, and how much of it.

    encoder: shape of the frozen towers. llms: fields of each language model's own config, by name.
    images: faces judged at once. pairs: of a training step of the detector, a real face and a forgery each.
    conversations, tokens: of one fine-tuning batch. answer: tokens of the answer in a chat.
    repeats: timed runs, whose median counts. matrix: side of the product that measures the matrix rate.
    """

    encoder: ImageBindConfig
    llms: Mapping[str, Mapping[str, object]]
    images: int
    pairs: int
    conversations: int
    tokens: int
    answer: int
    repeats: int
    matrix: int

    def llm_config(self, name: str) -> PretrainedConfig:
        """The transformers config of a language model of this size."""
        from transformers import AutoConfig

        return AutoConfig.for_model(tie_word_embeddings=False, **self.llms[name])


SIZES = {
    "full": Size(
        encoder=ImageBindConfig(),
        llms={"Vicuna-7B": VICUNA, "Qwen2.5-7B": QWEN},
        images=64,
        pairs=32,
        conversations=8,
        tokens=512,
        answer=128,
        repeats=10,
        matrix=8192,
    ),
    "tiny": Size(
        encoder=ImageBindConfig(
            image_size=56, vision_dim=64, vision_blocks=3, vision_heads=2, text_dim=32, text_blocks=2,
            text_heads=2, vocab_size=512, embed_dim=32, taps=(1, 2, 3),
        ),
        llms={
            "tiny Llama": {"model_type": "llama", "num_key_value_heads": 4, **TINY_LLM},
            "tiny Qwen2": {"model_type": "qwen2", "num_key_value_heads": 2, **TINY_LLM},
        },
        images=4,
        pairs=2,
        conversations=2,
        tokens=128,
        answer=8,
        repeats=2,
        matrix=256,
    ),
}  # fmt: skip
