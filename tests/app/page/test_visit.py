"""A visit in a real browser: the served page, the shipped models, Chromium."""

from __future__ import annotations

import json
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from pypdf import PdfReader

from app.report.sealed import Report
from docs.screenshot import wait_for_answers
from tests.tiny.video import write_video

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "app" / "example.jpg"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory) -> Path:
    """The example photograph beside its mirror image."""
    photo = np.asarray(Image.open(EXAMPLE))
    path = tmp_path_factory.mktemp("photos") / "two faces.png"
    Image.fromarray(np.concatenate([photo, photo[:, ::-1]], axis=1)).save(path)
    return path


def upload(page: Page, path: Path) -> None:
    page.set_input_files("#drop input[type=file]", path)
    page.wait_for_selector("#verdict .card")


def answers(page: Page, count: int) -> list[str]:
    """The texts of the answers, once there are `count` and the last has stopped growing."""
    wait_for_answers(page, count)
    bubbles = page.locator("#chat [data-testid=bot]")
    expect(bubbles).to_have_count(count)
    return bubbles.all_inner_texts()


def ask(page: Page, question: str) -> None:
    page.fill("#ask textarea", question)
    page.press("#ask textarea", "Enter")


def download(page: Page, form: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(f"#get-{form}")
    return Path(waiting.value.path()).read_bytes()


def test_a_visit(window, two_faces):
    page = window()
    started = time.monotonic()
    upload(page, two_faces)
    page.wait_for_selector("#chat [data-testid=bot]")
    assert time.monotonic() - started < 60, "the target is 5 s, on an idle machine"
    expect(page.locator(".photo figcaption")).to_contain_text("2 faces")

    (first,) = answers(page, 1)
    assert first.split()[0].strip(",.") in {"Yes", "No", "Inconclusive"}
    ask(page, "Where are the signs?")
    answers(page, 2)
    page.click("#suggestions button >> text=How sure are you?")
    assert len(answers(page, 3)) == 3

    page.click("#faces label >> nth=1")
    expect(page.locator("#face figcaption").first).to_contain_text("Face 2")
    answers(page, 1)
    ask(page, "What about the <i>second</i> face?")
    answers(page, 2)
    page.click("#faces label >> nth=0")
    answers(page, 3)

    page.click("#write")
    report = Report.from_json(download(page, "json").decode("utf-8"))
    assert report.intact
    assert [(row["face"], row["complete"]) for row in report.files[0]["transcript"]] == [(1, True)] * 3 + [
        (2, True)
    ] * 2
    assert report.files[0]["transcript"][4]["question"] == "What about the <i>second</i> face?"
    pages = PdfReader(BytesIO(download(page, "pdf"))).pages
    assert report.data["seal"][:16] in pages[0].extract_text()
    assert report.data["seal"] in download(page, "html").decode("utf-8")
    assert page.elsewhere == []


def test_the_newest_answer_is_in_sight(window):
    """From the fourth question on, answers were written below the edge of the chat; and a question that
    was sent while an answer was being written was dropped."""
    page = window()
    upload(page, EXAMPLE)
    answers(page, 1)
    for question in ("Where?", "How sure are you?", "What speaks against this?", "Who made it?"):
        ask(page, question)
        page.wait_for_function("document.querySelector('#ask textarea').value === ''")
    answers(page, 5)
    chat, last = (page.locator(f"#chat {name}").last for name in (".bubble-wrap", "[data-testid=bot]"))
    bottom = {box["y"] + box["height"] for box in (chat.bounding_box(), last.bounding_box())}
    assert max(bottom) <= chat.bounding_box()["y"] + chat.bounding_box()["height"] + 1


def test_two_windows_never_see_each_other(window, two_faces):
    mine, yours = window(), window()
    upload(mine, two_faces)
    upload(yours, EXAMPLE)
    answers(mine, 1)
    answers(yours, 1)
    ask(mine, "Do you keep my secret?")
    answers(mine, 2)
    assert len(answers(yours, 1)) == 1 and "secret" not in yours.content()
    expect(yours.locator(".photo figcaption")).to_contain_text("1 face")
    yours.click("#write")
    report = json.loads(download(yours, "json"))
    assert report["files"][0]["file"]["name"] == "example.jpg" and "secret" not in json.dumps(report)
    mine.reload()
    mine.wait_for_selector("#drop")
    assert "secret" not in mine.content()


def test_a_bad_file_is_a_sentence(window, tmp_path):
    path = tmp_path / "shopping.jpg"
    path.write_text("bread, milk")
    page = window()
    page.set_input_files("#drop input[type=file]", path)
    expect(page.locator("#notice")).to_contain_text("not an image")
    assert "Traceback" not in page.content() and not page.locator("#verdict .card").is_visible()
    upload(page, EXAMPLE)
    expect(page.locator("#notice .notice")).to_have_count(0)


def test_a_photo_without_a_face_has_no_score(window, tmp_path):
    path = tmp_path / "wall.png"
    Image.new("RGB", (400, 300), "grey").save(path)
    page = window()
    upload(page, path)
    expect(page.locator("#verdict .card")).to_contain_text("No face was found")
    assert page.locator("#verdict .score").count() == 0
    page.click("#write")
    assert Report.from_json(download(page, "json").decode("utf-8")).files[0]["faces"] == []


def test_a_photo_can_be_pasted_and_its_map_faded(window):
    page = window()
    data = list(EXAMPLE.read_bytes())
    page.evaluate(
        """(data) => {
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([new Uint8Array(data)], "pasted.jpg", {type: "image/jpeg"}));
          document.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
        }""",
        data,
    )
    page.wait_for_selector("#verdict .card")
    expect(page.locator(".photo figcaption")).to_contain_text("pasted.jpg")
    slider = page.locator("#opacity input[type=range]")
    slider.fill("0.2")
    expect(page.locator("#face .heat")).to_have_css("opacity", "0.2")


def test_a_video_has_a_timeline_to_click(window, tmp_path):
    photo = np.asarray(Image.open(EXAMPLE))
    write_video(tmp_path / "clip.mp4", (np.roll(photo, number % 5, axis=1) for number in range(32)))
    page = window()
    upload(page, tmp_path / "clip.mp4")
    bars, views = page.locator("button.moment"), page.locator(".views figure")
    expect(bars).to_have_count(16)
    expect(views.nth(3)).to_be_hidden()
    bars.nth(3).click()
    expect(bars.nth(3)).to_have_attribute("aria-pressed", "true")
    expect(page.locator('.moment[aria-pressed="true"]')).to_have_count(1)
    expect(views.nth(3)).to_be_visible()
    expect(views.nth(4)).to_be_hidden()
    assert answers(page, 1)
