"""How files come to the page, and how one leaves it; what other systems say of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, expect

from app.assistant import Assistant
from app.intake.examples import EXAMPLE
from app.models.choice import ModelChoice
from tests.app.page.conftest import serving, wait_until_drawn
from tests.tiny.checkpoint import save_opposed_opinions

pytestmark = pytest.mark.browser

BREAKABLE = """
  const whole = window.fetch;
  window.fetch = (request, options) => {
    if (!(request.url ?? String(request)).includes("/heartbeat/")) return whole(request, options);
    const connection = new AbortController();
    window.breakHeartbeat = () => connection.abort();
    return whole(request, {...options, signal: connection.signal});
  };
"""


def drop(page: Page, selector: str, path: Path) -> None:
    """Let go of a file over an element, as a visitor does who drags it out of a folder."""
    page.evaluate(
        """([selector, data, name]) => {
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([new Uint8Array(data)], name, {type: "image/jpeg"}));
          for (const kind of ["dragover", "drop"]) {
            const event = new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true});
            document.querySelector(selector).dispatchEvent(event);
            if (!event.defaultPrevented) throw new Error(`${kind}: the browser would open the file`);
          }
        }""",
        [selector, list(path.read_bytes()), path.name],
    )


@pytest.mark.parametrize("place", ["h1", "#drop", "footer, .foot"])
def test_a_file_may_be_dropped_anywhere(small, place):
    """Beside the box the browser left the page for the file."""
    page = small()
    drop(page, place, EXAMPLE)
    expect(page.locator(".photo figcaption")).to_contain_text(EXAMPLE.name)


def leaves(page: Page) -> list[str]:
    """The kinds of question that the browser asks when the page is reloaded."""
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", answer)
    page.reload()
    wait_until_drawn(page)
    page.remove_listener("dialog", answer)
    return asked


def test_an_unsaved_case_is_not_left_without_a_question(small):
    page = small()
    assert leaves(page) == [], "nothing was examined"
    page.click("#forged")
    page.locator("#chat [data-testid=bot]").first.wait_for()
    assert leaves(page) == [], "an example is found again by a click"
    page.set_input_files("#drop input[type=file]", EXAMPLE)
    page.locator("#chat [data-testid=bot]").first.wait_for()
    page.click("h1")  # a browser asks only where a visitor did something
    assert leaves(page) == ["beforeunload"]


def test_a_saved_case_is_left_freely(small):
    page = small()
    page.set_input_files("#drop input[type=file]", EXAMPLE)
    page.locator("#chat [data-testid=bot]").first.wait_for()
    page.click("#write")
    with page.expect_download():
        page.click("#get-pdf")
    assert leaves(page) == []
    page.click("#forged")
    page.locator("#chat [data-testid=bot]").first.wait_for()
    page.fill("#ask textarea", "Where?")
    page.press("#ask textarea", "Enter")
    page.locator("#chat [data-testid=bot]").nth(1).wait_for()
    assert leaves(page) == ["beforeunload"], "the question would be lost"


def test_a_case_survives_a_connection_that_comes_back(small, monkeypatch):
    """Bug: on another network the case was gone at once, with its reports."""
    monkeypatch.setattr("app.page.gate.GRACE", 6.0)
    page = small()
    page.add_init_script(BREAKABLE)
    page.reload()
    wait_until_drawn(page)
    page.click("#forged")
    page.locator("#chat [data-testid=bot]").first.wait_for()
    page.evaluate("breakHeartbeat()")
    page.wait_for_timeout(9000)
    page.fill("#ask textarea", "Where?")
    page.press("#ask textarea", "Enter")
    page.locator("#chat [data-testid=bot]").nth(1).wait_for()


@pytest.fixture
def of_three_minds(browser, checkpoint, tmp_path) -> Iterator[str]:
    """A page on which two other systems are heard, one of which agrees with the finding."""
    choice = ModelChoice(
        checkpoint=checkpoint, opinion=tuple(save_opposed_opinions(tmp_path, checkpoint / "kfd"))
    )
    with serving(Assistant.load(choice), tmp_path / "served") as address:
        yield address


def test_opinions_that_differ_stand_beside_the_finding(open_page, of_three_minds):
    page = open_page(of_three_minds)
    page.click("#forged")
    card = page.locator("#verdict .card")
    expect(card.locator("h2")).to_have_text("Signs of manipulation")
    page.click("#explain summary")
    opinions = page.locator("#opinions")
    expect(opinions.locator("li")).to_have_count(2)
    expect(opinions).to_contain_text("strict agrees with the finding")
    expect(opinions).to_contain_text("lenient says the opposite")
    expect(opinions).to_contain_text("The finding does not change")
