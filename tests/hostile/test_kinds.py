"""Kinds of hostile files that nobody had sent yet, at every door: the command, the page, the service."""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from app.assistant import Assistant
from app.intake.door import Door
from app.intake.uploads import safe_name
from app.page.handlers import PageHandlers
from app.service.access import ApiKeys, digest_of_key
from app.service.application import application
from app.service.desk import Limits
from common.terminal import printable
from kfd import score
from kfd.scoring.lines import lines_of
from media.decoding.sandbox import PHOTO_SECONDS
from tests.hostile.kinds import Kind, invented
from tests.hostile.mutations import seeds

KINDS = list(invented(seeds()))
ORDERS = [kind for kind in KINDS if not kind.name.isascii() or printable(kind.name) != kind.name]
KEY = "key-of-a-test-0123456789abcdef"


def params() -> list:
    return [
        pytest.param(kind, id=ascii(kind.name)[:40], marks=[pytest.mark.slow] * kind.is_slow)
        for kind in KINDS
    ]


@pytest.fixture(scope="module")
def assistant(trusting) -> Assistant:
    return Assistant.from_pretrained(trusting)


@pytest.fixture(scope="module")
def handlers(assistant, tmp_path_factory) -> PageHandlers:
    return PageHandlers(assistant, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def service(assistant, tmp_path_factory) -> Iterator[TestClient]:
    keys = ApiKeys({"a test": digest_of_key(KEY)})
    app = application(assistant, Door(), tmp_path_factory.mktemp("service"), keys, Limits(rate=10_000))
    with TestClient(app, "http://localhost", headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


def test_there_is_a_seed_of_every_format():
    """FFmpeg refused the pixels of the AVI, which was left out without a word."""
    expected = {
        "jpg",
        "progressive.jpg",
        "png",
        "webp",
        "gif",
        "tiff",
        "moving.png",
        "mp4",
        "mkv",
        "avi",
        "ts",
    }
    assert expected <= set(seeds()) and len({kind.name for kind in KINDS}) == len(KINDS) > 90


@pytest.mark.parametrize("kind", params())
def test_each_is_read_or_refused_in_time(kind, detector, tmp_path):
    path = tmp_path / kind.name
    path.write_bytes(kind.data)
    started = time.process_time()
    lines = lines_of(path, detector)
    assert time.process_time() - started < PHOTO_SECONDS, "what a decoder takes is limited elsewhere"
    told = [json.loads(json.dumps(line, allow_nan=False)) for line in lines]
    assert all(line["reasons"] or line["verdict"] == "real" for line in told)
    assert "internal_error" not in told[0]["reasons"]
    assert not kind.is_sound or told[0]["verdict"] == "real", "what is to be read must not be refused"


@pytest.mark.parametrize("kind", params())
def test_the_page_shows_a_finding_or_a_sentence(kind: Kind, handlers):
    place = handlers.uploads.folder / "0"
    place.mkdir(parents=True)
    path = place / safe_name(kind.name)
    path.write_bytes(kind.data)
    window = SimpleNamespace(session_hash="w", headers={})
    *_, told = handlers.examine(str(path), window)
    assert not place.exists(), "an upload is forgotten once examined"
    shown = "".join(part for part in told if isinstance(part, str))
    assert str(place.parents[1]) not in shown and "Traceback" not in shown and "<img src=x" not in shown
    if told.state is None:
        assert "notice" in told.notice and told.verdict == "" and not kind.is_sound
        return
    report = handlers.assistant.report(told.state.analysis)
    assert "<img src=x" not in report.to_html() and len(report.to_pdf()) > 1000


@pytest.mark.parametrize("kind", params())
def test_the_service_answers_with_a_finding_or_a_problem(kind: Kind, service):
    name = kind.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    answer = service.post("/v1/findings", files={"file": (name, kind.data)})
    told = answer.json()
    if answer.status_code == 200:
        assert told["finding"]["verdict"] in ("real", "inconclusive")
        service.delete(f"/v1/findings/{told['id']}")
    else:
        assert answer.status_code in (400, 413, 422) and told["code"] != "internal_error", told
        assert told["detail"] and "/tmp" not in told["detail"] and "Traceback" not in told["detail"]
    assert answer.status_code == 200 or not kind.is_sound


def test_names_give_a_terminal_no_orders(trusting, tmp_path, monkeypatch, capsys):
    album = tmp_path / "album"
    album.mkdir()
    for kind in ORDERS:
        (album / kind.name).write_bytes(kind.data)
    missing = tmp_path / "\x1b[31mmissing\u202e.jpg"
    for words in ([str(album)], [str(missing)]):
        words_of_it = ["--checkpoint", str(trusting / "kfd"), "--workers", "1"]
        monkeypatch.setattr("sys.argv", ["kfd.score", *words, *words_of_it])
        try:
            score.main()
        except SystemExit as ended:
            assert printable(str(ended.code)) == str(ended.code)
        said = capsys.readouterr()
        assert all(char.isprintable() or char == "\n" for char in said.out + said.err)
        lines = [json.loads(line) for line in said.out.splitlines()]
        assert len(lines) == (len(ORDERS) if words == [str(album)] else 0)


def test_the_threat_model_names_tests_that_there_are():
    """Two of them had moved."""
    root = Path(__file__).parents[2]
    named = set(re.findall(r"`(tests/[\w/.]+)`", (root / "docs" / "security.md").read_text(encoding="utf-8")))
    assert len(named) > 10 and [path for path in named if not (root / path).exists()] == []


@pytest.mark.parametrize("module", ["kfd.score", "app.report.__main__", "data_sim.build", "data_sim.frames"])
def test_the_help_of_what_decodes_states_the_limits(module, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [module, "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(module).main()
    assert "limited to 2 GB of memory" in " ".join(capsys.readouterr().out.replace("│", " ").split())
