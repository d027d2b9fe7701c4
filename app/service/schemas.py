"""What goes in and out, for the documentation page and for the checks of what comes in."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.assistant import MAX_QUESTION


class Question(BaseModel):
    """A question about one face of a finding."""

    model_config = ConfigDict(extra="forbid")
    question: str = Field(min_length=1, max_length=MAX_QUESTION, examples=["Where are the signs?"])
    face: int = Field(1, ge=1, description="which face, by its number in the finding")


class FindingOut(BaseModel):
    """A finding that is kept for a while."""

    id: str
    expires: str = Field(description="when it is forgotten, UTC")
    finding: dict[str, Any] = Field(
        description="What was found, in the fields of the report's JSON form: file, verdict (fake, real or "
        "inconclusive, with reasons), faces with score, likelihood ratio, regions and words, provenance, "
        "models with digests, limits. A face that must not be scored has the score null, never 0."
    )
    summary: dict[str, Any] = Field(
        description="verdict, strength and limits in fixed words of the language asked for; the finding is "
        "in English, which alone is binding"
    )


class ProblemOut(BaseModel):
    """Any error (RFC 9457). It never holds a score."""

    type: str
    status: int
    code: str = Field(description="for programs")
    detail: str = Field(description="what is wrong, and what to do")


class Progress(BaseModel):
    """How many files of a job are over."""

    files_over: int
    files: int


class FileProgress(BaseModel):
    """How many frames of a video are read; 0 of 0 for a photograph."""

    frames_read: int
    frames: int


class FileOut(BaseModel):
    """One file of a job."""

    name: str
    state: str = Field(description="waiting, examining, done, failed or cancelled")
    progress: FileProgress
    result: FindingOut | None = Field(description="where it is done")
    error: ProblemOut | None = Field(description="where it failed or was cancelled")


class JobOut(BaseModel):
    """A job. Its findings stand in it, and can be asked about while they are kept."""

    id: str
    state: str = Field(description="running or finished")
    progress: Progress
    expires: str = Field(description="when it is forgotten, UTC")
    files: list[FileOut]


class Health(BaseModel):
    """What a load balancer asks."""

    status: str
    version: str
    waiting: int
