"""Arrays on disk that grow row by row: a face set may be larger than the memory."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from common.storage import PART, told_when_full

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Rows:
    """The rows that a growing array has so far, for whichever process wants one of them.

    head: bytes before the first row. shape, dtype: of a row.
    """

    path: Path
    head: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, place: int) -> np.ndarray:
        count = math.prod(self.shape)
        start = self.head + place * count * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, count, offset=start).reshape(self.shape)


class GrowingArray:
    """A .npy file that is written row by row and gets its name when it is complete.

    A context manager; left without `complete`, nothing remains. Only the row in hand is in memory.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.typing.DTypeLike):
        """shape, dtype: of a row. path: the folder must exist."""
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.part = path.with_name(PART.format(path.name, uuid.uuid4().hex[:12]))
        self.count = 0
        self._file = self.part.open("wb+")
        self._head = self._write_head()

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        with suppress(FileNotFoundError):
            self.part.unlink()

    def append(self, row: np.ndarray) -> int:
        """Add a row and return its place, from 0. Raises ValueError for a row of another shape."""
        if row.shape != self.shape:
            raise ValueError(f"{self.path.name}: expected rows of shape {self.shape}, got {row.shape}")
        with told_when_full(self.path):
            self._file.write(np.ascontiguousarray(row, self.dtype).tobytes())
        self.count += 1
        return self.count - 1

    def rows(self) -> Rows:
        """The rows that were added, readable until `complete`."""
        with told_when_full(self.path):
            self._file.flush()
        return Rows(self.part, self._head, self.shape, self.dtype)

    def complete(self) -> None:
        """Write how many rows there are and put the file in place; with no row there is no file."""
        if not self.count:
            return
        with told_when_full(self.path):
            self._file.seek(0)
            if self._write_head() != self._head:  # numpy leaves room for the number of rows to grow
                raise RuntimeError(f"the header of {self.path.name} does not fit into its place")
            self._file.flush()
            os.fsync(self._file.fileno())
        os.replace(self.part, self.path)

    def _write_head(self) -> int:
        values = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, values)
        return self._file.tell()


def save_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """Save arrays of one shape and dtype as the rows of one .npy file; there must be one at least."""
    arrays = iter(arrays)
    first = next(arrays)
    with GrowingArray(path, first.shape, first.dtype) as file:
        for array in chain((first,), arrays):
            file.append(array)
        file.complete()


def in_order(
    function: Callable[[Job], Result], jobs: Iterable[Job], workers: int, ahead: int = 64
) -> Iterator[Result]:
    """Yield `function` of each job, in the order of the jobs, computed by `workers` processes; by one here.

    At most `ahead` jobs are taken before their result is, so that memory does not grow with their number.
    """
    if workers <= 1:
        yield from map(function, jobs)
        return
    jobs = iter(jobs)
    with ProcessPoolExecutor(workers) as pool:
        waiting: list[Future[Result]] = [pool.submit(function, job) for job in islice(jobs, ahead)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(function, job) for job in islice(jobs, 1)]
