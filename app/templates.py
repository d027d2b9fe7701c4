"""HTML out of templates: whatever is put into one is text, and escaped."""

from __future__ import annotations

from pathlib import Path

import jinja2


def load_templates(folder: Path) -> jinja2.Environment:
    """The templates of a folder. One that misses a value raises jinja2.UndefinedError, and leaves no gap."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
