"""What VLAForge learns from, with the weights of the paper (all 1) or of its published code."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# The code's terms are the paper's but for contrastive ones, which the paper does not have; it also feeds
# softmax into its cross-entropies, which is left out.
WEIGHTS = {
    "paper": {"global": 1.0, "local": 1.0, "location": 1.0, "vla": 1.0, "orthogonal": 1.0},
    "released": {"global": 10.0, "local": 10.0, "location": 200.0, "vla": 100.0, "orthogonal": 1.0},
}


def orthogonality(masks: Tensor) -> Tensor:
    """How alike the masks of different queries are: mean |cosine| of all pairs, 0 where all are orthogonal.

    masks: (B, H, Q, N), compared within each picture and head.
    """
    count = masks.shape[2]
    if count < 2:
        return masks.sum() * 0
    unit = F.normalize(masks.float(), dim=-1)
    cosines = (unit @ unit.transpose(-1, -2)).abs()
    others = ~torch.eye(count, dtype=torch.bool, device=masks.device)
    return cosines[..., others].mean()
