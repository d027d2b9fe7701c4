"""Real classes at a tiny size, shared by the tests of the language model."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from data_sim.dialogue import Case, Turn, make_dialogue
from kfd.detection import Detection
from llm.model import ForgeryLLM
from llm.prompt import PromptStyle
from llm.vocabulary import dialogue_texts, train_tokenizer
from prompt_learner import ForgeryPromptLearner, PromptLearnerConfig, VisualProjector

FAKE = Case("fake", 0.93, ("left_eye", "mouth"))
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
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
