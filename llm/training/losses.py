"""Losses of fine-tuning: Eq. 5 on the answers, and the order of the verdicts."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from llm.tokens import IGNORED, Counts


@dataclass(frozen=True)
class Losses:
    """Three scalars. total: what is minimised. language: Eq. 5, mean over target tokens.
    verdict: binary cross-entropy of P(Yes | Yes or No), mean over scored verdict turns."""

    total: Tensor
    language: Tensor
    verdict: Tensor


def language_loss(logits: Tensor, labels: Tensor, count: int | None = None) -> Tensor:
    """Cross-entropy of target tokens (Eq. 5).

    logits: (B, T, V), any float dtype, each of the token that `labels` has in its place.
    labels: (B, T) int64, IGNORED where nothing is learnt.
    count: what the sum is divided by; by default the number of targets here.
    Returns a float32 scalar; 0 when the batch has no target.
    """
    wanted = labels != IGNORED
    # Picking the targets first saves the float32 copy of every other row, most of the memory at 32,000 words.
    total = F.cross_entropy(logits[wanted].float(), labels[wanted], reduction="sum")
    return total / (wanted.sum().clamp(min=1) if count is None else max(1, count))


def verdict_loss(
    logits: Tensor, yes_targets: Tensor, yes_id: int, no_id: int, count: int | None = None
) -> Tensor:
    """Binary cross-entropy between P(Yes | Yes or No) and its target at the first token of each verdict.

    logits: as for `language_loss`.
    yes_targets: (B, T) float32 in [0, 1], negative where the token begins no scored verdict.
    count: what the sum is divided by; by default the number of scored verdicts here.
    Returns a float32 scalar; 0 when the batch has no scored verdict.
    """
    wanted = yes_targets >= 0
    rows = logits[wanted].float()
    margin = rows[:, yes_id] - rows[:, no_id]
    loss = F.binary_cross_entropy_with_logits(margin, yes_targets[wanted], reduction="sum")
    return loss / (wanted.sum().clamp(min=1) if count is None else max(1, count))


def conversation_losses(
    logits: Tensor,
    labels: Tensor,
    yes_targets: Tensor,
    yes_id: int,
    no_id: int,
    weight: float,
    counts: Counts | None = None,
) -> Losses:
    """Both losses of a batch.

    logits, labels, yes_targets: see above. weight: how much a verdict counts against a token of text.
    counts: what the means are over; by default the targets here.
    """
    tokens, verdicts = (None, None) if counts is None else (counts.tokens, counts.verdicts)
    language = language_loss(logits, labels, tokens)
    verdict = verdict_loss(logits, yes_targets, yes_id, no_id, verdicts)
    return Losses(language + weight * verdict, language, verdict)
