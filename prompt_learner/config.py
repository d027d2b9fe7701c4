"""Sizes of the Forgery Prompt Learner and of the visual projector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Design = Literal["places", "grid"]
SIDES: dict[str, tuple[int, int]] = {"places": (64, 32), "grid": (224, 224)}  # of heat map, consistency maps
HALVINGS, GRID_KERNEL = 5, 5  # of the networks of "grid"


@dataclass(frozen=True)
class PromptLearnerConfig:
    """The sizes needed to rebuild both modules (paper §3.2, Fig. 4).

    design: "places", ours, where each token is a learned weighting of all places of a map; or "grid", as in
    the paper's public code, where each is one place of a grid of 3 x 3: see prompt_learner.grid.
    The token counts are those of the paper's public code: nine of each.
    """

    llm_dim: int  # width of the language model's token embeddings, C_emb
    image_embed_dim: int  # width of the detector's image embedding
    taps: int  # number of consistency maps the detector gives
    num_base: int = 9  # n_1: learnable tokens that see no image
    num_map: int = 9  # n_2: tokens read from the heatmap
    num_cons: int = 9  # n_3: tokens read from the consistency maps
    num_prompts: int = 9  # n_f: tokens handed to the language model
    map_side: int = 0  # the heatmap is brought to this side, in pixels; 0: that of SIDES
    cons_side: int = 0  # the consistency maps are brought to this side; 0 likewise
    width: int = 96  # channels of the last convolution of both networks; those of "grid" are the code's
    token_rms: float = 0.02  # root mean square of the LLM's token embeddings: prompts start at that size
    design: Design = "places"

    def __post_init__(self) -> None:
        if self.design not in get_args(Design):
            raise ValueError(f"design must be one of {get_args(Design)}, got {self.design!r}")
        for name, side in zip(("map_side", "cons_side"), SIDES[self.design], strict=True):
            if not getattr(self, name):
                object.__setattr__(self, name, side)
        counts = ("llm_dim", "image_embed_dim", "taps", "num_base", "num_map", "num_cons", "num_prompts")
        problems = [f"{name} = {getattr(self, name)}" for name in counts if getattr(self, name) < 1]
        problems += [
            f"{name} = {getattr(self, name)} (a multiple of 8)"
            for name in ("map_side", "cons_side", "width")
            if getattr(self, name) < 8 or getattr(self, name) % 8
        ]
        if self.design == "grid":
            problems += [
                f"{count} = {getattr(self, count)} (the grid of {side} = {getattr(self, side)} has "
                f"{grid_places(getattr(self, side))} places)"
                for count, side in (("num_map", "map_side"), ("num_cons", "cons_side"))
                if getattr(self, count) != grid_places(getattr(self, side))
            ]
        if not self.token_rms > 0:
            problems.append(f"token_rms = {self.token_rms} (above 0)")
        if problems:
            raise ValueError("PromptLearnerConfig needs positive sizes, got " + ", ".join(problems))


def grid_places(side: int) -> int:
    """How many tokens the network of "grid" reads from maps of so many pixels a side: 9 from 224."""
    return max(0, side // 2**HALVINGS - GRID_KERNEL + 1) ** 2
