"""The ear of an assistant: which topic a question is about, as its own language model understands the words.

A linear classifier on the mean of the hidden states over a question's words, two thirds up the layers, fitted
by llm.training.hearing on the wordings that the assistant is tuned on. Its margins are added to those of the
letters (llm.questions.likeness).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from common import storage
from llm.questions.likeness import TOPICS_HEARD, by_letters, plain

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llm.tokens import PromptTokenizer

EAR_FILE = "ear.safetensors"
DEPTH = 2 / 3  # of the layer that is read, as a share of all; chosen on wordings set aside, as the next
WEIGHT = 3.0  # of what the model understands, against the letters
BATCH = 64  # questions read at once


class Hearer(Protocol):
    """An assistant, see llm.model.ForgeryLLM. width: C, of its hidden states."""

    llm: PreTrainedModel
    prompter: PromptTokenizer
    width: int


class ModelEar:
    """Hears by the letters and by what a language model makes of the words; an Ear."""

    def __init__(self, model: Hearer, tensors: dict[str, Tensor]) -> None:
        """tensors: mean and scale (C,) of the hidden states, weight (T, C) and bias (T,) float32.

        Raises ValueError when they are not of this model's width or of as many topics as there are.
        """
        expected = {"mean": (model.width,), "scale": (model.width,),
                    "weight": (len(TOPICS_HEARD), model.width), "bias": (len(TOPICS_HEARD),)}  # fmt: skip
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != expected:
            raise ValueError(
                f"expected an ear of {expected}, got {found}; fit it anew: "
                "python -m llm.training.hearing --assistant FOLDER"
            )
        self.model = model
        self.tensors = {name: tensor.float() for name, tensor in tensors.items()}

    def __call__(self, question: str) -> np.ndarray:
        """The (T,) margins of a question."""
        states = mean_states(self.model.llm, self.model.prompter.tokenizer, [plain(question)])
        unit = units_of(states, self.tensors["mean"], self.tensors["scale"])
        understood = unit @ self.tensors["weight"].T + self.tensors["bias"]
        return by_letters(question) + WEIGHT * understood[0].double().numpy()

    @classmethod
    def load(cls, folder: str | Path, model: Hearer) -> ModelEar | None:
        """The ear saved with an assistant; None where it has none. Raises ValueError as `__init__` does."""
        path = Path(folder) / EAR_FILE
        return cls(model, storage.read_tensors(path)) if path.is_file() else None

    def save(self, folder: str | Path) -> None:
        """Write it beside the assistant, in half precision."""
        from safetensors.torch import save_file

        halves = {name: tensor.half().contiguous() for name, tensor in self.tensors.items()}
        storage.write_atomically(Path(folder) / EAR_FILE, lambda path: save_file(halves, path))


@torch.inference_mode()
def mean_states(
    llm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    progress: bool = False,
) -> Tensor:
    """What a language model makes of N texts: (N, C) float32 on the CPU, means over their tokens."""
    layer = round(DEPTH * llm.config.get_text_config().num_hidden_layers)
    device = llm.get_input_embeddings().weight.device
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found: list[Tensor | None] = [None] * len(texts)
    for start in tqdm(range(0, len(order), BATCH), desc="hearing", disable=not progress, mininterval=5):
        rows = order[start : start + BATCH]
        ids = [torch.tensor(tokenizer.encode(texts[row]) or [0]) for row in rows]
        mask = pad_sequence([torch.ones_like(one) for one in ids], batch_first=True).to(device)
        padded = pad_sequence(ids, batch_first=True).to(device)
        output = llm(
            input_ids=padded,
            attention_mask=mask,
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,
        )
        states, weights = output.hidden_states[layer].float(), mask[..., None].float()
        for row, state in zip(rows, (states * weights).sum(dim=1) / weights.sum(dim=1), strict=True):
            found[row] = state.cpu()
    return torch.stack(found)


def units_of(states: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(N, C) states, every channel alike loud, on the unit sphere."""
    return normalize((states - mean) / scale, dim=-1)
