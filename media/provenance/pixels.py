"""Facts that need the picture: its perceptual hash, and whether the thumbnail in the file is of it."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
from PIL import ExifTags, Image

HASH_SIDE = 8  # the hash has 8 x 8 bits
THUMBNAIL_SIDE = 64
MAX_SHAPE_GAP = 0.03  # of the ratio of the sides; cameras put black bars around thumbnails of another shape
ALIKE = 0.9  # correlation from which a thumbnail shows the picture


def perceptual_hash(image: Image.Image) -> str:
    """The DCT hash (Zauner 2010) of a picture, 16 hexadecimal digits: copies that were resized or compressed
    differ in few of its 64 bits."""
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=np.float32)
    low = cv2.dct(grey)[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = low > np.median(low[1:])
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"


def hash_distance(one: str, other: str) -> int:
    """Bits, 0..64, in which two perceptual hashes differ."""
    return (int(one, 16) ^ int(other, 16)).bit_count()


def compare_thumbnail(image: Image.Image) -> dict[str, float | str] | None:
    """Hold the thumbnail that a camera or an editor put into a file against the picture.

    image: opened, not yet turned upright; the thumbnail is stored the same way. Returns correlation, -1..1,
    and state: "same", "different", or "other_shape" where it was cropped or framed; None without one.
    """
    data = thumbnail_of(image)
    if data is None:
        return None
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as opened:
            small = opened.convert("L")
    except (OSError, ValueError, SyntaxError):
        return {"correlation": 0.0, "state": "unreadable"}
    if abs(small.width / small.height * image.height / image.width - 1) > MAX_SHAPE_GAP:
        return {"correlation": 0.0, "state": "other_shape"}
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    both = [np.asarray(p.resize(side, Image.Resampling.BOX), np.float64) for p in (small, image.convert("L"))]
    spread = [np.std(p) for p in both]
    if min(spread) < 1:  # a flat picture correlates with nothing
        return None
    correlation = float(((both[0] - both[0].mean()) * (both[1] - both[1].mean())).mean() / np.prod(spread))
    return {"correlation": round(correlation, 3), "state": "same" if correlation >= ALIKE else "different"}


def thumbnail_of(image: Image.Image) -> bytes | None:
    """The JPEG in the second directory of EXIF."""
    block = image.info.get("exif")
    directory = image.getexif().get_ifd(ExifTags.IFD.IFD1)
    start, length = directory.get(513), directory.get(514)
    if not (isinstance(block, bytes) and isinstance(start, int) and isinstance(length, int) and length > 0):
        return None
    begin = start + 6  # after "Exif\0\0", from where offsets count
    data = block[begin : begin + length]
    return data if data.startswith(b"\xff\xd8") else None
