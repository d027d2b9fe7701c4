"""Facts of an image file that its header tells: size, bytes, JPEG quality."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

# ITU T.81 Annex K, table K.1, at quality 50.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip


def file_facts(data: bytes) -> dict[str, str]:
    """Facts of an image file as manifest columns: width, height, jpeg_quality ("" if no JPEG), bytes.

    data: the bytes of a file that media.images.read_image takes.
    """
    with Image.open(BytesIO(data)) as image:
        width, height = image.size
        quality = jpeg_quality(getattr(image, "quantization", None) or {})
    return {
        "width": str(width),
        "height": str(height),
        "jpeg_quality": "" if quality is None else str(quality),
        "bytes": str(len(data)),
    }


def jpeg_quality(tables: dict[int, list[int]]) -> int | None:
    """libjpeg's quality, 1..100, whose luminance table is the nearest to a file's; None without tables.

    tables: as Pillow's `quantization` gives them, 64 steps each, row by row. Cameras and editors with
    tables of their own get the quality of about the same strength.
    """
    if not tables:
        return None
    steps = np.log(np.maximum(np.array(tables[min(tables)], dtype=np.float64), 1))
    return int(np.abs(_libjpeg_tables() - steps).mean(axis=1).argmin()) + 1


def standard_quality(tables: dict[int, list[int]]) -> int | None:
    """libjpeg's quality whose luminance table is a file's own; None for other tables, such as cameras'."""
    steps = np.log(np.maximum(np.array(tables[min(tables)], dtype=np.float64), 1))
    hits = np.flatnonzero((_libjpeg_tables() == steps).all(axis=1))
    return int(hits[0]) + 1 if len(hits) else None


@lru_cache(maxsize=1)
def _libjpeg_tables() -> np.ndarray:
    """Logarithms of libjpeg's luminance table at quality 1..100: (100, 64)."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.log(np.clip((np.array(LUMINANCE) * scale + 50) // 100, 1, 255))
