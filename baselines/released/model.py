"""The detector as the paper's public code has it: its own heads on ImageBind, and no training.

It differs from kfd.model where that follows the paper's text: the classes are the single letters of "real"
and "fake", averaged in the space of embeddings with the context vectors; the maps are enlarged first and read
by convolutions at the size of the image; locator and classifier end in two outputs each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.system import System
from common.storage import check_finite, check_state
from kfd.detection import CLASSES
from kfd.encoders.backbones import config_of
from kfd.encoders.base import normalize_pixels
from kfd.encoders.imagebind import ImageBind, ImageBindConfig
from kfd.reader import ReaderOutput

# CLIP's tokens of the letters of both class names, between those that begin and end a text.
LETTERS = {"real": (337, 324, 320, 331), "fake": (325, 320, 330, 324)}
START, END = 49406, 49407
CONTEXT = 16  # vectors averaged with the letters
SCALE = 100.0  # of the cosines
LOCATOR_WIDTH = 128
CLASSIFIER_WIDTHS = (16, 64, 128, 256)  # channels after each of its four poolings
HIDDEN = 128


@dataclass(frozen=True)
class ReleasedConfig:
    """What rebuilds it beside its weights.

    encoder_settings: fields of ImageBindConfig; by default those of imagebind-huge. encoder, encoder_digest:
    its towers were trained on and lie in its own file, so nothing is underneath.
    """

    system: Literal["lvlm-dfd"] = "lvlm-dfd"
    encoder_settings: dict[str, object] | None = None
    encoder: Literal[""] = ""
    encoder_digest: str = ""

    @property
    def towers(self) -> ImageBindConfig:
        """Sizes of the towers. Raises ValueError for unknown settings, or too few words for the letters."""
        sizes = config_of(ImageBindConfig, self.encoder_settings)
        if sizes.vocab_size <= END:
            raise ValueError(f"vocab_size must be above {END}, as CLIP's is, got {sizes.vocab_size}")
        return sizes


class ReleasedDetector(System):
    """Compare every patch with both classes, enlarge, locate, classify; a kfd.reader.Reader."""

    words = (
        "the detector of the paper's public code: ImageBind's patches are compared with embeddings of real "
        "and fake, and two convolutional networks read the maps."
    )

    def __init__(self, config: ReleasedConfig):
        sizes = config.towers
        super().__init__(config, sizes.image_size)
        taps = len(sizes.taps)
        self.visual_encoder = ImageBind(sizes)
        self.image_decoder = nn.ModuleDict(
            {"fc": nn.ModuleList(nn.Linear(sizes.vision_dim, sizes.embed_dim) for _ in range(taps))}
        )
        self.locator = ReleasedLocator(taps)
        self.classifier = ReleasedClassifier(taps)
        self.ctx = nn.Parameter(torch.zeros(CONTEXT, sizes.embed_dim))
        self.requires_grad_(False)

    def constants(self) -> Tensor:
        """(2, C) unit vectors of the classes, in CLASSES order."""
        ids = torch.tensor([(START, letter, END) for name in CLASSES for letter in LETTERS[name]])
        ids = ids.to(self.ctx.device)
        letters = self.visual_encoder.encode_texts(ids, torch.full((len(ids),), 2, device=ids.device))
        rows = letters.float().view(len(CLASSES), -1, letters.shape[-1])
        context = self.ctx.float().expand(len(CLASSES), -1, -1)
        return F.normalize(torch.cat([context, rows], dim=1).mean(dim=1), dim=-1)

    def forward(self, images: Tensor, constants: Tensor | None = None) -> ReaderOutput:
        classes = self.constants() if constants is None else constants
        tower = self.visual_encoder.vision_tower
        pixels = normalize_pixels(images).to(tower.stem.cls_token.dtype)
        patches, grid, embedding = tower(pixels, self.config.towers.taps)
        maps = []
        for linear, tokens in zip(self.image_decoder["fc"], patches, strict=True):
            features = F.normalize(linear(tokens.float()), dim=-1)  # (B, N, C)
            maps.append((SCALE * features @ classes.T).transpose(1, 2).unflatten(2, grid))
        wide = [F.interpolate(m, images.shape[-2:], mode="bilinear", align_corners=True) for m in maps]
        located, judged = self.locator(wide), self.classifier(wide)
        # Two outputs under a softmax are one logit: their difference.
        return ReaderOutput(
            judged[:, 1] - judged[:, 0],
            located[:, 1:] - located[:, :1],
            tuple(maps),
            F.normalize(embedding.float(), dim=-1),
        )


def with_weights(config: ReleasedConfig, state: dict[str, Tensor], source: str) -> ReleasedDetector:
    """A detector that takes its tensors from `state` as they are, without a second copy of gigabytes.

    source: where they come from, for the message. Raises ValueError unless names and shapes are exactly its
    own, and for numbers that are not finite.
    """
    with torch.device("meta"):
        model = ReleasedDetector(config)
    check_state({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, state, source)
    masks = {name for name, _ in model.named_buffers() if name.endswith("text.mask")}  # -inf is right there
    check_finite({name: tensor for name, tensor in state.items() if name not in masks}, source)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


class ReleasedLocator(nn.Module):
    """A convolution for each tap, then one over all."""

    def __init__(self, taps: int):
        super().__init__()
        self.conv = nn.ModuleList(nn.Conv2d(len(CLASSES), LOCATOR_WIDTH, 3, padding=2) for _ in range(taps))
        self.batchnorm = nn.ModuleList(nn.BatchNorm2d(LOCATOR_WIDTH) for _ in range(taps))
        self.finalconv = nn.Conv2d(taps * LOCATOR_WIDTH, len(CLASSES), 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """One (B, 2, S, S) per tap -> (B, 2, S, S), before a softmax."""
        parts = zip(self.conv, self.batchnorm, maps, strict=True)
        return self.finalconv(torch.cat([norm(conv(m).relu()) for conv, norm, m in parts], dim=1))


class ReleasedClassifier(nn.Module):
    """A convolutional network for each tap, pooled, then two fully connected layers."""

    def __init__(self, taps: int):
        super().__init__()
        self.meta_net = nn.ModuleList(_pooling_net() for _ in range(taps))
        self.fc1 = nn.Linear(taps * CLASSIFIER_WIDTHS[-1], HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, len(CLASSES))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """One (B, 2, S, S) per tap -> (B, 2), before a softmax."""
        pooled = [net(m).flatten(1) for net, m in zip(self.meta_net, maps, strict=True)]
        return self.fc2(self.fc1(torch.cat(pooled, dim=1)).relu())


def _pooling_net() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = len(CLASSES)
    for width in CLASSIFIER_WIDTHS:
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(width)]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
