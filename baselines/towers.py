"""The frozen vision-language models under the systems of this room: CLIP, or the embedded KFD's own towers.

Both answer the same few questions. The embedded one, a small convolutional tower beside a small text tower,
is read from the folder of a trained KFD, so that systems can be compared at equal tower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from kfd.checkpoint import load_kfd
from kfd.encoders.backbones import Dtype, encoder_tokenizer, load_encoder, usual_dtype, weights_digest
from kfd.encoders.base import EmbeddedEncoder, normalize_pixels
from kfd.encoders.clip import ClipEncoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TowerName = Literal["embedded", "clip-vit-b32", "clip-vit-l14", "openclip-vit-h14"]
EMBEDDED_KFD = "checkpoints/embedded/kfd"  # whose towers "embedded" takes unless told otherwise


class ClipTower(nn.Module):
    """CLIP: its pooled output is the class token after the last norm.

    encoder: for the text tower, see kfd.encoders.base.Encoder. width: size of the pooled output.
    lora_targets: the layers that LoRA adapts, as peft wants them named.
    """

    lora_targets = r".*vision_model\..*\.(q_proj|v_proj)"

    def __init__(self, encoder: ClipEncoder):
        super().__init__()
        self.encoder = encoder
        self.image_size, self.embed_dim = encoder.image_size, encoder.embed_dim
        self.width = encoder.model.config.vision_config.hidden_size

    def pixels(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> the same as the image tower was trained on."""
        return normalize_pixels(images).to(self.encoder.model.visual_projection.weight.dtype)

    def pooled(self, pixels: Tensor) -> Tensor:
        """Normalised pixels -> (B, width) float32, what the projection reads."""
        return self.encoder.model.vision_model(pixels).pooler_output.float()

    def project(self, pooled: Tensor) -> Tensor:
        """(..., width) -> (..., embed_dim) float32, L2-normalised."""
        projection = self.encoder.model.visual_projection
        return F.normalize(projection(pooled.to(projection.weight.dtype)).float(), dim=-1)


class EmbeddedTower(nn.Module):
    """The towers of a trained KFD: the pooled output is the mean of the last grid. See ClipTower."""

    def __init__(self, encoder: EmbeddedEncoder):
        super().__init__()
        self.encoder = encoder
        self.image_size, self.embed_dim = encoder.image_size, encoder.embed_dim
        self.width = encoder.image_head.in_features
        pointwise = (
            name.replace(".", r"\.")
            for name, module in encoder.image_tower.layer.named_modules()
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
        )
        self.lora_targets = rf".*image_tower\.layer\.({'|'.join(pointwise)})"

    def pixels(self, images: Tensor) -> Tensor:
        return 2 * images - 1

    def pooled(self, pixels: Tensor) -> Tensor:
        return self.encoder.layers(pixels)[-1].mean(dim=(2, 3))

    def project(self, pooled: Tensor) -> Tensor:
        return F.normalize(self.encoder.image_head(pooled), dim=-1)


Tower = ClipTower | EmbeddedTower


@dataclass(frozen=True)
class LoadedTower:
    """A frozen tower, the tokenizer of its text tower, and the digest of its weights."""

    tower: Tower
    tokenizer: Tokenizer
    digest: str


def load_tower(
    name: TowerName,
    weights: str | Path | None = None,
    dtype: Dtype | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> LoadedTower:
    """Read a tower's weights, on `device`.

    weights: file, folder or hub id of CLIP's; of "embedded" the folder of a KFD. By default the public ones,
        and the shipped KFD. dtype: what CLIP computes in, by default bf16 on a GPU and fp32 on a CPU.
    say: is told what was read, and its licence.
    Raises FileNotFoundError that says what to fetch, ValueError when it does not fit.
    """
    if name == "embedded":
        folder = weights or EMBEDDED_KFD
        model, _ = load_kfd(folder, device=device)
        if not isinstance(model.encoder, EmbeddedEncoder):
            raise ValueError(f"{folder}: expected a KFD on the embedded encoder, got {model.config.encoder}")
        say(f"embedded: the towers of the detector in {folder}")
        return LoadedTower(EmbeddedTower(model.encoder), model.tokenizer, weights_digest(model.encoder))
    # No tap is read here, and any CLIP has a first block.
    loaded = load_encoder(name, {"taps": (1,)}, weights, dtype or usual_dtype(name, device), device)
    say(loaded.note)
    tokenizer = encoder_tokenizer(name, loaded.encoder, weights)
    return LoadedTower(ClipTower(loaded.encoder), tokenizer, loaded.digest)
