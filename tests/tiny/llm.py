"""Real classes at a tiny size, shared by the tests of the language model."""

from __future__ import annotations

import io
import json
import random
import tempfile
from functools import lru_cache
from pathlib import Path

import sentencepiece
import torch
from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)

from benchmarks.cost.vocabulary import dialogue_texts, train_tokenizer
from data_sim.dialogue import Case, Turn, make_dialogue
from kfd.detection import Detection
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector

FAKE = Case("fake", 0.93, ("left_eye", "mouth"))
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Qwen 2.5's: a system prompt of its own where the messages have none.
QWEN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + CHATML
# As Llama 3.2's: header tokens, words trimmed, and today's date in the system prompt.
LLAMA3 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday Date: "
    "{% if date_string is defined %}{{ date_string }}{% else %}{{ strftime_now('%d %b %Y') }}{% endif %}"
    "\n\n<|eot_id|>"
    "{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@lru_cache(maxsize=1)
def _tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(dialogue_texts(400, seed=1), 800)


def llama_tokenizer(chat: bool = False) -> PreTrainedTokenizerBase:
    """A SentencePiece vocabulary trained on dialogues; chat: with ChatML marks and template."""
    if not chat:
        return _tokenizer()
    tokenizer = train_tokenizer(dialogue_texts(400, seed=1), 800)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"})
    tokenizer.chat_template = CHATML
    return tokenizer


@lru_cache(maxsize=1)
def vicuna_tokenizer() -> PreTrainedTokenizerBase:
    """The real LlamaTokenizer on a SentencePiece vocabulary like Vicuna's: no mark is a token of its own."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=dialogue_texts(200, seed=1), model_writer=model, vocab_size=700, model_type="bpe",
        byte_fallback=True, split_digits=True, character_coverage=1.0, num_threads=1, minloglevel=2,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(model.getvalue())
        return LlamaTokenizer.from_pretrained(folder)


@lru_cache(maxsize=1)
def qwen_tokenizer() -> PreTrainedTokenizerBase:
    """The real Qwen2Tokenizer on a byte-level vocabulary made here, with its marks and template."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(dialogue_texts(200, seed=1), vocab_size=600, show_progress=False)
    merges = [tuple(pair) for pair in json.loads(trained._tokenizer.to_str())["model"]["merges"]]
    tokenizer = Qwen2Tokenizer(vocab=trained.get_vocab(), merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"], "eos_token": "<|im_end|>"})
    tokenizer.chat_template = QWEN
    return tokenizer


@lru_cache(maxsize=1)
def llama3_tokenizer() -> PreTrainedTokenizerBase:
    """PreTrainedTokenizerFast as Llama 3 has it: byte-level, words split its way, header tokens."""
    marks = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=alphabet, special_tokens=marks, show_progress=False
    )
    inner.train_from_iterator(dialogue_texts(200, seed=1), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=marks[0], eos_token=marks[3], chat_template=LLAMA3,
        additional_special_tokens=marks[1:3],
    )  # fmt: skip


def tiny_llama(vocab_size: int, width: int = 32, seed: int = 0, max_tokens: int = 1024) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=max_tokens,
            tie_word_embeddings=True,
        )
    ).eval()


def learner_config(llm_dim: int = 32, **changes: float) -> PromptLearnerConfig:
    sizes = {"llm_dim": llm_dim, "image_embed_dim": 16, "taps": 2, "num_prompts": 3, "width": 16}
    return PromptLearnerConfig(**{**sizes, **changes})


def tiny_model(width: int = 32, seed: int = 0, max_tokens: int = 1024, chat: bool = False) -> ForgeryLLM:
    """A ForgeryLLM with soft prompts; Llama of two layers with random weights."""
    tokenizer = llama_tokenizer(chat)
    llm = tiny_llama(len(tokenizer), width, seed, max_tokens)
    config = learner_config(width)
    torch.manual_seed(seed + 1)
    style = PromptStyle("chat" if chat else "vicuna")
    return ForgeryLLM(llm, tokenizer, style, ForgeryPromptLearner(config), VisualProjector(config)).eval()


def detection(faces: int = 1, side: int = 40, seed: int = 0) -> Detection:
    """Findings with plausible ranges, fitting `learner_config`."""
    draw = torch.Generator().manual_seed(seed)
    logit = torch.randn(faces, generator=draw)
    return Detection(
        logit=logit,
        score=torch.sigmoid(logit),
        heatmap=torch.rand(faces, 1, side, side, generator=draw),
        consistency_maps=tuple(3 * torch.randn(faces, 2, s, s, generator=draw) for s in (10, 5)),
        embedding=F.normalize(torch.randn(faces, 16, generator=draw), dim=1),
    )


def dialogue(case: Case = FAKE, turns: int = 3, seed: int = 0) -> list[Turn]:
    return make_dialogue(case, random.Random(seed), turns)


def save_base(folder: Path, width: int = 32, seed: int = 0) -> Path:
    """A base model folder: tiny Llama and its tokenizer."""
    tokenizer = llama_tokenizer()
    tiny_llama(len(tokenizer), width, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_qwen_base(folder: Path, width: int = 64, seed: int = 0) -> Path:
    """A base model folder: tiny Qwen2, with its biases and grouped queries, and its tokenizer."""
    tokenizer = qwen_tokenizer()
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024, initializer_range=0.1,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_vicuna_base(folder: Path, width: int = 64, seed: int = 0) -> Path:
    """A base model folder: tiny Llama shaped as Vicuna is (untied output layer), and its tokenizer."""
    tokenizer = vicuna_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=1024, tie_word_embeddings=False,
        initializer_range=0.1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
