"""What can be wrong with a file, as errors whose message is a sentence for the user."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOG = logging.getLogger("unmask")
INTERNAL_ERROR = "internal_error"


class MediaError(ValueError):
    """A file that gives nothing to examine.

    code: a machine-readable reason: "missing", "not_a_file" (a pipe, a device), "empty_file", "unreadable",
        "too_large", "too_slow", "changed", "internal_error", and those of the classes below.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Cancelled(MediaError):
    """An examination that nobody waits for any more."""

    def __init__(self) -> None:
        super().__init__("cancelled", "The examination was cancelled; send the file again.")


class ImageError(MediaError):
    """A file or array that gives no photograph: also "not_an_image", "unsupported_format" and "too_small"."""


class VideoError(MediaError):
    """A file that gives no frames, or not all of those wanted: also "damaged" (some cannot be decoded)."""


_look: ContextVar[Callable[[], object]] = ContextVar("look", default=lambda: None)


@contextmanager
def looking(look: Callable[[], object]) -> Iterator[None]:
    """Have `check_wanted` call `look` in this thread, which raises Cancelled where nobody waits any more."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


def check_wanted() -> None:
    """Raise Cancelled where the examination that this is a part of is not wanted any more; see `looking`.

    Called between two steps that take long: tiles of a large photograph, faces of a crowd.
    """
    _look.get()()


@contextmanager
def contained(name: str) -> Iterator[None]:
    """Turn whatever goes wrong with a file into a MediaError, so that it ends with that file.

    name: of the file, for the log. An error that nobody foresaw becomes "internal_error", with a reference
    under which the log has the traceback.
    """
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        reference = uuid.uuid4().hex[:8]
        LOG.exception("reference %s: %r could not be examined", reference, name)
        raise MediaError(
            INTERNAL_ERROR,
            f"An error inside Unmask ({type(error).__name__}), reference {reference}; the log tells more.",
        ) from error
