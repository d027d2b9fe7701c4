"""Plain convolutional detectors: SBI's EfficientNet-B4 and MesoNet-4.

sbi        EfficientNet-B4 with two outputs, trained on self-blended images (Shiohara and Yamasaki, 2022):
           17,552,202 parameters
mesonet4   four small convolution blocks and two dense layers (Afchar et al., 2018): 27,977 parameters
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.system import System
from kfd.reader import ReaderOutput

ConvSystem = Literal["sbi", "mesonet4"]
EFFICIENTNET_STEM = 1280  # channels of the last convolution at width 1
SIZES = {"sbi": 380, "mesonet4": 256}  # sides of the crops of the papers, in pixels


@dataclass(frozen=True)
class ConvConfig:
    """All that rebuilds one of the two beside its weights.

    encoder, encoder_digest: nothing is frozen underneath, so both stay empty.
    """

    system: ConvSystem = "sbi"
    image_size: int = 0  # side of the crops, in pixels; 0: that of the paper
    width: float = 1.4  # of EfficientNet: 1.4 and 1.8 are B4
    depth: float = 1.8
    dropout: float = 0.4
    encoder: Literal[""] = ""
    encoder_digest: str = ""

    def __post_init__(self) -> None:
        problems = []
        if self.system not in get_args(ConvSystem):
            problems.append(f"system must be one of {get_args(ConvSystem)}, got {self.system!r}")
        if self.encoder or self.encoder_digest:
            problems.append(f"{self.system} stands on no frozen model: leave encoder out")
        if min(self.width, self.depth) <= 0:
            problems.append(f"width and depth must be positive, got {self.width} and {self.depth}")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.image_size and self.image_size < 32:
            problems.append(f"image_size must be at least 32 pixels, got {self.image_size}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def side(self) -> int:
        """Side of the crops, in pixels."""
        return self.image_size or SIZES[self.system]


class _ConvNet(System):
    """Features on a grid, then a head; Grad-CAM looks at the grid."""

    def __init__(self, config: ConvConfig):
        super().__init__(config, config.side)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, C, h, w), the last ones that still know places."""
        raise NotImplementedError

    def logit_of(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B,) logits."""
        raise NotImplementedError

    def forward(self, images: Tensor, constants: Tensor | None = None) -> ReaderOutput:
        return ReaderOutput(self.logit_of(self.features(images)))

    def grad_cam(self, images: Tensor) -> Tensor:
        """What the logit rests on, see kfd.gradcam.grad_cam, which does the same for a KFD."""
        if self.training:
            raise ValueError("expected a model in eval mode: call model.eval() first")
        with torch.inference_mode(False):
            with torch.no_grad():
                features = self.features(images.clone())
            with torch.enable_grad():
                features = features.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(self.logit_of(features).sum(), features)
            weights = gradient.mean(dim=(2, 3), keepdim=True)
            maps = (weights * features).sum(1, keepdim=True).detach().relu()
            maps = F.interpolate(maps.float(), images.shape[-2:], mode="bilinear")
        highest = maps.amax(dim=(1, 2, 3), keepdim=True)
        return maps / highest.clamp(min=torch.finfo(maps.dtype).tiny)


class Sbi(_ConvNet):
    """EfficientNet on pixels in [0, 1], without mean and deviation, as its authors train it."""

    words = "EfficientNet-B4, trained on faces blended with themselves (Self-Blended Images)."

    def __init__(self, config: ConvConfig):
        from transformers import EfficientNetModel

        super().__init__(config)
        self.backbone = EfficientNetModel(_efficientnet(config))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.backbone.config.hidden_dim, 2)  # real, fake

    def start_from(self, weights: str | Path) -> None:
        """Take over ImageNet's weights; weights: folder or hub id of an EfficientNet of the same size.

        Raises OSError where they are missing, ValueError where they are of another size.
        """
        from transformers import EfficientNetModel

        theirs = EfficientNetModel.from_pretrained(weights)
        sizes = ("width_coefficient", "depth_coefficient", "hidden_dim")
        wanted, got = ([getattr(c, s) for s in sizes] for c in (self.backbone.config, theirs.config))
        if wanted != got:
            raise ValueError(
                f"{weights} is of another size ({', '.join(sizes)}): expected {wanted}, got {got}"
            )
        self.backbone.load_state_dict(theirs.state_dict(), strict=True)

    def features(self, images: Tensor) -> Tensor:
        return self.backbone(images).last_hidden_state

    def logit_of(self, features: Tensor) -> Tensor:
        real, fake = self.head(self.dropout(features.mean(dim=(2, 3)))).unbind(1)
        return fake - real  # two-class softmax = sigmoid of the difference


class MesoNet4(_ConvNet):
    """Afchar et al.'s Meso-4."""

    words = "MesoNet-4, a small convolutional network that looks at mesoscopic traces."

    def __init__(self, config: ConvConfig):
        super().__init__(config)
        shapes = ((3, 8, 3, 2), (8, 8, 5, 2), (8, 16, 5, 2), (16, 16, 5, 4))  # in, out, kernel, pooling
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(i, o, k, padding="same"), nn.ReLU(), nn.BatchNorm2d(o), nn.MaxPool2d(p))
              for i, o, k, p in shapes)
        )  # fmt: skip
        places = (config.side // 32) ** 2
        self.head = nn.Sequential(
            *(nn.Dropout(0.5), nn.Linear(16 * places, 16), nn.LeakyReLU(0.1)),
            *(nn.Dropout(0.5), nn.Linear(16, 1)),
        )

    def features(self, images: Tensor) -> Tensor:
        return self.blocks(images)

    def logit_of(self, features: Tensor) -> Tensor:
        return self.head(features.flatten(1)).squeeze(1)


def build_conv(config: ConvConfig) -> System:
    """One of the two, untrained."""
    return Sbi(config) if config.system == "sbi" else MesoNet4(config)


def _efficientnet(config: ConvConfig) -> object:
    from transformers import EfficientNetConfig

    channels = 8 * max(1, int(EFFICIENTNET_STEM * config.width / 8 + 0.5))
    return EfficientNetConfig(
        image_size=config.side,
        width_coefficient=config.width,
        depth_coefficient=config.depth,
        hidden_dim=channels,
    )
