"""Every odd file a user may drop has a result or a sentence of its own."""

import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from media.errors import ImageError
from media.images import open_photo, read_image, sha256_of
from media.video import timeline


@pytest.fixture
def pixels() -> np.ndarray:
    """(48, 64, 3) uint8: left half red, right half blue, so that turns and flips show."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32, 0] = 255
    image[:, 32:, 2] = 255
    return image


def encode(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def code_of(source) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(source)
    assert len(str(caught.value)) > 20, "the message must say what to do"
    return caught.value.code


def test_path_bytes_pil_and_array_agree(tmp_path, pixels):
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    for source in (path, str(path), path.read_bytes(), Image.fromarray(pixels), pixels):
        result = read_image(source)
        assert result.dtype == np.uint8 and result.flags.writeable
        np.testing.assert_array_equal(result, pixels)


def test_truncated_jpeg(pixels):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    data = encode(Image.fromarray(noise), "JPEG")
    assert code_of(data[: len(data) // 2]) == "unreadable"
    assert code_of(data[:20]) == "unreadable"


def test_corrupt_png(pixels):
    data = bytearray(encode(Image.fromarray(pixels)))
    data[60] ^= 0xFF
    assert code_of(bytes(data)) == "unreadable"


def test_empty_file(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert code_of(path) == "empty_file"
    assert code_of(b"") == "empty_file"


def test_text_renamed_to_jpg(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("This is a shopping list, not a photograph.")
    assert code_of(path) == "not_an_image"


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypisom", "Video"),
        (b"\x1aE\xdf\xa3" + b"\0" * 9, "Video"),
    ],
)
def test_heic_and_video_are_named(head, word):
    with pytest.raises(ImageError, match=word) as caught:
        read_image(head + b"\0" * 64)
    assert caught.value.code == "not_an_image"


@pytest.mark.parametrize("side", [12_000, 20_000])
def test_huge_png_is_refused_by_its_header(side):
    """The file holds a header and no pixels: if anything tried to decode, the code would be `unreadable`."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's own, below its own limit
        assert code_of(data) == "too_large"


def test_cmyk_jpeg(pixels):
    image = read_image(encode(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95))
    assert image.shape == pixels.shape
    assert np.abs(image.astype(int) - pixels)[:, :24].mean() < 12


def test_16_bit_grey_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(40, 0)
    for source in (encode(Image.fromarray(ramp)), encode(Image.fromarray(ramp), "TIFF"), ramp):
        image = read_image(source)
        np.testing.assert_array_equal(image[0, :, 0], np.rint(ramp[0] / 257).astype(np.uint8))
        assert (image == image[:, :, :1]).all()


def test_16_bit_colour_png():
    values = np.linspace(0, 65535, 64).astype(">u2")
    row = b"\0" + np.stack([values, values[::-1], values], 1).astype(">u2").tobytes()
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 40, 16, 2, 0, 0, 0))
    data += png_chunk(b"IDAT", zlib.compress(row * 40)) + png_chunk(b"IEND", b"")
    image = read_image(data)
    assert np.abs(image[0, :, 0].astype(int) - values.astype(int) // 257).max() <= 1


def test_greyscale(pixels):
    grey = Image.fromarray(pixels).convert("L")
    image = read_image(encode(grey, "JPEG"))
    assert image.shape == (48, 64, 3)
    assert (image == image[:, :, :1]).all()


def test_alpha_is_laid_over_white(pixels):
    rgba = np.dstack([pixels, np.where(np.arange(64) < 32, 255, 0)[None].repeat(48, 0)]).astype(np.uint8)
    for source in (encode(Image.fromarray(rgba)), encode(Image.fromarray(rgba), "WEBP", lossless=True), rgba):
        image = read_image(source)
        assert (image[:, :32] == (255, 0, 0)).all()
        assert (image[:, 32:] == 255).all()


def test_palette(pixels):
    image = read_image(encode(Image.fromarray(pixels).quantize(4)))
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(pixels, file_format):
    frames = [Image.fromarray(pixels), Image.fromarray(np.ascontiguousarray(pixels[:, ::-1]))]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(read_image(data), pixels)
    photo = open_photo(data)
    assert photo.num_frames == 2 and photo.is_animation
    single = open_photo(encode(frames[0], file_format))
    assert single.num_frames == 1 and not single.is_animation


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, -1), (8, 1)])
def test_exif_orientation_is_applied(pixels, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(read_image(data), np.rot90(pixels, turns))


def test_damaged_exif_does_not_cost_the_photo(pixels):
    data = encode(Image.fromarray(pixels), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert read_image(data).shape == pixels.shape


def test_missing_path_and_folder(tmp_path):
    assert code_of(tmp_path / "nowhere.jpg") == "missing"
    assert code_of(tmp_path) == "not_an_image"


def test_too_small():
    assert code_of(np.zeros((31, 200, 3), np.uint8)) == "too_small"
    assert read_image(np.zeros((32, 32, 3), np.uint8)).shape == (32, 32, 3)


def test_arrays(pixels):
    np.testing.assert_array_equal(read_image(pixels.astype(np.float32) / 255), pixels)
    assert code_of(np.zeros((2, 40, 40, 3), np.uint8)) == "not_an_image"
    assert code_of(np.full((40, 40), np.nan)) == "unreadable"
    assert code_of(np.full((40, 40), 300.0)) == "unreadable"


def test_format_is_read_from_the_content(pixels):
    assert open_photo(encode(Image.fromarray(pixels), "JPEG")).file_format == "JPEG"


def test_sha256():
    assert sha256_of(b"abc").startswith("ba7816bf8f01cfea")


def test_a_jpeg_that_did_not_decode_whole_says_so():
    """libjpeg's warnings were swallowed: a photograph of which half was destroyed looked like any other."""
    whole = (Path(__file__).parents[2] / "app" / "example.jpg").read_bytes()
    assert open_photo(whole).damage == ""
    assert open_photo(whole[:-2] + b"\0\0" + whole[-2:]).damage == "", "cameras pad their files"
    third = len(whole) // 3
    zeros = whole[:-third] + bytes(third - 2) + whole[-2:]
    holes = bytearray(whole)
    for place in range(third, 2 * third, 500):
        holes[place : place + 4] = b"\x5a\xa5\x5a\xa5"
    for data in (zeros, bytes(holes)):
        try:
            assert "Corrupt JPEG data" in open_photo(data).damage
        except ImageError as error:  # Pillow gives up on some damage, and says nothing of the rest
            assert error.code == "unreadable"
    assert code_of(whole[: 2 * third]) == "unreadable"


def test_a_float_tiff_is_named_as_unsupported():
    """A sound scan of 32-bit floats was called damaged or cut off."""
    import cv2

    scan = cv2.imencode(".tif", np.random.default_rng(0).random((64, 64, 3), np.float32))[1].tobytes()
    with pytest.raises(ImageError, match="3 floating-point samples a pixel cannot be read") as caught:
        read_image(scan)
    assert caught.value.code == "unsupported_format"


def test_a_photograph_is_read_once(tmp_path, pixels):
    """It was opened four times on its way: pixels, format, frames and quality might be of four files."""
    data = encode(Image.fromarray(pixels), "JPEG", quality=77)
    (tmp_path / "a.jpg").write_bytes(data)
    photo = open_photo(tmp_path / "a.jpg")
    assert (photo.name, photo.file_format, photo.num_bytes) == ("a.jpg", "JPEG", len(data))
    assert photo.jpeg_quality == 77 and photo.sha256 == sha256_of(data)
    assert photo.pixels_sha256 == sha256_of(repr(photo.pixels.shape).encode() + photo.pixels.tobytes())
    assert photo.facts == {"width": "64", "height": "48", "jpeg_quality": "77", "bytes": str(len(data))}


@pytest.mark.parametrize("name", ["TIFF", "GIF"])
def test_damage_behind_the_first_picture_is_no_fault_of_the_program(name, tmp_path):
    """Pillow counts pictures by reading them all, and raises what it likes where a later one is damaged."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    pages = [Image.fromarray(np.roll(noise, k, axis=0)) for k in range(3)]
    data = encode(pages[0], name, save_all=True, append_images=pages[1:])
    for cut in range(len(data) // 2, len(data), 97):
        for hurt in (data[:cut], data[:cut] + bytes(len(data) - cut)):
            try:
                photo = open_photo(hurt)
                assert photo.is_animation == (name == "GIF" and photo.num_frames > 1)
            except ImageError as error:
                assert error.code == "unreadable"


def test_an_animation_that_is_cut_off_says_so(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    frames = [Image.fromarray(np.roll(noise, k, axis=0)) for k in range(6)]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    (tmp_path / "a.png").write_bytes(data)
    line = timeline(tmp_path / "a.png")
    assert line.times.tolist() == pytest.approx([0.1 * k for k in range(6)]) and not line.cut_off
    (tmp_path / "b.png").write_bytes(data[: len(data) * 2 // 3])
    line = timeline(tmp_path / "b.png")
    assert line.cut_off and 0 < len(line.stamps) < 6
