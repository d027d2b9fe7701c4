"""Any image file becomes one upright 8-bit RGB array, or an error that says what to do.

What happens to the pixels on the way: the EXIF orientation is applied, the first frame of an
animation is taken, transparency is laid over white, palettes and CMYK become RGB, 16-bit values are
scaled (not clipped) to 8 bits. Nothing else: no colour management, resizing or sharpening, because
the detector reads faint traces.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_MEGAPIXELS = 120  # admits 108-megapixel phones; decoded that is 360 MB
MAX_FILE_BYTES = 512 * 2**20
MIN_SIDE = 32  # pixels; no face finder sees a face in less

# Only formats whose decoders run inside Pillow: EPS, for one, would start another program.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM")
_SUFFIX_WORDS = "jpg jpeg jfif mpo png webp gif tif tiff bmp jp2 avif ppm pgm"
IMAGE_SUFFIXES = frozenset("." + word for word in _SUFFIX_WORDS.split())

ImageSource = str | Path | bytes | Image.Image | np.ndarray

_IMAGE_STARTS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
# EBML (Matroska, WebM), MPEG program and elementary streams, FLV, ASF (WMV), QuickTime without a brand.
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV", b"0&\xb2u")
_VIDEO_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip")
_DECODER_ERRORS = (OSError, SyntaxError, ValueError, IndexError, TypeError, struct.error, zlib.error)


class ImageError(ValueError):
    """A file or array that gives no photograph to examine.

    code: "missing", "empty_file", "not_an_image", "unreadable", "too_large" or "too_small".
    The message is a sentence for the user: what was found and what to do.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def read_image(source: ImageSource) -> np.ndarray:
    """Decode a photograph.

    source: a path, the bytes of a file, a PIL image, or an array (H, W), (H, W, 1 | 3 | 4) of
        uint8, uint16, or float in 0..1.
    Returns a new (H, W, 3) uint8 RGB array, 0..255, upright.
    Raises ImageError; its `code` tells the cases apart.
    """
    if isinstance(source, np.ndarray):
        pixels = _from_array(source)
    elif isinstance(source, Image.Image):
        pixels = _decode(source)
    else:
        data = source if isinstance(source, bytes) else read_bytes(source)
        pixels = _decode(_open(data))
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            "too_small",
            f"The image is {width} x {height} pixels; at least {MIN_SIDE} on each side are needed. "
            "Use the original, not a thumbnail.",
        )
    return pixels


def read_bytes(path: str | Path) -> bytes:
    """The bytes of an image file. Raises ImageError when there is no such file, or it is empty or huge."""
    path = Path(path)
    try:
        if path.is_dir():
            raise ImageError("not_an_image", f"{path} is a folder; give an image file inside it.")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ImageError(
                "too_large",
                f"{path.name} has {size / 2**20:.0f} MB; the limit is {MAX_FILE_BYTES // 2**20} MB.",
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError("missing", f"There is no file {path}; check the path.") from None
    except OSError as error:
        raise ImageError(
            "missing", f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from None


def format_of(data: bytes) -> str:
    """The format that the bytes of an image really have, whatever the file's name: "JPEG", "PNG" ..."""
    return _open(data).format or "unknown"


def frame_count(data: bytes) -> int:
    """How many pictures an image file holds; of more than one, `read_image` reads the first."""
    return getattr(_open(data), "n_frames", 1)


def sha256_of(data: bytes) -> str:
    """The SHA-256 digest of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def pixels_digest(image: np.ndarray) -> str:
    """SHA-256 of the shape and the values of an (H, W, 3) uint8 array, in hex."""
    return sha256_of(repr(image.shape).encode() + image.tobytes())


def is_video(start: bytes) -> bool:
    """Whether a file that begins like this is a video: MP4, MOV, MKV, WebM, AVI, MPEG, FLV or WMV.

    start: the first 16 bytes of the file, or more.
    """
    if start[4:8] == b"ftyp":
        return start[8:12] not in _HEIC_BRANDS + _AVIF_BRANDS
    return start.startswith(_VIDEO_STARTS) or start[4:8] in _VIDEO_ATOMS or start[8:12] == b"AVI "


def is_video_file(path: str | Path) -> bool:
    """Whether a file is a video by its content; False for one that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return is_video(file.read(16))
    except OSError:
        return False


def find_images(paths: Iterable[str | Path], suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """All image files in files and folders, each once, sorted.

    A file that is named itself is taken whatever its suffix; in folders, searched to any depth,
    `suffixes` decide (in lower case, with the dot). Raises FileNotFoundError naming the first path that
    does not exist.
    """
    found: set[Path] = set()
    for path in map(Path, paths):
        if path.is_dir():
            found.update(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        elif path.exists():
            found.add(path)
        else:
            raise FileNotFoundError(f"{path} does not exist; expected an image file or a folder of images")
    return sorted(found)


def _open(data: bytes) -> Image.Image:
    """Read the header only; the pixels are decoded later, once their number is known to be sane."""
    if not data:
        raise ImageError("empty_file", "The file is empty (0 bytes); copy or download it again.")
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large("more than", 2 * Image.MAX_IMAGE_PIXELS) from None  # Pillow's own limit
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except _DECODER_ERRORS as error:
        raise _unreadable(error) from None


def _decode(image: Image.Image) -> np.ndarray:
    """Pixels of an opened image -> (H, W, 3) uint8 RGB."""
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise _too_large(f"{width} x {height} =", width * height)
    try:
        return _to_rgb(_upright(image))
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise _unreadable(error) from None


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a damaged EXIF block has none, which leaves the pixels as stored."""
    image.load()
    try:
        image.getexif()
    except _DECODER_ERRORS:
        return image
    return ImageOps.exif_transpose(image)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_array(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of integers or floats -> (H, W, 3) uint8."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ImageError(
            "not_an_image",
            f"Expected an array of shape (H, W), (H, W, 3) or (H, W, 4), got {array.shape}.",
        )
    array = _to_uint8(array)
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.float32) / 255
        array = np.rint(array[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else np.array(array)


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    low, high = array.min(), array.max()
    if array.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return np.rint(array / 257.0).astype(np.uint8)  # 65535 / 257 = 255 exactly
    if array.dtype.kind == "f" and low >= 0 and high <= 1:  # false for NaN as well
        return np.rint(array * 255.0).astype(np.uint8)
    raise ImageError(
        "unreadable",
        f"Pixel values from {low} to {high} ({array.dtype}) are neither 8-bit, 16-bit nor 0..1; "
        "save the image as 8-bit PNG.",
    )


def _unidentified(data: bytes) -> ImageError:
    """Why no decoder takes `data`: damaged image, video, HEIC, or no image at all."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if data.startswith(_IMAGE_STARTS) or data[8:12] == b"WEBP" or brand in _AVIF_BRANDS:
        return _unreadable(None)
    if brand in _HEIC_BRANDS:
        return ImageError("not_an_image", "HEIC photos are not supported; export the photo as JPEG or PNG.")
    if is_video(data):
        return ImageError(
            "not_an_image", "Video is read from a file, by its path; here single photographs are expected."
        )
    return ImageError(
        "not_an_image",
        "The file is not an image, whatever its name says; expected JPEG, PNG, WebP, TIFF, BMP or GIF.",
    )


def _unreadable(error: Exception | None) -> ImageError:
    detail = f" ({error})" if error is not None and str(error) else ""
    return ImageError(
        "unreadable", f"The image is damaged or cut off{detail}; copy or download the original again."
    )


def _too_large(dimensions: str, pixels: int) -> ImageError:
    return ImageError(
        "too_large",
        f"The image has {dimensions} {pixels / 1e6:.0f} megapixels; the limit is {MAX_MEGAPIXELS}. "
        "Cut out the part with the face, without rescaling it.",
    )
