"""Memory that is freed stays with the process."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

# Writes 16 MB twenty times; a page of 4 KB that the system gives is one minor fault.
FAULTS = """
import resource, sys
import torch
from common.memory import reuse_memory
print(reuse_memory())
for _ in range(3):
    torch.ones(4 * 2**20).sum()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(4 * 2**20).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_large_blocks_are_not_given_back_and_taken_anew():
    def faults(**settings: str) -> tuple[str, int]:
        words = [sys.executable, "-c", FAULTS]
        said = subprocess.run(words, env=os.environ | settings, capture_output=True, text=True, check=True)
        done, count = said.stdout.split()
        return done, int(count)

    block = 16 * 2**20 // resource.getpagesize()
    done, count = faults()
    assert done == "True" and count < 5 * block, "of twenty blocks"
    done, _ = faults(MALLOC_TRIM_THRESHOLD_="131072")
    assert done == "False", "whoever sets glibc's own variables is left alone"
