"""Settings of VLAForge: what rebuilds it beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from baselines.towers import TowerName

Sees = Literal["tokens", "pixels", "both"]


@dataclass(frozen=True)
class VlaForgeConfig:
    """The four flags are the paper's ablation: none is its base, each next one adds T1, T2, T3, T4.

    encoder_digest: of the frozen tower's weights, which are not saved with the system.
    """

    system: Literal["vlaforge"] = "vlaforge"
    encoder: TowerName = "clip-vit-l14"  # the frozen tower, see baselines.towers
    encoder_digest: str = ""
    sees: Sees = "tokens"  # what the perceiver reads: CLIP's tokens (the paper), the pixels (its code), both
    num_queries: int = 128
    width: int = 192  # of the perceiver
    blocks: int = 8  # of the perceiver
    heads: int = 3  # of the perceiver's attention
    hidden: int = 256  # inside the MLPs that make masks
    mask_dim: int = 128  # of the space where queries meet patches
    map_scale: float = 10.0  # starting factor on the cosines of the attention map; learned
    alpha: float = 0.5  # share of the global score in the fused one
    masks: bool = True  # T1: masks bias the attention of copies of the class token
    location: bool = True  # T2: a map of where it is forged, trained on true masks
    vla: bool = True  # T3: texts that know the person, and the score of their map
    orthogonal: bool = True  # T4: masks of different queries are pushed apart
    weights: Literal["paper", "released"] = "paper"  # of the losses: all 1, or those of the published code

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be positive, got {value}"
            for name in ("num_queries", "width", "blocks", "heads", "hidden", "mask_dim", "map_scale")
            if (value := getattr(self, name)) <= 0
        ]
        if self.width % self.heads:
            problems.append(f"heads ({self.heads}) must divide width ({self.width})")
        if self.sees not in get_args(Sees):
            problems.append(f"sees must be one of {get_args(Sees)}, got {self.sees!r}")
        if not 0 < self.alpha < 1:
            problems.append(f"alpha must lie between 0 and 1, got {self.alpha}")
        if self.orthogonal and not self.masks:
            problems.append("orthogonal needs masks: --no-orthogonal too")
        if problems:
            raise ValueError("; ".join(problems))
