"""Everything that an image file tells of its origin, as plain JSON values."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from media.decoding.decode import open_header, refuse_large
from media.errors import MediaError
from media.jpeg import jpeg_quality, standard_quality
from media.provenance.credentials import read_credentials
from media.provenance.metadata import read_metadata
from media.provenance.pixels import compare_thumbnail, perceptual_hash

MAX_PADDING = 64  # bytes that a writer may leave after the end of the picture


def provenance_facts(data: bytes) -> dict[str, Any]:
    """Read an image file. Runs inside the decoding process, see media.provenance.ask.

    Returns credentials (media.provenance.credentials), metadata (.metadata), thumbnail, perceptual_hash
    (.pixels), jpeg (quality, whether libjpeg's tables; None where it is no JPEG) and surplus, the bytes after
    the end of the picture. A part that cannot be read is None, and named in `unread`.
    """
    facts: dict[str, Any] = {"unread": []}
    with open_header(data) as image:  # by the formats that are examined, whatever else a file may pass for
        refuse_large(*image.size)
        file_format = image.format or ""
        facts["credentials"] = read_credentials(data, file_format)
        parts = {
            "metadata": read_metadata,
            "jpeg": _jpeg,
            "perceptual_hash": perceptual_hash,
            "thumbnail": compare_thumbnail,
        }
        for name, read in parts.items():
            try:
                facts[name] = read(image)
            except (MediaError, MemoryError):
                raise
            except Exception:  # damaged metadata break Pillow in many ways; the picture may still be sound
                facts[name] = None
                facts["unread"].append(name)
    facts["surplus"] = _surplus(data, file_format)
    return facts


def _jpeg(image: Image.Image) -> dict[str, Any] | None:
    tables = getattr(image, "quantization", None)
    if not tables:
        return None
    standard = standard_quality(tables)
    return {"quality": standard or jpeg_quality(tables), "usual_tables": standard is not None}


def _surplus(data: bytes, file_format: str) -> int:
    """Bytes after the end of a JPEG or PNG picture; 0 for a few of padding, and for other formats."""
    end = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}.get(file_format)
    if end is None:
        return 0
    place = _end_of_jpeg(data) if file_format == "JPEG" else data.find(end) + len(end)
    rest = len(data) - place
    return rest if MAX_PADDING < rest < len(data) else 0


def _end_of_jpeg(data: bytes) -> int:
    """The place after the picture's end marker: segments by their lengths, then the coded data."""
    coded = np.frombuffer(data, np.uint8)
    after = coded[1:]
    ends = (coded[:-1] == 0xFF) & (after != 0) & (after != 0xFF) & ((after < 0xD0) | (after > 0xD7))
    ends = np.flatnonzero(ends)  # once: there may be thousands of scans
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xD9:
            return place + 2
        if marker == 0xFF:
            place += 1
            continue
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xDA:  # coded data follow: up to a marker that is neither stuffing nor a restart
            following = int(np.searchsorted(ends, place))
            if following == len(ends):
                return len(data)
            place = int(ends[following])
    return len(data)
