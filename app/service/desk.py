"""What the service does, without HTTP: it examines, answers, reports, and forgets in time."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from app.analysis import Analysis, case_of
from app.assistant import Assistant
from app.court import CourtForm
from app.intake.line import ANSWERED_AT_ONCE, ASKED_AT_ONCE, EXAMINED_AT_ONCE, Line, Place
from app.intake.shelf import Case, Shelf
from app.intake.uploads import Uploads, without_path
from app.report.data import exchange_data, finding_data
from app.service.metrics import Metrics
from app.service.problems import Problem, problem_of
from app.service.tasks import Task
from app.wording.translated import ENGLISH, Stated, summary
from llm.serving.endpoint import EndpointError
from media.errors import MediaError

Event = tuple[str, dict[str, Any]]
Form = Literal["json", "html", "pdf"]


@dataclass(frozen=True)
class Limits:
    """What the service takes and keeps.

    keep: seconds that a finding is kept. findings: how many are kept. waiting, each: requests that wait for
    a model, in all and of one client. batch: files of a job. file_mb: of one file. rate: requests of a
    client in a minute.
    """

    keep: float = 900.0
    findings: int = 256
    waiting: int = 128
    each: int = 16
    batch: int = 100
    file_mb: int = 256
    rate: int = 240


@dataclass(eq=False)
class Kept:
    """A finding that is kept, with the case behind it."""

    analysis: Analysis
    expires: datetime
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))

    def as_json(self, language: str = ENGLISH) -> dict[str, Any]:
        """Its name, how long it is kept, what was found, and that in fixed words of a language.

        Raises ValueError for a language that there is not.
        """
        stated = map(Stated.of, self.analysis.faces)
        return {
            "id": self.id,
            "expires": self.expires.isoformat(),
            "finding": finding_data(self.analysis),
            "summary": summary(language, self.analysis.verdict, stated),
        }


class Desk:
    """One assistant, its lines, and the findings of all clients, each of whom sees its own alone."""

    def __init__(self, assistant: Assistant, folder: Path, limits: Limits):
        """folder: where uploads lie until they are examined."""
        self.assistant, self.limits, self.metrics = assistant, limits, Metrics()
        answered = ASKED_AT_ONCE if assistant.models.chat.host else ANSWERED_AT_ONCE
        self.examinations = Line(EXAMINED_AT_ONCE, limits.waiting, limits.each)
        self.answers = Line(answered, limits.waiting, limits.each)
        self.uploads = Uploads(folder.resolve() / "uploads", limit=limits.file_mb * 2**20)
        self.kept: Shelf[Kept] = Shelf(limits.findings, seconds=limits.keep)
        # Those who wait in line take a thread each.
        self.threads = ThreadPoolExecutor(2 * (limits.waiting + EXAMINED_AT_ONCE + answered) + 64, "desk")
        self.metrics.watch("waiting for an examination", lambda: len(self.examinations))
        self.metrics.watch("waiting for an answer", lambda: len(self.answers))
        self.metrics.watch("findings kept", lambda: len(self.kept))
        self.metrics.watch("bytes of findings kept", self.kept.num_bytes)
        self.metrics.watch("bytes of uploads waiting", self.uploads.waiting_bytes)

    def examine(self, path: Path, client: str, task: Task) -> Kept:
        """Stand in line, examine an upload, forget the upload, keep the finding.

        Raises LineFull, and then the upload stays; MediaError for a file that gives no picture, and
        Cancelled.
        """
        with self.examinations.stand(client) as place:
            try:
                task.wait(place)
                analysis = self.assistant.analyse(path, watch=task.watch)
            except MediaError as error:
                self.metrics.findings.labels(error.code).inc()
                raise type(error)(*_told(error, path)) from None
            finally:
                self.uploads.forget(path)
        self.metrics.findings.labels(analysis.verdict).inc()
        kept = Kept(analysis, datetime.now(UTC) + timedelta(seconds=self.limits.keep))
        self.kept.keep(kept.id, kept, client)
        return kept

    def find(self, name: str, client: str) -> Kept:
        """A client's finding. Raises Problem 404."""
        return kept_on(self.kept, name, client, "finding")

    def check_question(self, kept: Kept, face: int) -> None:
        """Raise Problem where nothing can be asked: no such face, or an answer is being written."""
        try:
            case_of(kept.analysis, face)
        except (ValueError, IndexError):
            count = len(kept.analysis.faces)
            words = (
                f"There are {count} faces, numbered from 1; ask about one of them."
                if count
                else ("No face was found, so there is nothing to ask about; send another picture.")
            )
            raise Problem(422, "no_such_face", words) from None
        if kept.analysis.session.answering:
            words = "An answer about this file is being written; ask again when it has ended."
            raise Problem(409, "answering", words, 5)

    def answer(self, kept: Kept, face: int, question: str, place: Place, task: Task) -> Iterator[Event]:
        """The answer as events: waiting, piece, and at last answer or error."""
        outcome = "broken off"
        try:
            while ahead := place.ahead():
                task.check()
                yield "waiting", {"ahead": ahead}
                place.wait(1.0)
            self.examinations.give_way()
            with contextlib.closing(self.assistant.ask(kept.analysis, question, face)) as pieces:
                for piece in pieces:
                    yield "piece", {"text": piece}
                    self.examinations.give_way()
            outcome = "answered"
            yield "answer", exchange_data(kept.analysis.session.about(face)[-1], kept.analysis.models.chat)
        except EndpointError as error:
            outcome = "endpoint"
            yield "error", Problem(502, "endpoint", str(error), 30).as_json()
        except MediaError:  # cancelled
            pass
        except (ValueError, RuntimeError) as error:
            outcome = "refused"
            yield "error", Problem(422, "question", str(error)).as_json()
        except Exception as error:
            outcome = "error"
            yield "error", problem_of(error).as_json()
        finally:
            self.metrics.answers.labels(outcome).inc()

    def report(
        self, kept: Kept, form: Form, entries: CourtForm, language: str, client: str, task: Task
    ) -> bytes:
        """The report in one of its forms. Raises LineFull and Cancelled."""
        with self.examinations.stand(client) as place:
            task.wait(place)
            report = self.assistant.report(kept.analysis, entries, language)
            render: dict[str, Callable[[], str | bytes]]
            render = {"json": report.to_json, "html": report.to_html, "pdf": report.to_pdf}
            content = render[form]()
        return content.encode() if isinstance(content, str) else content

    def close(self) -> None:
        """Let the threads go."""
        self.threads.shutdown(wait=False, cancel_futures=True)


def kept_on(shelf: Shelf[Case], name: str, client: str, kind: str) -> Case:
    """What a client has on a shelf. kind: of case, in a word. Raises Problem 404 where it is not there."""
    case = shelf.get(name, client)
    if case is None:
        words = f"There is no such {kind} of yours; one is kept {shelf.seconds:.0f} s. Send the file again."
        raise Problem(404, f"no_{kind}", words)
    return case


def _told(error: MediaError, path: Path) -> tuple[str, ...]:
    """The arguments of an error again, without the folder in which the server keeps a file."""
    return () if error.code == "cancelled" else (error.code, without_path(str(error), path))
