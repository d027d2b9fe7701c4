"""The parts that pretraining and fine-tuning share: the rates, batches of like lengths, the log line."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from data_sim.dialogue import ASKABLE, Turn
from llm.tokens import Tokens

_WORD = re.compile(r"[a-z]+")
_PARTS = {word for words in ASKABLE for word in _WORD.findall(words)}
FLOOR = 0.05  # of the peak learning rate, where the cosine ends


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every parameter group's own peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def bucketed(items: Sequence[Tokens], batch_size: int) -> list[list[int]]:
    """Group items of similar length, so that little padding is computed. Returns positions by batch."""
    order = sorted(range(len(items)), key=lambda position: len(items[position]))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def drop_word(turn: Turn, rng: random.Random) -> Turn:
    """The turn with one word of its question left out, but none that names a part of the face.

    Short questions stay as they are.
    """
    words = turn.question.split()
    spare = [place for place, word in enumerate(words) if not _PARTS & set(_WORD.findall(word.lower()))]
    if len(words) > 4 and spare:
        words.pop(rng.choice(spare))
    return replace(turn, question=" ".join(words))


class Log:
    """Prints step, losses, learning rate and seconds every few steps."""

    def __init__(self, steps: int, every: int, silent: bool = False) -> None:
        self.steps = steps
        self.every = every
        self.silent = silent
        self.start = time.monotonic()
        self._values: dict[str, list[float]] = {}

    def add(self, step: int, rate: float, **values: float) -> None:
        """Note the values of a step; print their means when it is time. step: from 0.

        A value that not every step has is averaged over the steps that have it.
        """
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)
        if (step + 1) % self.every == 0 or step + 1 == self.steps:
            means = " ".join(f"{name} {sum(v) / len(v):.4f}" for name, v in self._values.items())
            seconds = time.monotonic() - self.start
            if not self.silent:
                print(f"step {step + 1}/{self.steps} {means} lr {rate:.2e} seconds {seconds:.0f}", flush=True)
            self._values = {}
