"""The speed benchmark times real work, and its model of SBI makes real pairs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.speed import example_faces, pairs


def test_rows_hold_the_time_of_both_ways():
    *_, row = pairs(64, rounds=1)
    assert row.work == "a simulated pair, 64 px" and row.other == "batches of tensors"
    assert row.ours > 0 and row.gain == pytest.approx(row.theirs / row.ours)
    assert row.cells()[1].endswith(" ms") and row.cells()[4].endswith(" ×")


def test_a_pair_of_sbi_differs_in_the_face_and_not_in_the_corners():
    pytest.importorskip("albumentations", reason="albumentations is missing: pip install '.[bench]'")
    from benchmarks.sbi_steps import SelfBlending

    crops, landmarks = example_faces(96)
    blending = SelfBlending(96, seed=1)
    made = [blending.pair(crop, where) for crop, where in zip(crops, landmarks, strict=True)]
    for real, fake in made:
        assert real.shape == fake.shape == (96, 96, 3) and min(real.min(), fake.min()) >= 0
    gap = np.mean([np.abs(real - fake).mean(axis=2) for real, fake in made], axis=0)
    corners = np.mean([gap[y : y + 6, x : x + 6].mean() for y in (0, 90) for x in (0, 90)])
    assert gap[36:60, 36:60].mean() > 1.5 * corners
