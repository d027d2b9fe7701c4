"""The routes of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.sse import EventSourceResponse, format_sse_event

from app.court import CourtForm
from app.report.program import software_version
from app.service import schemas
from app.service.desk import Desk, Event, Form, Kept
from app.service.jobs import Jobs
from app.service.problems import Problem
from app.service.tasks import LOOK, Task
from app.wording.translated import ENGLISH, languages
from common.strict_json import to_json

MEDIA_TYPES = {"json": "application/json", "html": "text/html", "pdf": "application/pdf"}
NO_STORE = {"Cache-Control": "no-store"}
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": schemas.ProblemOut, "description": "Any error"}
}
EVENTS = {200: {"description": "Events: waiting, piece, and at last answer or error", "content": {
    "text/event-stream": {"schema": {"type": "string"}}}}}  # fmt: skip

Result = TypeVar("Result")


def upload_form(field: str, many: bool) -> dict[str, Any]:
    """The form of an upload in OpenAPI: it is read by app.intake.uploads, which asks for its length first."""
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    shape = {"type": "array", "items": file} if many else file
    schema = {"type": "object", "required": [field], "properties": {field: shape}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


bearer = HTTPBearer(auto_error=False, description="an API key of python -m app.service.access")


def client_of(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> str:
    """Who asks. Raises Problem 401 and 429."""
    address = request.client.host if request.client else ""
    return request.app.state.clients.name_of(address, None if given is None else given.credentials)


def desk_of(request: Request) -> Desk:
    return request.app.state.desk


def jobs_of(request: Request) -> Jobs:
    return request.app.state.jobs


def language_of(
    language: Annotated[str, Query(description="of the summary, and of a report's labels")] = ENGLISH,
) -> str:
    """The language that a client asks for. Raises Problem 422 for one that there is not."""
    if language not in languages():
        words = f"language: expected one of {', '.join(languages())}, got {language!r}."
        raise Problem(422, "invalid", words)
    return language


Client = Annotated[str, Depends(client_of)]
TheDesk = Annotated[Desk, Depends(desk_of)]
TheJobs = Annotated[Jobs, Depends(jobs_of)]
Language = Annotated[str, Depends(language_of)]
router = APIRouter(responses=ERRORS)


@router.get("/healthz", response_model=schemas.Health, tags=["operation"])
async def health(desk: TheDesk) -> dict[str, Any]:
    """Whether the service answers. Needs no key."""
    return {"status": "ok", "version": software_version(), "waiting": len(desk.examinations)}


@router.get("/metrics", tags=["operation"])
async def metrics(desk: TheDesk, client: Client) -> Response:
    """Counters for Prometheus."""
    return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4", headers=NO_STORE)


@router.post(
    "/v1/findings",
    response_model=schemas.FindingOut,
    openapi_extra=upload_form("file", many=False),
    tags=["findings"],
)
async def examine(request: Request, desk: TheDesk, client: Client, language: Language) -> Response:
    """Examine a photograph or a short clip, and wait for it."""
    (path,) = await desk.uploads.take(request, "file")
    task = Task()
    try:
        kept = await _while_wanted(request, desk, task, lambda: desk.examine(path, client, task))
    finally:
        desk.uploads.forget(path)
    return _json(kept.as_json(language))


@router.get("/v1/findings/{id}", response_model=schemas.FindingOut, tags=["findings"])
async def finding(id: str, desk: TheDesk, client: Client, language: Language) -> Response:
    """The same finding again, while it is kept."""
    return _json(desk.find(id, client).as_json(language))


@router.delete("/v1/findings/{id}", status_code=204, tags=["findings"])
async def forget(id: str, desk: TheDesk, client: Client) -> None:
    """Forget a finding, its pictures and its conversation now."""
    desk.find(id, client)
    desk.kept.drop(id)


@router.post("/v1/findings/{id}/questions", responses=EVENTS, tags=["findings"])
async def ask(id: str, asked: schemas.Question, desk: TheDesk, client: Client) -> EventSourceResponse:
    """Ask about a face. The last event is `answer`, as it stands in the report, or `error`."""
    kept = desk.find(id, client)
    desk.check_question(kept, asked.face - 1)
    return EventSourceResponse(await _events(desk, kept, asked, client), headers=NO_STORE)


@router.get("/v1/findings/{id}/report.{form}", tags=["findings"])
async def report(
    id: str,
    form: Form,
    request: Request,
    desk: TheDesk,
    client: Client,
    language: Language,
    case_number: str = "",
    examiner: str = "",
    commissioned_by: str = "",
    question: str = "",
    examiner_opinion: str = "",
    annex: bool = True,
) -> Response:
    """The sealed report with all that was asked until now; signed where the service has a key."""
    kept, task = desk.find(id, client), Task()
    try:
        entries = CourtForm(case_number, examiner, commissioned_by, question, examiner_opinion, annex)
    except ValueError as error:
        raise Problem(422, "invalid", str(error)) from None

    def work() -> bytes:
        return desk.report(kept, form, entries, language, client, task)

    content = await _while_wanted(request, desk, task, work)
    name = f'attachment; filename="unmask-report.{form}"'
    return Response(content, media_type=MEDIA_TYPES[form], headers=NO_STORE | {"Content-Disposition": name})


@router.post(
    "/v1/jobs",
    status_code=202,
    response_model=schemas.JobOut,
    openapi_extra=upload_form("files", many=True),
    tags=["jobs"],
)
async def begin(request: Request, desk: TheDesk, jobs: TheJobs, client: Client) -> Response:
    """Have videos or many files examined; look after the job at the address in Location."""
    paths = await desk.uploads.take(request, "files", desk.limits.batch)
    job = jobs.begin(paths, client)
    return _json(job.as_json(), 202, {"Location": f"/v1/jobs/{job.id}"})


@router.get("/v1/jobs/{id}", response_model=schemas.JobOut, tags=["jobs"])
async def job(id: str, jobs: TheJobs, client: Client) -> Response:
    """How far a job is, with the findings that there are."""
    return _json(jobs.find(id, client).as_json())


@router.delete("/v1/jobs/{id}", response_model=schemas.JobOut, tags=["jobs"])
async def cancel(id: str, jobs: TheJobs, client: Client) -> Response:
    """Examine no more of a job; what was found stays."""
    found = jobs.find(id, client)
    found.cancel()
    return _json(found.as_json())


async def _while_wanted(request: Request, desk: Desk, task: Task, work: Callable[[], Result]) -> Result:
    """Do the work in a thread; where the client goes away, it is given up."""
    done = asyncio.get_running_loop().run_in_executor(desk.threads, work)
    while not (await asyncio.wait({done}, timeout=LOOK))[0]:
        if await request.is_disconnected():
            task.cancel()
    return await done


async def _events(desk: Desk, kept: Kept, asked: schemas.Question, client: str) -> AsyncIterator[bytes]:
    """Stand in line, then answer in a thread. Raises LineFull before anything is sent."""
    loop, queue, task = asyncio.get_running_loop(), asyncio.Queue[Event | None](), Task()
    stack = ExitStack()
    place = stack.enter_context(desk.answers.stand(client))

    def produce() -> None:
        with stack:
            for event in desk.answer(kept, asked.face - 1, asked.question, place, task):
                if task.is_cancelled:
                    break
                loop.call_soon_threadsafe(queue.put_nowait, event)
        loop.call_soon_threadsafe(queue.put_nowait, None)

    desk.threads.submit(produce)

    async def stream() -> AsyncIterator[bytes]:
        try:
            while (event := await queue.get()) is not None:
                name, data = event
                yield format_sse_event(event=name, data_str=to_json(data, ensure_ascii=False))
        finally:
            task.cancel()  # the client went away, or it is over

    return stream()


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    content = to_json(value, ensure_ascii=False)
    return Response(content, status, NO_STORE | (headers or {}), "application/json")
