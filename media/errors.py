"""What can be wrong with a file, as errors whose message is a sentence for the user."""

from __future__ import annotations


class MediaError(ValueError):
    """A file that gives nothing to examine.

    code: a machine-readable reason: "missing", "not_a_file" (a pipe, a device), "empty_file", "unreadable",
        "too_large", "too_slow", "changed", "internal_error", and those of the classes below.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class ImageError(MediaError):
    """A file or array that gives no photograph: also "not_an_image", "unsupported_format" and "too_small"."""


class VideoError(MediaError):
    """A file that gives no frames, or not all of those wanted: also "damaged" (some cannot be decoded)."""
