"""The photographs that come with Unmask, drawn where they are missing: by make, and when the page starts.

A NASA portrait of Eileen Collins, in the public domain, out of the package scikit-image, as it is and with
the mouth forged by data_sim.simulate.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common.storage import write_atomically
from data_sim.simulate import SimulationConfig, simulate
from media.faces import find_faces
from media.images import read_image

EXAMPLE = Path(__file__).parents[1] / "example.jpg"
FORGED_EXAMPLE = Path(__file__).parents[1] / "example_forged.jpg"
# Of the fifteen among 13 to 814 that change the mouth alone, one of the two that the shipped detector calls
# fake: eleven it calls real, two get no verdict. A sample shows what a finding looks like, not how often one
# is made.
SEED = 571
AROUND = 0.75  # half the side of what is forged around the face, in sides of the face


def draw_examples() -> None:
    """Write both photographs where one is missing; the same on every machine, but for rounding.

    Raises FileNotFoundError where scikit-image is not installed.
    """
    if EXAMPLE.is_file() and FORGED_EXAMPLE.is_file():
        return
    photo = read_image(_portrait())
    _write(photo, EXAMPLE)
    _write(_with_a_forged_mouth(photo), FORGED_EXAMPLE)


def _portrait() -> Path:
    package = find_spec("skimage")  # looked up, not imported: only its picture is wanted
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "the sample photographs are drawn from one in scikit-image, which is not installed: "
            "pip install --no-deps scikit-image"
        )
    return Path(package.origin).parent / "data" / "astronaut.png"


def _with_a_forged_mouth(photo: np.ndarray) -> np.ndarray:
    face = find_faces(photo)[0]
    half = round(AROUND * face.side)
    left, top = (round(float(middle)) - half for middle in face.landmarks.mean(axis=0))
    cut = np.s_[top : top + 2 * half, left : left + 2 * half]
    forgeries = simulate(
        torch.from_numpy(photo[cut].copy()).permute(2, 0, 1)[None].float() / 255,
        torch.from_numpy(face.landmarks - (left, top)).float()[None],
        torch.Generator().manual_seed(SEED),
        SimulationConfig(whole_face=0.0, swap=0.0),
    )
    forged = photo.copy()
    forged[cut] = (forgeries.images[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return forged


def _write(photo: np.ndarray, path: Path) -> None:
    picture = Image.fromarray(photo)
    write_atomically(path, lambda part: picture.save(part, "JPEG", quality=95, subsampling=0))
