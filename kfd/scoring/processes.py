"""One function for many inputs, in several processes; results come in the order of the inputs.

Inputs come in groups that are worked on together. A process may die of one. Its group is tried once more in
another process, then each of the group by itself; what ends that one too has a result that says so, and
nobody else notices.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from common.memory import reuse_memory

AHEAD = 64  # inputs for each process that may be done before an earlier one is, and one group more
Task, Result = TypeVar("Task"), TypeVar("Result")


@dataclass
class _Job:
    """Inputs that are worked on together, with their numbers. deaths: how many processes ended with them."""

    numbers: tuple[int, ...]
    tasks: tuple[object, ...]
    deaths: int = 0


@dataclass
class _NoStart:
    """The answer of a process that could not begin."""

    why: str


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
            self.channel.send(job.tasks)

    def close(self) -> None:
        self.channel.close()
        self.process.terminate()
        self.process.join()


def _serve(channel: Connection, start: Callable[[], Callable]) -> None:
    """Answer groups until the other side is gone. Runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells all; who was asked ends the others
    reuse_memory()
    with suppress(EOFError, OSError):
        try:
            work = start()
        except Exception as error:
            channel.send(_NoStart(f"{type(error).__name__}: {error}"))
            return
        while True:
            channel.send(work(channel.recv()))


class Pool(Generic[Task, Result]):
    """Processes for one function; they are started when they are first needed and stay for the next tasks.

    count: how many. start: called once in each process, returns what does the work: a group of tasks -> the
    result of each; it, tasks and results are pickled. gave_up: what is the result of a task that ended
    process after process.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[], Callable[[Sequence[Task]], Sequence[Result]]],
        gave_up: Callable[[Task], Result],
    ):
        self._count, self._start, self._gave_up = count, start, gave_up
        self._workers: list[_Worker] = []

    def map(self, groups: Iterable[Sequence[Task]]) -> Iterator[tuple[Task, Result]]:
        """Every task with its result, in order. Raises ValueError where a process cannot begin."""
        source, again = iter(groups), deque[_Job]()
        done: dict[int, tuple[Task, Result]] = {}
        begun = written = 0
        try:
            while True:
                while len(idle := self._idle()) or len(self._workers) < self._count:
                    if again:
                        job = again.popleft()
                    elif begun - written < AHEAD * self._count and (found := next(source, None)) is not None:
                        job = _Job(tuple(range(begun, begun + len(found))), tuple(found))
                        begun += len(found)
                    else:
                        break
                    (idle[0] if idle else self._new()).begin(job)
                if not (busy := {worker.channel: worker for worker in self._workers if worker.job}):
                    return
                for channel in wait(list(busy)):
                    self._take(busy[channel], done, again)
                while written in done:
                    yield done.pop(written)
                    written += 1
        finally:
            for worker in [worker for worker in self._workers if worker.job]:  # nobody waits for them now
                self._end(worker)

    def close(self) -> None:
        """End all processes."""
        for worker in list(self._workers):
            self._end(worker)

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is None]

    def _new(self) -> _Worker:
        self._workers.append(_Worker(self._start))
        return self._workers[-1]

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.close()

    def _take(self, worker: _Worker, done: dict[int, tuple[Task, Result]], again: deque[_Job]) -> None:
        """What a process answers, or that it is gone."""
        job, worker.job = worker.job, None
        try:
            answer = worker.channel.recv()
        except (EOFError, OSError):
            self._end(worker)
            job.deaths += 1
            if job.deaths == 1:
                again.append(job)
                return
            if len(job.tasks) > 1:
                alone = zip(job.numbers, job.tasks, strict=True)
                again.extend(_Job((number,), (task,), deaths=1) for number, task in alone)
                return
            answer = [self._gave_up(*job.tasks)]
        if isinstance(answer, _NoStart):
            raise ValueError(f"a process could not begin: {answer.why}")
        for number, task, result in zip(job.numbers, job.tasks, answer, strict=True):
            done[number] = task, result


def in_processes(
    groups: Iterable[Sequence[Task]],
    count: int,
    start: Callable[[], Callable[[Sequence[Task]], Sequence[Result]]],
    gave_up: Callable[[Task], Result],
) -> Iterator[tuple[Task, Result]]:
    """Every task with its result, in order, worked on by `count` processes; see Pool."""
    with closing(Pool(count, start, gave_up)) as pool:
        yield from pool.map(groups)
