"""Several files on the page, in a browser: chosen, noted on, compared, saved, opened again, reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.intake.examples import EXAMPLE, FORGED_EXAMPLE
from tests.app.page.conftest import PHONE, wait_until_drawn
from tests.app.page.test_accessibility import LOOKS, grave, seen
from tests.app.page.test_arriving import leaves

pytestmark = pytest.mark.browser

NOTES = "Sent by a reader."
REASON = "The negative lies in the archive."


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("files") / "list.jpg"
    path.write_text("bread, milk")
    return path


def drop(page: Page, *paths: Path) -> None:
    """Let go of several files at once over the heading."""
    page.evaluate(
        """(files) => {
          const dataTransfer = new DataTransfer();
          for (const [name, data] of files) dataTransfer.items.add(new File([new Uint8Array(data)], name));
          for (const kind of ["dragover", "drop"])
            document.querySelector("h1").dispatchEvent(
              new DragEvent(kind, {dataTransfer, bubbles: true, cancelable: true}));
        }""",
        [[path.name, list(path.read_bytes())] for path in paths],
    )


def examined(page: Page, count: int) -> None:
    """Wait until the list has so many files and none of them waits."""
    expect(page.locator("#files button")).to_have_count(count)
    expect(page.locator("#files button[disabled]")).to_have_count(0)
    expect(page.locator("#cancel")).to_be_hidden()


def choose(page: Page, number: int) -> None:
    """Turn to a file, by its place in the list from 1, and wait until it is shown."""
    button = page.locator("#files button").nth(number - 1)
    button.click()
    expect(page.locator("#files button").nth(number - 1)).to_have_attribute("aria-current", "true")
    expect(page.locator("#about textarea, #about input")).to_have_value(str(number - 1))


def answered(page: Page) -> None:
    """Wait until the opening question about the file that is shown has its answer."""
    page.locator("#chat [data-testid=bot]").first.wait_for()


def test_two_files_are_one_case(small, tmp_path):
    page = small()
    drop(page, EXAMPLE, FORGED_EXAMPLE)
    examined(page, 2)
    expect(page.locator("#files button").nth(0)).to_contain_text("signs found")
    expect(page.locator(".photo figcaption")).to_contain_text(EXAMPLE.name)
    answered(page)
    page.fill("#ask textarea", "Is the first one real?")
    page.press("#ask textarea", "Enter")
    expect(page.locator("#chat [data-testid=bot]")).to_have_count(2)

    page.click("#desk button")
    page.get_by_label("Notes on this file").fill(NOTES)
    page.get_by_label("own verdict").click()
    page.get_by_role("option", name="No signs of manipulation found").click()
    page.locator("#files button").nth(1).click()
    expect(page.locator("#talk .notice")).to_contain_text("needs a reason")
    page.get_by_label("Reason for this verdict").fill(REASON)
    choose(page, 2)
    expect(page.locator(".photo figcaption")).to_contain_text(FORGED_EXAMPLE.name)
    expect(page.locator("#files button").nth(0)).to_contain_text("examiner: no signs")
    expect(page.get_by_label("Notes on this file")).to_have_value("")
    expect(page.locator("#chat")).not_to_contain_text("the first one")
    answered(page)

    page.locator("#compare input").click()
    page.get_by_role("option", name=EXAMPLE.name).click()
    expect(page.locator("#comparison figure")).to_have_count(2)
    page.locator("#comparison .lens").first.focus()
    page.keyboard.press("+")
    first, second = seen(page, "#comparison")
    assert first == second and first[0] == 1.5

    page.get_by_role("checkbox", name="Face 1").check()
    page.click("#save")
    with page.expect_download() as waiting:
        page.click("#get-zip")
    saved = waiting.value.path().rename(tmp_path / "case.zip")
    assert leaves(page) == [], "the case is saved"

    page.set_input_files("#drop input[type=file]", saved)
    examined(page, 2)
    expect(page.locator("#notice")).to_contain_text("This case was saved before")
    expect(page.locator("#chat [data-testid=bot]")).to_have_count(2)
    page.click("#desk button")
    expect(page.get_by_label("Notes on this file")).to_have_value(NOTES)
    expect(page.get_by_label("Reason for this verdict")).to_have_value(REASON)
    choose(page, 2)
    page.get_by_role("checkbox", name="Face 1").check()
    page.click("#write")
    with page.expect_download() as waiting:
        page.click("#get-json")
    report = json.loads(waiting.value.path().read_text(encoding="utf-8"))
    first, second = report["files"]
    assert (first["file"]["name"], second["file"]["name"]) == (EXAMPLE.name, FORGED_EXAMPLE.name)
    assert first["examiner"] == {"notes": NOTES, "override": {"verdict": "real", "reason": REASON}}
    assert first["verdict"] == "fake" and first["blurred"]["faces"] == []
    assert second["blurred"]["faces"] == [1] and report["opened_from"]
    assert "Is the first one real?" in [row["question"] for row in first["transcript"]]


def test_a_file_that_cannot_be_read_stays_in_the_list(small, bad):
    """And on a phone the list scrolls by itself, not the page."""
    page = small(viewport=PHONE, is_mobile=True, has_touch=True)
    page.set_input_files("#drop input[type=file]", [bad, EXAMPLE, FORGED_EXAMPLE])
    examined(page, 3)
    expect(page.locator(".photo figcaption")).to_contain_text(EXAMPLE.name)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#files button").nth(0).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .card")).to_contain_text("not an image")
    expect(page.locator("#conversation")).to_be_hidden()
    expect(page.locator("#files button").nth(0)).to_be_focused()


@pytest.mark.parametrize("slower", [4, 12])
def test_a_slow_machine_shows_what_was_found(small, bad, slower):
    """There Gradio joins what comes fast, and lost the second of two changes to the row with the result."""
    page = small(viewport=PHONE, is_mobile=True, has_touch=True)
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.reload()
    wait_until_drawn(page)
    page.set_input_files("#drop input[type=file]", [EXAMPLE, bad, FORGED_EXAMPLE])
    examined(page, 3)
    for part in ("#verdict .card", "#conversation", "#desk > button", "#compare", "#report"):
        expect(page.locator(part)).to_be_visible()
    page.locator("#files button").nth(1).click()
    expect(page.locator("#verdict .card")).to_contain_text("not an image")
    expect(page.locator("#conversation")).to_be_hidden()


def test_one_file_alone_has_no_list(small):
    page = small()
    page.set_input_files("#drop input[type=file]", EXAMPLE)
    answered(page)
    for part in ("#files", "#compare", "#comparison", "#progress", "#notes"):
        expect(page.locator(part)).to_be_hidden()
    page.click("#desk button")
    page.set_input_files("#keep input[type=file]", FORGED_EXAMPLE)
    examined(page, 2)
    expect(page.locator(".photo figcaption")).to_contain_text(EXAMPLE.name)


def test_the_court_form_is_that_of_one_case(small):
    """Bug: number and opinion of the case before stood, out of sight, in the report on the next."""
    page = small()
    page.set_input_files("#drop input[type=file]", EXAMPLE)
    answered(page)
    page.click("#court button")
    page.get_by_label("Case number").fill("3 O 12/26")
    page.get_by_label("Opinion of the examiner").fill("The mouth was replaced.")
    page.get_by_label("Annex the conversation").uncheck()
    page.click("#court > button")
    page.set_input_files("#drop input[type=file]", FORGED_EXAMPLE)
    expect(page.locator(".photo figcaption")).to_contain_text(FORGED_EXAMPLE.name)
    answered(page)
    page.click("#write")
    with page.expect_download() as waiting:
        page.click("#get-json")
    report = json.loads(waiting.value.path().read_text(encoding="utf-8"))
    assert not report.get("court_form") and report["files"][0]["transcript"]


def test_a_case_is_not_replaced_without_a_question(small):
    page = small()
    drop(page, EXAMPLE, FORGED_EXAMPLE)
    examined(page, 2)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.set_input_files("#drop input[type=file]", FORGED_EXAMPLE)
    expect(page.locator("#files button")).to_have_count(2)
    assert asked == ["The open case is not saved. Replace it?"]


@pytest.mark.parametrize("look", LOOKS)
def test_a_case_has_no_grave_finding(small, bad, look):
    page = small(**LOOKS[look])
    page.set_input_files("#drop input[type=file]", [EXAMPLE, bad, FORGED_EXAMPLE])
    examined(page, 3)
    page.click("#desk button")
    page.locator("#compare input").click()
    page.get_by_role("option", name=FORGED_EXAMPLE.name).click()
    expect(page.locator("#comparison figure")).to_have_count(2)
    assert grave(page) == []
    page.locator("#files button").nth(1).click()
    expect(page.locator("#verdict .card")).to_contain_text("not an image")
    assert grave(page) == []
