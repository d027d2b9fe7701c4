"""The Forgery Prompt Learner (paper §3.2, Fig. 4) and the visual projector."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.storage import CONFIG_FILE, check_sizes, load_weights, read_config, save_module
from kfd.detection import Detection
from prompt_learner.config import PromptLearnerConfig
from prompt_learner.grid import GridTokens


class MapTokens(nn.Module):
    """A convolutional network that turns maps of one fixed side into a few tokens.

    Three stride-2 convolutions; then each token is a learned weighting of all positions, so that
    any token can look anywhere; then one projection to the language model's width. The wide layer
    comes last and acts on `width` channels only, which keeps a 4096-wide model affordable.
    No normalisation in between: BatchNorm would differ between training and a chat about a single face,
    and any norm over one image erases how strongly its map speaks, which is evidence.
    """

    def __init__(self, channels: int, side: int, width: int, tokens: int, llm_dim: int) -> None:
        super().__init__()
        widths = (channels, width // 4, width // 2, width)
        self.convolutions = nn.Sequential(
            *(
                layer
                for a, b in pairwise(widths)
                for layer in (nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1), nn.GELU())
            )
        )
        self.positions = nn.Linear((side // 8) ** 2, tokens)
        self.project = nn.Linear(width, llm_dim)
        for layer in (*self.convolutions.children(), self.positions, self.project):
            if not isinstance(layer, nn.GELU):
                nn.init.kaiming_normal_(layer.weight)  # without norms, the usual start would fade the signal

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (B, channels, side, side). Returns (B, tokens, llm_dim)."""
        features = self.convolutions(maps).flatten(2)  # (B, width, positions)
        return self.project(F.gelu(self.positions(features)).transpose(1, 2))


class ForgeryPromptLearner(nn.Module):
    """Heatmap, consistency maps and score become E_forgery."""

    def __init__(self, config: PromptLearnerConfig) -> None:
        super().__init__()
        self.config = config
        dim, channels = config.llm_dim, 2 * config.taps
        tokens = config.num_base + config.num_map + config.num_cons + 1
        self.score_token = nn.Linear(1, dim)
        # Tokens are the channels of `fuse`. An untrained prompt of another size than a word would drown the
        # words or be drowned by them: a norm, or the weights themselves, give it that size.
        if config.design == "grid":
            self.base = nn.Parameter(torch.randn(config.num_base, dim))
            self.map_tokens, self.cons_tokens = GridTokens(1, dim), GridTokens(channels, dim)
            self.fuse = nn.Conv1d(tokens, config.num_prompts, kernel_size=3, padding=1)
            self.norm = nn.Identity()
            for parameter in self.fuse.parameters():
                parameter.data *= config.token_rms
        else:
            self.base = nn.Parameter(0.1 * torch.randn(config.num_base, dim))
            self.map_tokens = MapTokens(1, config.map_side, config.width, config.num_map, dim)
            self.cons_tokens = MapTokens(channels, config.cons_side, config.width, config.num_cons, dim)
            # Kernel 1, because neighbouring entries of an embedding are not related; the norm drops a bias.
            self.fuse = nn.Conv1d(tokens, config.num_prompts, kernel_size=1, bias=False)
            self.norm = nn.LayerNorm(dim)
            nn.init.constant_(self.norm.weight, config.token_rms)

    def forward(self, detection: Detection) -> Tensor:
        """Returns E_forgery, (B, num_prompts, llm_dim), in this module's dtype and on its device.

        Raises ValueError when the detection has another number of consistency maps.
        """
        if len(detection.consistency_maps) != self.config.taps:
            raise ValueError(
                f"the prompt learner expects {self.config.taps} consistency maps, got "
                f"{len(detection.consistency_maps)}: use the detector it was trained with, or train it again"
            )
        e_loc = self.map_tokens(self._sized(detection.heatmap).to(self.base))
        e_cons = self.cons_tokens(self._stack(detection.consistency_maps).to(self.base))
        e_cls = self.score_token(detection.score.to(self.base)[:, None, None])
        e_base = self.base.expand(e_loc.shape[0], -1, -1)
        return self.norm(self.fuse(torch.cat([e_base, e_loc, e_cons, e_cls], dim=1)))

    def _sized(self, heatmap: Tensor) -> Tensor:
        """Bring a heat map of any side to (B, 1, map_side, map_side)."""
        side = (self.config.map_side, self.config.map_side)
        if heatmap.shape[-2:] == side:
            return heatmap
        # antialias: a detector's heatmap is larger than `map_side`, and thin regions must not alias away
        return F.interpolate(heatmap, side, mode="bilinear", align_corners=False, antialias=True)

    def _stack(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Bring the maps of all taps to one side: (B, 2 * taps, cons_side, cons_side)."""
        side, grid = self.config.cons_side, self.config.design == "grid"
        same = [F.interpolate(m.float(), (side, side), mode="bilinear", align_corners=grid) for m in maps]
        together = torch.cat(same, dim=1)
        # tanh: scaled cosines are unbounded, and one extreme patch must not rule the whole map. The batch
        # norms of "grid" see to that themselves.
        return together if grid else torch.tanh(together / 4)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        save_module(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> ForgeryPromptLearner:
        """Rebuild from a folder of `save_pretrained`; strict, in eval mode."""
        config = read_config(PromptLearnerConfig, Path(folder) / CONFIG_FILE)
        check_sizes(lambda: cls(config), folder)
        learner = cls(config)
        load_weights(learner, folder)
        return learner.eval()


class VisualProjector(nn.Module):
    """One linear layer from the image embedding to one token, E_visual."""

    def __init__(self, config: PromptLearnerConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.image_embed_dim, config.llm_dim)
        # The embedding has unit length, so weights of this size give a token of a word's size.
        nn.init.normal_(self.linear.weight, std=config.token_rms)
        nn.init.zeros_(self.linear.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        """embedding: (B, image_embed_dim), unit length. Returns (B, 1, llm_dim).

        Raises ValueError for an embedding of another width.
        """
        if embedding.shape[-1] != self.config.image_embed_dim:
            raise ValueError(
                f"the visual projector expects embeddings of width {self.config.image_embed_dim}, got "
                f"{embedding.shape[-1]}: use the detector it was trained with, or train it again"
            )
        return self.linear(embedding.to(self.linear.weight))[:, None]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        save_module(self, self.config, folder)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> VisualProjector:
        """Rebuild from a folder of `save_pretrained`; strict, in eval mode."""
        config = read_config(PromptLearnerConfig, Path(folder) / CONFIG_FILE)
        check_sizes(lambda: cls(config), folder)
        projector = cls(config)
        load_weights(projector, folder)
        return projector.eval()
