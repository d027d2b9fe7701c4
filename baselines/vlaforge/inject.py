"""Masks enter a frozen tower as attention bias, and change nothing but the copies that carry them.

CLIP: one more class token for every query, closed to all others, whose attention to the patches is biased in
every block. The embedded tower has no attention but the mean of its last grid, which is attention without
bias: its copies are the means that the softmax of the mask weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.towers import ClipTower, EmbeddedTower, Tower

CLOSED = float("-inf")  # no attention


@dataclass(frozen=True)
class Modulated:
    """What a tower says with masks in it.

    queries: (B, Q, C) float32, L2-normalised embedding of each biased copy; Q = 0 without masks.
    patches: (B, N, D) tokens that the texts are compared with, untouched by the masks.
    embedding: (B, C) float32, L2-normalised, of the whole picture, untouched too.
    """

    queries: Tensor
    patches: Tensor
    embedding: Tensor


class ClipInjection:
    """Of CLIP. grid: (h, w) of its patches. heads: of its attention. token_dim, patch_dim: of its tokens."""

    def __init__(self, tower: ClipTower):
        vision = tower.encoder.model.config.vision_config
        side = vision.image_size // vision.patch_size
        self.grid, self.heads = (side, side), vision.num_attention_heads
        self.token_dim = self.patch_dim = vision.hidden_size

    def begin(self, tower: ClipTower, pixels: Tensor) -> Tensor:
        """The tokens that enter the first block: (B, 1 + N, D), the class token first."""
        vision = tower.encoder.model.vision_model
        return vision.pre_layrnorm(vision.embeddings(pixels))

    def tokens(self, begun: Tensor) -> Tensor:
        """Those of the patches: (B, N, token_dim)."""
        return begun[:, 1:]

    def finish(self, tower: ClipTower, begun: Tensor, bias: Tensor | None) -> Modulated:
        """The rest of the tower. bias: (B, heads, Q, N), or None."""
        vision = tower.encoder.model.vision_model
        count = 0 if bias is None else bias.shape[2]
        copies = begun[:, :1].expand(-1, count, -1)
        mask = None if bias is None else attention_mask(bias.to(begun.dtype))
        tokens = vision.encoder(inputs_embeds=torch.cat([copies, begun], 1), attention_mask=mask)
        tokens = tokens.last_hidden_state
        project = tower.project
        read = vision.post_layernorm(tokens[:, : count + 1])  # the copies, then the class token
        return Modulated(project(read[:, :count]), tokens[:, count + 1 :], project(read[:, count]))


class PoolingInjection:
    """Of the embedded tower, at its last tap; see ClipInjection."""

    heads = 1

    def __init__(self, tower: EmbeddedTower):
        encoder = tower.encoder
        self.tap = encoder.config.taps[-1]
        with torch.no_grad():
            side = encoder.image_size
            sample = torch.zeros(1, 3, side, side, device=encoder.image_head.weight.device)
            found = self.begin(tower, sample)
        self.token_dim = self.patch_dim = found.shape[1]
        self.grid = (found.shape[2], found.shape[3])

    def begin(self, tower: EmbeddedTower, pixels: Tensor) -> Tensor:
        """The features of the last tap: (B, D, h, w)."""
        image_tower = tower.encoder.image_tower
        features = image_tower.conv_stem(pixels)
        for layer in image_tower.layer[: self.tap + 1]:
            features = layer(features)
        return features

    def tokens(self, begun: Tensor) -> Tensor:
        return begun.flatten(2).transpose(1, 2)

    def finish(self, tower: EmbeddedTower, begun: Tensor, bias: Tensor | None) -> Modulated:
        features = begun
        for layer in tower.encoder.image_tower.layer[self.tap + 1 :]:
            features = layer(features)
        pooled = features.mean(dim=(2, 3))
        queries = pooled[:, None, :][:, :0]
        if bias is not None:
            coarse = F.adaptive_avg_pool2d(bias[:, 0].unflatten(-1, self.grid), features.shape[-2:])
            queries = coarse.flatten(2).softmax(dim=-1) @ features.flatten(2).transpose(1, 2)  # (B, Q, D)
        return Modulated(tower.project(queries), self.tokens(begun), tower.project(pooled))


def injection_of(tower: Tower) -> ClipInjection | PoolingInjection:
    """The way in which masks enter a tower."""
    return ClipInjection(tower) if isinstance(tower, ClipTower) else PoolingInjection(tower)


def attention_mask(bias: Tensor) -> Tensor:
    """The additive mask of a sequence of Q copies of the class token, the class token, and N patches.

    bias: (B, H, Q, N). Returns (B, H, L, L), L = Q + 1 + N: nobody sees a copy but itself, a copy sees itself
    and the patches, these with its bias; class token and patches see each other as ever.
    """
    size, heads, count, patches = bias.shape
    length = count + 1 + patches
    mask = bias.new_zeros(size, heads, length, length)
    mask[..., :count] = CLOSED
    mask[..., :count, count] = CLOSED
    each = torch.arange(count, device=bias.device)
    mask[..., each, each] = 0
    mask[..., :count, count + 1 :] = bias
    return mask
