"""Losses of the detector (paper Eq. 3 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kfd.model import KFD, KFDOutput
from kfd.training.weights import LossWeights


def dice_loss(logits: Tensor, masks: Tensor, smooth: float = 1.0) -> Tensor:
    """One minus the Dice overlap of each map with its mask, in mean over the batch.

    logits, masks: (B, 1, S, S); masks in [0, 1].
    An empty mask counts `smooth` pixels of overlap, so an empty prediction loses nothing and
    any other loses the more the larger it is.
    """
    probs = logits.sigmoid().flatten(1)
    masks = masks.flatten(1)
    overlap = (2 * (probs * masks).sum(1) + smooth) / (probs.sum(1) + masks.sum(1) + smooth)
    return (1 - overlap).mean()


def kfd_loss(
    model: KFD, output: KFDOutput, masks: Tensor, labels: Tensor, aligned: Tensor, weights: LossWeights
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch whose first half are real faces and whose second half forgeries of them.

    output: of that batch of 2 B. masks: (2 B, 1, S, S) in [0, 1]. labels: (2 B,) 0 real, 1 fake.
    aligned: (B,) bool, which forgeries show the same photograph as their real face.
    Returns the scalar loss and its terms, for the log.
    """
    pairs = len(aligned)
    fakes = pairs + aligned.nonzero().flatten()
    terms = {
        "cls": F.binary_cross_entropy_with_logits(output.logit, labels.float()),
        "loc": dice_loss(output.mask_logits, masks),
        "pixel": F.binary_cross_entropy_with_logits(output.mask_logits, masks),
        "align": _map_loss(output, masks),
    }
    if weights.reference and len(fakes):
        by_reference = model.locate_by_reference(output, fakes, fakes - pairs)
        terms["reference"] = dice_loss(by_reference, masks[fakes])
    total = (
        weights.cls * terms["cls"]
        + weights.loc * (terms["loc"] + weights.reference * terms.get("reference", torch.zeros(())))
        + weights.pixel * terms["pixel"]
        + weights.align * terms["align"]
    )
    return total, {name: float(term.detach()) for name, term in terms.items()}


def _map_loss(output: KFDOutput, masks: Tensor) -> Tensor:
    """Cross-entropy of the two channels of every consistency map against the shrunken mask."""
    losses = []
    for maps in output.consistency_maps:
        target = F.adaptive_avg_pool2d(masks, maps.shape[-2:])
        losses.append(F.binary_cross_entropy_with_logits(maps[:, 1:] - maps[:, :1], target))
    return torch.stack(losses).mean()
