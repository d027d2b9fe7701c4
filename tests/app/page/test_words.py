"""The page in the language of its reader, and the entries that a court asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.court import CourtForm
from app.page.handlers import court_form
from app.page.labels import labels
from app.wording.translated import languages, sentences
from tests.app.page.test_accessibility import grave, shown

SHARED = {"conversation-heading", "english-only"}  # the same word in French; for other languages alone


@pytest.mark.parametrize("language", languages())
def test_every_label_is_there_in_every_language(language):
    english, other = labels(), labels(language)
    assert list(other) == list(english)
    for name, values in english.items():
        assert list(other[name]) == list(values)
        same = name in SHARED or language == "en"
        assert same or all(other[name][key] != value for key, value in values.items()), name


@pytest.mark.browser
def test_the_page_is_in_the_language_of_the_browser_until_another_is_chosen(small):
    page = small(locale="de-AT")
    german, arabic = sentences("de"), sentences("ar")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("#forged")).to_have_text(german["page"]["forged"])
    expect(page.locator("#introduction")).to_contain_text(german["steps"][0]["lead"])
    shown(page)
    expect(page.locator("#face figcaption").first).to_contain_text(german["page"]["as_read"])
    expect(page.locator("#explain summary")).to_have_text(german["page"]["explain"])
    expect(page.locator("#explain summary")).to_have_attribute("lang", "de")
    expect(page.locator("#verdict .card")).to_have_attribute("lang", "en")
    expect(page.locator(".translated")).to_have_attribute("lang", "de")
    assert page.get_by_role("button", name=german["page"]["send"]).is_visible()
    assert grave(page) == []

    choose(page, "العربية")
    expect(page.locator("html")).to_have_attribute("lang", "ar")
    expect(page.locator("#explain summary")).to_have_text(arabic["page"]["explain"])
    expect(page.locator("#write")).to_have_text(arabic["page"]["write"])
    expect(page.locator(".translated")).to_have_attribute("lang", "ar")
    assert grave(page) == []
    page.click("#write")
    with page.expect_download() as waiting:
        page.click("#get-json")
    assert json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))["language"] == "ar"


def choose(page: Page, language: str) -> None:
    page.click("#language input")
    page.get_by_role("option", name=language).click()


@pytest.mark.browser
def test_a_court_finds_the_examiners_opinion_and_no_conversation(small):
    page = shown(small())
    page.click("#court button")
    expect(page.locator("#court-propositions")).to_contain_text("The face was not manipulated.")
    page.get_by_label("Case number").fill("3 O 12/26")
    page.get_by_label("Opinion of the examiner").fill("The mouth was replaced.")
    page.get_by_label("Annex the conversation").uncheck()
    page.click("#write")
    with page.expect_download() as waiting:
        page.click("#get-json")
    report = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    assert report["court_form"] == {
        "case_number": "3 O 12/26",
        "examiner_opinion": "The mouth was replaced.",
    }
    assert report["propositions"] and report["files"][0]["transcript"] == []
    assert "not annexed" in report["files"][0]["transcript_left_out"]


def test_a_form_that_was_never_opened_annexes_the_conversation():
    assert court_form([None] * 6) == court_form([]) == CourtForm()
    assert court_form(["", None, "", "", "It was.", False]) == CourtForm(
        examiner_opinion="It was.", annex=False
    )
