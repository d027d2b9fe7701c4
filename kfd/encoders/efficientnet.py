"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6.

Tan and Le 2019, and the variants of 2020 for small devices. transformers has EfficientNet only with
squeeze-and-excitation.

It is put together like MobileNetV1 of transformers: `conv_stem`, then `layer`, each with features that can be
tapped; the convolution before ImageNet's classifier is left out.
"""

from __future__ import annotations

import math
import re

from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
          (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip  # repeats, kernel, stride, expansion, channels
STEM = 32  # channels
SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite2": (1.1, 1.2)}  # width, depth
EPSILON = 1e-3  # of the batch norms the public weights were trained with


def same_padding(features: Tensor, kernel: int, stride: int) -> tuple[Tensor, tuple[int, int]]:
    """TensorFlow's "SAME": the features, padded where one side gets more, and what the convolution pads."""
    height, width = (max(0, kernel - (side % stride or stride)) for side in features.shape[-2:])
    if height % 2 or width % 2:
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return F.pad(features, sides), (0, 0)
    return features, (height // 2, width // 2)


class ConvNorm(nn.Module):
    """A convolution with TensorFlow's padding, its batch norm and, where `active`, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True
    ):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.normalization = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.active = active

    def forward(self, features: Tensor) -> Tensor:
        conv = self.convolution
        features, conv.padding = same_padding(features, conv.kernel_size[0], conv.stride[0])
        features = self.normalization(conv(features))
        return F.relu6(features) if self.active else features


class MBConv(nn.Module):
    """An inverted residual: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = expansion * inputs
        self.steps = nn.ModuleList([ConvNorm(inputs, inner, 1)] if expansion > 1 else [])
        self.steps.append(ConvNorm(inner, inner, kernel, stride, groups=inner))
        self.steps.append(ConvNorm(inner, outputs, 1, active=False))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        out = features
        for step in self.steps:
            out = step(out)
        return out + features if self.residual else out


class EfficientNetLite(nn.Module):
    """The trunk, whose layers are read one after the other, see EmbeddedEncoder.layers."""

    def __init__(self, name: str, width: float = 1.0):
        """name: a key of SCALES. width: a factor on its channels; public weights exist for 1."""
        super().__init__()
        wide, deep = SCALES[name]
        # "Lite" leaves the stem and the repeats of the first and last stage alone
        self.conv_stem = ConvNorm(3, _channels(STEM, width), 3, stride=2)
        self.layer = nn.ModuleList()
        inputs = _channels(STEM, width)
        for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
            outputs = _channels(channels, wide * width)
            ends = number in (0, len(STAGES) - 1)
            for repeat in range(repeats if ends else math.ceil(deep * repeats)):
                self.layer.append(MBConv(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a public file of EfficientNet-Lite under their names here; its head is left out."""
    parts = {
        "expand_conv": (0, "convolution"), "depthwise_conv": (1, "convolution"),
        "project_conv": (2, "convolution"),
        "bn0": (0, "normalization"), "bn1": (1, "normalization"), "bn2": (2, "normalization"),
    }  # fmt: skip
    found = {}
    for name, tensor in weights.items():
        if stem := re.fullmatch(r"_(conv_stem|bn0)\.(.+)", name):
            part = "convolution" if stem[1] == "conv_stem" else "normalization"
            found[f"conv_stem.{part}.{stem[2]}"] = tensor
        elif block := re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(.+)", name):
            step, part = parts[block[2]]
            if f"_blocks.{block[1]}._expand_conv.weight" not in weights:
                step -= 1
            found[f"layer.{block[1]}.steps.{step}.{part}.{block[3]}"] = tensor
    return found


def _channels(count: int, width: float) -> int:
    """EfficientNet's rounding to multiples of eight, down by a tenth at most."""
    if width == 1.0:
        return count
    rounded = max(8, int(count * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * count * width else rounded
