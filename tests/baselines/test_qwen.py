"""Qwen2.5-VL: the count of document 001, its pictures, its replies, both commands."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines import zero_shot
from baselines.checkpoint import new_system, save_system
from baselines.qwen.config import QwenConfig
from baselines.qwen.model import LoadedQwen, QwenClassifier, image_patches, load_qwen
from baselines.qwen.prompt import parse_reply, parse_word
from baselines.system import count_trained
from baselines.zero_shot import count_frames, count_videos
from kfd.config import Decision
from kfd.reader import load_reader
from tests.tiny.faces import add_known_fakes, save_tiny_faces
from tests.tiny.qwen import save_qwen

SIZE = 56
SMALL = QwenConfig(image_size=SIZE, quantize=False, rank=4, alpha=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_qwen(tmp_path_factory.mktemp("qwen"))


def test_as_many_parameters_train_as_document_001_says(folder):
    """51.5 M: all linear layers of 28 language and 32 vision blocks, not the merger between them."""
    from transformers import AutoTokenizer, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        },
        vision_config={"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
    )  # fmt: skip
    with torch.device("meta"):
        base = Qwen2_5_VLForConditionalGeneration(config).requires_grad_(False)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = QwenClassifier(QwenConfig(), LoadedQwen(base, tokenizer, ""))
    assert count_trained(model) == 51_521_536


def test_pictures_are_cut_as_transformers_cuts_them(folder):
    from transformers import Qwen2VLImageProcessorPil

    model = load_qwen(SMALL, folder, say=lambda note: None).model
    images = np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE), dtype=np.uint8)
    theirs = Qwen2VLImageProcessorPil(min_pixels=28 * 28)(list(images), return_tensors="pt", do_resize=False)
    ours, grid = image_patches(torch.from_numpy(images).float() / 255, model)
    torch.testing.assert_close(ours, theirs["pixel_values"].float(), rtol=0, atol=1e-5)
    assert torch.equal(grid, theirs["image_grid_thw"])


@pytest.mark.parametrize("quantize", [False, True], ids=["fp32", "nf4"])
def test_it_learns_saves_and_loads(quantize, folder, tmp_path):
    config = QwenConfig(image_size=SIZE, quantize=quantize, rank=4, alpha=8)
    torch.manual_seed(0)
    model = new_system(config, folder, say=lambda note: None)
    images = torch.rand(4, 3, SIZE, SIZE)
    images[2:] *= 0.2
    labels = torch.arange(4) // 2
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(12):
        loss, terms = model.train().loss(model(images), labels, torch.zeros(4, 1, SIZE, SIZE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(terms["answer"])
    assert losses[-1] < 0.8 * losses[0]
    save_system(model.eval(), tmp_path, Decision())
    loaded, _, _ = load_reader(tmp_path, folder)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images).logit, model(images).logit, rtol=0, atol=1e-5)


def test_its_lora_has_dropout_while_it_trains(folder):
    """Bug: the setting `dropout` did nothing, because the whole tower read as if it did not train."""
    model = new_system(replace(SMALL, dropout=0.5), folder, say=lambda note: None)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # LoRA starts as nothing
                parameter.normal_()
        images = torch.rand(1, 3, SIZE, SIZE)
        drawn = {model.train()(images).logit.item() for _ in range(3)}
        still = {model.eval()(images).logit.item() for _ in range(3)}
    assert len(drawn) == 3 and len(still) == 1


def test_the_logit_compares_the_two_answers(folder):
    """By hand: log-likelihood of either answer, one picture and one answer at a time."""
    from baselines.qwen.prompt import ANSWERS, QUESTION, chat_text

    model = new_system(SMALL, folder, say=lambda note: None).eval()
    loaded = load_qwen(SMALL, folder, say=lambda note: None)
    images = torch.rand(2, 3, SIZE, SIZE)
    sums = torch.zeros(2, 2)
    prompt = loaded.tokenizer(chat_text(QUESTION, 4), add_special_tokens=False)["input_ids"]
    for i in range(2):
        patches, grid = image_patches(images[i : i + 1], loaded.model)
        for k, answer in enumerate(ANSWERS):
            rest = loaded.tokenizer(answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
            ids = torch.tensor([prompt + rest])
            with torch.no_grad():
                logits = loaded.model(
                    input_ids=ids,
                    pixel_values=patches,
                    image_grid_thw=grid,
                    mm_token_type_ids=(ids == loaded.model.config.image_token_id).int(),
                ).logits
            told = logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            sums[i, k] = told.gather(1, ids[0, len(prompt) :, None]).sum()
    with torch.no_grad():
        found = model(images)  # LoRA starts as nothing
    torch.testing.assert_close(found.logit, sums[:, 1] - sums[:, 0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<verdict>fake</verdict><confidence>80</confidence><artifacts>teeth, ears</artifacts>"
         "<reasoning>The teeth melt.</reasoning>", "fake"),
        ("<verdict> Real </verdict>\n<confidence>55.5%</confidence>\n<artifacts>none</artifacts>\n"
         "<reasoning>Nothing stands out.</reasoning>\n", "real"),
        ("It is fake.", None),
        ("<verdict>fake</verdict>", None),
        ("<verdict>maybe</verdict><confidence>80</confidence><artifacts></artifacts>"
         "<reasoning>x</reasoning>", None),
        ("<verdict>real</verdict><confidence>180</confidence><artifacts></artifacts>"
         "<reasoning>x</reasoning>", None),
        ("Here: <verdict>real</verdict><confidence>80</confidence><artifacts></artifacts>"
         "<reasoning>x</reasoning>", None),
    ],
)  # fmt: skip
def test_only_a_reply_of_the_form_asked_for_has_a_verdict(text, verdict):
    reply = parse_reply(text)
    assert (reply and reply.verdict) == verdict
    if verdict:
        assert reply.artifacts == (("teeth", "ears") if verdict == "fake" else ())


def test_unparsed_replies_are_counted_and_are_no_verdict():
    lines = [
        {"label": "real", "video": "a", "verdict": "fake"},
        {"label": "real", "video": "a", "verdict": "fake"},
        {"label": "real", "video": "a", "verdict": "real"},
        {"label": "fake", "video": "a", "verdict": "fake"},
        {"label": "fake", "video": "b", "verdict": "unparsed"},
        {"label": "fake", "video": "c", "verdict": "real"},
        {"label": "fake", "video": "c", "verdict": "fake"},
    ]
    frames, videos = count_frames(lines), count_videos(lines)
    assert (frames["count"], frames["unparsed"]) == (7, 1) and frames["accuracy"] == round(3 / 6, 4)
    assert frames["fakes_found"] == round(2 / 3, 4) and frames["false_alarms"] == round(2 / 3, 4)
    assert (videos["count"], videos["unparsed"]) == (4, 2) and videos["accuracy"] == 0.5
    assert frames["auc"] is None


def test_the_command_asks_counts_and_continues(folder, tmp_path, capsys):
    data = add_known_fakes(save_tiny_faces(tmp_path / "set", SIZE, 3, ("test",)), SIZE)
    out = tmp_path / "zero.jsonl"
    words = ["--data", data, "--out", out, "--weights", folder, "--no-quantize", "--faces", 2,
             "--max-tokens", 4]  # fmt: skip
    zero_shot.main([str(word) for word in words])
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 4 and {line["verdict"] for line in lines} == {"unparsed"}  # random words
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]) + '{"path": "cut sh')
    zero_shot.main([str(word) for word in words])
    again = [json.loads(line) for line in out.read_text().splitlines()]
    assert again == lines
    summary = json.loads((tmp_path / "zero.jsonl.summary.json").read_text())
    assert summary["frames"]["unparsed"] == 4 and summary["frames"]["accuracy"] is None


def test_qwen2_vl_is_asked_the_papers_question_and_its_first_word_is_read(tmp_path, capsys):
    """Table 2: the AUC of written answers; random words are neither Yes nor No, and then it is a half."""
    old = save_qwen(tmp_path / "qwen2-vl", old=True)
    data = add_known_fakes(save_tiny_faces(tmp_path / "set", SIZE, 3, ("test",)), SIZE)
    out = tmp_path / "plain.jsonl"
    words = ["--data", data, "--out", out, "--weights", old, "--no-quantize", "--faces", 2, "--max-tokens", 2]
    zero_shot.main([str(word) for word in (*words, "--question", "plain")])
    assert "Qwen2-VL: " in capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["question"] for line in lines} == {"plain"} and "confidence" not in lines[0]
    summary = json.loads((tmp_path / "plain.jsonl.summary.json").read_text())
    assert summary["frames"]["auc"] == summary["videos"]["auc"] == 0.5
    with pytest.raises(SystemExit, match="another model or question"):
        zero_shot.main([str(word) for word in words])


def test_a_crop_is_asked_about_as_a_crop_and_the_tower_of_qwen2_vl_is_cut_alike(tmp_path):
    loaded = load_qwen(SMALL, save_qwen(tmp_path, old=True), say=lambda note: None)
    assert loaded.model.config.model_type == "qwen2_vl"
    images = torch.rand(1, 3, SIZE, SIZE)
    one = zero_shot.ask(loaded, images, 4, "plain")
    assert one == zero_shot.ask(loaded, images, 4, "plain")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes, it is.", "fake"), ("**No**", "real"), ("no", "real"), ("Yesterday", None), ("", None),
        ("I cannot tell, yes or no.", None),
    ],
)  # fmt: skip
def test_the_first_word_is_the_verdict(text, verdict):
    assert parse_word(text) == verdict


def test_the_auc_of_written_answers_counts_what_is_neither_as_nothing():
    said = [("fake", "a", "fake"), ("fake", "a", "unparsed"), ("fake", "b", "real"), ("real", "c", "real"),
            ("real", "d", "unparsed")]  # fmt: skip
    lines = [dict(zip(("label", "video", "verdict"), line, strict=True)) for line in said]
    # Faces: 1, 0, -1 against -1, 0: 2 + 1.5 + 0.5 of 6. Videos: 0.5, -1 against -1, 0: 2 + 0.5 of 4.
    assert zero_shot.aucs(lines) == (round(4 / 6, 4), 0.625)
    assert zero_shot.aucs(lines[:3]) == (None, None)
