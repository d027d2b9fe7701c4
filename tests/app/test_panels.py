"""The fragments of the page: text stays text, and every colour of a verdict comes out of the one palette."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest

from app.analysis import Analysis
from app.page import panels
from app.page.ui import style
from app.palette import DARK, LIGHT
from app.templates import load_templates
from common.verdicts import Reason, Verdict

APP = Path(__file__).parents[2] / "app"
EVIL = "<script>alert('x')</script> & \"more\""


def test_text_in_a_template_stays_text(tmp_path):
    (tmp_path / "a.html").write_text('<p title="{{ text }}">{{ text }}</p>')
    filled = load_templates(tmp_path).get_template("a.html").render(text=EVIL)
    assert filled.count("&lt;script&gt;") == 2 and "<script" not in filled and 'more"' not in filled


def test_a_value_that_is_missing_leaves_no_gap(tmp_path):
    (tmp_path / "a.html").write_text("<p>{{ text }}</p>")
    with pytest.raises(jinja2.UndefinedError, match="text"):
        load_templates(tmp_path).get_template("a.html").render()


@pytest.mark.parametrize("fragment", [panels.notice, panels.hint])
def test_notes_are_escaped(fragment):
    assert "<script" not in fragment(EVIL) and "&lt;script&gt;" in fragment(EVIL)


def test_no_template_goes_round_the_escaping():
    templates = list(APP.rglob("*.html"))
    assert len(templates) > 5
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", text), path.name


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colours", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["fake", "real", "inconclusive", "ink", "soft"])
def test_text_in_a_colour_of_the_palette_can_be_read(colours, name):
    dark, light = sorted([luminance(colours[name]), luminance(colours["sheet"])])
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_colours_stand_in_the_palette_alone():
    """The verdicts' colours stood in four places, and the boxes in the picture had drifted from the rest."""
    assert LIGHT["fake"] in style() and DARK["fake"] in style()
    for path in APP.rglob("*"):
        if (
            path.suffix in (".py", ".css", ".html")
            and path.name != "palette.py"
            and path.parent.name != "report"
        ):
            assert not re.search(r"#[0-9a-fA-F]{6}\b|#[0-9a-fA-F]{3}\b", path.read_text(encoding="utf-8")), (
                path
            )


def test_the_first_question_is_about_the_face_that_is_shown():
    """The page opened on the forged face of two, and its first answer, "No", spoke of the other one."""

    def first(*faces: SimpleNamespace) -> int:
        told = SimpleNamespace(faces=faces)
        told.ranked = Analysis.ranked.fget(told)
        return Analysis.most_suspicious.fget(told)

    real = SimpleNamespace(verdict=Verdict.REAL, reasons=(), score=0.2)
    between = SimpleNamespace(verdict=Verdict.INCONCLUSIVE, reasons=(Reason.BETWEEN_THRESHOLDS,), score=0.6)
    blurred = SimpleNamespace(verdict=Verdict.INCONCLUSIVE, reasons=(Reason.BLURRED,), score=0.99)
    fake = SimpleNamespace(verdict=Verdict.FAKE, reasons=(), score=0.96)
    assert first(real, fake) == 1 and first(fake, real) == 0
    assert first(real, blurred, between, fake) == 3 and first(real, blurred, between) == 2
    assert first(real, blurred) == 1 and first(real) == 0 and first() == 0
