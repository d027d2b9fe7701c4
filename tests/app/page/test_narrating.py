"""The narrative of the report: the page says how far it is, and unticking it has the report at once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.page.desk import PageState
from app.page.handlers import PageHandlers

WINDOW = SimpleNamespace(session_hash="one")


@pytest.fixture
def handlers(assistant, tmp_path) -> PageHandlers:
    return PageHandlers(assistant, tmp_path)


def passages(handlers: PageHandlers, state: PageState) -> list[dict[str, object]]:
    """The narrative in the report that is written now."""
    _, _, *buttons = handlers.write_report(state, WINDOW)
    (path,) = (Path(button["value"]) for button in buttons if button["value"].endswith(".json"))
    (face,) = json.loads(path.read_text(encoding="utf-8"))["files"][0]["faces"]
    return face["narrative"]["passages"]


def test_the_note_says_which_passage_is_written_and_then_nothing(handlers):
    state = list(handlers.example(WINDOW))[-1][0]
    *told, last = handlers.narrate(state, True, WINDOW)
    assert [f"passage {number} of 4" in note for number, note in enumerate(told, start=1)] == [True] * 4
    assert last == "" and len(state.analysis.session.narratives[0]) == 4


def test_unticked_while_it_is_written_it_ends_and_the_report_composes_it(handlers):
    """Bug: "Write the report" took up to 45 seconds in which nothing was said and nothing could be done."""
    state = list(handlers.example(WINDOW))[-1][0]
    writing = handlers.narrate(state, True, WINDOW)
    assert "passage 1 of 4" in next(writing)
    handlers.want_narrative(state, False)
    assert list(writing) == [""] and state.analysis.session.narratives == {}
    told = passages(handlers, state)
    assert len(told) == 4 and not any(passage["by_model"] for passage in told)


def test_unticked_before_it_is_never_begun(handlers):
    state = list(handlers.example(WINDOW))[-1][0]
    assert list(handlers.narrate(state, False, WINDOW)) == [""]
    assert state.analysis.session.narratives == {}
    handlers.want_narrative(None, True)  # ticked before anything was dropped
    assert list(handlers.narrate(None, True, WINDOW)) == [""]
