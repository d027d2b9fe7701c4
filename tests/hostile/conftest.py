"""How many hostile files there are, and out of which seed."""

from __future__ import annotations


def pytest_addoption(parser) -> None:
    parser.addoption("--hostile", type=int, default=520, help="how many mutated files (5000 for a long run)")
    parser.addoption("--hostile-seed", type=int, default=0, help="the seed they come from")
