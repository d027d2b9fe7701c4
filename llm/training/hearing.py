"""Give an assistant its ear (llm.questions.hearing): fit it to the wordings of training.

    python -m llm.training.hearing --assistant runs/assistant

It goes by the assistant's own weights, so it is fitted when these are tuned to the end.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch.nn.functional import one_hot

from common.cli import parse
from kfd.encoders.backbones import DTYPES, Dtype
from llm.model import ForgeryLLM
from llm.questions.hearing import ModelEar, mean_states, units_of
from llm.questions.likeness import TOPICS_HEARD, learnt

DAMPING = 0.3  # of the ridge regression, in questions; chosen on wordings set aside
DRAWN = 3  # wordings of a pattern that are learnt


@dataclass(frozen=True)
class EarConfig:
    """The flags of the command."""

    assistant: str  # folder of the assistant that is given an ear
    llm: str = ""  # base model, where it is not the one that the assistant remembers
    device: str = "cpu"  # where the language model runs, such as cuda
    dtype: Dtype | None = None  # what it computes in; by default fp32 on a CPU, where bf16 may be much faster


def main() -> None:
    config = parse(EarConfig, __doc__)
    try:
        dtype = None if config.dtype is None else DTYPES[config.dtype]
        model = ForgeryLLM.from_pretrained(config.assistant, config.llm or None, config.device, dtype)
        fit_ear(model).save(config.assistant)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"ear saved in {config.assistant}")


def fit_ear(model: ForgeryLLM) -> ModelEar:
    """Fit an assistant's ear to the wordings of training, by ridge regression; minutes for a small model.

    Every topic counts alike, however many wordings it has.
    """
    texts, topics = learnt(DRAWN)
    states = mean_states(model.llm, model.prompter.tokenizer, texts, progress=True)
    mean, scale = states.mean(dim=0), states.std(dim=0).clamp(min=1e-6)
    units = units_of(states, mean, scale)
    known = torch.cat([units, torch.ones(len(units), 1)], dim=1).double()  # the bias behind the states
    answers = torch.tensor([TOPICS_HEARD.index(topic) for topic in topics])
    wanted = 2.0 * one_hot(answers, len(TOPICS_HEARD)) - 1
    share = answers.bincount()[answers].double().rsqrt()
    share = (share / share.mean())[:, None]
    gram = known.T @ (share * known) + DAMPING * torch.eye(known.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(gram, known.T @ (share * wanted)).float()
    parts = {"mean": mean, "scale": scale, "weight": solved[:-1].T.contiguous(), "bias": solved[-1]}
    return ModelEar(model, parts)


if __name__ == "__main__":
    main()
