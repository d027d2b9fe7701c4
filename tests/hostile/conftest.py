"""How many hostile files there are, out of which seed, and the detector that reads them."""

from __future__ import annotations

import pytest

from kfd.config import Decision
from kfd.detector import Detector
from tests.tiny.checkpoint import save_tiny_checkpoint


def pytest_addoption(parser) -> None:
    parser.addoption("--hostile", type=int, default=520, help="how many mutated files (5000 for a long run)")
    parser.addoption("--hostile-seed", type=int, default=0, help="the seed they come from")


@pytest.fixture(scope="session")
def trusting(tmp_path_factory):
    """A checkpoint whose detector takes every face for real, so that a verdict on nothing would show."""
    decision = Decision(
        fitted_on="a test", real_below=0.999, fake_above=0.9999, min_sharpness=0.0, min_face=8
    )
    return save_tiny_checkpoint(tmp_path_factory.mktemp("trusting"), decision)


@pytest.fixture(scope="session")
def detector(trusting) -> Detector:
    return Detector.from_pretrained(trusting / "kfd")
