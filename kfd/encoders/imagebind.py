"""ImageBind's vision and text modalities (Girdhar et al., 2023), and the detector's encoder made of them.

Our own implementation; `state_dict()` has the key names of the official checkpoint, whose licence
(CC BY-NC 4.0) forbids commercial use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kfd.encoders.base import ImageFeatures, normalize_pixels
from kfd.encoders.towers import TextTower, VisionTower

OTHER_MODALITIES = ("audio", "depth", "thermal", "imu")
STAGES = ("preprocessors", "trunks", "heads", "postprocessors")
MAX_LOGIT_SCALE = 100.0


@dataclass(frozen=True)
class ImageBindConfig:
    """Sizes of the two towers; the defaults are imagebind-huge."""

    image_size: int = 224  # side in pixels of the images the positions were learned for
    patch_size: int = 14  # side of a patch, in pixels
    vision_dim: int = 1280
    vision_blocks: int = 32
    vision_heads: int = 16
    text_dim: int = 1024
    text_blocks: int = 24
    text_heads: int = 16
    vocab_size: int = 49408  # CLIP's byte-pair encoding
    context_length: int = 77  # most text tokens
    embed_dim: int = 1024  # size of an embedding of either tower
    taps: tuple[int, ...] = (16, 24, 32)  # vision blocks the detector reads, counted from 1

    def __post_init__(self) -> None:
        problems = []
        if self.image_size % self.patch_size:
            problems.append(f"patch_size ({self.patch_size}) must divide image_size ({self.image_size})")
        if self.vision_dim % self.vision_heads:
            problems.append(f"vision_heads ({self.vision_heads}) must divide vision_dim ({self.vision_dim})")
        if self.text_dim % self.text_heads:
            problems.append(f"text_heads ({self.text_heads}) must divide text_dim ({self.text_dim})")
        if not self.taps or any(not 1 <= tap <= self.vision_blocks for tap in self.taps):
            problems.append(f"taps must be blocks 1..{self.vision_blocks}, got {self.taps}")
        if problems:
            raise ValueError("; ".join(problems))


class Normalize(nn.Module):
    """L2-normalises the last axis."""

    def forward(self, embedding: Tensor) -> Tensor:
        return F.normalize(embedding, dim=-1)


class LogitScale(nn.Module):
    """Multiplies by a learned temperature, at most 100."""

    def __init__(self) -> None:
        super().__init__()
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, embedding: Tensor) -> Tensor:
        return embedding * self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


class ImageBind(nn.Module):
    """The two towers, their parts registered stage by stage as the official checkpoint names them."""

    def __init__(self, config: ImageBindConfig):
        super().__init__()
        self.config = config
        vision = VisionTower(
            config.vision_dim,
            config.vision_blocks,
            config.vision_heads,
            config.embed_dim,
            config.image_size,
            config.patch_size,
        )
        text = TextTower(
            config.text_dim,
            config.text_blocks,
            config.text_heads,
            config.embed_dim,
            config.vocab_size,
            config.context_length,
        )
        self.modality_preprocessors = nn.ModuleDict({"vision": vision.stem, "text": text.stem})
        self.modality_trunks = nn.ModuleDict({"vision": vision.trunk, "text": text.trunk})
        self.modality_heads = nn.ModuleDict({"vision": vision.head, "text": text.head})
        self.modality_postprocessors = nn.ModuleDict(
            {"vision": Normalize(), "text": nn.Sequential(Normalize(), LogitScale())}
        )
        # A tuple, so that the towers do not register the same parts a second time under other names.
        self._towers = (vision, text)

    @property
    def vision_tower(self) -> VisionTower:
        return self._towers[0]

    @property
    def text_tower(self) -> TextTower:
        return self._towers[1]

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed photographs or videos.

        images: (B, 3, H, W) normalised pixels, or (B, S, 3, 2, H, W) for S clips of two frames each.
        Returns (B, embed_dim): unit length for photographs, the mean of the clips' unit vectors for videos.
        """
        if images.ndim == 6:
            clips = self.encode_images(images.flatten(0, 1))
            return clips.unflatten(0, images.shape[:2]).mean(dim=1)
        embedding = self.vision_tower(images, taps=())[2]
        return self.modality_postprocessors["vision"](embedding)

    def encode_texts(self, input_ids: Tensor, eot: Tensor) -> Tensor:
        """input_ids: (N, L) int64; eot: (N,) int64, where each end token stands (kfd.encoders.text.tokenize).

        Returns (N, embed_dim), as long as the learned temperature, not unit length.
        """
        embedding = self.text_tower(self.text_tower.embed_tokens(input_ids), eot)
        return self.modality_postprocessors["text"](embedding)


class ImageBindEncoder(nn.Module):
    """ImageBind as the detector's encoder; see kfd.encoders.base.Encoder for the methods."""

    def __init__(self, model: ImageBind):
        super().__init__()
        config = model.config
        self.model = model
        self.taps = config.taps
        self.image_size = config.image_size
        self.embed_dim = config.embed_dim
        self.patch_dims = (config.vision_dim,) * len(config.taps)
        self.text_dim = config.text_dim
        self.vocab_size = config.vocab_size
        self.context_length = config.context_length

    @property
    def text_parts(self) -> tuple[nn.Module, ...]:
        """The modules of the text tower."""
        return (self.model.text_tower,)

    def embed_tokens(self, input_ids: Tensor) -> Tensor:
        return self.model.text_tower.embed_tokens(input_ids)

    def text_features(self, token_embeddings: Tensor, eot: Tensor) -> Tensor:
        return F.normalize(self.model.text_tower(token_embeddings, eot).float(), dim=-1)

    def image_features(self, images: Tensor) -> ImageFeatures:
        tower = self.model.vision_tower
        pixels = normalize_pixels(images).to(tower.stem.cls_token.dtype)
        patches, grid, embedding = tower(pixels, self.taps)
        return ImageFeatures(tuple(patches), (grid,) * len(patches), F.normalize(embedding.float(), dim=-1))


def load_imagebind(
    path: str | Path, config: ImageBindConfig | None = None
) -> tuple[ImageBind, tuple[str, ...]]:
    """Read the vision and text towers out of an ImageBind checkpoint.

    path: the official `imagebind_huge.pth`, or the same tensors as `.safetensors`. Mapped into memory:
        the other modalities cost nothing.
    config: sizes of the file's towers; imagebind-huge by default.
    Returns the model and the names of the tensors left aside, all of other modalities.
    Raises FileNotFoundError without the file, ValueError when a tensor is missing, unknown or misshapen.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; fetch imagebind_huge.pth (4.5 GB) as facebookresearch/ImageBind's README "
            "says and put it there. Its licence, CC BY-NC 4.0, forbids commercial use"
        )
    with torch.device("meta"):
        model = ImageBind(config or ImageBindConfig())
    weights = read_public_tensors(path)
    other = tuple(f"modality_{stage}.{name}." for stage in STAGES for name in OTHER_MODALITIES)
    left_aside = tuple(sorted(name for name in weights if name.startswith(other)))
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    found = {name: weights[name].shape for name in weights.keys() - set(left_aside)}
    problems = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
    if problems:
        raise ValueError(
            f"{path} does not hold the {len(own)} vision and text tensors of this ImageBind size: "
            f"{len(problems)} missing, unknown or of another shape, first {problems[:4]}; check config"
        )
    model.load_state_dict({name: weights[name] for name in own}, assign=True)
    return model, left_aside


def read_public_tensors(path: Path) -> dict[str, Tensor]:
    """What a `.pth` file, mapped into memory, or a `.safetensors` file of others holds.

    Raises ValueError where it cannot be read as tensors.
    """
    from pickle import UnpicklingError

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, UnpicklingError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as tensors ({reason}); fetch it again") from None
