"""General instruction data beside the forgery dialogues, so that fine-tuning does not cost the conversation.

The paper (§4.1) alternates between its dialogues and PandaGPT's `pandagpt4_visual_instruction_data.json`: a
list of {"image": name, "conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}.
The public file spells the fields "image_name" and "conversation"; both spellings are read, and .jsonl files
with one record per line. A record without an image is a conversation in words alone.

A picture goes through the detector's image tower to E_visual and no further: it is no face, so there is
neither a score nor E_forgery.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from common.storage import write_atomically
from kfd.detector import Detector, to_batch
from media.images import ImageError, read_image

BATCH = 16  # pictures embedded together
ROLES = ("human", "gpt")
ADVICE = "Correct the record, or take it out"


@dataclass(frozen=True)
class GeneralRecord:
    """One conversation: (question, answer) pairs as in the file, and the picture they are about."""

    turns: tuple[tuple[str, str], ...]
    image: Path | None = None


@dataclass(frozen=True)
class GeneralData:
    """N conversations; embeddings: (N, D) float32 of their pictures, zeros where there is none."""

    records: tuple[GeneralRecord, ...]
    embeddings: Tensor

    def __len__(self) -> int:
        return len(self.records)


def read_general(path: str | Path, images: str | Path | None = None) -> list[GeneralRecord]:
    """The conversations of a file in PandaGPT's format.

    images: folder of the pictures; needed when a record has one.
    Raises FileNotFoundError for a missing file or picture and ValueError for a record of another format; both
    say which record (from 1), what was expected, what was found, and what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected general instruction data in {path}, but there is no such file")
    records = [_record(value, where, images) for value, where in _values(path)]
    if not records:
        raise ValueError(f"{path}: expected at least one record, got none: give another file")
    return records


def _values(path: Path) -> Iterator[tuple[object, str]]:
    """The raw records of a JSON list or of JSON lines, each with the words for its place."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    yield json.loads(line), f"{path}, line {number}"
                except json.JSONDecodeError as error:
                    raise ValueError(
                        f"{path}, line {number}: expected one JSON object per line, got {line[:60]!r} "
                        f"({error.msg} at column {error.colno}). {ADVICE}"
                    ) from None
        return
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        done = text[: error.pos].count('"conversation')
        raise ValueError(
            f"{path}: expected a JSON list of records, but parsing failed at line {error.lineno}, column "
            f"{error.colno} ({error.msg}), in about record {max(1, done)}. Repair the file or fetch it again"
        ) from None
    if not isinstance(values, list):
        raise ValueError(f"{path}: expected a JSON list of records, got {type(values).__name__}")
    yield from ((value, f"{path}, record {number}") for number, value in enumerate(values, start=1))


def _record(value: object, where: str, images: str | Path | None) -> GeneralRecord:
    if not isinstance(value, dict):
        raise ValueError(
            f'{where}: expected {{"image": ..., "conversations": [...]}}, got {value!r}. {ADVICE}'
        )
    said = value.get("conversations", value.get("conversation"))
    if not isinstance(said, list) or not said:
        raise ValueError(
            f'{where}: expected a list of turns under "conversations", got {said!r} beside the fields '
            f"{sorted(value)}. {ADVICE}"
        )
    words = [_words(turn, ROLES[place % 2], f"{where}, turn {place + 1}") for place, turn in enumerate(said)]
    if len(words) % 2:
        raise ValueError(
            f"{where}: expected an answer after every question, got {len(words)} turns. {ADVICE}"
        )
    name = value.get("image", value.get("image_name"))
    if name is not None and not isinstance(name, str):
        raise ValueError(f'{where}: expected the name of a file under "image", got {name!r}. {ADVICE}')
    turns = tuple(zip(words[::2], words[1::2], strict=True))
    return GeneralRecord(turns, _picture(name, where, images) if name else None)


def _words(turn: object, role: str, where: str) -> str:
    """Read what one turn says; it must be `role` who says it."""
    got = turn.get("from") if isinstance(turn, dict) else turn
    if got != role:
        raise ValueError(
            f'{where}: expected "from": "{role}", got {got!r}: human and gpt take turns. {ADVICE}'
        )
    text = turn.get("value")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{where}: expected words under "value", got {text!r}. {ADVICE}')
    # Markers of other projects for where their picture stands; here the template says where.
    return text.replace("<image>", "").strip() or "Describe the picture."


def _picture(name: str, where: str, images: str | Path | None) -> Path:
    if images is None:
        raise ValueError(
            f"{where}: has the image {name}, but no folder of images was given: --general-images DIR"
        )
    for found in (Path(images) / name, Path(images) / f"{name}.jpg"):
        if found.is_file():
            return found
    raise FileNotFoundError(
        f"{where}: expected the image {name} in {images}, but there is no such file. "
        "Fetch it, give another --general-images, or take the record out"
    )


def split_general(records: list[GeneralRecord], held_out: int, most: int, seed: int) -> tuple[list, list]:
    """(records to train on, held-out ones), in random order.

    held_out: how many are held out. most: how many of the rest are needed; 0 gives none.
    Raises ValueError when the file has too few.
    """
    if len(records) <= held_out:
        raise ValueError(
            f"expected more than the {held_out} general records that are held out, got {len(records)}: "
            "give more, or hold out fewer with --val-general"
        )
    shuffled = random.Random(f"{seed}/general").sample(records, len(records))
    return shuffled[held_out : held_out + most], shuffled[:held_out]


@torch.no_grad()
def embed_pictures(detector: Detector, records: list[GeneralRecord]) -> Tensor:
    """(N, D) float32 on the CPU: the image tower's embedding of each picture, zeros where there is none."""
    encoder = detector.model.encoder
    embeddings = torch.zeros(len(records), encoder.embed_dim)
    pictured = [row for row, record in enumerate(records) if record.image is not None]
    for start in tqdm(range(0, len(pictured), BATCH), desc="embedding pictures", mininterval=5):
        rows = pictured[start : start + BATCH]
        pixels = torch.cat([_square(records[row].image, detector.image_size) for row in rows])
        embeddings[rows] = encoder.image_features(pixels.to(detector.device)).embedding.float().cpu()
    return embeddings


def _square(path: Path, side: int) -> Tensor:
    """The middle square of a picture, (1, 3, side, side) float32 in [0, 1]."""
    try:
        pixels = to_batch([read_image(path)])
    except ImageError as error:
        raise ValueError(f"{path}: {error} {ADVICE} that names it") from None
    height, width = pixels.shape[2:]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = pixels[:, :, top : top + edge, left : left + edge]
    small = F.interpolate(square, (side, side), mode="bicubic", align_corners=False, antialias=True)
    return small.clamp(0, 1)


def embed_once(folder: Path, detector: Detector, records: list[GeneralRecord]) -> GeneralData:
    """`embed_pictures`, remembered in `folder` until the detector or the pictures change."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    digest = hashlib.sha256(detector.digest.encode())
    for record in records:
        size = record.image.stat().st_size if record.image else 0
        digest.update(f"{record.image}\0{size}\n".encode())
    path = folder / "pictures.safetensors"
    if path.is_file():
        with safe_open(str(path), "pt") as file:
            if (file.metadata() or {}).get("of") == digest.hexdigest():
                return GeneralData(tuple(records), file.get_tensor("embeddings"))
    found = GeneralData(tuple(records), embed_pictures(detector, records))
    state = {"embeddings": found.embeddings}
    write_atomically(path, lambda part: save_file(state, str(part), {"of": digest.hexdigest()}))
    return found
