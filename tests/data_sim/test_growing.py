"""Arrays that grow on disk, and work in order that does not run ahead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_sim.growing import GrowingArray, in_order


def test_a_grown_array_is_the_file_that_numpy_writes(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 255, (1100, 3, 5)).astype(np.uint8)
    np.save(tmp_path / "saved.npy", rows)
    with GrowingArray(tmp_path / "grown.npy", (3, 5), np.uint8) as array:
        places = [array.append(row) for row in rows]
        assert places == list(range(1100)) and np.array_equal(array.rows()[7], rows[7])
        assert array.append(rows[0]) == 1100, "reading a row does not move the end"
        assert not (tmp_path / "grown.npy").exists()
        array.complete()
    found = np.load(tmp_path / "grown.npy", mmap_mode="r")
    assert found.dtype == np.uint8 and np.array_equal(found[:1100], np.load(tmp_path / "saved.npy"))
    assert np.array_equal(found[1100], rows[0]) and not list(tmp_path.glob(".*"))


def test_a_broken_build_leaves_what_was_there(tmp_path: Path) -> None:
    np.save(tmp_path / "crops.npy", np.ones((2, 2)))
    with (
        pytest.raises(ValueError, match="rows of shape"),
        GrowingArray(tmp_path / "crops.npy", (2,), np.float64) as array,
    ):
        array.append(np.zeros(2))
        array.append(np.zeros(3))
    assert np.load(tmp_path / "crops.npy").sum() == 4 and len(list(tmp_path.iterdir())) == 1
    with GrowingArray(tmp_path / "masks.npy", (2,), np.float64) as array:
        array.complete()
    assert not (tmp_path / "masks.npy").exists(), "no row, no file"


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_few_jobs_wait(workers: int) -> None:
    taken: list[int] = []
    jobs = (taken.append(number) or -number for number in range(40))
    results = in_order(abs, jobs, workers, ahead=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2] and len(taken) <= 3 + 5
    assert list(results) == list(range(3, 40))
