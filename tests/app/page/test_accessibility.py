"""Page and report as axe reads them, and as one uses them who has a keyboard alone."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.intake.examples import EXAMPLE
from app.page import panels
from tests.app.page.conftest import PHONE

ROOT = Path(__file__).resolve().parents[3]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}

pytestmark = pytest.mark.browser


@lru_cache(maxsize=1)
def axe() -> str:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm install")
    return AXE.read_text(encoding="utf-8")


def grave(page: Page) -> list[Any]:
    """What axe calls serious or critical, as (rule, first element)."""
    page.evaluate(axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 5, "axe looked at nothing"
    return [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"] if v["impact"] in GRAVE]


def shown(page: Page) -> Page:
    """The page with the example examined and its opening question answered."""
    page.click("#forged")
    page.locator("#chat [data-testid=bot]").first.wait_for()
    return page


def test_axe_finds_what_is_wrong(small):
    """The check itself can fail."""
    page = small()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x.png><button></button>')")
    assert {"image-alt", "button-name"} <= {rule for rule, _ in grave(page)}


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_has_no_grave_finding(small, look):
    page = small(**LOOKS[look])
    assert grave(page) == []
    shown(page)
    assert grave(page) == []
    page.click("#explain summary")
    page.click("#court button")
    page.click("#write")
    page.wait_for_selector("#get-pdf")
    assert grave(page) == []


def test_neither_have_the_report_and_the_page_for_the_password(browser, assistant, tmp_path):
    report = assistant.report(assistant.analyse(EXAMPLE), language="ar").save(tmp_path / "report.html")
    (tmp_path / "password.html").write_text(panels.password_page(True), encoding="utf-8")
    page = browser.new_page()
    for path in (report, tmp_path / "password.html"):
        page.goto(path.as_uri())
        assert grave(page) == [], path.name
    page.close()


def test_headings_lead_through_the_page(small):
    page = shown(small())
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert [page.get_by_role("heading", level=1).inner_text(), *headings] == [
        "Unmask", "Picture and map", "Signs of manipulation", "Conversation", "Report",
    ]  # fmt: skip


def test_everything_that_can_be_used_has_a_name(small):
    """The button that sends a question had none, and the box for it was called "Textbox"."""
    page = shown(small())
    for role in ("button", "textbox", "combobox", "slider", "radio"):
        for element in page.get_by_role(role).all():
            snapshot = element.aria_snapshot().splitlines()[0]
            assert re.search(rf'{role} "[^"]{{1,}}"', snapshot), snapshot
    expect(page.get_by_role("button", name="Send the question")).to_be_visible()
    expect(page.get_by_role("textbox", name="Ask about this face")).to_be_visible()


def seen(page: Page, place: str = "#face") -> list[tuple[float, ...]]:
    """Scale and offset of what each lens of a place shows."""
    matrices = page.locator(f"{place} .view").evaluate_all(
        "views => views.map(view => new DOMMatrix(getComputedStyle(view).transform))"
        ".map(m => [m.a, m.d, m.e, m.f].map(value => Math.round(value * 10) / 10))"
    )
    return [tuple(matrix) for matrix in matrices]


def test_picture_and_map_are_zoomed_and_moved_together(small):
    page = shown(small())
    photo, heat = page.locator("#face .lens").all()
    photo.focus()
    page.keyboard.press("+")
    first, second = seen(page)
    assert first == second and first[0] == first[1] == 1.5
    page.keyboard.press("ArrowRight")
    assert seen(page)[0][2] < first[2], "the part to the right came into sight"
    heat.hover()
    page.mouse.down()
    box = heat.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.up()
    first, second = seen(page)
    assert first == second
    for _ in range(20):
        page.get_by_role("button", name="Zoom in").last.click()
    assert seen(page)[0][0] == 8
    page.get_by_role("button", name="Whole picture").last.click()
    assert seen(page) == [(1, 1, 0, 0)] * 2
    assert page.locator(".photo .view").evaluate("view => getComputedStyle(view).transform") in (
        "none", "matrix(1, 0, 0, 1, 0, 0)",
    )  # fmt: skip


def test_on_a_phone_the_verdict_stands_in_the_first_screen(small):
    """It stood below both pictures, at y = 1621 of a screen of 844."""
    page = shown(small(**LOOKS["phone"]))
    page.evaluate("window.scrollTo(0, 0)")
    verdict = page.locator("#verdict h2.verdict").bounding_box()
    assert verdict["y"] + verdict["height"] < PHONE["height"] / 2
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for part in page.locator("#examples button:visible, #language, #drop button").all():
        box = part.bounding_box()
        assert box["x"] + box["width"] <= PHONE["width"], "a button lay beyond the right edge"


def test_picture_map_and_conversation_stand_side_by_side_in_the_first_screen(small):
    page = shown(small())
    page.evaluate("window.scrollTo(0, 0)")
    for part in ("#verdict h2.verdict", ".photo img", "#face .heat", "#chat", "#ask textarea"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 900, part
