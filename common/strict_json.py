"""JSON read without the leniency of Python's reader, and written without what is no JSON.

Python takes NaN and Infinity, turns 1e999 into infinity and keeps the last of two equal keys: a file can so
say something else to the next reader, or make every comparison with a threshold false.
"""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin


def parse_json(text: str | bytes, source: str | Path) -> Any:
    """Read JSON whose numbers are all finite and whose objects name no key twice.

    source: where the text comes from, for the message. Raises ValueError for anything else, also for text
    that is no UTF-8 and for nesting that Python cannot follow.
    """
    try:
        return json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError:
        raise ValueError(f"{source} is nested too deeply to be a file of this program") from None
    except ValueError as error:
        raise ValueError(f"{source} is not JSON as it is written here ({error}); restore the file") from None


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. Raises ValueError as `parse_json`, and OSError."""
    return parse_json(Path(path).read_bytes(), path)


def read_json_object(path: str | Path) -> dict[str, Any]:
    """The content of a JSON file that holds one object. Raises ValueError for another, and OSError."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object of names and values, got a {type(values).__name__}")
    return values


def to_json(values: object, **layout: Any) -> str:
    """JSON text. layout: of json.dumps. Raises ValueError for a number that is not finite."""
    try:
        return json.dumps(values, allow_nan=False, **layout)
    except ValueError as error:
        raise ValueError(f"a number that is not finite must not be written ({error})") from None


def fits(value: object, hint: Any) -> bool:
    """Whether a value out of JSON or of a dataclass is what a field's type hint says.

    A whole number fits `float`; true and false fit `bool` alone. Numbers must be finite.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (Any, object):
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in inner)
    if origin is Literal:
        return any(value is option or (type(value) is type(option) and value == option) for option in inner)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return False
        if len(inner) == 2 and inner[1] is ...:
            return all(fits(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(fits, value, inner))
    if origin is dict:
        keys, values = inner
        return isinstance(value, Mapping) and all(fits(k, keys) and fits(v, values) for k, v in value.items())
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        number = isinstance(value, int | (float if hint is float else int)) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max  # of a whole number math.isfinite may not be asked
    return not isinstance(hint, type) or isinstance(value, hint)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number
