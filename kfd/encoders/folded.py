"""MobileNetV1 for reading only: each batch norm folded into the convolution before it, in half the time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights


class FoldedMobileNet(nn.Module):
    """The tower of `kfd.encoders.base` in eval mode, equal to it but for rounding.

    Convolutions pad by themselves where both sides get the same, instead of copying their input into a larger
    one, and cut their own output off instead of writing a new one. It holds copies of the weights as they are
    when it is made, and no parameters: it cannot be trained and enters no checkpoint.
    """

    def __init__(self, tower: nn.Module):
        """tower: a MobileNetV1Model with TensorFlow's padding and ReLU6, as all of them have."""
        super().__init__()
        self.steps: list[tuple[int, int]] = []  # stride and groups of each convolution
        for number, layer in enumerate([tower.conv_stem, *tower.layer]):
            conv, norm = layer.convolution, layer.normalization
            weight, bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            weight = weight.detach().contiguous(memory_format=torch.channels_last)
            self.register_buffer(f"weight_{number}", weight, persistent=False)
            self.register_buffer(f"bias_{number}", bias.detach(), persistent=False)
            self.steps.append((conv.stride[0], conv.groups))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """pixels: (B, 3, H, W) float in [-1, 1]. Returns the output of each layer after the stem,
        (B, D_i, H_i, W_i) in [0, 6].
        """
        features, found = pixels.contiguous(memory_format=torch.channels_last), []
        for number, (stride, groups) in enumerate(self.steps):
            weight, bias = getattr(self, f"weight_{number}"), getattr(self, f"bias_{number}")
            features, padding = _padded(features, weight.shape[-1], stride)
            features = F.conv2d(features, weight, bias, stride, padding, groups=groups).clamp_(0, 6)
            found.append(features)
        return found[1:]


def _padded(features: Tensor, kernel: int, stride: int) -> tuple[Tensor, tuple[int, int]]:
    """TensorFlow's "SAME": the features, padded where one side gets more, and what the convolution pads."""
    height, width = (max(0, kernel - (side % stride or stride)) for side in features.shape[-2:])
    if height % 2 or width % 2:
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return F.pad(features, sides), (0, 0)
    return features, (height // 2, width // 2)
