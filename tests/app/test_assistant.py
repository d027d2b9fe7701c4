"""The analyst: what is found, said and kept apart. Real classes at a tiny size; the scores mean nothing."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import socket
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app.analysis import case_of
from app.assistant import OPENING_QUESTION, Assistant
from app.intake.door import check_port
from app.page import panels
from app.page.handlers import EXAMPLE, FORGED_EXAMPLE, PageHandlers
from app.page.ui import MAX_QUESTION, build_page
from kfd.config import Decision
from kfd.detector import Detector
from media.images import ImageError, read_image
from tests.tiny.checkpoint import save_tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def assistant(folder) -> Assistant:
    return Assistant.from_pretrained(folder)


@pytest.fixture(scope="module")
def two_faces() -> np.ndarray:
    """The example photograph beside its mirror image."""
    photo = read_image(EXAMPLE)
    return np.concatenate([photo, photo[:, ::-1]], axis=1)


def with_decision(assistant: Assistant, **changes: float) -> Assistant:
    """The same models under other thresholds."""
    detector = assistant.detector
    changed = Detector(detector.model, Decision(**{"fitted_on": "a test"} | changes), detector.digest)
    return Assistant(changed, assistant.llm, assistant.models)


def test_path_bytes_picture_and_array_give_the_same_finding(assistant):
    data = EXAMPLE.read_bytes()
    sources = (EXAMPLE, str(EXAMPLE), data, Image.open(EXAMPLE), read_image(EXAMPLE))
    analyses = [assistant.analyse(source) for source in sources]
    assert len({analysis.faces[0].score for analysis in analyses}) == 1
    assert len({analysis.source.pixels_sha256 for analysis in analyses}) == 1
    digest = hashlib.sha256(data).hexdigest()
    assert [analysis.source.sha256 for analysis in analyses] == [digest] * 3 + [None] * 2
    assert analyses[0].source.name == "example.jpg" and analyses[0].source.file_format == "JPEG"
    assert analyses[0].size == (512, 512)


def test_a_photo_without_a_face_is_never_scored(assistant):
    analysis = assistant.analyse(np.full((300, 300, 3), 128, np.uint8))
    assert (analysis.faces, analysis.verdict, analysis.reasons) == ((), "inconclusive", ("no_face",))
    with pytest.raises(ValueError, match="no face was found"):
        assistant.ask(analysis, OPENING_QUESTION)
    report = assistant.report(analysis)
    assert report.files[0]["faces"] == [] and "No face" in report.data["finding"]
    assert report.to_pdf().startswith(b"%PDF") and "score" not in report.data


def test_a_face_that_is_too_small_is_named_and_not_scored(assistant):
    strict = with_decision(assistant, min_face=500.0)
    analysis = strict.analyse(EXAMPLE)
    assert analysis.verdict == "inconclusive" and analysis.reasons == ("face_too_small",)
    assert analysis.faces[0].score is None and case_of(analysis, 0).score is None
    assert "".join(strict.ask(analysis, OPENING_QUESTION))
    data = strict.report(analysis).files[0]
    assert data["faces"][0]["score"] is None and "too small" in data["finding"]


def test_thirty_faces(assistant):
    face = np.asarray(Image.fromarray(read_image(EXAMPLE)[0:220, 110:330]).resize((180, 180)))
    analysis = assistant.analyse(np.tile(face, (5, 6, 1)))
    assert len(analysis.faces) == 30
    assert [finding.index for finding in analysis.faces] == list(range(30))
    report = assistant.report(analysis)
    assert len(report.files[0]["faces"]) == 30 and len(report.to_json()) < 6_000_000


def test_what_weakens_a_finding_is_said(assistant, tmp_path):
    photo = Image.open(EXAMPLE).convert("L")
    path = tmp_path / "pages.tif"
    photo.save(path, save_all=True, append_images=[photo.rotate(5)])
    pages, grey = assistant.analyse(path).warnings
    assert "2 pages" in pages and "no colour" in grey
    lenient = with_decision(assistant, min_face=1.0, min_sharpness=0.0)  # the small face has a score, too
    (enlarged,) = lenient.analyse(np.asarray(Image.open(EXAMPLE).resize((256, 256)))).warnings
    assert enlarged.startswith("Face 1 was enlarged to the 64 pixels that the detector reads")
    assert lenient.analyse(EXAMPLE).warnings == ()


def test_every_face_has_its_own_conversation(assistant, two_faces):
    analysis = assistant.analyse(two_faces)
    assert len(analysis.faces) == 2
    for face, question in ((0, OPENING_QUESTION), (1, OPENING_QUESTION), (0, "Where?")):
        assert "".join(assistant.ask(analysis, question, face))
    session = analysis.session
    assert [len(session.about(0)), len(session.about(1))] == [2, 1]
    assert [len(session.conversations[face].history) for face in (0, 1)] == [2, 1]
    assert all(exchange.complete for exchange in session.exchanges)
    with pytest.raises(IndexError, match="2 faces"):
        assistant.ask(analysis, "Where?", 2)


def test_two_analyses_of_one_photo_share_nothing(assistant):
    mine, yours = assistant.analyse(EXAMPLE), assistant.analyse(EXAMPLE)
    list(assistant.ask(mine, "What is my secret?"))
    assert yours.session.exchanges == [] and yours.session.conversations == {}
    assert "secret" not in assistant.report(yours).to_json()


def test_an_answer_that_is_broken_off_says_so(assistant):
    analysis = assistant.analyse(EXAMPLE)
    answer = assistant.ask(analysis, OPENING_QUESTION)
    said = "".join(islice(answer, 1))  # at least one sentence
    with pytest.raises(RuntimeError, match="still being written"):
        assistant.ask(analysis, "Where?")
    answer.close()
    (exchange,) = analysis.session.exchanges
    assert not exchange.complete and exchange.answer == said.strip()
    assert "".join(assistant.ask(analysis, "Where?"))


def test_conversations_together_have_a_bound_in_memory(assistant, monkeypatch):
    """Bug: every face ever asked about kept its cache, tens of megabytes each, until its visitor left."""
    monkeypatch.setattr(assistant.held, "most_bytes", 1)
    mine, yours = assistant.analyse(EXAMPLE), assistant.analyse(EXAMPLE)
    for analysis in (mine, yours):
        list(assistant.ask(analysis, OPENING_QUESTION))
    assert mine.session.conversations == {} and yours.session.conversations[0].num_bytes > 1
    list(assistant.ask(mine, "Where?"))
    asked = [turn.question for turn in mine.session.conversations[0].history]
    assert asked == [OPENING_QUESTION, "Where?"], "what was said before is recalled"


def test_of_two_questions_let_in_at_once_one_is_answered(assistant):
    """Bug: on a busy server both were written into one conversation, by two threads."""
    analysis = assistant.analyse(EXAMPLE)
    first, second = (assistant.ask(analysis, OPENING_QUESTION) for _ in range(2))
    assert next(first)
    with pytest.raises(RuntimeError, match="still being written"):
        next(second)
    list(first)
    (exchange,) = analysis.session.exchanges
    assert exchange.complete and not analysis.session.answering


def test_a_long_conversation_never_ends_in_a_refusal(assistant):
    """After some twenty questions the page said that the conversation was full, with no way to a new one."""
    analysis = assistant.analyse(EXAMPLE)
    list(assistant.ask(analysis, OPENING_QUESTION))
    first = analysis.session.conversations[0]
    limit = assistant.llm.model.max_tokens
    for _ in range(limit):
        if analysis.session.conversations[0] is not first:
            break
        list(assistant.ask(analysis, "Where are the signs, and why? " * 6))
    assert analysis.session.conversations[0] is not first
    assert len(analysis.session.about(0)) > 2 and analysis.session.about(0)[-1].answer


def test_an_empty_question_is_refused(assistant):
    analysis = assistant.analyse(EXAMPLE)
    with pytest.raises(ValueError, match="expected a question, got an empty one"):
        assistant.ask(analysis, "  ")
    assert analysis.session.exchanges == []


def test_models_are_identified_by_their_weights(assistant, folder):
    digests = {file.name: file.sha256 for file in assistant.models.files}
    assert {name.split("/")[0] for name in digests} == {"kfd", "llm", "assistant"}
    weights = (folder / "kfd" / "model.safetensors").read_bytes()
    assert digests["kfd/model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert assistant.models.good_for == "Tiny models with random weights; they find nothing."


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no kfd and no assistant"):
        Assistant.from_pretrained(tmp_path)


def test_an_assistant_of_another_detector_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "mixed")
    path = tmp_path / "mixed" / "assistant" / "assistant.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kfd_digest": "0" * 64}))
    with pytest.raises(ValueError, match="learnt to read detector 000000000000"):
        Assistant.from_pretrained(tmp_path / "mixed")


class TestPageHandlers:
    """The page without a browser."""

    @pytest.fixture
    def handlers(self, assistant, tmp_path) -> PageHandlers:
        return PageHandlers(assistant, tmp_path)

    def opened(self, handlers: PageHandlers, photo: Path):
        return list(handlers.examine(str(photo)))[-1][0]

    def test_an_upload_is_forgotten_once_examined(self, handlers, tmp_path):
        photo = tmp_path / "upload.jpg"
        shutil.copy(EXAMPLE, photo)
        assert len(self.opened(handlers, photo).analysis.faces) == 1
        assert not photo.exists()
        list(handlers.example())
        list(handlers.forged_example())
        assert EXAMPLE.exists() and FORGED_EXAMPLE.exists()

    @pytest.mark.parametrize(
        ("name", "content"), [("empty.jpg", b""), ("list.jpg", b"bread, milk"), ("film.mp4", b"\0" * 9)]
    )
    def test_a_bad_file_gives_a_sentence_and_no_result(self, handlers, tmp_path, name, content):
        path = tmp_path / name
        path.write_bytes(content)
        told = list(handlers.examine(str(path)))[-1]
        assert told.state is None and "notice" in told.notice and told.verdict == ""
        assert not path.exists()

    def test_markup_in_a_question_stays_text(self, handlers):
        state = list(handlers.example())[-1][0]
        *_, (messages, *_) = handlers.ask(state, "<img src=x onerror=alert(1)>")
        assert messages[0]["content"].startswith("&lt;img")
        assert len(messages) == 2

    def test_without_a_face_there_is_nothing_to_talk_about(self, handlers, tmp_path):
        """The conversation stood there, empty, and refused every question in small letters."""
        path = tmp_path / "wall.png"
        Image.new("RGB", (300, 300), "grey").save(path)
        shown = list(handlers.examine(str(path)))[-1]
        assert "No face was found" in shown.verdict and "no-face" in shown.verdict
        assert "no-face" not in list(handlers.example())[-1].verdict

    def test_a_question_without_room_is_a_sentence(self, handlers):
        state = list(handlers.example())[-1][0]
        *_, (_, question, note, _) = handlers.ask(state, "why? " * 1000)
        assert "notice" in note and question.startswith("why?")
        assert MAX_QUESTION < 5000

    def test_reports_of_two_windows_lie_apart_and_go_with_them(self, handlers):
        """FIELD trap 13: a peer's demo wrote one output.png for all its users."""
        first, second = SimpleNamespace(session_hash="one"), SimpleNamespace(session_hash="two")
        places = set()
        for request in (second, first):
            state = list(handlers.example(request))[-1][0]
            _, _, *buttons = handlers.write_report(state, request)
            assert all(Path(button["value"]).is_file() for button in buttons)
            places |= {Path(button["value"]).parent for button in buttons}
        assert len(places) == 2
        note, *_ = handlers.write_report(state, first, "", "", "", "x" * 501, "", True)
        assert "shorten it" in note
        filled = "3 O 12/26", None, None, "Is it real?", None, True
        _, _, *buttons = handlers.write_report(state, first, *filled)
        written = json.loads(Path(buttons[2]["value"]).read_text(encoding="utf-8"))
        assert written["court_form"] == {"case_number": "3 O 12/26", "question": "Is it real?"}
        handlers.close("one")
        assert [place.exists() for place in sorted(places, key=Path.exists)] == [False, True]

    def test_turning_to_a_face_opens_its_conversation_once(self, handlers, two_faces, tmp_path):
        photo = tmp_path / "two.png"
        Image.fromarray(two_faces).save(photo)
        state = self.opened(handlers, photo)
        for face in (0, 1, 0):
            handlers.show_face(state, face)
            list(handlers.open(state))
        assert [exchange.face for exchange in state.analysis.session.exchanges] == [0, 1]

    def test_what_weakens_a_finding_stands_beside_it(self, handlers, tmp_path):
        """It stood at the end of the card, below everything that it weakens."""
        path = tmp_path / "grey.png"
        Image.open(EXAMPLE).convert("L").save(path)
        card = panels.verdict_panel(self.opened(handlers, path).analysis, 0)
        assert card.index("has no colour") < card.index("Explain more")

    def test_the_page_builds(self, handlers):
        assert "Unmask" in str(build_page(handlers).get_config_file()["title"])

    def test_a_case_stays_however_long_its_window_is_open(self, handlers):
        """Bug: an hour after the last file came, notes, answers and downloads were gone."""
        page = build_page(handlers)
        (state,) = (block for block in page.blocks.values() if isinstance(block, gr.State))
        assert state.time_to_live == math.inf and page.delete_cache is None


def test_a_taken_port_is_named_with_our_flags():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port} cannot .* another --port"):
            check_port("127.0.0.1", port)


def test_an_unreadable_photo_raises(assistant):
    with pytest.raises(ImageError):
        assistant.analyse(b"no picture")
