"""EXIF, XMP, IPTC, colour profile and the texts of a PNG: what programs and cameras wrote into a file."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image, ImageCms, IptcImagePlugin

from media.provenance.text import clean

EXIF, GPS = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
MAX_XMP = 2**20  # bytes that are looked at
# Elements and attributes of XMP that name a program, or how a picture came about.
_TOOL = re.compile(r"""(?:CreatorTool|softwareAgent)(?:\s*=\s*["']|>)([^"'<]{1,300})""")
_SOURCE = re.compile(r"""DigitalSourceType(?:\s*=\s*["']|>)([^"'<]{1,300})""")
# Texts under which image generators keep their settings in a PNG.
GENERATOR_KEYS = ("parameters", "prompt", "workflow", "sd-metadata", "invokeai_metadata", "Dream", "Comment")
GENERATOR_WORDS = re.compile(
    r"\bsteps: ?\d|\bsampler\b|class_type|stable.?diffusion|comfyui|midjourney|dall.?e|firefly|novelai|flux",
    re.IGNORECASE,
)
EDITORS = re.compile(
    r"photoshop|lightroom|gimp|affinity|pixelmator|snapseed|facetune|faceapp|picsart|canva|remini|meitu|"
    r"capture one|paint\.net|luminar|darktable|rawtherapee|faceswap|deepfacelab|roop|facefusion",
    re.IGNORECASE,
)


def read_metadata(image: Image.Image) -> dict[str, Any]:
    """Read what stands in an opened image file beside its pixels.

    Returns camera (make, model, lens, taken; only what is there), has_place, software (each name once), those
    among them that are editors, generator (a text that image generators write, or ""), source (XMP's digital
    source type, or ""), credit (IPTC), profile (the colour profile's name, None without one).
    """
    exif = image.getexif()
    details = exif.get_ifd(EXIF)
    tags = {
        "make": exif.get(ExifTags.Base.Make),
        "model": exif.get(ExifTags.Base.Model),
        "lens": details.get(ExifTags.Base.LensModel),
        "taken": details.get(ExifTags.Base.DateTimeOriginal),
        "changed": exif.get(ExifTags.Base.DateTime),
    }
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    xmp = (xmp if isinstance(xmp, bytes) else str(xmp).encode())[:MAX_XMP].decode("utf-8", "replace")
    iptc = IptcImagePlugin.getiptcinfo(image) or {}
    texts = {key: value for key, value in image.info.items() if isinstance(value, str | bytes)}
    named = [
        exif.get(ExifTags.Base.Software), details.get(ExifTags.Base.ProcessingSoftware), *_TOOL.findall(xmp),
        iptc.get((2, 65)), texts.get("Software"),
    ]  # fmt: skip
    software = list(dict.fromkeys(clean(name) for name in named if name))[:8]
    generator = next((texts[key] for key in GENERATOR_KEYS if _is_generator(texts.get(key))), "")
    source = _SOURCE.search(xmp)
    return {
        "camera": {name: clean(value) for name, value in tags.items() if value},
        "has_place": bool(exif.get_ifd(GPS)),
        "software": software,
        "editors": [name for name in software if EDITORS.search(name)],
        "generator": clean(generator),
        "source": clean(source[1].rsplit("/", 1)[-1]) if source else "",
        "credit": clean(_first(iptc.get((2, 80)) or iptc.get((2, 110)) or "")),
        "profile": _profile(image.info.get("icc_profile")),
    }


def _is_generator(text: object) -> bool:
    return isinstance(text, str | bytes) and GENERATOR_WORDS.search(clean(text)) is not None


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _profile(data: bytes | None) -> str | None:
    if not data:
        return None
    try:
        return clean(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(data))))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "damaged"
