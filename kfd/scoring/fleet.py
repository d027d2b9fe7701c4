"""Ray Data shares files among the machines of a cluster. Only `--ray` imports this, and Ray.

A shard of files goes to a process of Ray's, which has one of its own for the work: what a file does to that
costs the file (kfd.scoring.processes), and what befalls a machine costs nothing but time, because Ray gives
its shards to another. Where a shard comes back twice for that, its lines count once.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from kfd.scoring.described import Line
from kfd.scoring.lines import Group, Start, Task
from kfd.scoring.processes import Pool

SHARD = 8  # groups of files, at most, whose lines come back together
SHARDS = 8  # for each process, where there are fewer groups
LOCAL_WORKERS = 2
GPU_SHARE = 0.25  # of a GPU, for each process that computes on one


@dataclass(frozen=True)
class Fleet:
    """Where the work is done.

    address: of a Ray cluster as `ray.init` takes it; "auto" is the one this machine belongs to, "local" one
    of processes on this machine, started for the run. workers: how many processes; None: as many as the
    cluster has cores, LOCAL_WORKERS where it is local. device: on which each computes.
    """

    address: str
    workers: int | None = None
    device: str = "cpu"

    def map(
        self, groups: Iterable[Group], start: Start, gave_up: Callable[[Task], list[Line]]
    ) -> Iterator[tuple[Task, list[Line]]]:
        """Every task with its lines, in the order in which shards are done.

        Raises ConnectionError where there is no cluster, ValueError where Ray is missing or gives up.
        """
        groups = list(groups)
        waiting = {task: None for group in groups for task in group}
        if not waiting:
            return
        with self._connected() as ray:
            count = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            try:
                for row in _results(ray, groups, count, self.device, (start, gave_up)):
                    for task, lines in pickle.loads(row["lines"]):
                        if waiting.pop(task, task) is None:
                            yield task, lines
            except (ray.exceptions.RayError, ray.exceptions.RaySystemError) as error:
                raise ValueError(f"Ray gave up: {_cause(error)}; the same command goes on") from error
        if waiting:
            raise ValueError(f"Ray lost {len(waiting)} files; the same command goes on")

    @contextmanager
    def _connected(self) -> Iterator:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use to its makers otherwise
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
            import ray.data
        except ImportError:
            raise ValueError("--ray needs Ray: pip install 'unmask[fleet]'") from None
        local = {"num_cpus": self.workers or LOCAL_WORKERS} if self.address == "local" else {}
        ray.init(self.address, include_dashboard=False if local else None, logging_level="warning", **local)
        try:
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            ray.data.DataContext.get_current().enable_progress_bars = False
            yield ray
        finally:
            ray.shutdown()


class _Shards:
    """What a process of Ray's does: a shard in, the lines of its files out."""

    def __init__(self, start: Start, gave_up: Callable[[Task], list[Line]]):
        self._pool = Pool(1, start, gave_up)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        groups = [pickle.loads(row) for row in batch["group"]]
        return {"lines": [pickle.dumps(list(self._pool.map(groups)))]}


def _results(ray, groups: list[Group], count: int, device: str, start: tuple) -> Iterator[dict[str, bytes]]:
    """Rows with the pickled lines of a shard. Groups are pickled too: their names may be no Unicode."""
    shard = max(1, min(SHARD, len(groups) // (count * SHARDS)))
    rows = [{"group": pickle.dumps(group)} for group in groups]
    shards = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // shard))
    done = shards.map_batches(
        _Shards,
        batch_size=None,  # a block
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=count, max_tasks_in_flight_per_actor=2),
        fn_constructor_args=start,
        num_gpus=GPU_SHARE if device != "cpu" else None,
    )
    return done.iter_rows()


def _cause(error: BaseException) -> str:
    """The last sentence of what Ray says of an error that began on another machine."""
    return str(error).strip().splitlines()[-1]
