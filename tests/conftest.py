"""Settings of every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from app.intake.examples import draw_examples


def pytest_configure() -> None:
    draw_examples()


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Commands set the number of threads; with another number sums differ in their last bits."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
