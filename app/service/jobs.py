"""Jobs: videos and batches that are examined while nobody waits at the line."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from app.intake.line import LineFull
from app.intake.shelf import Shelf
from app.intake.uploads import FORGOTTEN
from app.service.desk import Desk, kept_on
from app.service.problems import Problem, problem_of
from app.service.tasks import LOOK, Task
from media.errors import Cancelled

State = Literal["waiting", "examining", "done", "failed", "cancelled"]
MOST = 64  # jobs under way
EACH = 4  # of one client


@dataclass
class File:
    """One file of a job. result: what the service says of a finding; problem: why there is none."""

    path: Path
    state: State = "waiting"
    task: Task = field(default_factory=Task)
    result: dict[str, Any] | None = None
    problem: Problem | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.path.name,
            "state": self.state,
            "progress": {"frames_read": self.task.done, "frames": self.task.of},
            "result": self.result,
            "error": None if self.problem is None else self.problem.as_json(),
        }


@dataclass(eq=False)
class Job:
    """Files that are examined one after the other, each standing in line like anybody's."""

    client: str
    files: list[File]
    expires: datetime
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    began: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        return all(file.state not in ("waiting", "examining") for file in self.files)

    def cancel(self) -> None:
        """Examine no more; what was found stays."""
        for file in self.files:
            file.task.cancel()

    def as_json(self) -> dict[str, Any]:
        over = sum(file.state not in ("waiting", "examining") for file in self.files)
        return {
            "id": self.id,
            "state": "finished" if self.is_over else "running",
            "progress": {"files_over": over, "files": len(self.files)},
            "expires": self.expires.isoformat(),
            "files": [file.as_json() for file in self.files],
        }


class Jobs:
    """The jobs of all clients."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self._lock = threading.Lock()
        self._running: list[Job] = []
        # A job may take the first; its result stays the second.
        self._jobs: Shelf[Job] = Shelf(1024, seconds=FORGOTTEN + desk.limits.keep, put_away=Job.cancel)
        desk.metrics.watch("jobs running", lambda: len(self._running))

    def begin(self, paths: list[Path], client: str) -> Job:
        """Begin to examine uploads. Raises Problem 429 or 503 where too many jobs run."""
        expires = datetime.now(UTC) + timedelta(seconds=self._jobs.seconds)
        job = Job(client, [File(path) for path in paths], expires)
        with self._lock:
            own = sum(other.client == client for other in self._running)
            if own >= EACH or len(self._running) >= MOST:
                for path in paths:
                    self._desk.uploads.forget(path)
                words = f"Already {EACH} jobs of yours, or {MOST} in all, run; wait for one, or cancel it."
                raise Problem(429 if own >= EACH else 503, "busy", words, 30)
            self._running.append(job)
        self._jobs.keep(job.id, job, client)
        self._desk.threads.submit(self._run, job)
        return job

    def find(self, name: str, client: str) -> Job:
        """A client's job. Raises Problem 404."""
        return kept_on(self._jobs, name, client, "job")

    def close(self) -> None:
        """Cancel what still runs."""
        with self._lock:
            for job in self._running:
                job.cancel()

    def sweep(self) -> None:
        """Put away what was kept for as long as was said."""
        self._jobs.sweep()

    def _run(self, job: Job) -> None:
        try:
            for file in job.files:
                if time.monotonic() - job.began > FORGOTTEN:
                    file.task.cancel()
                self._examine(file, job.client)
        finally:
            with self._lock:
                self._running.remove(job)

    def _examine(self, file: File, client: str) -> None:
        """Examine a file; whatever goes wrong with it is its own problem."""
        file.state = "examining"
        while True:
            try:
                file.task.check()
                file.result = self._desk.examine(file.path, client, file.task).as_json()
                file.state = "done"
            except LineFull:  # the job waits for a place in line; nobody has to ask again
                time.sleep(LOOK)
                continue
            except Cancelled as error:
                file.problem, file.state = problem_of(error), "cancelled"
                self._desk.uploads.forget(file.path)
            except Exception as error:  # a job goes on to its next file
                file.problem, file.state = problem_of(error), "failed"
            return
