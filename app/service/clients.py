"""Who asks, and how often they may."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.service.access import ApiKeys
from app.service.problems import Problem


class Clients:
    """Tells who asks, and how often they may."""

    def __init__(self, keys: ApiKeys, rate: int):
        """keys: none where nobody needs one. rate: requests of a client in a minute."""
        self._keys, self._rate = keys, RateLimitItemPerMinute(rate)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def name_of(self, address: str, key: str | None) -> str:
        """The client's name: that of its key, or its address where no keys are needed.

        Raises Problem 401 and 429.
        """
        name: str | None = f"address {address}"
        if len(self._keys):
            name = None if key is None else self._keys.name_of(key)
        caller = name or f"address {address}"  # who guesses keys is counted, too
        if not self._window.hit(self._rate, caller):
            seconds = max(
                1, round(self._window.get_window_stats(self._rate, caller).reset_time - time.time())
            )
            words = f"More than {self._rate.amount} requests in a minute; wait {seconds} s."
            raise Problem(429, "rate", words, seconds)
        if name is None:
            words = "Send your API key in the header Authorization: Bearer KEY; whoever runs this has them."
            raise Problem(401, "key", words)
        return name
