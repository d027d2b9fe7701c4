"""A photograph, opened: read once, hashed and decoded, then passed on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from media.decoding.decode import decode, from_array
from media.decoding.sandbox import PHOTO_SECONDS, decoder
from media.errors import ImageError, MediaError
from media.files import MediaFile, open_file

MIN_SIDE = 32  # pixels; no face finder sees a face in less

ImageSource = str | Path | bytes | Image.Image | np.ndarray
OpenSource = ImageSource | MediaFile


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph, opened.

    name: of the file, without its folder. pixels: (H, W, 3) uint8 RGB, upright. file_format: read from the
    content ("JPEG"), or "pixels" where there was no file. num_bytes, sha256: of the file; None where there
    was none.
    num_frames: pictures in the file; these are the first's pixels. jpeg_quality: libjpeg's 1..100; None where
    it is no JPEG, or not known. stored_size: (width, height) before turning. is_animation: the pictures are
    shown one after the other. damage: what the decoder says of a file that it could not decode whole; "" for
    a sound one.
    """

    name: str
    pixels: np.ndarray
    file_format: str = "pixels"
    num_bytes: int | None = None
    sha256: str | None = None
    num_frames: int = 1
    jpeg_quality: int | None = None
    stored_size: tuple[int, int] | None = None
    is_animation: bool = False
    damage: str = ""

    @cached_property
    def pixels_sha256(self) -> str:
        """SHA-256 of the shape and the values of the pixels."""
        return pixels_digest(self.pixels)

    @property
    def facts(self) -> dict[str, str]:
        """Facts of the file as manifest columns, like media.jpeg.file_facts."""
        width, height = self.stored_size or self.pixels.shape[1::-1]
        quality = "" if self.jpeg_quality is None else str(self.jpeg_quality)
        size = str(self.num_bytes or "")
        return {"width": str(width), "height": str(height), "jpeg_quality": quality, "bytes": size}


def open_photo(source: OpenSource, name: str | None = None) -> Photo:
    """Read a photograph.

    source: a path, an opened file, the bytes of one, a PIL image, or an array (H, W), (H, W, 1 | 3 | 4) of
        uint8, uint16, or float in 0..1. name: for reports; the file's own by default.
    Raises ImageError; its `code` tells the cases apart.
    """
    if isinstance(source, MediaFile):
        data = source.read()
        photo = _decoded(data, name or source.name, source.sha256)
        source.check_unchanged()
    elif isinstance(source, bytes):
        photo = _decoded(source, name or "unnamed", sha256_of(source))
    elif isinstance(source, str | Path):
        with open_file(source) as file:
            return open_photo(file, name)
    else:
        pixels = from_array(source) if isinstance(source, np.ndarray) else decode(source)
        photo = Photo(name or "unnamed", pixels)
    height, width = photo.pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            "too_small",
            f"The image is {width} x {height} pixels; at least {MIN_SIDE} on each side are needed. "
            "Use the original, not a thumbnail.",
        )
    return photo


def read_image(source: ImageSource) -> np.ndarray:
    """Decode a photograph: the pixels of `open_photo`, a new (H, W, 3) uint8 RGB array, 0..255, upright."""
    return open_photo(source).pixels


def read_bytes(path: str | Path) -> bytes:
    """The bytes of an image file. Raises ImageError when there is no such file, or it is huge."""
    with open_file(path) as file:
        return file.read()


def sha256_of(data: bytes) -> str:
    """The SHA-256 digest of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def pixels_digest(image: np.ndarray) -> str:
    """SHA-256 of the shape and the values of an (H, W, 3) uint8 array, in hex."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _decoded(data: bytes, name: str, sha256: str | None = None) -> Photo:
    if not data:
        raise ImageError("empty_file", "The file is empty (0 bytes); copy or download it again.")
    sha256 = sha256 or sha256_of(data)
    try:
        with decoder(name) as process:
            process.ask({"do": "image"}, [data], seconds=PHOTO_SECONDS)
            header, payload = process.answer(PHOTO_SECONDS)
    except MediaError as error:
        raise ImageError(error.code, str(error)) from None
    pixels = np.frombuffer(payload, np.uint8).reshape(header.pop("shape"))
    return Photo(name, pixels, num_bytes=len(data), sha256=sha256, **header)
