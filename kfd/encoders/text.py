"""Texts and tokenizers of the detector's text tower.

Every tokenizer here is a `tokenizers.Tokenizer`, saved as one `tokenizer.json`, and used through `tokenize`.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.storage import naming, write_atomically

if TYPE_CHECKING:
    from tokenizers import Tokenizer

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"  # the first two are CLIP's own words
CLIP_VOCAB_SIZE = 49408
TOKENIZER_FILE = "tokenizer.json"
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"  # CLIP's public vocabulary (MIT)

# What the detector compares every patch with, by class of kfd.detection.CLASSES; learnable context tokens go
# in front of each, and the features of one class are averaged.
DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "real": (
        "a pristine photo of a real face with consistent lighting and skin texture",
        "an authentic face with the same noise and sharpness inside and outside",
        "an unaltered face with natural eyes, nose, mouth and face contour",
    ),
    "fake": (
        "a manipulated photo of a fake face with blending boundary artefacts",
        "a deepfake face with inconsistent lighting, colour and skin texture",
        "a swapped face with blurred or warped eyes, nose, mouth and face contour",
    ),
}


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], context_length: int) -> tuple[Tensor, Tensor]:
    """Turn texts into ids, the same way for every text tower.

    context_length: most ids per text, start and end token included; longer texts are cut before the end
        token, which is always kept. Leave room here for learnable context tokens.
    Returns input_ids (N, L) int64, L the longest text's length, padded with 0 (never seen: attention is
    causal and the end token is read), and eot (N,) int64, the index of each end token.
    Raises ValueError when there is no text or no room.
    """
    if not texts or context_length < 3:
        raise ValueError(f"expected texts and a context_length >= 3, got {len(texts)} and {context_length}")
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    encodings = tokenizer.encode_batch([_clean(text) for text in texts], add_special_tokens=False)
    rows = [[start, *encoding.ids[: context_length - 2], end] for encoding in encodings]
    input_ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    for row, ids in zip(input_ids, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return input_ids, torch.tensor([len(ids) - 1 for ids in rows])


def train_tokenizer(texts: Iterable[str], vocab_size: int = 512) -> Tokenizer:
    """Learn a small byte-level BPE: any text can be written with it, frequent words are one token.

    vocab_size: most tokens, at least 259 (256 bytes and three special tokens). Id 0 is the padding token.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def clip_tokenizer(vocabulary: str | Path) -> Tokenizer:
    """Build CLIP's tokenizer, which ImageBind uses too.

    vocabulary: CLIP's public BPE_FILE.
    """
    from transformers import CLIPTokenizer

    path = Path(vocabulary)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; fetch {BPE_FILE} from openai/CLIP")
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()[1:]  # line 0 names the version
    letters = byte_letters()
    # The file holds more merges than CLIP learned embeddings for.
    merges = [tuple(line.split()) for line in lines[: CLIP_VOCAB_SIZE - 2 * len(letters) - 2]]
    words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]
    vocab = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=merges).backend_tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Write `tokenizer.json` into `folder`, which exists."""
    write_atomically(Path(folder) / TOKENIZER_FILE, lambda part: tokenizer.save(str(part)))


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read `tokenizer.json` of a checkpoint folder, or of a CLIP model's.

    Raises FileNotFoundError without it, ValueError naming it where it is damaged or of another kind.
    """
    from tokenizers import Tokenizer

    path = Path(folder) / TOKENIZER_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give the folder of a KFD checkpoint or of a CLIP model")
    with naming(path):
        tokenizer = Tokenizer.from_file(str(path))
    missing = [word for word in (START, END) if tokenizer.token_to_id(word) is None]
    if missing:
        raise ValueError(f"{path} has no {' and no '.join(missing)}; expected a file of save_tokenizer")
    # Public files may pad and cut by themselves; `tokenize` does both, and keeps the end token.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _clean(text: str) -> str:
    """CLIP's cleaning: HTML unescaped, twice because captions often were escaped twice; spaces collapsed."""
    return " ".join(html.unescape(html.unescape(text)).split())


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes, in the order of CLIP's ids: printable bytes are themselves."""
    ranges = (("!", "~"), ("¡", "¬"), ("®", "ÿ"))
    printable = [byte for first, last in ranges for byte in range(ord(first), ord(last) + 1)]
    others = len(set(range(256)) - set(printable))
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(others)]
