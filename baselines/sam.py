"""Sharpness-Aware Minimization (Foret et al., 2021): the gradient of the worst place nearby."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def climb(parameters: list[Tensor], rho: float) -> list[Tensor]:
    """Move parameters by `rho` along their gradient's direction, and return the moves, to be taken back."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
    moves = [g * (rho / (norm + 1e-12)) for g in gradients]
    for parameter, move in zip(parameters, moves, strict=True):
        parameter.add_(move)
    return moves


def sam_gradients(parameters: list[Tensor], backward: Callable[[], object], rho: float) -> None:
    """Leave in `.grad` the gradients at the place that `climb` finds; the parameters stay what they were.

    backward: clears the gradients and computes them anew where the parameters are; called once, after the
    first gradients are there.
    """
    moves = climb(parameters, rho)
    backward()
    with torch.no_grad():
        for parameter, move in zip(parameters, moves, strict=True):
            parameter.sub_(move)
