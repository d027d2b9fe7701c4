"""Modules and training states on disk: a folder, written atomically, loaded strictly."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"

Config = TypeVar("Config")


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary)` and put the result in place of `path` in one step.

    Whoever reads `path`, also after a power cut, finds the old file or the new one, never half of one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    write(temporary)
    os.replace(temporary, path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8 and in one step, see `write_atomically`."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_rows(path: str | Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    """Write a CSV file with a head, in one step; what a row has beside the columns is left out.

    Names of files that are not Unicode are written with escapes: old names must not cost the whole table.
    """

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    write_atomically(path, write)


def save_config(config: object, path: str | Path) -> None:
    """Write a flat dataclass as JSON."""
    text = json.dumps(dataclasses.asdict(config), indent=2, default=str) + "\n"
    write_text(path, text)


def read_config(config_class: type[Config], path: str | Path) -> Config:
    """Rebuild a flat dataclass from JSON; lists become tuples.

    Raises FileNotFoundError without the file, ValueError on unknown or missing fields.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {path.parent} is not a checkpoint folder of this kind")
    values = json.loads(path.read_text(encoding="utf-8"))
    try:
        return config_class(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
    except TypeError as error:
        raise ValueError(f"{path} does not fit {config_class.__name__}: {error}") from None


def save_module(
    module: nn.Module,
    config: object,
    folder: str | Path,
    dtype: torch.dtype | None = None,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Write `config.json` and `model.safetensors` of a module into `folder`.

    dtype: what floating-point tensors are stored as; None keeps theirs.
    state: the tensors to write, where not all of the module's.
    """
    from safetensors.torch import save_file

    state = module.state_dict() if state is None else state
    state = {name: _stored(tensor, dtype) for name, tensor in state.items()}
    save_config(config, Path(folder) / CONFIG_FILE)
    write_atomically(Path(folder) / WEIGHTS_FILE, lambda part: save_file(state, part))


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of `model.safetensors` of `folder`; raises FileNotFoundError without the file."""
    from safetensors.torch import load_file

    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; give a folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    return load_file(path)


def load_weights(module: nn.Module, folder: str | Path) -> None:
    """Load `model.safetensors` of `folder` into `module`, keeping the module's dtype; see `load_strictly`."""
    load_strictly(module, read_weights(folder), str(Path(folder) / WEIGHTS_FILE))


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load `state` only if its keys and shapes are exactly the module's.

    source: where the tensors come from, for the message.
    Raises ValueError that names every difference; the module is then unchanged.
    """
    check_state({name: tuple(t.shape) for name, t in module.state_dict().items()}, state, source)
    module.load_state_dict(state, strict=True)


def load_part(module: nn.Module, part: dict[str, Tensor], state: dict[str, Tensor], source: str) -> None:
    """Load `state` into a part of a module, only if its keys and shapes are exactly that part's.

    part: the tensors of the module that are replaced, by their names in its state dict; others stay.
    Raises ValueError as `load_strictly`.
    """
    check_state({name: tuple(t.shape) for name, t in part.items()}, state, source)
    module.load_state_dict(state, strict=False)


def check_state(expected: dict[str, tuple[int, ...]], state: dict[str, Tensor], source: str) -> None:
    """Raise ValueError unless `state` has exactly the `expected` names and shapes."""
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"unexpected key {name}" for name in state if name not in expected]
    problems += [
        f"{name}: expected {shape}, got {tuple(state[name].shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise ValueError(
            f"{source} does not fit the model: {shown}. Use the checkpoint this model was saved with."
        )


def digest_of(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_state(state: dict[str, object], path: str | Path) -> None:
    """Write a training state (tensors and plain values) atomically."""
    write_atomically(path, lambda part: torch.save(state, part))


def load_state(path: str | Path) -> dict[str, object] | None:
    """Read what `save_state` wrote, or None where there is nothing to resume."""
    path = Path(path)
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


def resume_state(path: str | Path, settings: dict[str, object]) -> dict[str, object] | None:
    """The saved state of a run, or None when it has not begun.

    settings: of this run. Raises ValueError when the state, under "settings", tells of other ones.
    """
    state = load_state(path)
    if state is None:
        return None
    check_settings(path, state["settings"], settings)
    return state


def check_settings(path: str | Path, saved: dict[str, object], settings: dict[str, object]) -> None:
    """Raise ValueError that names every setting in which a run differs from the one that made `path`."""
    changed = {k: (v, settings.get(k)) for k, v in saved.items() if settings.get(k) != v}
    if changed:
        told = ", ".join(f"{name}: expected {old!r}, got {new!r}" for name, (old, new) in changed.items())
        raise ValueError(f"{path} belongs to a run with other settings ({told}): delete it, or name another")
