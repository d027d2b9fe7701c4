"""Interface of a vision-language model to the detector, and the small one that is shipped.

Three models answer the same three questions: `EmbeddedEncoder` here, `ImageBindEncoder` of
kfd.encoders.imagebind, and `ClipEncoder` of kfd.encoders.clip. Each is an `nn.Module`;
kfd.encoders.backbones lists their weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfd.encoders.folded import FoldedMobileNet
from kfd.encoders.towers import TextTower

NUM_LAYERS = 24  # of MobileNetV1's 26; its last block is not used
# transformers copies TensorFlow's decay 0.9997 into PyTorch's momentum, where it means the opposite: the
# running statistics would be those of the last batch alone. Evaluation needs a true running mean.
BATCH_NORM_MOMENTUM = 0.1
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of RGB in [0, 1]; CLIP's and ImageBind's
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ImageFeatures:
    """What an image tower says of B images, read at its taps.

    patches: one (B, H_i * W_i, D_i) per tap in the tower's dtype, row-major, any norm, class token dropped.
    grids: the (H_i, W_i) of each tap.
    embedding: (B, C) float32, L2-normalised embedding of the whole image.
    """

    patches: tuple[Tensor, ...]
    grids: tuple[tuple[int, int], ...]
    embedding: Tensor


class Encoder(Protocol):
    """Image and text tower of one vision-language model.

    embed_dim: C, size of the image embedding and of a text's features.
    patch_dims: D_i of each tap.
    text_dim: size of a token embedding.
    context_length: most tokens a text may have, learnable context included.
    image_size: side S of the images it was made for, in pixels.
    """

    embed_dim: int
    patch_dims: tuple[int, ...]
    text_dim: int
    context_length: int
    image_size: int

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        """(N, L) int64 token ids -> (N, L, text_dim) token embeddings, without positions."""
        ...

    def text_features(self, token_embeddings: Tensor, eot: Tensor) -> Tensor:
        """Encode texts that may have learnable tokens among their token embeddings.

        token_embeddings: (N, L, text_dim) without positions, these are added inside; L <= context_length.
        eot: (N,) int64, index in L of each text's end token; tokens after it are never seen.
        Returns (N, C) float32, L2-normalised. Raises ValueError when L exceeds context_length.
        """
        ...

    def image_features(self, images: Tensor) -> ImageFeatures:
        """images: (B, 3, S, S) float32 RGB in [0, 1]; the model's own normalisation happens inside."""
        ...


@dataclass(frozen=True)
class EmbeddedConfig:
    """The embedded encoder: MobileNetV1 without its last block, and a small ImageBind text tower."""

    vocab_size: int  # tokens of the trained tokenizer
    image_size: int = 160  # side of a face crop, in pixels
    depth_multiplier: float = 1.0  # width of MobileNetV1; ImageNet weights exist for 1.0
    taps: tuple[int, ...] = (9, 13, 21)  # layers read, from 0: strides 8, 16, 16 with 256, 512, 512 channels
    embed_dim: int = 128  # size shared by the image embedding and the text features
    text_dim: int = 64  # width of the text tower
    text_blocks: int = 2
    text_heads: int = 4
    context_length: int = 77  # most text tokens, learnable context included

    def __post_init__(self) -> None:
        problems = []
        if not self.taps or any(not 0 <= tap < NUM_LAYERS for tap in self.taps):
            problems.append(f"taps must be layers 0..{NUM_LAYERS - 1}, got {self.taps}")
        for name, least, most in (("image_size", 16, 1024), ("text_blocks", 0, 64), ("text_heads", 1, 64),
                                  ("context_length", 4, 4096), ("depth_multiplier", 0.1, 4)):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                problems.append(f"{name} must be between {least} and {most}, got {getattr(self, name)}")
        if not problems and self.text_dim % self.text_heads:
            problems.append(f"text_heads ({self.text_heads}) must divide text_dim ({self.text_dim})")
        if problems:
            raise ValueError("; ".join(problems))


class EmbeddedEncoder(nn.Module):
    """The encoder small enough to be shipped and to train on a laptop; see Encoder for its methods."""

    def __init__(self, config: EmbeddedConfig, train_dtype: torch.dtype = torch.float32):
        """train_dtype: what the image tower computes in while it trains; it is measured in float32."""
        super().__init__()
        self.config = config
        self.train_dtype = train_dtype
        self.image_size = config.image_size
        self.embed_dim = config.embed_dim
        self.text_dim = config.text_dim
        self.context_length = config.context_length
        self.image_tower = _mobilenet(config.depth_multiplier)
        self.folded: FoldedMobileNet | None = None
        widths = [layer.convolution.out_channels for layer in self.image_tower.layer]
        self.patch_dims = tuple(widths[tap] for tap in config.taps)
        self.image_head = nn.Linear(widths[-1], config.embed_dim)
        self.text_tower = TextTower(
            config.text_dim,
            config.text_blocks,
            config.text_heads,
            config.embed_dim,
            config.vocab_size,
            config.context_length,
        )

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        return self.text_tower.embed_tokens(input_ids)

    def text_features(self, token_embeddings: Tensor, eot: Tensor) -> Tensor:
        return F.normalize(self.text_tower(token_embeddings, eot), dim=-1)

    def image_features(self, images: Tensor) -> ImageFeatures:
        pixels = 2 * images - 1  # MobileNetV1 reads [-1, 1]
        if self.folded is not None:
            layers = self.folded(pixels)
            pooled = layers[-1].mean(dim=(2, 3))
        else:
            mixed = self.training and self.train_dtype != torch.float32
            with torch.autocast(images.device.type, self.train_dtype, enabled=mixed):
                output = self.image_tower(pixels, output_hidden_states=True)
            layers, pooled = output.hidden_states, output.pooler_output.float()
        tapped = [layers[tap] for tap in self.config.taps]
        return ImageFeatures(
            patches=tuple(features.flatten(2).transpose(1, 2) for features in tapped),  # (B, H_i * W_i, D_i)
            grids=tuple((features.shape[2], features.shape[3]) for features in tapped),
            embedding=F.normalize(self.image_head(pooled), dim=-1),
        )

    def fold(self) -> None:
        """Read with copies of the image tower's weights that are faster, until it is trained again."""
        self.eval()
        self.folded = FoldedMobileNet(self.image_tower)

    def train(self, mode: bool = True) -> EmbeddedEncoder:
        if mode:
            self.folded = None  # its weights would be those of before
        return super().train(mode)

    def load_imagenet(self, folder: str | Path) -> None:
        """Start the image tower from MobileNetV1 trained on ImageNet.

        folder: holds the `model.safetensors` of google/mobilenet_v1_1.0_224 (Apache-2.0), whole or without
            its last block and classifier.
        Raises FileNotFoundError without that file, ValueError when its tensors are not the expected ones.
        """
        from safetensors.torch import load_file

        path = Path(folder) / "model.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; download google/mobilenet_v1_1.0_224 into that folder"
            )
        weights = {name.removeprefix("mobilenet_v1."): tensor for name, tensor in load_file(path).items()}
        dropped = tuple(f"layer.{index}." for index in (NUM_LAYERS, NUM_LAYERS + 1))
        weights = {name: t for name, t in weights.items() if not name.startswith((*dropped, "classifier."))}
        own = self.image_tower.state_dict()
        problems = sorted(weights.keys() ^ own.keys())
        problems += [name for name in weights.keys() & own.keys() if weights[name].shape != own[name].shape]
        if problems:
            raise ValueError(
                f"{path} is not MobileNetV1 at depth multiplier {self.config.depth_multiplier}: "
                f"{len(problems)} tensors missing, unknown or of another shape, first {problems[:4]}"
            )
        self.image_tower.load_state_dict(weights)


def _mobilenet(depth_multiplier: float) -> nn.Module:
    from transformers import MobileNetV1Config, MobileNetV1Model

    tower = MobileNetV1Model(MobileNetV1Config(depth_multiplier=depth_multiplier))
    del tower.layer[NUM_LAYERS:]
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
    for layer in tower.layer:
        if layer.convolution.groups > 1 and layer.convolution.stride[0] > 1:
            layer.convolution = FullPrecisionConv.of(layer.convolution)
    return tower


class FullPrecisionConv(nn.Conv2d):
    """A convolution that autocast leaves in float32: a strided depthwise one in bf16 takes ten times as long
    to differentiate on a CPU."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> FullPrecisionConv:
        """The same convolution with the same weight, which has no bias."""
        sizes = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
        own = cls(*sizes, groups=conv.groups, bias=False, device="meta")  # no random numbers are drawn
        own.weight = conv.weight
        return own

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.float())


def normalize_pixels(images: Tensor) -> Tensor:
    """(B, 3, H, W) float RGB in [0, 1] -> the pixels CLIP and ImageBind were trained on."""
    mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return (images - mean) / std
