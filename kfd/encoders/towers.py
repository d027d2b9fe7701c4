"""Transformer towers of ImageBind: a vision and a text tower, of any size.

Pre-norm blocks, biased multi-head attention, exact GELU, LayerNorm with eps 1e-6. The names of the parts
below a tower (`cls_token`, `rgbt_stem.proj.1`, `norm_1`, `mlp.fc1`, ...) are those of ImageBind's checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-6
CLIP_FRAMES = 2  # the vision stem sees two frames at a time; a photograph is shown to it twice


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between, four times as wide inside."""

    def __init__(self, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class Attention(nn.Module):
    """Multi-head self-attention, with the parameters, names and start values of nn.MultiheadAttention.

    That class copies queries, keys, values and result on its way through (length, batch, dim); here they
    are views of the products, which the fused kernels of scaled_dot_product_attention read as they are.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))  # queries, keys, values
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens: (B, L, dim). mask: (L, L) added to the logits, or None. Returns (B, L, dim)."""
        projected = F.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        heads = projected.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, L, d)
        attended = F.scaled_dot_product_attention(*heads.unbind(0), attn_mask=mask)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One pre-norm transformer block: (B, L, dim) to (B, L, dim)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads)
        self.norm_2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask: (L, L) added to the attention logits, or None."""
        tokens = tokens + self.attn(self.norm_1(tokens), mask)
        return tokens + self.mlp(self.norm_2(tokens))


class Trunk(nn.Module):
    """A stack of blocks, with a LayerNorm before it where `norm_first`."""

    def __init__(self, dim: int, num_blocks: int, num_heads: int, norm_first: bool):
        super().__init__()
        self.pre_transformer_layer = nn.Sequential(*([nn.LayerNorm(dim, eps=NORM_EPS)] if norm_first else []))
        self.blocks = nn.ModuleList(Block(dim, num_heads) for _ in range(num_blocks))

    def forward(
        self, tokens: Tensor, mask: Tensor | None = None, taps: Sequence[int] = ()
    ) -> tuple[Tensor, list[Tensor]]:
        """tokens: (B, L, dim); mask: (L, L) or None; taps: blocks to read, counted from 1.

        Returns the tokens after the last block and, in the order of `taps`, those after each tap.
        """
        tokens = self.pre_transformer_layer(tokens)
        tapped = {}
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, mask)
            if number in taps:
                tapped[number] = tokens
        return tokens, [tapped[tap] for tap in taps]


class RgbtStem(nn.Module):
    """Cuts clips of two frames into patches."""

    def __init__(self, dim: int, patch_size: int):
        super().__init__()
        kernel = (CLIP_FRAMES, patch_size, patch_size)
        # Slot 0 is where the official model repeats the frame; VisionStem does it, the name "1" stays.
        self.proj = nn.Sequential(nn.Identity(), nn.Conv3d(3, dim, kernel, stride=kernel, bias=False))

    def forward(self, clips: Tensor) -> Tensor:
        """(B, 3, 2, H, W) -> (B, h * w, dim), row-major.

        A convolution whose stride is its kernel is one matrix product, and some cuDNN versions have only
        very slow three-dimensional convolutions for bfloat16.
        """
        weight = self.proj[1].weight  # (dim, 3, 2, patch, patch)
        patch = weight.shape[-1]
        cut = clips.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # (B, 3, 2, h, patch, w, patch)
        return F.linear(cut.permute(0, 3, 5, 1, 2, 4, 6).flatten(3).flatten(1, 2), weight.flatten(1))


class PositionTable(nn.Module):
    """Learned positions of the class token and of a square grid of patches."""

    def __init__(self, dim: int, side: int):
        super().__init__()
        self.side = side
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + side * side, dim))

    def forward(self, height: int, width: int) -> Tensor:
        """Return (1, 1 + height * width, dim), resampled bicubically for a grid that was not learned."""
        if (height, width) == (self.side, self.side):
            return self.pos_embed
        first, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = grid.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)  # (1, dim, side, side)
        grid = F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)
        return torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1)


class VisionStem(nn.Module):
    """Normalised pixels to tokens: patches, class token in front, positions added."""

    def __init__(self, dim: int, image_size: int, patch_size: int):
        super().__init__()
        self.patch_size = patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.rgbt_stem = RgbtStem(dim, patch_size)
        self.pos_embedding_helper = PositionTable(dim, image_size // patch_size)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """images: (B, 3, H, W), or (B, 3, 2, H, W) for clips of two frames; sides divisible by the patch.

        Returns tokens (B, 1 + h * w, dim), row-major, and the grid (h, w).
        """
        clips = images.unsqueeze(2).expand(-1, -1, CLIP_FRAMES, -1, -1) if images.ndim == 4 else images
        sides = clips.shape[-2:]
        if clips.shape[1:3] != (3, CLIP_FRAMES) or any(side % self.patch_size for side in sides):
            raise ValueError(
                f"expected images (B, 3, H, W) or clips (B, 3, {CLIP_FRAMES}, H, W) with H and W multiples "
                f"of {self.patch_size}, got {tuple(images.shape)}; resize the images first"
            )
        height, width = (side // self.patch_size for side in sides)
        first = self.cls_token.expand(len(clips), -1, -1)
        tokens = torch.cat([first, self.rgbt_stem(clips)], dim=1)
        return tokens + self.pos_embedding_helper(height, width), (height, width)


class TextStem(nn.Module):
    """Token embeddings and positions, and the causal mask that belongs to them."""

    def __init__(self, dim: int, vocab_size: int, context_length: int):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.pos_embed = nn.Parameter(0.01 * torch.randn(1, context_length, dim))
        mask = torch.full((context_length, context_length), float("-inf")).triu(1)
        self.register_buffer("mask", mask)  # in the official state dict, hence persistent

    def forward(self, token_embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L, dim) without positions -> the same with positions, and the (L, L) additive mask."""
        length = check_length(token_embeddings, self.pos_embed.shape[1])
        return token_embeddings + self.pos_embed[:, :length], self.mask[:length, :length]


class TextHead(nn.Module):
    """Reads the end token and projects it."""

    def __init__(self, dim: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(dim, eps=NORM_EPS), nn.Linear(dim, embed_dim, bias=False))

    def forward(self, tokens: Tensor, eot: Tensor) -> Tensor:
        return self.proj(tokens[torch.arange(len(tokens), device=tokens.device), eot])


class FirstToken(nn.Module):
    """(B, L, dim) -> (B, dim): the class token."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class VisionTower(nn.Module):
    """Images to tokens after every block and one embedding."""

    def __init__(
        self, dim: int, num_blocks: int, num_heads: int, embed_dim: int, image_size: int, patch_size: int
    ):
        super().__init__()
        self.stem = VisionStem(dim, image_size, patch_size)
        self.trunk = Trunk(dim, num_blocks, num_heads, norm_first=True)
        self.head = nn.Sequential(
            nn.LayerNorm(dim, eps=NORM_EPS), FirstToken(), nn.Linear(dim, embed_dim, bias=False)
        )

    def forward(self, images: Tensor, taps: Sequence[int]) -> tuple[list[Tensor], tuple[int, int], Tensor]:
        """images: normalised pixels, see VisionStem.

        taps: numbers of the blocks to read, counted from 1.
        Returns the tapped patch tokens, each (B, h * w, dim), class token dropped; the grid (h, w);
        and the embedding (B, embed_dim), of any norm.
        """
        tokens, grid = self.stem(images)
        tokens, tapped = self.trunk(tokens, taps=taps)
        return [features[:, 1:] for features in tapped], grid, self.head(tokens)


class TextTower(nn.Module):
    """Token embeddings to one embedding per text; a token sees only those before it."""

    def __init__(
        self, dim: int, num_blocks: int, num_heads: int, embed_dim: int, vocab_size: int, context_length: int
    ):
        super().__init__()
        self.stem = TextStem(dim, vocab_size, context_length)
        self.trunk = Trunk(dim, num_blocks, num_heads, norm_first=False)
        self.head = TextHead(dim, embed_dim)

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        """(N, L) int64 -> (N, L, dim), without positions."""
        return self.stem.token_embedding(input_ids)

    def forward(self, token_embeddings: Tensor, eot: Tensor) -> Tensor:
        """token_embeddings: (N, L, dim) without positions, L up to the context length.

        eot: (N,) int64, where each text's end token stands; what comes after it is never seen.
        Returns (N, embed_dim), of any norm. Raises ValueError when L does not fit.
        """
        tokens, mask = self.stem(token_embeddings)
        return self.head(self.trunk(tokens, mask)[0], eot)


def check_length(token_embeddings: Tensor, context_length: int) -> int:
    """Return L of (N, L, dim); raise ValueError when it does not fit the text tower."""
    length = token_embeddings.shape[1]
    if length > context_length:
        raise ValueError(
            f"expected at most {context_length} text tokens, got {length} (learnable context included); "
            "tokenize to context_length - num_context, or use fewer context tokens"
        )
    return length
