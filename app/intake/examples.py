"""The photographs that come with Unmask."""

from __future__ import annotations

from pathlib import Path

# A NASA portrait of Eileen Collins, in the public domain, as it is and with the mouth forged by
# data_sim.simulate (parts only, no other person; seed 13, the first to draw the mouth alone).
EXAMPLE = Path(__file__).parents[1] / "example.jpg"
FORGED_EXAMPLE = Path(__file__).parents[1] / "example_forged.jpg"
