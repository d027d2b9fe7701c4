"""A Qwen2.5-VL or Qwen2-VL at a tiny size, saved as transformers saves it: same classes, random weights."""

from __future__ import annotations

from pathlib import Path

import torch

MARKS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip

NEW_VISION = {
    "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
    "fullatt_block_indexes": [1],
}  # fmt: skip
OLD_VISION = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}


def save_qwen(folder: Path, seed: int = 0, old: bool = False) -> Path:
    """Write model and tokenizer, for crops of a multiple of 28 pixels; returns the folder. old: Qwen2-VL."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
    )

    torch.manual_seed(seed)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    of = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    sizes, kind = (OLD_VISION, Qwen2VLConfig) if old else (NEW_VISION, Qwen2_5_VLConfig)
    config = kind(
        text_config={
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "vocab_size": len(tokenizer),
            "bos_token_id": of["<|endoftext|>"], "eos_token_id": of["<|im_end|>"],
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
        },
        vision_config=sizes,
        image_token_id=of["<|image_pad|>"],
        video_token_id=of["<|video_pad|>"],
        vision_start_token_id=of["<|vision_start|>"],
        vision_end_token_id=of["<|vision_end|>"],
    )  # fmt: skip
    model = (Qwen2VLForConditionalGeneration if old else Qwen2_5_VLForConditionalGeneration)(config)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # new ones are so small that every word is as likely as any other
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
