"""Every error of the service as one JSON object (RFC 9457) that says what to do."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.intake.door import Refused
from app.intake.line import LineFull
from media.errors import INTERNAL_ERROR, MediaError

LOG = logging.getLogger("unmask")
MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error that a client is told. status: of HTTP. code: for programs. detail: what is wrong and what to
    do. retry_after: seconds after which to try again, where that helps."""

    def __init__(self, status: int, code: str, detail: str, retry_after: int | None = None):
        super().__init__(detail)
        self.status, self.code, self.detail, self.retry_after = status, code, detail, retry_after

    def as_json(self) -> dict[str, Any]:
        return {"type": "about:blank", "status": self.status, "code": self.code, "detail": self.detail}

    def response(self) -> JSONResponse:
        headers = {"Cache-Control": "no-store"}
        headers |= {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        headers |= {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse(self.as_json(), self.status, headers, MEDIA_TYPE)


CODES = {
    400: "bad_request", 403: "foreign_page", 404: "not_found", 405: "method_not_allowed",
    411: "length_required", 413: "too_large", 421: "wrong_host", 507: "storage_full",
}  # fmt: skip


def problem_of(error: Exception) -> Problem:
    """The problem that an exception is; one that nobody foresaw is logged under a reference."""
    match error:
        case Problem():
            return error
        case LineFull():
            words = f"Too many requests wait already. Send this one again in {error.seconds} s."
            return Problem(503, "busy", words, error.seconds)
        case Refused():
            retry = 60 if error.status == 507 else None
            return Problem(error.status, CODES.get(error.status, "refused"), str(error), retry)
        case MediaError():
            return Problem(500 if error.code == INTERNAL_ERROR else 422, error.code, str(error))
        case RequestValidationError():
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
            return Problem(422, "invalid", f"{place}: {first['msg']}. /docs shows what is expected.")
        case HTTPException():
            words = "There is nothing here; /docs lists what there is." if error.status_code == 404 else ""
            code = CODES.get(error.status_code, "refused")
            return Problem(error.status_code, code, words or f"{error.detail}; /docs lists what there is.")
    reference = uuid.uuid4().hex[:8]
    LOG.error("reference %s", reference, exc_info=error)
    words = f"An error inside Unmask, reference {reference}; the server's log tells more."
    return Problem(500, INTERNAL_ERROR, words)


def answer_with_problems(app: FastAPI) -> None:
    """Let every exception become its problem."""

    async def handle(_: Request, error: Exception) -> JSONResponse:
        return problem_of(error).response()

    kinds = (Problem, LineFull, Refused, MediaError, RequestValidationError, HTTPException, Exception)
    for kind in kinds:
        app.add_exception_handler(kind, handle)
