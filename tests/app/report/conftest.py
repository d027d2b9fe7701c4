"""A report of a tiny model, and the command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.assistant import Assistant
from app.page.handlers import EXAMPLE
from app.report.__main__ import main
from app.report.sealed import Report
from kfd.config import Decision
from tests.tiny.checkpoint import save_tiny_checkpoint

NASTY = 'Is <script>alert("x")</script> & <b>Жук</b> real?'


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Every score counts as fake here, so that regions and their words appear."""
    folder = tmp_path_factory.mktemp("tiny")
    return save_tiny_checkpoint(
        folder, Decision(real_below=0.0, fake_above=0.001, min_sharpness=0.0, fitted_on="a test")
    )


@pytest.fixture(scope="module")
def report(folder) -> Report:
    assistant = Assistant.from_pretrained(folder)
    analysis = assistant.analyse(EXAMPLE.read_bytes(), name="<i>portrait</i> Жук.jpg")
    for question in ("Is this a deepfake image?", NASTY):
        list(assistant.ask(analysis, question))
    return assistant.report(analysis)


@pytest.fixture
def run(monkeypatch) -> Callable[..., int]:
    """`python -m app.report WORDS`, which returns its exit status."""

    def command(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["app.report", *map(str, words)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return command
