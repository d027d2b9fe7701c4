"""Tokenizers: CLIP's ids, the end token of a long text, and the small trained one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kfd.detection import CLASSES
from kfd.encoders.text import (
    BPE_FILE,
    DESCRIPTIONS,
    END,
    START,
    clip_tokenizer,
    load_tokenizer,
    save_tokenizer,
    tokenize,
    train_tokenizer,
)

PARITY = Path(__file__).resolve().parents[4] / "shared" / "parity" / "imagebind"
SENTENCES = [sentence for name in CLASSES for sentence in DESCRIPTIONS[name]]


@pytest.mark.shared
def test_clip_ids_equal_the_original(tmp_path: Path) -> None:
    """Punctuation, accents, HTML entities, an emoji and a text longer than the context."""
    if not PARITY.is_dir():
        pytest.skip("the parity tensors (../shared/parity/imagebind) are not beside the checkout")
    texts = json.loads((PARITY / "tiny_config.json").read_text())["texts"]
    wanted = load_file(PARITY / "tiny_inputs.safetensors")["text_ids"]
    tokenizer = clip_tokenizer(PARITY / BPE_FILE)
    input_ids, eot = tokenize(tokenizer, texts, 77)
    assert torch.equal(input_ids, wanted)
    assert torch.equal(eot, wanted.argmax(dim=-1))
    save_tokenizer(tokenizer, tmp_path)  # as a checkpoint keeps it
    assert torch.equal(tokenize(load_tokenizer(tmp_path), texts, 77)[0], wanted)


def test_long_text_keeps_its_end_token() -> None:
    """FIELD trap 8: older ImageBind forks cut the end token off, and every long text embedded alike."""
    tokenizer = train_tokenizer(SENTENCES)
    input_ids, eot = tokenize(tokenizer, ["face " * 100, "face"], 12)
    assert input_ids.shape == (2, 12)
    assert input_ids[0, 11] == tokenizer.token_to_id(END) and eot[0] == 11
    assert input_ids[1, eot[1]] == tokenizer.token_to_id(END)
    assert (input_ids[:, 0] == tokenizer.token_to_id(START)).all()
    assert (input_ids[1, eot[1] + 1 :] == 0).all()


def test_trained_tokenizer_survives_saving_and_writes_any_text(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(SENTENCES)
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    for texts in (SENTENCES, ["Ünïcödé 😀 東京"]):
        assert torch.equal(tokenize(loaded, texts, 77)[0], tokenize(tokenizer, texts, 77)[0])
    assert loaded.decode(loaded.encode("Ünïcödé 😀 東京").ids).strip() == "ünïcödé 😀 東京"


def test_training_is_repeatable() -> None:
    assert train_tokenizer(SENTENCES).to_str() == train_tokenizer(SENTENCES).to_str()


def test_descriptions_cover_the_classes_evenly() -> None:
    assert tuple(DESCRIPTIONS) == CLASSES
    assert len({len(sentences) for sentences in DESCRIPTIONS.values()}) == 1
    assert len(set(SENTENCES)) == len(SENTENCES)


def test_caller_mistakes_say_what_to_do(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(SENTENCES)
    with pytest.raises(ValueError, match="context_length >= 3"):
        tokenize(tokenizer, ["face"], 2)
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is missing"):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="openai/CLIP"):
        clip_tokenizer(tmp_path / "bpe_simple_vocab_16e6.txt.gz")
