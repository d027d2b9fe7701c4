"""Any image file becomes one upright 8-bit RGB array, or an error that says what to do.

What happens to the pixels on the way: the EXIF orientation is applied, the first frame of an
animation is taken, transparency is laid over white, palettes and CMYK become RGB, 16-bit values are
scaled (not clipped) to 8 bits. Nothing else: no colour management, resizing or sharpening, because
the detector reads faint traces.

Files are decoded in a process of their own (media.decoding.sandbox), which runs the functions below.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageSequence, TiffImagePlugin, UnidentifiedImageError

from media.errors import ImageError
from media.jpeg import jpeg_quality
from media.kinds import (
    ANIMATED,
    AVIF_BRANDS,
    IMAGE_FORMATS,
    PLUGINS,
    has_plugin,
    kind_of,
    plugin_of,
)

MAX_MEGAPIXELS = 120  # admits 108-megapixel phones; decoded that is 360 MB
STRIP = 4_000_000  # pixels converted at a time, so that no second copy of a large picture is made

# Pillow's plugins raise what they like at damaged files: AVIF a RuntimeError, others an AttributeError.
DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError,
    EOFError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
_ORIENTATION = 0x0112
# What makes a picture stored with each EXIF orientation upright, as views.
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image file, decoded.

    pixels: (H, W, 3) uint8 RGB, upright. file_format: such as "JPEG", by the content. num_frames: pictures in
    the file. jpeg_quality: libjpeg's 1..100; None where it is no JPEG. stored_size: (width, height) before
    turning.
    """

    pixels: np.ndarray
    file_format: str
    num_frames: int
    jpeg_quality: int | None
    stored_size: tuple[int, int]

    @property
    def is_animation(self) -> bool:
        """Whether its pictures are shown one after the other; an MPO's or a TIFF's are not."""
        return self.num_frames > 1 and self.file_format in ANIMATED


def decode_image(data: bytes) -> DecodedImage:
    """Decode the first picture of an image file. Raises ImageError; its `code` tells the cases apart."""
    image = open_header(data)
    name, frames = image.format or "unknown", num_frames(data)
    quality = jpeg_quality(getattr(image, "quantization", None) or {}) if name in ("JPEG", "MPO") else None
    size = image.size
    return DecodedImage(decode(image), name, frames, quality, size)


def num_frames(data: bytes) -> int:
    """Count the pictures of an image file; where damage ends the count, two of an animation and else one."""
    image = open_header(data)  # its own, because counting may leave it at a damaged place
    try:
        return getattr(image, "n_frames", 1)
    except DECODER_ERRORS:
        return 2 if image.format in ANIMATED else 1


def open_header(data: bytes) -> Image.Image:
    """Read the header only; the pixels are decoded later, once their number is known to be sane."""
    if not data:
        raise ImageError("empty_file", "The file is empty (0 bytes); copy or download it again.")
    formats, plugin = list(IMAGE_FORMATS), plugin_of(data)
    if plugin is not None and has_plugin(plugin):
        formats += _register(plugin)
    try:
        return Image.open(BytesIO(data), formats=formats)
    except Image.DecompressionBombError:
        raise _too_large("more than", 2 * Image.MAX_IMAGE_PIXELS) from None  # Pillow's own limit
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except DECODER_ERRORS as error:
        raise _unreadable(error) from None


def decode(image: Image.Image) -> np.ndarray:
    """Pixels of an opened image -> (H, W, 3) uint8 RGB, upright. Raises ImageError."""
    refuse_large(*image.size)
    try:
        image.load()
        orientation = _orientation(image)
        pixels = to_rgb(image)
    except ImageError:
        raise
    except DECODER_ERRORS as error:
        raise _unreadable(error) from None
    return np.ascontiguousarray(_UPRIGHT[orientation](pixels)) if orientation in _UPRIGHT else pixels


def refuse_large(width: int, height: int) -> None:
    """Raise ImageError "too_large" for more pixels than MAX_MEGAPIXELS."""
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise _too_large(f"{width} x {height} =", width * height)


def frames_of(image: Image.Image) -> Iterator[Image.Image]:
    """Every picture of an animation, decoded. Each must follow the one before: they only say what changed.

    Raises ImageError "too_large", also where a later one grows beyond the limit, as those of a GIF can.
    """
    for frame in ImageSequence.Iterator(image):
        refuse_large(*frame.size)
        frame.load()
        yield frame


def to_rgb(image: Image.Image) -> np.ndarray:
    """Pixels of a loaded image, as stored -> (H, W, 3) uint8 RGB; transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        return from_array(np.asarray(image))
    width, height = image.size
    rows = max(1, STRIP // width)
    if height <= rows:
        return np.array(_strip_to_rgb(image))
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(_strip_to_rgb(strip))
    return pixels


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where a damaged EXIF block tells none."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except DECODER_ERRORS:
        return 1


def from_array(array: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of integers or floats -> (H, W, 3) uint8. Raises
    ImageError.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ImageError(
            "not_an_image",
            f"Expected an array of shape (H, W), (H, W, 3) or (H, W, 4), got {array.shape}.",
        )
    scale = _scale(array)
    pixels = np.empty((*array.shape[:2], 3), np.uint8)
    rows = max(1, STRIP // array.shape[1])
    for top in range(0, len(array), rows):
        strip = array[top : top + rows]
        strip = strip if scale is None else np.rint(scale(strip)).astype(np.uint8)
        if strip.shape[2] == 4:
            alpha = strip[:, :, 3:].astype(np.float32) / 255
            strip = np.rint(strip[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
        pixels[top : top + rows] = strip  # of one channel: the same in all three
    return pixels


def _scale(array: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """What brings values to 0..255; None for those that are there."""
    if array.dtype == np.uint8:
        return None
    low, high = array.min(), array.max()
    if array.dtype.kind in "iu" and low >= 0 and high <= 65535:
        return lambda strip: strip / 257.0  # 65535 / 257 = 255 exactly
    if array.dtype.kind == "f" and low >= 0 and high <= 1:  # false for NaN as well
        return lambda strip: strip * 255.0
    raise ImageError(
        "unreadable",
        f"Pixel values from {low} to {high} ({array.dtype}) are neither 8-bit, 16-bit nor 0..1; "
        "save the image as 8-bit PNG.",
    )


def _register(plugin: str) -> list[str]:
    """Load a plugin of Pillow; returns the formats that it adds."""
    _, module, name = PLUGINS[plugin]
    loaded = __import__(module)
    if plugin == "HEIC":
        loaded.register_heif_opener()
    return [name]


def _unidentified(data: bytes) -> ImageError:
    """Why no decoder takes `data`: a missing package, a damaged image, a video, or no image at all."""
    plugin = plugin_of(data)
    if plugin is not None and not has_plugin(plugin):
        return ImageError(
            "not_an_image",
            f"{plugin} pictures need a package that is not installed: pip install {PLUGINS[plugin][0]}. Or "
            "export the photo as JPEG or PNG.",
        )
    layout = _unsupported_tiff(data)
    if layout:
        return ImageError(
            "unsupported_format", f"{layout} cannot be read; save it with 8 or 16 bits a sample."
        )
    if kind_of(data) == "image" or data[8:12] in AVIF_BRANDS:
        return _unreadable(None)
    if kind_of(data) == "video":
        return ImageError("not_an_image", "Video cannot be read here, where single photographs are expected.")
    return ImageError(
        "not_an_image",
        "The file is not an image, whatever its name says; expected JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF.",
    )


def _unsupported_tiff(data: bytes) -> str:
    """A kind of TIFF that is whole but that Pillow has no pixels for, in words; else ""."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return ""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bits, sample = tags.get(258, (8,)), tags.get(339, (1,))
    except DECODER_ERRORS:
        return ""
    if any(value == 3 for value in sample):
        return f"A TIFF of {len(bits)} floating-point samples a pixel"
    return f"A TIFF with {bits[0]} bits a sample" if max(bits) > 16 else ""


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
