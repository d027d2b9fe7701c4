"""The prompt learner's networks as the paper's public code has them: each token is a place of a grid.

The paper's text says no more of them than that they are convolutional.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from prompt_learner.config import GRID_KERNEL, HALVINGS

WIDTHS = tuple(2**power for power in range(4, 4 + HALVINGS))  # channels before each halving: 16 to 256
TOP = 512  # channels before the last convolution


class GridTokens(nn.Module):
    """Convolution, ReLU, batch norm and pooling, five times; then a window slides over what is left.

    Of 224 pixels 7 x 7 places are left, in which a window of 5 x 5 has 3 x 3 positions: nine tokens, of which
    each sees most of the face. At width 4,096 the last convolution alone has 52 million weights.
    In training the batch norms see the maps of a batch, of several processes each its own part; in a chat
    they have the statistics of the training.
    """

    def __init__(self, channels: int, llm_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, *WIDTHS)):
            layers += [*_filtered(inputs, outputs), nn.MaxPool2d(2)]
        self.network = nn.Sequential(
            *layers, *_filtered(WIDTHS[-1], TOP), nn.Conv2d(TOP, llm_dim, kernel_size=GRID_KERNEL)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """maps: (B, channels, S, S). Returns (B, tokens, llm_dim), row by row of the grid."""
        return self.network(maps).flatten(2).transpose(1, 2)


def _filtered(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)
