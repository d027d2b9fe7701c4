"""The public encoders' files at a tiny size: official key names and formats, random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from kfd.encoders.backbones import config_of
from kfd.encoders.imagebind import ImageBind, ImageBindConfig
from kfd.encoders.text import END, START, byte_letters

SIZE = 56  # pixels; 4 x 4 patches
IMAGEBIND = {
    "image_size": SIZE, "vision_dim": 16, "vision_blocks": 3, "vision_heads": 2, "text_dim": 16,
    "text_blocks": 2, "text_heads": 2, "vocab_size": 560, "embed_dim": 8, "taps": [1, 2, 3],
}  # fmt: skip
CLIP = {"taps": [1, 2, 3]}
AUDIO = {"modality_trunks.audio.blocks.0.norm_1.bias": 3, "modality_heads.audio.0.weight": 2}


def save_clip_tokenizer(folder: Path) -> None:
    """A CLIP tokenizer with bytes and a dozen merges, saved as transformers saves it."""
    from transformers import CLIPTokenizer

    letters = byte_letters()
    merges = [("f", "a"), ("fa", "c"), ("fac", "e</w>"), ("t", "h"), ("th", "e</w>"), ("s", "k")]
    words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]
    tokenizer = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges)
    tokenizer.save_pretrained(folder)


def save_imagebind(folder: Path, seed: int = 0) -> Path:
    """Write imagebind_huge.pth, with tensors of another modality, and a tokenizer; returns the .pth file."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    weights = ImageBind(config_of(ImageBindConfig, IMAGEBIND)).state_dict()
    audio = {name: torch.zeros(size) for name, size in AUDIO.items()}
    torch.save(weights | audio, folder / "imagebind_huge.pth")
    save_clip_tokenizer(folder)
    return folder / "imagebind_huge.pth"


def save_clip(folder: Path, seed: int = 0) -> Path:
    """Write a folder as transformers does for a CLIP model and its tokenizer, and return it."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    ends = {"bos_token_id": 518, "eos_token_id": 519, "pad_token_id": 0}
    config = CLIPConfig(
        vision_config={**sizes, "image_size": SIZE, "patch_size": 14},
        text_config={**sizes, **ends, "vocab_size": 560},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    save_clip_tokenizer(folder)
    return folder
