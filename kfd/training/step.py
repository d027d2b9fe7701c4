"""The parts of a training step: loss over all processes, learning rate, averaged weights."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from common.distributed import Processes
from kfd.model import KFD
from kfd.training.feature_cache import EncodedBatch
from kfd.training.losses import LossWeights, kfd_loss


def global_loss(
    model: KFD, encoded: EncodedBatch, weights: LossWeights, pairs: int, processes: Processes
) -> tuple[Tensor, dict[str, float]]:
    """This process's share of the loss of the global batch, and of its terms; the shares sum up to both.

    encoded: this process's pairs. pairs: of all processes. Every term is a mean over images (Dice: of each
    image's), but that of C_ref, which only pairs of one photograph have: it is a mean over those.
    """
    share = len(encoded.aligned) / pairs
    mine = encoded.aligned.sum().float()
    aligned = processes.sum(mine).item()
    of_reference = mine.item() / aligned if aligned else share
    scaled = {f.name: share * getattr(weights, f.name) for f in fields(weights)}
    # The reference's weight stands inside that of localization.
    scaled["reference"] = weights.reference * of_reference / share
    masks = torch.cat([torch.zeros_like(encoded.masks), encoded.masks])
    labels = torch.arange(2, device=masks.device).repeat_interleave(len(encoded.aligned))
    output = model.judge(encoded.image, masks.shape[-1])
    loss, terms = kfd_loss(model, output, masks, labels, encoded.aligned, LossWeights(**scaled))
    return loss, {n: v * (of_reference if n == "reference" else share) for n, v in terms.items()}


def sum_terms(terms: dict[str, float], processes: Processes) -> dict[str, float]:
    """The terms of the global batch; one that no process has is left out."""
    if processes.count == 1:
        return terms
    names = [f.name for f in fields(LossWeights)]  # a process may lack the reference's
    sums = processes.sum(torch.tensor([terms.get(name, 0.0) for name in names])).tolist()
    return {name: value for name, value in zip(names, sums, strict=True) if value}


def update_average(average: dict[str, Tensor], state: dict[str, Tensor], decay: float) -> None:
    """Move the averaged weights a step towards the model's; counters and constants are copied."""
    # A causal mask is -inf, of which no mean can be taken.
    moving = [name for name, t in state.items() if t.is_floating_point() and bool(t.isfinite().all())]
    with torch.no_grad():
        get_ema_multi_avg_fn(decay)(
            [average[name] for name in moving], [state[name] for name in moving], None
        )
        for name in state.keys() - set(moving):
            average[name].copy_(state[name])
