"""One function for many inputs, in several processes; results come in the order of the inputs.

A process may die of an input. It is tried once more in another; what ends that one too has a result that says
so, and nobody else notices.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from common.memory import reuse_memory

AHEAD = 64  # inputs for each process that may be done before an earlier one is
Task, Result = TypeVar("Task"), TypeVar("Result")


@dataclass
class _Job:
    """An input. deaths: how many processes ended with it."""

    number: int
    task: object
    deaths: int = 0


class _Worker:
    """A process, and the job that it is busy with."""

    def __init__(self, start: Callable[[], Callable]):
        context = get_context("spawn")  # a forked one would share the threads of its parent
        self.channel, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start))
        self.process.start()
        theirs.close()
        self.job: _Job | None = None

    def begin(self, job: _Job) -> None:
        self.job = job
        with suppress(OSError):  # where it is gone, that shows when its answer is read
            self.channel.send(job.task)

    def close(self) -> None:
        self.channel.close()
        self.process.terminate()
        self.process.join()


def _serve(channel: Connection, start: Callable[[], Callable]) -> None:
    """Answer tasks until the other side is gone. Runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; who was asked ends the others
    reuse_memory()
    with suppress(EOFError, OSError):
        work = start()
        while True:
            channel.send(work(channel.recv()))


def in_processes(
    tasks: Iterable[Task],
    count: int,
    start: Callable[[], Callable[[Task], Result]],
    gave_up: Callable[[Task], Result],
) -> Iterator[tuple[Task, Result]]:
    """Every task with its result, in order, worked on by `count` processes.

    start: called once in each process, returns what does the work; it, tasks and results are pickled.
    gave_up: what is the result of a task that ended two processes.
    """
    source, again = enumerate(tasks), deque[_Job]()
    done: dict[int, tuple[Task, Result]] = {}
    workers: list[_Worker] = []
    begun = written = 0
    try:
        while True:
            idle = [worker for worker in workers if worker.job is None]
            while idle or len(workers) < count:
                if again:
                    job = again.popleft()
                elif begun - written < AHEAD * count and (found := next(source, None)) is not None:
                    job, begun = _Job(*found), begun + 1
                else:
                    break
                if not idle:
                    idle = [_Worker(start)]
                    workers += idle
                idle.pop().begin(job)
            busy = {worker.channel: worker for worker in workers if worker.job is not None}
            if not busy:
                return
            for channel in wait(list(busy)):
                worker, job = busy[channel], busy[channel].job
                worker.job = None
                try:
                    done[job.number] = job.task, channel.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    worker.close()
                    job.deaths += 1
                    if job.deaths == 1:
                        again.append(job)
                    else:
                        done[job.number] = job.task, gave_up(job.task)
            while written in done:
                yield done.pop(written)
                written += 1
    finally:
        for worker in workers:
            worker.close()
