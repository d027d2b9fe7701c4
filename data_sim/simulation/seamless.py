"""Poisson blending by OpenCV's seamlessClone, picture by picture, for recipes that ask for it.

The renderers' own solver is faster and runs on a GPU, but stops before it has converged.
"""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from data_sim import pictures

BORDER = 4  # pixels of replicated border where a mask touches the edge, which OpenCV does not allow


def seamless_foreground(foreground: np.ndarray, background: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Clone what lies within a mask into the background.

    foreground, background: (H, W, 3) float32 in [0, 1], whole pictures: what seamlessClone makes of a part
    depends on the rest. mask: (H, W) in [0, 1], cut at a half.
    Returns (H, W, 3) float32 in steps of 1 / 255.
    """
    hard = (mask > 0.5).astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(hard)
    if min(width, height) < 3:  # nothing between two edges
        return background.copy()
    source, target = (np.rint(p * 255).clip(0, 255).astype(np.uint8) for p in (foreground, background))
    inner = x > 1 and y > 1 and x + width < hard.shape[1] - 1 and y + height < hard.shape[0] - 1
    edge = 0 if inner else BORDER
    if edge:
        source, target = (cv2.copyMakeBorder(p, *[edge] * 4, cv2.BORDER_REPLICATE) for p in (source, target))
        hard = cv2.copyMakeBorder(hard, *[edge] * 4, cv2.BORDER_CONSTANT)
    middle = (edge + x + width // 2, edge + y + height // 2)  # where the middle of the mask's box goes
    cloned = cv2.seamlessClone(source, target, hard, middle, cv2.NORMAL_CLONE)
    cloned = cloned[edge : len(cloned) - edge, edge : cloned.shape[1] - edge]
    return np.ascontiguousarray(cloned).astype(np.float32) / 255


def seamless_batch(foreground: Tensor, background: Tensor, masks: Tensor) -> Tensor:
    """The same for batches: (B, 3, S, S) twice and (B, 1, S, S), on any device; computed on the CPU."""
    parts = (pictures.pictures_of(t.detach().float().cpu()) for t in (foreground, background, masks))
    cloned = [seamless_foreground(f, b, mask[..., 0]) for f, b, mask in zip(*parts, strict=True)]
    return pictures.batch_of(np.stack(cloned)).to(foreground)
