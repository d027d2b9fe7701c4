"""What the tests of the page share: a browser, the page that users get, and a small one at hand at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from app.assistant import Assistant
from app.intake.door import Door
from app.page.ui import application
from docs.screenshot import CHROMIUM_FLAGS, find_chromium, served
from kfd.config import Decision
from tests.tiny.checkpoint import save_tiny_checkpoint

SCREEN = {"width": 1280, "height": 900}  # pixels
PHONE = {"width": 390, "height": 844}
PATIENCE = 180_000  # ms; a busy machine writes the narrative of a report slowly

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(browser) -> Iterator[str]:
    """The page, served by the command that users run."""
    with served() as address:
        yield address


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Tiny models, which find signs in every face."""
    decision = Decision(real_below=0.0, fake_above=0.001, min_sharpness=0.0, fitted_on="a test")
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"), decision)


@pytest.fixture(scope="session")
def assistant(checkpoint) -> Assistant:
    return Assistant.from_pretrained(checkpoint)


@pytest.fixture(scope="session")
def small_address(browser, assistant, tmp_path_factory) -> Iterator[str]:
    """The page with tiny models, served in this process."""
    with serving(assistant, tmp_path_factory.mktemp("served")) as address:
        yield address


@contextmanager
def serving(assistant: Assistant, folder: Path) -> Iterator[str]:
    """The address of a page with this assistant, until the block ends."""
    config = uvicorn.Config(application(assistant, Door(), folder), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(30)


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Page]]:
    """A function that opens an address in a window of its own; it notes every request to another host."""
    contexts = []

    def open_window(address: str, **settings: object) -> Page:
        context = browser.new_context(**{"viewport": SCREEN, "accept_downloads": True, **settings})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.elsewhere = []
        page.on("request", lambda request: _note(page, request.url, address))
        page.goto(address)
        wait_until_drawn(page)
        return page

    yield open_window
    for context in contexts:
        context.close()


@pytest.fixture
def window(open_page, address) -> Callable[[], Page]:
    """A function that opens a new window on the page that users get."""
    return lambda: open_page(address)


@pytest.fixture
def small(open_page, small_address) -> Callable[..., Page]:
    """A function that opens a new window on the small page."""
    return lambda **settings: open_page(small_address, **settings)


def wait_until_drawn(page: Page) -> None:
    """Wait until the page takes files."""
    page.wait_for_selector("html:not(.drawing) #drop input[type=file]", state="attached")


def _note(page: Page, url: str, address: str) -> None:
    if not url.startswith((address, "data:", "blob:")):
        page.elsewhere.append(url)
