"""Modules and training states on disk: a folder, written atomically, loaded strictly."""

from __future__ import annotations

import csv
import dataclasses
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar, get_type_hints

import torch
from torch import Tensor, nn

from common.strict_json import fits, read_json_object, to_json

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
PART = ".{}.{}.part"  # a file that is being written: its name, and what makes this writer's unique
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCARCE = 2**20  # bytes; with less left, whatever a library says of a failed write means a full disk

Config = TypeVar("Config")


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary)` and put the result in place of `path` in one step.

    Whoever reads `path`, also after a power cut, finds the old file or the new one, never half of one. Where
    writing fails, nothing is left of it. Raises OSError that says so when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(PART.format(path.name, uuid.uuid4().hex[:12]))
    try:
        with told_when_full(path):
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # safetensors writes for its owner alone
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    _sync_folder(path.parent)


@contextmanager
def told_when_full(path: str | Path) -> Iterator[None]:
    """Turn whatever a library raises where the disk is full into one OSError that says so."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # safetensors' errors derive from Exception, Rust's panics do not
        number = next((e.errno for e in _behind(error) if isinstance(e, OSError)), None)
        told = str(error).lower()
        scarce = not isinstance(error, OSError) and shutil.disk_usage(Path(path).parent).free < _SCARCE
        known = any(words in told for words in ("no space left", "file too large", "quota exceeded"))
        if number in _FULL or known or scarce:
            raise OSError(
                f"{path} could not be written: the disk or its quota is full. What was there is unchanged; "
                "free some space and give the same command again"
            ) from error
        raise


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it was raised in the wake of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a file's new name last through a power cut; file systems that cannot are left as they are."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
    """Write a flat dataclass as JSON. Raises ValueError for a number that is not finite."""
    write_text(path, to_json(dataclasses.asdict(config), indent=2, default=str) + "\n")


def read_config(config_class: type[Config], path: str | Path) -> Config:
    """Rebuild a flat dataclass from JSON; lists become tuples.

    Raises FileNotFoundError without the file, ValueError that names it on damage, on unknown or missing
    fields, and on values of another type or that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; {path.parent} is not a checkpoint folder of this kind")
    values = read_json_object(path)
    hints = get_type_hints(config_class)
    wrong = [
        f"{name}: expected {getattr(hints[name], '__name__', hints[name])}, got {str(value)[:80]!r}"
        for name, value in values.items()
        if name in hints and not fits(value, hints[name])
    ]
    if wrong:
        raise ValueError(f"{path} does not fit {config_class.__name__}: {'; '.join(wrong)}")
    with naming(path):
        return config_class(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turn whatever a damaged or strange file makes libraries raise into a ValueError that names the file.

    What is missing, and errors that name the file already, are passed on.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, FileNotFoundError):
        raise
    except BaseException as error:  # of libraries in Rust, some are no Exception
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        words = " ".join(str(error).split())[:300] or "no reason given"
        raise ValueError(
            f"{path} cannot be used ({type(error).__name__}: {words}); restore it from where it came from"
        ) from error


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
    """The tensors of `model.safetensors` of `folder`; raises as `read_tensors`."""
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; give a folder that holds {CONFIG_FILE} and {WEIGHTS_FILE}"
        )
    return read_tensors(path)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ValueError naming it where it is damaged."""
    from safetensors.torch import load_file

    with naming(path):
        return load_file(path)


def check_sizes(build: Callable[[], nn.Module], folder: str | Path) -> None:
    """Raise ValueError where the module that `build` makes of a config has other shapes than the weights.

    Before it is built in earnest: a width of a million would ask for more memory than there is.
    """
    folder = Path(folder)
    with naming(folder / CONFIG_FILE), torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
    check_state(shapes, read_weights(folder), str(folder / WEIGHTS_FILE))


def check_finite(
    state: Mapping[str, Tensor], source: str | Path, own: Mapping[str, Tensor] | None = None
) -> None:
    """Raise ValueError naming the first of some tensors that holds a number that is not finite.

    One NaN among the weights makes every score NaN, which lies below every threshold.
    own: tensors of the module before loading; what is there already, such as a mask of -inf, may stay.
    """
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.isfinite().all():
            continue
        if own is None or name not in own or not torch.equal(tensor.cpu().float(), own[name].cpu().float()):
            raise ValueError(f"{source}: {name} holds a number that is not finite; restore the file")


def load_weights(module: nn.Module, folder: str | Path) -> None:
    """Load `model.safetensors` of `folder` into `module`, keeping the module's dtype; see `load_strictly`."""
    load_strictly(module, read_weights(folder), str(Path(folder) / WEIGHTS_FILE))


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load `state` only if its keys and shapes are exactly the module's.

    source: where the tensors come from, for the message.
    Raises ValueError that names every difference, or a number that is not finite; the module is then
    unchanged.
    """
    own = module.state_dict()
    check_state({name: tuple(t.shape) for name, t in own.items()}, state, source)
    check_finite(state, source, own)
    module.load_state_dict(state, strict=True)


def load_part(module: nn.Module, part: dict[str, Tensor], state: dict[str, Tensor], source: str) -> None:
    """Load `state` into a part of a module, only if its keys and shapes are exactly that part's.

    part: the tensors of the module that are replaced, by their names in its state dict; others stay.
    Raises ValueError as `load_strictly`.
    """
    check_state({name: tuple(t.shape) for name, t in part.items()}, state, source)
    check_finite(state, source, part)
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

    def write(part: Path) -> None:
        with part.open("wb") as file:  # Python's file tells why a write failed, torch's own does not
            torch.save(state, file)

    write_atomically(path, write)


def load_state(path: str | Path) -> dict[str, object] | None:
    """Read what `save_state` wrote, or None where there is nothing to resume.

    Raises ValueError that names a damaged file.
    """
    path = Path(path)
    if not path.is_file():
        return None
    with naming(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or not isinstance(state.get("settings"), dict):
        raise ValueError(f"{path} is no state of a training run; delete it to begin anew")
    return state


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
