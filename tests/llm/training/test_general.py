"""General instruction data beside the forgery dialogues: reading, alternation, and what it saves."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from data_sim.dataset import FaceSet
from kfd.detector import Detector
from llm import finetune
from llm.base import load_base
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle, make_markers, render_general
from llm.tokens import NO_SOFT, collate
from llm.training.cases import ground
from llm.training.config import FinetuneConfig
from llm.training.examples import batches, general_examples, is_general
from llm.training.general import embed_once, read_general, split_general
from tests.tiny.general import general_record
from tests.tiny.llm import llama_tokenizer, tiny_model


def as_text(segments: list) -> str:
    return "".join("E_visual" if segment.kind == "visual" else segment.text for segment in segments)


# ---------------------------------------------------------------- reading


def test_both_spellings_lines_and_names_without_suffix_are_read(folder: Path, tmp_path: Path) -> None:
    """The public file says image_name and conversation, and leaves .jpg off some names."""
    said = general_record(0)["conversations"]
    (tmp_path / "000.jpg").write_bytes((folder / "pictures" / "red.png").read_bytes())
    records = [{"image_name": "000", "conversation": said}, {"conversations": said}]
    (tmp_path / "list.json").write_text(json.dumps(records))
    (tmp_path / "lines.jsonl").write_text("\n\n".join(map(json.dumps, records)))
    for name in ("list.json", "lines.jsonl"):
        first, second = read_general(tmp_path / name, tmp_path)
        assert first.image == tmp_path / "000.jpg" and second.image is None
        assert first.turns == second.turns == tuple((said[i]["value"], said[i + 1]["value"]) for i in (0, 2))


HUMAN, GPT = {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}


@pytest.mark.parametrize(("value", "message"), [
    ({"image": "red.png"}, r'record 2: expected a list of turns under "conversations", got None'),
    (["Why?"], r"record 2: expected \{.image.*got \['Why\?'\].*Correct the record, or take it out"),
    ({"conversations": [GPT, HUMAN]}, r'record 2, turn 1: expected "from": "human", got \'gpt\''),
    ({"conversations": [HUMAN, HUMAN]}, r'record 2, turn 2: expected "from": "gpt", got \'human\''),
    ({"conversations": [HUMAN]}, r"record 2: expected an answer after every question, got 1 turns"),
    ({"conversations": [HUMAN, {"from": "gpt", "value": " "}]}, r'turn 2: expected words under "value"'),
    ({"image": "absent.png", "conversations": [HUMAN, GPT]},
     r"record 2: expected the image absent.png in .*pictures, but there is no such file. Fetch it"),
    ({"image": 7, "conversations": [HUMAN, GPT]}, r'the name of a file under "image", got 7'),
])  # fmt: skip
def test_a_record_of_another_format_is_refused(
    folder: Path, tmp_path: Path, value: object, message: str
) -> None:
    path = tmp_path / "general.json"
    path.write_text(json.dumps([general_record(0), value]))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_general(path, folder / "pictures")


@pytest.mark.parametrize(("name", "text", "message"), [
    ("lines.jsonl", '{"conversations": [', r"line 2: expected one JSON object per line, got '\{.*\. Correct"),
    ("list.json", '"oops"', r"parsing failed at line 2, column 1 .* in about record 1\. Repair"),
])  # fmt: skip
def test_broken_json_is_refused(folder: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    good = json.dumps(general_record(1))
    path = tmp_path / name
    path.write_text(f"{'' if name.endswith('l') else '['}{good}\n{text}\n")
    with pytest.raises(ValueError, match=message):
        read_general(path)


def test_what_does_not_suit_is_refused_by_the_command(folder: Path, tmp_path: Path) -> None:
    words = ["--llm", folder / "llm", "--kfd", folder / "kfd", "--data", folder / "set", "--out", tmp_path,
             "--run", tmp_path / "run", "--faces", 2, "--val-faces", 2,
             "--general", folder / "general.json"]  # fmt: skip
    with pytest.raises(SystemExit, match=r"no folder of images was given: --general-images DIR"):
        finetune.main([str(word) for word in words])
    words += ["--general-images", folder / "pictures", "--val-general", 40]
    with pytest.raises(SystemExit, match=r"more than the 40 general records that are held out, got 40"):
        finetune.main([str(word) for word in words])


# ---------------------------------------------------------------- prompts


def test_a_picture_stands_alone_before_the_first_question() -> None:
    markers = make_markers("vicuna", llama_tokenizer())
    turns = [("What is this?", "A ### boat."), ("Sure?", "Yes.")]
    text = as_text(render_general(markers, turns, pictured=True))
    assert text == (
        "<s>###Human: <Img>E_visual</Img> What is this? ###Assistant: A  boat. ### "
        "Human: Sure? ###Assistant: Yes. ###"
    ).replace("### Human", "###Human")
    words = as_text(render_general(markers, turns[:1], pictured=False))
    assert words == "<s>###Human: What is this? ###Assistant: A  boat. ###"


def test_words_alone_are_the_tokenizers_own_template() -> None:
    tokenizer = llama_tokenizer(chat=True)
    turns = [("What is this?", "A boat."), ("Sure?", "Yes.")]
    text = as_text(render_general(make_markers("chat", tokenizer), turns, pictured=False))
    messages = [
        {"role": role, "content": words}
        for turn in turns
        for role, words in zip(("user", "assistant"), turn, strict=True)
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == text + "\n"


def test_general_tokens_have_one_visual_prompt_and_no_forgery_prompt() -> None:
    prompter = tiny_model().prompter
    pictured = prompter.general([("What is this?", "A boat.")], pictured=True)
    assert [row for row in pictured.soft_index if row != NO_SOFT] == [0]
    assert set(prompter.general([("Why?", "So.")], pictured=False).soft_index) == {NO_SOFT}


def test_pictures_are_embedded_by_the_image_tower_once(folder: Path, tmp_path: Path, monkeypatch) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    records = read_general(folder / "general.json", folder / "pictures")[:6]
    found = embed_once(tmp_path, detector, records)
    shown = [row for row, record in enumerate(records) if record.image]
    torch.testing.assert_close(found.embeddings[shown].norm(dim=1), torch.ones(len(shown)))
    assert found.embeddings[[r for r in range(6) if r not in shown]].abs().max() == 0
    red = torch.tensor([200, 30, 30]).view(1, 3, 1, 1).expand(1, 3, 64, 64) / 255
    with torch.no_grad():
        expected = detector.model.encoder.image_features(red).embedding[0]
    torch.testing.assert_close(found.embeddings[0], expected, atol=1e-4, rtol=1e-3)
    monkeypatch.setattr("llm.training.general.embed_pictures", lambda *args: pytest.fail("embedded again"))
    torch.testing.assert_close(embed_once(tmp_path, detector, records).embeddings, found.embeddings)


# ---------------------------------------------------------------- alternation


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75])
def test_general_steps_are_spread_evenly(share: float) -> None:
    general = [is_general(step, share) for step in range(64)]
    assert sum(general) == 64 * share
    assert all(sum(general[start : start + 4]) == 4 * share for start in range(0, 64, 4))


def test_steps_are_the_same_wherever_a_run_begins(folder: Path, tmp_path: Path) -> None:
    detector = Detector.from_pretrained(folder / "kfd")
    faces = ground(detector, FaceSet.open(folder / "set", "train"), num_faces=2, seed=0)
    config = FinetuneConfig(llm="", kfd="", data="", out="", steps=20, batch_size=2, accumulate=2)
    records = read_general(folder / "general.json", folder / "pictures")
    taught, held_out = split_general(records, 12, general_examples(config), seed=0)
    assert len(taught) == 28 and len(held_out) == 12 and not {*taught} & {*held_out}
    general = embed_once(tmp_path, detector, taught)
    model = tiny_model()
    whole = dict(batches(config, model, faces, general, first=0))
    assert list(whole) == list(range(20))
    for first in (1, 8, 13):
        assert dict(batches(config, model, faces, general, first)) == {
            step: parts for step, parts in whole.items() if step >= first
        }
    kinds = [{example.general for part in parts for example in part} for parts in whole.values()]
    assert kinds == [{False}, {True}] * 10
    shown = [
        tuple(e.tokens.input_ids) for parts in whole.values() for part in parts for e in part if e.general
    ]
    times = Counter(shown[:28])
    assert sum(times.values()) == general_examples(config) * 28 // 40
    assert set(map(tuple, shown)) == {
        tuple(model.prompter.general(r.turns, r.image is not None).input_ids) for r in taught
    }


def taught_base(folder: Path, out: Path) -> Path:
    """The tiny base model after it has learnt the general data, so that there is something to forget."""
    llm, tokenizer = load_base(folder / "llm")
    model = ForgeryLLM(llm, tokenizer, PromptStyle())
    records = read_general(folder / "general.json", folder / "pictures")
    items = [model.prompter.general(record.turns, pictured=record.image is not None) for record in records]
    optimizer = torch.optim.Adam(llm.parameters(), lr=0.01)
    for step in range(120):
        optimizer.zero_grad()
        model.losses(collate(items[step % 5 :: 5]), None).language.backward()
        optimizer.step()
    llm.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def test_alternation_keeps_what_the_model_knew(folder: Path, tmp_path: Path, capsys) -> None:
    """Perplexity on held-out general data: forgery dialogues alone raise it, alternation does not."""
    base = taught_base(folder, tmp_path / "base")
    found = {}
    for share in ("0", "0.5"):
        finetune.main([str(word) for word in (
            "--llm", base, "--kfd", folder / "kfd", "--data", folder / "set",
            "--out", tmp_path / f"out{share}", "--run", tmp_path / f"run{share}",
            "--general", folder / "general.json", "--general-images", folder / "pictures",
            "--general-share", share, "--val-general", 8, "--faces", 4, "--val-faces", 2, "--steps", 60,
            "--batch-size", 4, "--max-turns", 2, "--lr", 0.01, "--warmup", 1, "--rank", 8,
            "--num-prompts", 3, "--align-steps", 0, "--val-every", 60,
        )])  # fmt: skip
        printed = capsys.readouterr().out
        found[share] = float(re.search(r"step 60 validation .* general perplexity (\S+)", printed)[1])
        losses = [float(loss) for loss in re.findall(r"step \d+/60 loss (\S+)", printed)]
        assert losses[-1] < losses[0], "the forgery dialogues are learnt all the same"
    assert found["0.5"] < 1.5 and found["0"] > 2 * found["0.5"], found
