"""Merged exports and prompt embeddings: the server answers with the very words of a local conversation."""

from __future__ import annotations

import base64
import json
import shutil
from io import BytesIO
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_sim.dialogue import Case
from llm.adapter import add_adapter
from llm.base import load_base
from llm.conversation import Conversation
from llm.export import main
from llm.model import ForgeryLLM
from llm.packaged import SMOLLM2, gguf_of
from llm.serving.conversation import RemoteConversation
from llm.serving.endpoint import Endpoint, EndpointError, Patience
from llm.serving.exported import load_exported, load_prompts, prompts_folder, read_export
from llm.serving.prompt_embeds import EmbedsWriter, encode, prompt_embeds, prompt_segments
from tests.llm.test_conversation import taught
from tests.tiny.llm import FAKE, detection, dialogue, save_base
from tests.tiny.openai_server import MODEL, OpenAIServer, serving

SHIPPED = Path(__file__).parents[2] / "checkpoints/embedded/assistant"
TURNS = dialogue(turns=3)
BLIND = Case("inconclusive", None, (), ("face_too_small",))


@pytest.fixture(scope="module")
def assistant(tmp_path_factory) -> Path:
    """A folder with `base` and `assistant`: a model that knows TURNS by heart, and a LoRA adapter on it."""
    folder = tmp_path_factory.mktemp("tuned")
    known = taught(TURNS)
    known.llm.save_pretrained(folder / "base")
    known.prompter.tokenizer.save_pretrained(folder / "base")
    llm, tokenizer = load_base(folder / "base")
    llm = add_adapter(llm, rank=2, alpha=4, dropout=0.0)
    torch.manual_seed(5)
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model = ForgeryLLM(llm, tokenizer, known.prompter.style, known.prompt_learner, known.projector).eval()
    model.save_pretrained(folder / "assistant", folder / "base", kfd_digest="abc", seed=3)
    return folder / "assistant"


@pytest.fixture(scope="module")
def out(assistant, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    main(["--assistant", str(assistant), "--out", str(out)])
    return out


class Engine:
    """What vLLM does with prompt embeddings, by transformers: generate, cut at the stop, give text."""

    def __init__(self, folder: Path) -> None:
        self.llm = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, body: dict) -> list[str]:
        assert "prompt" not in body and "messages" not in body
        embeds = torch.load(
            BytesIO(base64.b64decode(body["prompt_embeds"], validate=True)), weights_only=True
        )
        self.shapes.append(tuple(embeds.shape))
        torch.manual_seed(body["seed"])
        (ids,) = self.llm.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            max_new_tokens=body["max_tokens"],
            do_sample=body["temperature"] > 0,
            eos_token_id=body["stop_token_ids"],
            pad_token_id=0,
        ).tolist()
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        for stop in body["stop"]:
            text = text.partition(stop)[0]
        return [text[i : i + 6] for i in range(0, len(text), 6)]


@pytest.fixture
def engine(out) -> Engine:
    return Engine(out)


def remote(server: OpenAIServer, folder: Path, case: Case = FAKE, found=None) -> RemoteConversation:
    endpoint = Endpoint(server.url, MODEL, patience=Patience(silence=20.0, attempts=2, pause=0.01))
    return RemoteConversation(EmbedsWriter(endpoint, load_prompts(folder), case, found), case)


def say(conversation: RemoteConversation | Conversation, text: str, **settings) -> str:
    return "".join(conversation.ask(text, **{"max_new_tokens": 120, **settings}))


# ---------------------------------------------------------------- prompt embeddings


@pytest.mark.parametrize("checked", [False, True])
def test_a_server_answers_with_the_tokens_of_a_local_conversation(assistant, out, engine, checked) -> None:
    """Three greedy turns: unmerged and local against merged, over HTTP, from prompt embeddings."""
    found = detection()
    local = Conversation(ForgeryLLM.from_pretrained(assistant), FAKE, found)
    with serving(engine) as server:
        there = remote(server, out, found=found)
        for turn in TURNS:
            words = say(local, turn.question, checked=checked)
            assert words == turn.answer, "the tiny model knows the conversation by heart"
            assert say(there, turn.question, checked=checked) == words
    assert there.history == local.history
    prompter = local.model.prompter
    asked, said = TURNS[-1].question, local.history[-1].answer
    rendered = prompter.tokenise(prompt_segments(prompter, FAKE, local.history[:-1], asked, said)).input_ids
    assert local.input_ids == rendered[: len(local.input_ids)] and len(rendered) - len(local.input_ids) <= 1
    assert all(shape[0] == 1 and shape[2] == 64 for shape in engine.shapes)


def test_the_embeddings_are_those_the_local_model_reads(assistant, out) -> None:
    model, found = ForgeryLLM.from_pretrained(assistant), detection()
    segments = prompt_segments(model.prompter, FAKE, [], "Where?")
    there = prompt_embeds(load_prompts(out), segments, found)
    tokens = model.prompter.tokenise(segments)
    soft = torch.cat(model.soft_prompts(found), dim=1)
    here = model.embed(torch.tensor([tokens.input_ids]), torch.tensor([tokens.soft_index]), soft)
    torch.testing.assert_close(there, here, rtol=0, atol=0)
    blind = prompt_embeds(load_prompts(out), segments, None)
    assert (blind != there).any(dim=-1).sum() == sum(index >= 0 for index in tokens.soft_index) > 1
    again = torch.load(BytesIO(base64.b64decode(encode(there))), weights_only=True)
    torch.testing.assert_close(again, there, rtol=0, atol=0)


def test_a_sentence_that_contradicts_is_worded_anew_from_there(out) -> None:
    """The prompt is ours to the last token, so good sentences stay and the bad one is drawn again."""
    good, bad = "Yes. The score is 0.93.", "The face is genuine."
    replies = [f" {good} {bad}", f"{bad} Really.", "The mouth is marked."]
    with serving(lambda body: [replies.pop(0)]) as server:
        there = remote(server, out, found=detection())
        assert say(there, "Is this a deepfake image?", checked=True) == f"{good} The mouth is marked."
        sizes = [len(body["prompt_embeds"]) for body in server.bodies]
        assert sizes[1] == sizes[2] > sizes[0], "the words said so far are part of the prompt"
        assert [body["temperature"] for body in server.bodies] == [0.0, 0.7, 0.7]


def test_no_pixel_and_no_text_of_the_case_is_sent(out) -> None:
    with serving(lambda body: ["Yes."]) as server:
        say(remote(server, out, found=detection()), "Where?")
        ((path, _, raw),) = server.requests
        assert path == "/v1/completions" and b"0.93" not in raw and b"Where" not in raw
        assert set(server.bodies[0]) == {
            "model", "stream", "prompt_embeds", "max_tokens", "temperature", "seed", "stop",
            "stop_token_ids", "top_p", "top_k", "repetition_penalty",
        }  # fmt: skip


def test_an_unscored_face_and_a_full_conversation(out) -> None:
    with serving(lambda body: ["There is no score."]) as server:
        there = remote(server, out, BLIND)
        assert say(there, "Where?") == "There is no score."
        there.writer.model.llm.config.max_position_embeddings = 150
        with pytest.raises(ValueError, match="conversation is full"):
            there.ask("Where are the signs of it, and how sure are you of each of them?")
        assert len(server.requests) == 1


def test_a_server_without_prompt_embeddings_says_so(out) -> None:
    with serving(lambda body: []) as server:
        server.script = ["400"]
        with pytest.raises(EndpointError, match="refused the request"):
            say(remote(server, out, found=detection()), "Where?")


# ---------------------------------------------------------------- export


def test_the_merged_model_is_the_unmerged_one(assistant, out) -> None:
    info = read_export(out)
    assert (info.kfd_digest, info.dtype, info.facts) == ("abc", "float32", {"seed": 3})
    assert Path(info.base).name == "base"
    assert {p.name for p in out.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "prompts",
    }
    assert not list(out.glob("adapter*")) and len(list(out.glob("*.safetensors"))) == 1
    tuned, merged, found = ForgeryLLM.from_pretrained(assistant), load_exported(out), detection()
    batch = [tuned.prompter.conversation(FAKE, TURNS)]
    ids, index = ([row] for row in (batch[0].input_ids, batch[0].soft_index))
    logits = []
    for model in (tuned, merged):
        soft = torch.cat(model.soft_prompts(found), dim=1)
        with torch.no_grad():
            embeds = model.embed(torch.tensor(ids), torch.tensor(index), soft)
            logits.append(model.llm(inputs_embeds=embeds).logits)
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)
    base, _ = load_base(assistant.parent / "base")
    assert (
        base.model.layers[0].self_attn.q_proj.weight != merged.llm.model.layers[0].self_attn.q_proj.weight
    ).any()


def test_prompts_work_alone(out, tmp_path) -> None:
    shutil.copytree(out / "prompts", tmp_path / "prompts")
    shutil.copytree(out / "prompts", tmp_path / "renamed")
    for folder in (tmp_path, tmp_path / "prompts", tmp_path / "renamed"):
        assert load_prompts(folder).prompt_learner is not None
    assert prompts_folder(out / "nothing") is None
    with pytest.raises(FileNotFoundError, match=r"python -m llm\.export"):
        load_prompts(tmp_path / "nothing")


def run(*words: object) -> str:
    """What `python -m llm.export WORDS` says when it gives up."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return str(stop.value.code)


def test_wrong_exports_are_refused(assistant, out, tmp_path) -> None:
    assert "holds something already" in run("--assistant", assistant, "--out", out)
    assert "no assistant.json" in run("--assistant", tmp_path, "--out", tmp_path / "o")
    other = save_base(tmp_path / "other")
    words = ("--assistant", assistant, "--out", tmp_path / "o", "--base", other)
    assert "was trained for a base model with" in run(*words)
    shutil.copytree(assistant.parent / "base", tmp_path / "four")
    config = json.loads((tmp_path / "four" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "four" / "config.json").write_text(json.dumps(config))
    assert "stored quantised" in run(*words[:-1], tmp_path / "four")
    assert not (tmp_path / "o").exists() and not list(tmp_path.glob(".*"))


def test_a_merge_that_changes_the_answers_is_refused(assistant, tmp_path, monkeypatch) -> None:
    def spoil(model: ForgeryLLM) -> None:
        model.llm = model.llm.merge_and_unload()
        torch.nn.init.normal_(model.llm.model.layers[0].self_attn.q_proj.weight, std=5.0)
        torch.nn.init.normal_(model.llm.model.layers[0].mlp.up_proj.weight, std=5.0)

    monkeypatch.setattr(ForgeryLLM, "merge_adapter", spoil)
    assert "merging changed" in run("--assistant", assistant, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_an_adapter_trained_on_four_bits_is_merged_into_the_full_weights(assistant, tmp_path, capsys) -> None:
    shutil.copytree(assistant.parent, tmp_path / "tuned")
    tuned = tmp_path / "tuned" / "assistant"
    (tuned / "finetune.json").write_text(json.dumps({"quantize": True}))
    main(["--assistant", str(tuned), "--out", str(tmp_path / "o"), "--dtype", "bf16"])
    assert "was trained on 4-bit weights; it is merged into" in capsys.readouterr().out
    assert read_export(tmp_path / "o").dtype == "bfloat16"
    assert load_prompts(tmp_path / "o").llm.table.weight.dtype == torch.bfloat16
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "o", dtype="auto").dtype == torch.bfloat16


def test_exports_of_another_kind_are_refused(out, tmp_path) -> None:
    shutil.copytree(out / "prompts", tmp_path / "prompts")
    path = tmp_path / "prompts" / "export.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "format_version": 9}))
    with pytest.raises(ValueError, match="expected format version 1, got 9"):
        load_prompts(tmp_path)
    shape = {**values["base_shape"], "vocab_size": 7}
    path.write_text(json.dumps({**values, "base_shape": shape}))
    with pytest.raises(ValueError, match=r"expected \(7, 64\)"):
        load_prompts(tmp_path)


# ---------------------------------------------------------------- base models in packages


@pytest.mark.slow
def test_the_shipped_assistant_is_exported_and_speaks_as_before(tmp_path) -> None:
    """Bug: its base is a name of llm.packaged, which was looked for on the hub."""
    try:
        gguf_of(SMOLLM2)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    main(["--assistant", str(SHIPPED), "--out", str(tmp_path / "out")])
    assert read_export(tmp_path / "out").base == SMOLLM2
    yes = []
    for model in (ForgeryLLM.from_pretrained(SHIPPED), load_exported(tmp_path / "out")):
        yes.append(Conversation(model, BLIND).yes_probability())
    assert yes[1] == pytest.approx(yes[0], abs=0.02), "but for the rounding to bfloat16"
