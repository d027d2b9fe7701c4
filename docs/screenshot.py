"""Photograph the page with the forged example, through Chromium.

    python -m docs.screenshot            # writes docs/page.jpg; `make pictures` does, too

Needs Chromium (Debian: apt-get install chromium) and the playwright package, which the `test` extra brings.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

OUT = Path(__file__).with_name("page.jpg")
ROOT = Path(__file__).resolve().parents[1]
SIZE = {"width": 1220, "height": 1180}  # pixels
QUESTION = "Where are the signs?"
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def served() -> Iterator[str]:
    """The address of the page, served by the command that users run, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "app", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in server.stdout:
            said.append(line)
            if "Unmask is ready" in line:
                break
        else:
            raise OSError("the page was not served:\n" + "".join(said))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def show_forged_example(page: Page) -> None:
    """Open the forged example, wait for the first answer, and ask one question."""
    page.click("#forged")
    wait_for_answers(page, 1)
    page.fill("#ask textarea", QUESTION)
    page.press("#ask textarea", "Enter")
    wait_for_answers(page, 2)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")


def wait_for_answers(page: Page, count: int) -> None:
    """Wait until there are `count` answers and the last has stopped growing."""
    bubbles = page.locator("#chat [data-testid=bot]")
    bubbles.nth(count - 1).wait_for()
    before, after = None, bubbles.last.inner_text()
    while before != after:
        page.wait_for_timeout(1000)
        before, after = after, bubbles.last.inner_text()


def main() -> None:
    """Write the picture beside this file."""
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(120_000)
        page.goto(address)
        show_forged_example(page)
        end = page.locator("#result").bounding_box()
        frame = {"x": 0, "y": 0, "width": SIZE["width"], "height": end["y"] + end["height"] + 20}
        page.screenshot(path=OUT, full_page=True, clip=frame, type="jpeg", quality=88)
        browser.close()
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
