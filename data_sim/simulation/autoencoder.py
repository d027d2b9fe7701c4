"""A small convolutional autoencoder, whose decoder draws a picture as the decoders of generators do.

Latent diffusion (Rombach et al. 2022) paints with the decoder of such an autoencoder, so its marks are in
every one of its pictures: a grid that enlarging left, and texture that a discriminator, not a camera, found
credible.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.storage import CONFIG_FILE, check_sizes, load_weights, read_config

STRIDE = 4  # pixels of a side that one latent stands for
GROUPS = 8  # of every group norm


@dataclass(frozen=True)
class AutoencoderConfig:
    """The sizes of one.

    upsampling: nearest repeats pixels before a convolution, as diffusion's decoders do; transposed
    convolutions are those of older generators, and leave a checkerboard (Odena et al. 2016).
    """

    upsampling: Literal["nearest", "transposed"] = "nearest"
    width: int = 16  # channels at full size, twice as many below it
    latent: int = 4  # channels of the latent

    def __post_init__(self) -> None:
        if self.width < GROUPS or self.width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, got {self.width}")
        if self.latent < 1:
            raise ValueError(f"latent must be at least 1, got {self.latent}")


class Residual(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(F.silu(self.first(F.silu(self.norm(features)))))


class Autoencoder(nn.Module):
    """Pictures to latents of a quarter of the side, and back."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        wide, deep = config.width, 2 * config.width
        self.encoder = nn.Sequential(
            nn.Conv2d(3, wide, 3, padding=1),
            nn.Conv2d(wide, deep, 4, stride=2, padding=1),
            Residual(deep),
            nn.Conv2d(deep, deep, 4, stride=2, padding=1),
            Residual(deep),
            nn.Conv2d(deep, config.latent, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.latent, deep, 3, padding=1),
            Residual(deep),
            _twice(deep, deep, config.upsampling),
            Residual(deep),
            _twice(deep, wide, config.upsampling),
            Residual(wide),
            nn.Conv2d(wide, 3, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W) float RGB in [0, 1], sides divisible by STRIDE. Returns the same drawn anew.

        What is drawn may leave [0, 1] a little.
        """
        return self.decoder(self.encoder(2 * images - 1)) / 2 + 0.5


class Discriminator(nn.Module):
    """Judges patches of 18 pixels: (B, 3, H, W) in [0, 1] -> (B, 1, H / 4, W / 4), above 0 if credible."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.GroupNorm(GROUPS, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(2 * images - 1)


def load_autoencoder(folder: str | Path) -> Autoencoder:
    """Read what data_sim.autoencoder wrote. Raises FileNotFoundError or ValueError that says what to do."""
    config = read_config(AutoencoderConfig, Path(folder) / CONFIG_FILE)
    check_sizes(lambda: Autoencoder(config), folder)
    model = Autoencoder(config)
    load_weights(model, folder)
    return model.eval()


def redraw(model: Autoencoder, pixels: np.ndarray) -> np.ndarray:
    """Draw one picture anew. pixels: (H, W, 3) uint8 RGB of any size. Returns the same shape, uint8."""
    height, width = pixels.shape[:2]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    image = F.pad(image, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
    with torch.inference_mode():
        drawn = model(image)[0, :, :height, :width].clamp(0, 1)
    return (255 * drawn).round().byte().permute(1, 2, 0).numpy()


def _twice(inputs: int, outputs: int, upsampling: str) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(inputs, outputs, 3, padding=1)
    )
