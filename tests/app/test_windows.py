"""Several windows at once: whose case is kept, which result is late, who waits."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app.assistant import Assistant
from app.intake.line import Line
from app.intake.shelf import num_bytes
from app.page.desk import PageState
from app.page.handlers import EXAMPLE, FORGED_EXAMPLE, PUT_AWAY, PageHandlers
from app.page.windows import Windows
from kfd.video import Watch
from tests.tiny.checkpoint import save_tiny_checkpoint


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Assistant:
    return Assistant.from_pretrained(save_tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


class Slow:
    """The assistant, except that an examination waits until it is let go on."""

    def __init__(self, assistant: Assistant):
        self._assistant, self.models = assistant, assistant.models
        self.begun, self.go_on = threading.Event(), threading.Event()

    def analyse(self, path: Path, watch: Watch | None = None):
        if path == EXAMPLE:
            self.begun.set()
            assert self.go_on.wait(30)
        return self._assistant.analyse(path, watch=watch)


def window(name: str) -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


def test_a_late_result_never_replaces_a_newer_case(assistant, tmp_path):
    slow = Slow(assistant)
    handlers = PageHandlers(slow, tmp_path)
    handlers.line = Line(2)
    late: list = []
    first = threading.Thread(target=lambda: late.extend(handlers.examine(str(EXAMPLE), window("w"))))
    first.start()
    assert slow.begun.wait(30)
    newer = list(handlers.examine(str(FORGED_EXAMPLE), window("w")))[-1][0]
    slow.go_on.set()
    first.join(30)
    assert newer.analysis.source.name == FORGED_EXAMPLE.name
    assert [(state.analysis, "Examining" in notice) for state, notice, *_ in late] == [(None, True)], (
        "the late examination said that it began, and nothing more"
    )
    assert len(handlers.windows) == 1


def test_a_window_that_was_closed_gets_no_case(assistant, tmp_path):
    slow = Slow(assistant)
    handlers = PageHandlers(slow, tmp_path)
    first = threading.Thread(target=lambda: list(handlers.examine(str(EXAMPLE), window("w"))))
    first.start()
    assert slow.begun.wait(30)
    handlers.close("w")
    slow.go_on.set()
    first.join(30)
    assert len(handlers.windows) == 0


def test_an_evicted_window_says_so(assistant, tmp_path):
    """Its questions and its report did nothing at all."""
    handlers = PageHandlers(assistant, tmp_path, Windows(max_windows=1))
    old = list(handlers.example(window("old")))[-1][0]
    new = list(handlers.example(window("new")))[-1][0]
    ((_, _, note, _),) = handlers.ask(old, "Where?", window("old"))
    words = PUT_AWAY.split(":")[0]
    assert words in note
    assert words in handlers.write_report(old, window("old"))[0]
    assert words in handlers.show_face(old, 0, window("old"))[-1]
    assert words in next(handlers.ask(None, "Where?", window("other")))[2], "forgotten by Gradio as well"
    assert len(list(handlers.ask(new, "Where?", window("new")))) > 1


def test_memory_of_closed_windows_is_freed(assistant, tmp_path):
    handlers = PageHandlers(assistant, tmp_path)
    state = list(handlers.example(window("w")))[-1][0]
    list(handlers.ask(state, "Where?", window("w")))
    analysis = weakref.ref(state.analysis)
    handlers.close("w")
    gc.collect()
    assert analysis() is None and state.analysis is None


def test_the_least_used_case_goes_first(assistant):
    analysis = assistant.analyse(EXAMPLE)
    windows, states = Windows(max_bytes=int(2.5 * num_bytes(analysis))), {}
    for name in "abc":
        states[name] = PageState.of(assistant.analyse(EXAMPLE))
        assert windows.keep(name, windows.begin(name), states[name])
        windows.use("a")
    assert {name: state.analysis is not None for name, state in states.items()} == {
        "a": True,
        "b": False,
        "c": True,
    }


def test_the_memory_of_a_case_is_that_of_its_pictures(assistant):
    analysis = assistant.analyse(EXAMPLE)
    assert analysis.image.nbytes < num_bytes(analysis) < 40 * analysis.image.nbytes
    array = np.zeros((10, 10))
    assert num_bytes([array, {"again": array, "part": array[:5]}]) == array.nbytes


def test_those_in_line_are_told_how_many_are_before_them(assistant, tmp_path):
    handlers = PageHandlers(assistant, tmp_path)
    handlers.line = Line(1)
    with handlers.line.stand("a") as first, handlers.line.stand("b") as second:
        assert (first.ahead(), second.ahead()) == (0, 1)
        visit = handlers.examine(str(EXAMPLE), window("w"))
        assert "2 files are examined before yours" in next(visit)[1]
        with handlers.line.stand("c") as behind:
            assert behind.ahead() == 3
            visit.close()
            assert behind.ahead() == 2, "one who leaves makes room"
    visit = handlers.examine(str(EXAMPLE), window("w"))
    assert "Examining the file" in next(visit)[1]
    assert next(visit)[0].analysis.faces


def test_a_question_waits_its_turn_and_says_how_long(assistant, tmp_path):
    """Three dozen answers were begun at once, and none ended."""
    handlers = PageHandlers(assistant, tmp_path)
    state = list(handlers.example(window("w")))[-1][0]
    handlers.answers = Line(1)
    with handlers.answers.stand("other"):
        asking = handlers.ask(state, "Where?", window("w"))
        messages, *_ = next(asking)
        assert messages[0]["content"] == "Where?", "the question is shown at once"
        assert "1 answer is written before yours" in next(asking)[2]
    assert next(asking)[2].strip() == "", "its turn: nothing stands before it"
    messages, *_ = list(asking)[-1]
    assert messages[-1]["role"] == "assistant"


def test_an_answer_in_line_is_not_begun_for_a_window_that_was_closed(assistant, tmp_path):
    handlers = PageHandlers(assistant, tmp_path)
    state = list(handlers.example(window("w")))[-1][0]
    analysis, handlers.answers = state.analysis, Line(1)
    with handlers.answers.stand("other"):
        asking = handlers.ask(state, "Where?", window("w"))
        next(asking), next(asking)
        handlers.close("w")
        assert list(asking) == [] and not analysis.session.exchanges
