"""One way to read a command line: dataclass defaults < YAML file < flags."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from common.memory import reuse_memory

Config = TypeVar("Config")


def parse(config_class: type[Config], description: str | None, args: list[str] | None = None) -> Config:
    """Build `config_class` from its defaults, then `--config FILE.yaml`, then the other flags.

    config_class: a flat dataclass; its fields become the flags, their comments the help.
    description: shown by --help; pass the module's docstring.
    args: the words after the program's name; sys.argv by default.
    Prints what is wrong and exits with status 2 on a bad flag, a bad value or a bad file.
    """
    import tyro

    reuse_memory()  # here, because every command begins here
    words = list(sys.argv[1:] if args is None else args)
    path, words = _take_config_path(words)
    try:
        values = {} if path is None else _read_yaml(Path(path), config_class)
    except (OSError, ValueError) as error:
        print(f"error: --config: {error}", file=sys.stderr)
        sys.exit(2)
    required = {
        field.name
        for field in dataclasses.fields(config_class)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    missing = {name: tyro.MISSING for name in required - values.keys()}
    if not values:
        return tyro.cli(config_class, description=description, args=words)
    default = _unchecked(config_class, {**values, **missing})
    return tyro.cli(config_class, description=description, args=words, default=default)


def _take_config_path(words: list[str]) -> tuple[str | None, list[str]]:
    """Split `--config FILE` (or `--config=FILE`) off the command line."""
    for position, word in enumerate(words):
        if word == "--config" and position + 1 < len(words):
            return words[position + 1], words[:position] + words[position + 2 :]
        if word.startswith("--config="):
            return word.removeprefix("--config="), words[:position] + words[position + 1 :]
    return None, words


def _read_yaml(path: Path, config_class: type) -> dict[str, Any]:
    """Read a flat YAML mapping whose keys are fields of `config_class`."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from None
    known = {field.name for field in dataclasses.fields(config_class)}
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected `name: value` lines, got {type(values).__name__}")
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{path}: unknown settings {unknown}; known are {sorted(known)}")
    hints = get_type_hints(config_class)
    try:
        return {name: _typed(hints[name], value) for name, value in values.items()}
    except TypeError as error:  # an unknown key of a nested dataclass
        raise ValueError(f"{path}: {error}") from None


def _typed(hint: Any, value: Any) -> Any:
    """A YAML value as a field's type: YAML knows neither paths nor tuples nor dataclasses."""
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return hint(**value)
    choices = get_args(hint)
    if isinstance(value, list):
        return tuple(_typed(choices[0] if choices else Any, item) for item in value)
    return Path(value) if isinstance(value, str) and Path in (hint, *choices) else value


def _unchecked(config_class: type[Config], values: dict[str, Any]) -> Config:
    """An instance that skips `__post_init__`: tyro checks again once the flags are in."""
    instance = object.__new__(config_class)
    for field in dataclasses.fields(config_class):
        if field.name in values:
            value = values[field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        else:
            value = field.default_factory()
        object.__setattr__(instance, field.name, value)
    return instance
