"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Commands set the number of threads; another number sums in another order, and bitwise tests would fail."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
