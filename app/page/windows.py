"""The windows that are open: whose case is kept, which result is late, and who waits for the detector."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch

from app.analysis import Analysis

MAX_WINDOWS = 32  # whose cases are kept in memory at once
MAX_CASE_BYTES = 2 * 2**30  # of all cases together


@dataclass(eq=False)
class PageState:
    """One browser window's case.

    analysis: None once the case was put away. face: the one that is shown, None when the case no longer is.
    opened: faces whose opening question was asked.
    """

    analysis: Analysis | None
    face: int | None = 0
    opened: set[int] = field(default_factory=set)
    answering: Lock = field(default_factory=Lock)  # one answer at a time; a second question waits

    def put_away(self) -> None:
        """Let go of the case; Gradio may hold on to this object for an hour."""
        self.analysis = self.face = None


class Windows:
    """The case of every open window, the oldest put away when there are too many or they grow too large.

    All methods may be called from any thread. A window is known by the name that Gradio gives its session.
    """

    def __init__(self, max_windows: int = MAX_WINDOWS, max_bytes: int = MAX_CASE_BYTES):
        self._max_windows, self._max_bytes = max_windows, max_bytes
        self._cases: OrderedDict[str, tuple[PageState, int]] = OrderedDict()
        self._newest: dict[str, object] = {}  # the examination that each window waits for
        self._lock = Lock()

    def begin(self, window: str) -> object:
        """Begin an examination: the window's case is put away, and results still to come are late.

        Returns what `is_awaited` and `keep` ask for.
        """
        examination = object()
        with self._lock:
            self._newest[window] = examination
            self._drop(window)
        return examination

    def is_awaited(self, window: str, examination: object) -> bool:
        """False once the window began another examination or was closed."""
        return self._newest.get(window) is examination

    def keep(self, window: str, examination: object, state: PageState) -> bool:
        """Keep a finished case, or put it away at once and return False when its result is late."""
        size = num_bytes(state.analysis)
        with self._lock:
            if not self.is_awaited(window, examination):
                state.put_away()
                return False
            self._cases[window] = state, size
            while len(self._cases) > 1 and self._too_much():
                self._drop(next(iter(self._cases)))
        return True

    def use(self, window: str) -> None:
        """Note that a window is in use: others are put away before it."""
        with self._lock:
            if window in self._cases:
                self._cases.move_to_end(window)

    def close(self, window: str) -> None:
        """Forget a window that was closed."""
        with self._lock:
            self._newest.pop(window, None)
            self._drop(window)

    def __len__(self) -> int:
        return len(self._cases)

    def _too_much(self) -> bool:
        size = sum(size for _, size in self._cases.values())
        return len(self._cases) > self._max_windows or size > self._max_bytes

    def _drop(self, window: str) -> None:
        state, _ = self._cases.pop(window, (None, 0))
        if state is not None:
            state.put_away()


class Line:
    """Those who wait for the detector, first come, first served."""

    def __init__(self, places: int):
        """places: how many are served at once."""
        self._places = places
        self._waiting: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def stand(self) -> Iterator[Place]:
        """Stand in line until the block ends; one who leaves early makes room for those behind."""
        place = Place(self)
        with self._moved:
            self._waiting.append(place)
        try:
            yield place
        finally:
            with self._moved:
                self._waiting.remove(place)
                self._moved.notify_all()


class Place:
    """A place in a line."""

    def __init__(self, line: Line):
        self._line = line

    def ahead(self) -> int:
        """How many have to be served before this one; 0: it is served now."""
        with self._line._moved:
            return max(0, self._line._waiting.index(self) + 1 - self._line._places)

    def wait(self, seconds: float) -> None:
        """Wait until the line moves, or for so long."""
        with self._line._moved:
            self._line._moved.wait(seconds)


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
            for item in value.values():
                visit(item)

    visit(value)
    return sum(seen.values())
