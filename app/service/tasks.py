"""A piece of work that somebody waits for: how far it is, and whether it is still wanted."""

from __future__ import annotations

import threading

from app.intake.line import Place
from media.errors import Cancelled

LOOK = 0.5  # seconds between two looks at whether it is still wanted


class Task:
    """done, of: frames of a video that are read, and how many there are; (0, 0) of a photograph."""

    def __init__(self) -> None:
        self.done = self.of = 0
        self._unwanted = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        return self._unwanted.is_set()

    def cancel(self) -> None:
        """Nobody waits for it any more: it ends at its next look."""
        self._unwanted.set()

    def check(self) -> None:
        """Raise Cancelled where nobody waits."""
        if self.is_cancelled:
            raise Cancelled

    def watch(self, done: int, of: int) -> None:
        """Note how far a video is; raises Cancelled, too."""
        self.done, self.of = done, of
        self.check()

    def wait(self, place: Place) -> None:
        """Wait in line until it is served. Raises Cancelled."""
        while place.ahead():
            self.check()
            place.wait(LOOK)
        self.check()
