"""VLAForge on a frozen tower: two scores of a face, one of masks, one of texts that know the person."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.system import System, fuse
from baselines.towers import Tower
from baselines.vlaforge.config import VlaForgeConfig
from baselines.vlaforge.inject import injection_of
from baselines.vlaforge.losses import WEIGHTS, orthogonality
from baselines.vlaforge.perceiver import ForgePerceiver
from kfd.detection import CLASSES
from kfd.encoders.text import tokenize
from kfd.training.losses import dice_loss

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BEFORE, AFTER = "This is a {label} photo of", "person."  # around the place of the person's embedding
NARROWEST = 16  # units of a hidden layer; fewer may all be dead from the start
MAX_SCALE = 100.0  # CLIP's bound on the factor of a cosine


@dataclass(frozen=True)
class ForgeOutput:
    """What one pass gives; see kfd.reader.ReaderOutput for the first four.

    global_logit: (B,) of the biased class tokens. local_logit: (B,) of the fused maps, or None without texts.
    bias: (B, H, Q, N) masks, or None without. attention_logits: (B, 1, S, S), of the fake channel of the
        attention map, the softmax of the comparison with both texts; None without texts.
    """

    logit: Tensor
    mask_logits: Tensor | None
    consistency_maps: tuple[Tensor, ...]
    embedding: Tensor
    global_logit: Tensor
    local_logit: Tensor | None
    bias: Tensor | None
    attention_logits: Tensor | None


class VlaForge(System):
    """Perceive, inject, compare with texts, fuse. Without its four parts: a head on the frozen embedding."""

    words = (
        "VLAForge: learned masks direct a frozen image encoder to traces of forgery, and each place of the "
        "face is compared with descriptions of a real and of a fake photo of that person; the two scores are "
        "averaged."
    )

    def __init__(self, config: VlaForgeConfig, tower: Tower, tokenizer: Tokenizer):
        super().__init__(config, tower.image_size, tower, tokenizer)
        self.injection = injection_of(tower)
        dim, grid = tower.embed_dim, self.injection.grid
        if config.masks or config.location:
            self.perceiver = ForgePerceiver(config, self.injection.token_dim, grid, self.injection.heads)
        if config.masks:
            self.gather = nn.Sequential(
                *_conv1d(config.num_queries, 64), *_conv1d(64, 32), nn.Conv1d(32, 1, 3, padding=1)
            )
        wide, narrow = (max(dim // part, NARROWEST) for part in (2, 4))
        self.global_head = nn.Sequential(
            *(nn.Linear(dim, wide), nn.ReLU()), *(nn.Linear(wide, narrow), nn.ReLU()), nn.Linear(narrow, 1)
        )
        if config.vla:
            text_dim = tower.encoder.text_dim
            # CLIP's joint space is as wide as its token embeddings, so the embedding goes in as it is.
            self.to_token = nn.Identity() if text_dim == dim else nn.Linear(dim, text_dim)
            self.to_text = nn.Linear(self.injection.patch_dim, dim)
            self.log_scale = nn.Parameter(torch.tensor(math.log(config.map_scale)))
            self.local_head = nn.Sequential(nn.Linear(grid[0] * grid[1], 64), nn.ReLU(), nn.Linear(64, 1))
            input_ids, person, eot = _sentences(tokenizer, tower.encoder.context_length)
            # Rebuilt from the tokenizer that travels with the weights, hence not in the state dict.
            self.register_buffer("input_ids", input_ids, persistent=False)  # (2, L)
            self.register_buffer("person", person, persistent=False)  # (2, L) bool, True at its place
            self.register_buffer("eot", eot, persistent=False)  # (2,)

    def text_features(self, embedding: Tensor) -> Tensor:
        """F_r and F_f: embed the two sentences with a person in them.

        embedding: (B, C) L2-normalised, of the pictures. Returns (B, 2, C) float32, L2-normalised.
        """
        encoder, size = self.tower.encoder, len(embedding)
        tokens = encoder.embed_tokens(self.input_ids)  # (2, L, D)
        person = self.to_token(embedding).to(tokens.dtype)[:, None, None]  # (B, 1, 1, D)
        tokens = torch.where(self.person[..., None], person, tokens).flatten(0, 1)  # (2 B, L, D)
        return encoder.text_features(tokens, self.eot.repeat(size)).unflatten(0, (size, 2))

    def forward(self, images: Tensor, constants: Tensor | None = None) -> ForgeOutput:
        config, side = self.config, images.shape[-1]
        begun = self.injection.begin(self.tower, self.tower.pixels(images))
        bias = location = mask_logits = None
        if config.masks or config.location:
            perceived = self.perceiver(self.injection.tokens(begun), images)
            bias = perceived.bias if config.masks else None
            location = perceived.location if config.location else None
        seen = self.injection.finish(self.tower, begun, bias)
        gathered = seen.embedding if bias is None else self.gather(seen.queries).squeeze(1)
        logit = global_logit = self.global_head(gathered).squeeze(1)
        if location is not None:
            mask_logits = F.interpolate(location, (side, side), mode="bilinear")
        if not config.vla:
            return ForgeOutput(logit, mask_logits, (), seen.embedding, global_logit, None, bias, None)
        maps = self.compare(seen.patches, self.text_features(seen.embedding))
        nearer_fake = maps[:, 1:] - maps[:, :1]  # whose sigmoid is the fake channel of the softmax of both
        attention = nearer_fake.sigmoid()
        fused = attention if location is None else attention * location.sigmoid()
        local_logit = self.local_head(fused.flatten(1)).squeeze(1)
        logit = fuse(global_logit, local_logit, config.alpha)
        attention_logits = F.interpolate(nearer_fake, (side, side), mode="bilinear")
        return ForgeOutput(
            logit, mask_logits, (maps,), seen.embedding, global_logit, local_logit, bias, attention_logits
        )

    def compare(self, patches: Tensor, texts: Tensor) -> Tensor:
        """The attention map before its softmax.

        patches: (B, N, D). texts: (B, 2, C). Returns (B, 2, h, w), in CLASSES order.
        """
        features = F.normalize(self.to_text(patches.float()), dim=-1)
        scale = self.log_scale.exp().clamp(max=MAX_SCALE)
        return scale * (texts @ features.transpose(1, 2)).unflatten(-1, self.injection.grid)

    def loss(self, output: ForgeOutput, labels: Tensor, masks: Tensor) -> tuple[Tensor, dict[str, float]]:
        target = labels.float()
        terms = {"global": F.binary_cross_entropy_with_logits(output.global_logit, target)}
        if self.config.location:
            terms["location"] = F.mse_loss(output.mask_logits.sigmoid(), masks)
        if self.config.vla:
            terms["local"] = F.binary_cross_entropy_with_logits(output.local_logit, target)
            terms["vla"] = dice_loss(output.attention_logits, masks)
        if self.config.orthogonal:
            terms["orthogonal"] = orthogonality(output.bias)
        weights = WEIGHTS[self.config.weights]
        total = sum(weights[name] * term for name, term in terms.items())
        return total, {name: float(term.detach()) for name, term in terms.items()}


def _conv1d(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv1d(inputs, outputs, 3, padding=1), nn.BatchNorm1d(outputs), nn.ReLU()


def _sentences(tokenizer: Tokenizer, context_length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (2, L) of both sentences, in CLASSES order, where the person stands (2, L) bool, and eot (2,)."""
    texts = [BEFORE.format(label=name) for name in CLASSES]
    before, ends = tokenize(tokenizer, texts, context_length)
    after, last = tokenize(tokenizer, [AFTER], context_length)
    rest = after[0, 1 : int(last[0]) + 1].tolist()  # without the start token
    rows = [[*row[:end], 0, *rest] for row, end in zip(before.tolist(), ends.tolist(), strict=True)]
    length = max(map(len, rows))
    input_ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    person = torch.arange(length) == ends[:, None]
    return input_ids, person, torch.tensor([len(row) - 1 for row in rows])
