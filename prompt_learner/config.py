"""Sizes of the Forgery Prompt Learner and of the visual projector."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptLearnerConfig:
    """The sizes needed to rebuild both modules (paper §3.2, Fig. 4).

    The token counts are those of the paper's public code: nine of each.
    """

    llm_dim: int  # width of the language model's token embeddings, C_emb
    image_embed_dim: int  # width of the detector's image embedding
    taps: int  # number of consistency maps the detector gives
    num_base: int = 9  # n_1: learnable tokens that see no image
    num_map: int = 9  # n_2: tokens read from the heatmap
    num_cons: int = 9  # n_3: tokens read from the consistency maps
    num_prompts: int = 9  # n_f: tokens handed to the language model
    map_side: int = 64  # the heatmap is brought to this side, in pixels, whatever the detector's is
    cons_side: int = 32  # the consistency maps are brought to this side, in patches
    width: int = 96  # channels of the last convolution of both networks
    token_rms: float = 0.02  # root mean square of the LLM's token embeddings: prompts start at that size

    def __post_init__(self) -> None:
        counts = ("llm_dim", "image_embed_dim", "taps", "num_base", "num_map", "num_cons", "num_prompts")
        problems = [f"{name} = {getattr(self, name)}" for name in counts if getattr(self, name) < 1]
        problems += [
            f"{name} = {getattr(self, name)} (a multiple of 8)"
            for name in ("map_side", "cons_side", "width")
            if getattr(self, name) < 8 or getattr(self, name) % 8
        ]
        if not self.token_rms > 0:
            problems.append(f"token_rms = {self.token_rms} (above 0)")
        if problems:
            raise ValueError("PromptLearnerConfig needs positive sizes, got " + ", ".join(problems))
