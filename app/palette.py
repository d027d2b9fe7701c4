"""The one palette of page, report and pictures. Colour is kept for verdicts and for the heat map."""

from __future__ import annotations

from collections.abc import Mapping

# A verdict's name is its colour's name. On white each verdict's colour has a contrast of 4.5 or more, which
# text needs, and so has white on it.
LIGHT = {
    "fake": "#b23d22",
    "real": "#1f6a83",
    "inconclusive": "#8a6914",
    "ink": "#1d2429",  # text
    "soft": "#5c666d",  # text that stands back
    "line": "#d9dee2",
    "paper": "#f5f6f7",  # behind everything
    "sheet": "#ffffff",  # behind text
    "fill": "#eceff1",  # behind a bar
    "bar": "#9aa4ab",  # a bar that means no verdict
    "caution": "#fbf6e7",  # behind a warning
}
DARK = {
    "fake": "#e0745a",
    "real": "#62b1ca",
    "inconclusive": "#d1a94a",
    "ink": "#e6eaed",
    "soft": "#9aa5ad",
    "line": "#333b41",
    "paper": "#15191c",
    "sheet": "#1d2226",
    "fill": "#2a3136",
    "bar": "#5f6a72",
    "caution": "#2b2717",
}


def css_variables(selector: str, colours: Mapping[str, str]) -> str:
    """A CSS rule that names colours: (":root", LIGHT) gives ":root { --fake: #b23d22; ... }"."""
    return f"{selector} {{ {' '.join(f'--{name}: {colour};' for name, colour in colours.items())} }}\n"
