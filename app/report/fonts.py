"""The fonts of the PDF form, each out of a Python package of its own, under the SIL Open Font License."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from fontTools.ttLib import TTFont

# The family, the package it is in, and its file there. The first that has a letter draws it.
FONTS = (
    ("Noto Serif", "fontpkg_noto_serif", "files/NotoSerif[wdth,wght].ttf"),
    ("Noto Naskh Arabic", "pylopdf_fonts_ar", "NotoNaskhArabic-Variable.ttf"),
    ("Noto Serif Devanagari", "pylopdf_fonts_hi", "NotoSerifDevanagari-Variable.ttf"),
    ("Noto Serif SC", "pylopdf_fonts_zh_cn", "NotoSerifSC-Regular.otf"),
)
INVISIBLE = (
    "\n\u00a0\u200c\u200d"  # a space that keeps words together, and what joins letters of Hindi or not
)
FAMILIES = tuple(family for family, _, _ in FONTS)


def font_folders() -> list[Path]:
    """The folders of the fonts. Raises FileNotFoundError naming the packages that are not installed."""
    return [path.parent for path in _files()]


def printable_letters(text: str) -> str:
    """The text with every letter that no font has written as its code, \\U0001f600: never an empty box.

    So are marks that turn the direction of what follows; control characters become spaces.
    """
    return "".join(letter if _is_drawn(letter) else _code(letter) for letter in text)


def _is_drawn(letter: str) -> bool:
    return letter in INVISIBLE or (letter.isprintable() and letter in _letters())


def _code(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode("ascii") if letter > "\x7f" else " "


@lru_cache(maxsize=1)
def _letters() -> frozenset[str]:
    points: set[int] = set()
    for path in _files():
        with TTFont(path, lazy=True) as font:
            points.update(font.getBestCmap())
    return frozenset(map(chr, points))


def _files() -> list[Path]:
    found = {package: find_spec(package) for _, package, _ in FONTS}
    missing = [package.replace("_", "-") for package, spec in found.items() if spec is None]
    if missing:
        raise FileNotFoundError(f"the PDF form needs fonts; pip install {' '.join(missing)}")
    return list(_paths(found))


def _paths(found: dict[str, ModuleSpec]) -> Iterator[Path]:
    for _, package, name in FONTS:
        yield Path(found[package].submodule_search_locations[0]) / name
