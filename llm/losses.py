"""What fine-tuning minimises: Eq. 5 on the answers, and the order of the verdicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from llm.tokens import IGNORED, Batch


@dataclass(frozen=True)
class Losses:
    """Three scalars. total: what is minimised. language: Eq. 5, mean over target tokens.
    verdict: binary cross-entropy of P(Yes | Yes or No), mean over scored verdict turns."""

    total: Tensor
    language: Tensor
    verdict: Tensor


def language_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every target token given the tokens before it (Eq. 5).

    logits: (B, T, V), any float dtype. labels: (B, T) int64, IGNORED where nothing is learnt.
    Returns a float32 scalar; 0 when the batch has no target.
    """
    wanted = labels[:, 1:] != IGNORED
    # Picking the targets first saves the float32 copy of every other row, most of the memory at 32,000 words.
    picked = logits[:, :-1][wanted].float()
    return F.cross_entropy(picked, labels[:, 1:][wanted], reduction="sum") / wanted.sum().clamp(min=1)


def verdict_loss(logits: Tensor, yes_targets: Tensor, yes_id: int, no_id: int) -> Tensor:
    """Binary cross-entropy between P(Yes | Yes or No) and its target at the first token of each verdict.

    yes_targets: (B, T) float32 in [0, 1], negative where the token begins no scored verdict.
    Returns a float32 scalar; 0 when the batch has no scored verdict.
    """
    wanted = yes_targets[:, 1:] >= 0
    rows = logits[:, :-1][wanted].float()
    target = yes_targets[:, 1:][wanted]
    margin = rows[:, yes_id] - rows[:, no_id]
    loss = F.binary_cross_entropy_with_logits(margin, target, reduction="sum")
    return loss / wanted.sum().clamp(min=1)


def conversation_losses(logits: Tensor, batch: Batch, yes_id: int, no_id: int, weight: float) -> Losses:
    """Both losses of a batch. weight: how much a verdict counts against a token of text."""
    language = language_loss(logits, batch.labels)
    verdict = verdict_loss(logits, batch.yes_targets, yes_id, no_id)
    return Losses(language + weight * verdict, language, verdict)
