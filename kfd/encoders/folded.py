"""An image tower for reading only, in half the time: each batch norm is folded into its convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from kfd.encoders.efficientnet import MBConv, same_padding


class FoldedTower(nn.Module):
    """A tower of `kfd.encoders.base` in eval mode, equal to it but for rounding.

    Convolutions pad by themselves where both sides get the same, instead of copying their input into a larger
    one, and cut their own output off instead of writing a new one. It holds copies of the weights as they are
    when it is made, and no parameters: it cannot be trained and enters no checkpoint.
    """

    def __init__(self, tower: nn.Module):
        """tower: a MobileNetV1Model or an EfficientNetLite, all with TensorFlow's padding and ReLU6."""
        super().__init__()
        self.steps: list[tuple[int, int, bool]] = []  # stride, groups and whether ReLU6 follows
        self.layers: list[tuple[int, bool]] = []  # first step of each layer, and whether its input is added
        for layer in [tower.conv_stem, *tower.layer]:
            self.layers.append((len(self.steps), isinstance(layer, MBConv) and layer.residual))
            for step in layer.steps if isinstance(layer, MBConv) else [layer]:
                self._fold(step.convolution, step.normalization, getattr(step, "active", True))

    def _fold(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, active: bool) -> None:
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.register_buffer(f"weight_{len(self.steps)}", weight, persistent=False)
        self.register_buffer(f"bias_{len(self.steps)}", bias.detach(), persistent=False)
        self.steps.append((conv.stride[0], conv.groups, active))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """pixels: (B, 3, H, W) float in [-1, 1]. Returns the output of each layer after the stem,
        (B, D_i, H_i, W_i).
        """
        features, found = pixels.contiguous(memory_format=torch.channels_last), []
        ends = [first for first, _ in self.layers[1:]] + [len(self.steps)]
        for (first, residual), end in zip(self.layers, ends, strict=True):
            inputs = features
            for number in range(first, end):
                features = self._step(features, number)
            if residual:
                features = features.add_(inputs)
            found.append(features)
        return found[1:]

    def _step(self, features: Tensor, number: int) -> Tensor:
        stride, groups, active = self.steps[number]
        weight, bias = getattr(self, f"weight_{number}"), getattr(self, f"bias_{number}")
        features, padding = same_padding(features, weight.shape[-1], stride)
        features = F.conv2d(features, weight, bias, stride, padding, groups=groups)
        return features.clamp_(0, 6) if active else features
