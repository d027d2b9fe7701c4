"""The line before a model: every client in turn, and nobody waits longer for another's many files."""

from __future__ import annotations

import bisect
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

CORES = os.cpu_count() or 1
EXAMINED_AT_ONCE = CORES + 2  # while the faces of some are judged together, the files of others are decoded
ANSWERED_AT_ONCE = CORES  # by a language model on this machine
ASKED_AT_ONCE = 32  # where an endpoint writes the answers
PATIENCE = 10.0  # seconds that a sentence of an answer gives way to those in line for an examination
FIRST_GUESS = 2.0  # seconds that one is served, until some were
RECENT = 0.2  # weight of the last one in the mean


class LineFull(Exception):
    """There is no room in the line. seconds: after which there will probably be, 1 or more."""

    def __init__(self, seconds: int):
        super().__init__(f"the line is full; try again in {seconds} s")
        self.seconds = seconds


class Line:
    """Those who wait for a model.

    Start-time fair queueing (Goyal et al. 1996) at equal weights: a client's second place comes a round after
    its first, so one with a single file waits for one file of each other client, however many they have.
    Clients with one place each are served first come, first served. All methods may be called from any
    thread.
    """

    def __init__(self, places: int, longest: int | None = None, each: int | None = None):
        """places: how many are served at once. longest, each: how many may wait, in all and of one client;
        None: any number."""
        self._places, self._longest, self._each = places, longest, each
        self._served: list[Place] = []
        self._waiting: list[Place] = []  # sorted by turn
        self._round = self._arrivals = 0
        self._seconds = FIRST_GUESS
        self._moved = threading.Condition()

    @contextmanager
    def stand(self, client: str = "") -> Iterator[Place]:
        """Stand in line until the block ends; one who leaves early makes room for those behind.

        Raises LineFull where too many wait.
        """
        place = self._join(client)
        try:
            yield place
        finally:
            self._leave(place)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def give_way(self, seconds: float = PATIENCE) -> None:
        """Wait until nobody waits, or for so long: who does longer work stops between two pieces of it."""
        deadline = time.monotonic() + seconds
        with self._moved:
            while self._waiting and (left := deadline - time.monotonic()) > 0:
                self._moved.wait(left)

    def _join(self, client: str) -> Place:
        with self._moved:
            waiting = sum(place.client == client for place in self._waiting)
            served = sum(place.client == client for place in self._served)
            if len(self._served) >= self._places:
                if self._longest is not None and len(self._waiting) >= self._longest:
                    raise LineFull(self._seconds_for(len(self._waiting)))
                if self._each is not None and waiting >= self._each:
                    raise LineFull(self._seconds_for(waiting))
            self._arrivals += 1
            place = Place(self, client, (self._round + waiting + served, self._arrivals))
            bisect.insort(self._waiting, place, key=lambda place: place.turn)
            self._move()
        return place

    def _leave(self, place: Place) -> None:
        with self._moved:
            if place.since is None:
                self._waiting.remove(place)
            else:
                self._served.remove(place)
                self._seconds += RECENT * (time.monotonic() - place.since - self._seconds)
            self._move()

    def _move(self) -> None:
        while self._waiting and len(self._served) < self._places:
            place = self._waiting.pop(0)
            place.since = time.monotonic()
            self._round = max(self._round, place.turn[0])
            self._served.append(place)
        self._moved.notify_all()

    def _seconds_for(self, waiting: int) -> int:
        return max(1, math.ceil(waiting * self._seconds / self._places / 2))  # half of them gone


class Place:
    """A place in a line. turn: its round, its number of arrival. since: when its serving began, or None."""

    def __init__(self, line: Line, client: str, turn: tuple[int, int]):
        self._line, self.client, self.turn = line, client, turn
        self.since: float | None = None

    def ahead(self) -> int:
        """How many have to be served before this one; 0: it is served now."""
        with self._line._moved:
            return 0 if self.since is not None else self._line._waiting.index(self) + 1

    def wait(self, seconds: float) -> None:
        """Wait until the line moves, or for so long."""
        with self._line._moved:
            if self.since is None:
                self._line._moved.wait(seconds)
