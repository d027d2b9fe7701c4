"""The Knowledge-guided Forgery Detector (paper §3.1, Fig. 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfd.config import GROUPS, KFDConfig
from kfd.detection import CLASSES
from kfd.encoders.base import Encoder, ImageFeatures
from kfd.encoders.text import DESCRIPTIONS, tokenize

MAX_SCALE = 100.0  # CLIP's bound on the factor of a cosine


@dataclass(frozen=True)
class KFDOutput:
    """The output of one pass, before calibration; S is the side of the images.

    logit: (B,) of the forgery score (Eq. 4 takes its sigmoid).
    mask_logits: (B, 1, S, S) of the localization map.
    consistency_maps: one (B, 2, H_i, W_i) per tap (Eq. 1), CLASSES order.
    features: one (B, H_i * W_i, C) per tap, L2-normalised patch features F_vis.
    embedding: (B, C_embed) float32, L2-normalised image embedding.
    """

    logit: Tensor
    mask_logits: Tensor
    consistency_maps: tuple[Tensor, ...]
    features: tuple[Tensor, ...]
    embedding: Tensor


class VisualTextAlignment(nn.Module):
    """Compare every patch with a learnable description of `real` and of `fake` (Eq. 1)."""

    def __init__(self, config: KFDConfig, encoder: Encoder, input_ids: Tensor, eot: Tensor):
        super().__init__()
        self.config = config
        self.projections = nn.ModuleList(nn.Linear(dim, config.align_dim) for dim in encoder.patch_dims)
        self.context = nn.Parameter(0.02 * torch.randn(len(CLASSES), config.num_context, encoder.text_dim))
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.map_scale)))
        # Rebuilt from the tokenizer that travels with the weights, hence not in the state dict.
        self.register_buffer("input_ids", input_ids, persistent=False)  # (2 * K, L)
        self.register_buffer("eot", eot, persistent=False)  # (2 * K,)
        if not config.text_guidance:
            self.register_buffer(
                "class_vectors", F.normalize(torch.randn(len(CLASSES), config.align_dim), dim=-1)
            )

    def class_features(self, encoder: Encoder) -> Tensor:
        """F_text: (2, C) L2-normalised, one row per class, mean over that class's descriptions."""
        if not self.config.text_guidance:
            return self.class_vectors
        tokens = encoder.embed_tokens(self.input_ids)  # (2 * K, L, D)
        context = self.context.repeat_interleave(len(tokens) // len(CLASSES), dim=0).to(tokens.dtype)
        tokens = torch.cat([tokens[:, :1], context, tokens[:, 1:]], dim=1)  # the start token stays first
        features = encoder.text_features(tokens, self.eot + self.config.num_context)
        features = F.normalize(features, dim=-1).view(len(CLASSES), -1, features.shape[-1])
        return F.normalize(features.mean(dim=1), dim=-1)

    def project(self, image: ImageFeatures) -> tuple[Tensor, ...]:
        """F_vis: one (B, H_i * W_i, C) per tap, L2-normalised."""
        pairs = zip(self.projections, image.patches, strict=True)
        # Frozen towers may compute in 16 bits, what is trained stays in float32.
        return tuple(F.normalize(linear(x.to(linear.weight.dtype)), dim=-1) for linear, x in pairs)

    def scaled(self, cosine: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, H * W, K) cosines -> (B, K, H, W) maps on the learned scale."""
        scale = self.log_scale.exp().clamp(max=MAX_SCALE)
        return scale * cosine.transpose(1, 2).unflatten(2, grid)


class LocatorBranch(nn.Module):
    """Down- and up-sampling of one tap's maps, at the tap's resolution."""

    def __init__(self, width: int):
        super().__init__()
        self.fine = _conv(len(CLASSES), width)
        self.down = _conv(width, 2 * width, stride=2)
        self.coarse = _conv(2 * width, width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, 2, H, W) -> (B, width, H, W)."""
        fine = self.fine(maps)
        coarse = self.coarse(self.down(fine))
        return fine + F.interpolate(coarse, fine.shape[-2:], mode="bilinear")


class Locator(nn.Module):
    """phi: the maps of all taps -> one logit per pixel."""

    def __init__(self, num_taps: int, width: int):
        super().__init__()
        self.branches = nn.ModuleList(LocatorBranch(width) for _ in range(num_taps))
        self.fuse = nn.Sequential(_conv(num_taps * width, width), nn.Conv2d(width, 1, 1))

    def forward(self, maps: tuple[Tensor, ...], size: int) -> Tensor:
        """One (B, 2, H_i, W_i) per tap -> (B, 1, size, size) logits."""
        finest = max((m.shape[-2:] for m in maps), key=lambda grid: grid[0])
        branches = [branch(m) for branch, m in zip(self.branches, maps, strict=True)]
        together = torch.cat([F.interpolate(b, finest, mode="bilinear") for b in branches], dim=1)
        return F.interpolate(self.fuse(together), (size, size), mode="bilinear")


class Classifier(nn.Module):
    """The maps of all taps -> one logit per image."""

    def __init__(self, num_taps: int, width: int, hidden: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                _conv(len(CLASSES), width),
                _conv(width, 2 * width, stride=2),
                _conv(2 * width, 2 * width, stride=2),
            )
            for _ in range(num_taps)
        )
        self.head = nn.Sequential(nn.Linear(num_taps * 4 * width, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """One (B, 2, H_i, W_i) per tap -> (B,) logits."""
        features = [branch(m) for branch, m in zip(self.branches, maps, strict=True)]
        # The mean says how much is odd, the peak whether anything is: a forged nose is small.
        pooled = [pool for f in features for pool in (f.mean(dim=(2, 3)), f.amax(dim=(2, 3)))]
        return self.head(torch.cat(pooled, dim=1)).squeeze(1)


class KFD(nn.Module):
    """Encode, compare with the class descriptions, locate, classify.

    A frozen encoder (see KFDConfig.frozen_encoder) has no gradients and stays in eval mode; those of its text
    tower's inputs pass through to the learnable context.
    """

    def __init__(self, config: KFDConfig, encoder: nn.Module, tokenizer: object):
        """encoder: a kfd.encoders.base.Encoder. tokenizer: the `tokenizers.Tokenizer` of its text tower."""
        super().__init__()
        if config.align_dim != encoder.embed_dim and config.text_guidance:
            raise ValueError(
                f"align_dim ({config.align_dim}) must equal the encoder's embed_dim ({encoder.embed_dim})"
            )
        self.config = config
        self.encoder = encoder
        self.tokenizer = tokenizer
        texts = [text for name in CLASSES for text in DESCRIPTIONS[name]]
        input_ids, eot = tokenize(tokenizer, texts, encoder.context_length - config.num_context)
        self.alignment = VisualTextAlignment(config, encoder, input_ids, eot)
        self.locator = Locator(len(encoder.patch_dims), config.branch_width)
        self.classifier = Classifier(len(encoder.patch_dims), config.branch_width, config.hidden)
        if config.frozen_encoder:
            encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> KFD:
        super().train(mode)
        if self.config.frozen_encoder:
            self.encoder.eval()
        return self

    @property
    def image_size(self) -> int:
        """Side S of the crops it sees, in pixels."""
        return self.encoder.image_size

    def constants(self) -> Tensor:
        """What no crop changes: the class features, (2, C)."""
        return self.alignment.class_features(self.encoder)

    def encode(self, images: Tensor) -> ImageFeatures:
        """Read B face crops with the image tower, see forward; without gradients where it is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen_encoder):
            return self.encoder.image_features(images)

    def forward(self, images: Tensor, class_features: Tensor | None = None) -> KFDOutput:
        """Judge B face crops.

        images: (B, 3, S, S) float RGB in [0, 1].
        class_features: (2, C) as `alignment.class_features` gives them, computed anew when None.
        """
        return self.judge(self.encode(images), images.shape[-1], class_features)

    def judge(self, image: ImageFeatures, size: int, class_features: Tensor | None = None) -> KFDOutput:
        """Judge what the image tower said of B crops of `size` pixels; see forward."""
        if class_features is None:
            class_features = self.alignment.class_features(self.encoder)
        features = self.alignment.project(image)
        maps = tuple(
            self.alignment.scaled(f @ class_features.T.to(f.dtype), grid)
            for f, grid in zip(features, image.grids, strict=True)
        )
        return KFDOutput(self.classifier(maps), self.locator(maps, size), maps, features, image.embedding)

    def locate_by_reference(self, output: KFDOutput, rows: Tensor, references: Tensor) -> Tensor:
        """phi(C_ref): locate by comparing with the patches of a pristine reference (Eq. 2, training only).

        output: of a batch that holds both images and references.
        rows, references: (K,) int64, positions in that batch of the images and of their references.
        Returns (K, 1, S, S) logits.
        """
        maps = []
        for features, of_text in zip(output.features, output.consistency_maps, strict=True):
            cosine = (features[rows] * features[references]).sum(dim=-1, keepdim=True)  # (K, N, 1)
            c_ref = self.alignment.scaled(cosine, of_text.shape[-2:])
            maps.append(torch.cat([c_ref, -c_ref], dim=1))
        return self.locator(tuple(maps), output.mask_logits.shape[-1])


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(GROUPS, outputs), nn.ReLU(inplace=True)
    )
