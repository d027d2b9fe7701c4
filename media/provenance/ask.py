"""What a file tells of its origin, read in the decoding process, which may die of it."""

from __future__ import annotations

from typing import Any

from media.decoding.sandbox import PHOTO_SECONDS, decoder
from media.errors import MediaError
from media.files import MediaFile

Provenance = dict[str, Any]


def read_provenance(source: MediaFile | bytes) -> Provenance | None:
    """The facts of media.provenance.read.provenance_facts about an image file.

    None of a video, and where they could not be read; a finding never depends on them.
    """
    if isinstance(source, MediaFile) and source.kind == "video":
        return None
    try:
        data = source if isinstance(source, bytes) else source.read()
        with decoder("the file") as process:
            process.ask({"do": "provenance"}, [data], seconds=PHOTO_SECONDS)
            return process.answer(PHOTO_SECONDS)[0]["facts"]
    except (MediaError, RuntimeError):  # RuntimeError: what the process reports of its own faults
        return None
