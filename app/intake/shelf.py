"""Where finished cases are kept: no longer, no more and no larger than was said."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic, TypeVar

import numpy as np
import torch

MAX_CASE_BYTES = 2 * 2**30  # of all cases together

Case = TypeVar("Case")


@dataclass(frozen=True)
class _Kept(Generic[Case]):
    owner: str
    case: Case
    size: int
    until: float


class Shelf(Generic[Case]):
    """Cases by name. Where there are too many, or they grow too large, the owner of most loses the least
    used one. All methods may be called from any thread."""

    def __init__(
        self,
        most: int,
        most_bytes: int = MAX_CASE_BYTES,
        seconds: float = math.inf,
        put_away: Callable[[Case], None] = lambda case: None,
    ):
        """most, most_bytes: of all cases together. seconds: after which a case goes, used or not. put_away:
        is told each case that goes."""
        self._most, self._most_bytes, self.seconds, self._put_away = most, most_bytes, seconds, put_away
        self._kept: OrderedDict[str, _Kept[Case]] = OrderedDict()  # the least used first
        self._lock = RLock()

    def keep(self, name: str, case: Case, owner: str) -> None:
        """Keep a case under a name of its own, or again as large as it is now, which counts as used. Its size
        is that of its arrays and tensors."""
        kept = _Kept(owner, case, num_bytes(case), time.monotonic() + self.seconds)
        with self._lock:
            self._kept[name] = kept
            self._kept.move_to_end(name)
            while len(self._kept) > 1 and self._too_much():
                self.drop(self._to_go())

    def get(self, name: str, owner: str) -> Case | None:
        """A case of an owner, which counts as used; None where it is kept no longer, or is another's."""
        self.sweep()
        with self._lock:
            kept = self._kept.get(name)
            if kept is None or kept.owner != owner:
                return None
            self._kept.move_to_end(name)
            return kept.case

    def drop(self, name: str) -> None:
        """Put a case away, if it is there."""
        with self._lock:
            kept = self._kept.pop(name, None)
        if kept is not None:
            self._put_away(kept.case)

    def sweep(self) -> None:
        """Put away what was kept for as long as was said."""
        now = time.monotonic()
        with self._lock:
            for name in [name for name, kept in self._kept.items() if kept.until <= now]:
                self.drop(name)

    def __len__(self) -> int:
        return len(self._kept)

    def num_bytes(self) -> int:
        """The size of all that is kept."""
        with self._lock:
            return sum(kept.size for kept in self._kept.values())

    def _too_much(self) -> bool:
        return len(self._kept) > self._most or self.num_bytes() > self._most_bytes

    def _to_go(self) -> str:
        counts = Counter(kept.owner for kept in self._kept.values())
        most = max(counts.values())
        return next(name for name, kept in self._kept.items() if counts[kept.owner] == most)


def num_bytes(value: Any) -> int:
    """The bytes of all arrays and tensors in nested dataclasses, lists and dictionaries, each once."""
    seen: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, np.ndarray):
            whole = value if value.base is None else value.base
            seen[id(whole)] = max(value.nbytes, getattr(whole, "nbytes", 0))
        elif isinstance(value, torch.Tensor):
            seen[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif dataclasses.is_dataclass(value) and not isinstance(value, type) and id(value) not in seen:
            seen[id(value)] = 0
            for item in dataclasses.fields(value):
                visit(getattr(value, item.name))
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            visit(list(value.values()))  # at once: a conversation may go on meanwhile

    visit(value)
    return sum(seen.values())
