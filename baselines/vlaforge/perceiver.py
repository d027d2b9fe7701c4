"""ForgePerceiver: a light transformer with learnable queries that says where to look for traces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.vlaforge.config import VlaForgeConfig
from kfd.encoders.base import normalize_pixels
from kfd.encoders.towers import NORM_EPS, Trunk

PATCH = 16  # pixels of the picture that the perceiver sees as one, where it sees pixels


@dataclass(frozen=True)
class Perceived:
    """What the perceiver makes of B pictures: Q queries, H attention heads, a grid of N = h * w places.

    bias: (B, H, Q, N), the masks, to be added to attention logits. location: (B, 1, h, w) logits of where it
    is forged.
    """

    bias: Tensor
    location: Tensor


class ForgePerceiver(nn.Module):
    """Masks M_i = q v_i^T for every attention head i of the tower, and one localisation map.

    token_dim: of the tower's tokens. grid: (h, w) of them. tower_heads: H, each gets masks of its own.
    """

    def __init__(self, config: VlaForgeConfig, token_dim: int, grid: tuple[int, int], tower_heads: int):
        super().__init__()
        self.config, self.grid, self.tower_heads = config, grid, tower_heads
        width, queries = config.width, config.num_queries
        if config.sees != "pixels":
            self.from_tokens = nn.Linear(token_dim, width)
        if config.sees != "tokens":
            self.from_pixels = nn.Conv2d(3, width, PATCH, PATCH)
        self.queries = nn.Parameter(0.02 * torch.randn(1, queries, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, grid[0] * grid[1], width))
        self.trunk = Trunk(width, config.blocks, config.heads, norm_first=True)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.of_queries = _mlp(width, config.hidden, config.mask_dim)
        self.of_patches = _mlp(width, config.hidden, config.mask_dim * tower_heads)
        self.of_places = _mlp(width, config.hidden, config.mask_dim)  # g_3 of the paper
        self.affine = nn.Parameter(torch.tensor([config.mask_dim**-0.5, 0.0]))  # scale and shift of a mask
        self.aggregate = nn.Sequential(
            *_conv2d(queries, 64), *_conv2d(64, 32), nn.Conv2d(32, 1, 1)
        )  # h of the paper

    def forward(self, tokens: Tensor, images: Tensor) -> Perceived:
        """tokens: (B, N, token_dim) of the tower. images: (B, 3, S, S) in [0, 1]."""
        seen = torch.zeros((), device=images.device)
        if self.config.sees != "pixels":
            seen = seen + self.from_tokens(tokens.float())
        if self.config.sees != "tokens":
            sides = (PATCH * self.grid[0], PATCH * self.grid[1])
            pixels = F.interpolate(normalize_pixels(images), sides, mode="bilinear")
            seen = seen + self.from_pixels(pixels).flatten(2).transpose(1, 2)  # (B, N, width)
        count = self.config.num_queries
        sequence = torch.cat([self.queries.expand(len(images), -1, -1), seen + self.positions], dim=1)
        read = self.norm(self.trunk(sequence)[0])
        queries, patches = self.of_queries(read[:, :count]), read[:, count:]
        by_head = (
            self.of_patches(patches).unflatten(-1, (self.tower_heads, -1)).transpose(1, 2)
        )  # (B, H, N, d)
        bias = self.affine[0] * queries[:, None] @ by_head.transpose(-1, -2) + self.affine[1]
        maps = queries @ self.of_places(patches).transpose(1, 2)  # (B, Q, N), one map per query
        return Perceived(bias, self.aggregate(maps.unflatten(-1, self.grid)))


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def _conv2d(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
