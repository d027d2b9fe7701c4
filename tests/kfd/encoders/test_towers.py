"""The towers compute what PyTorch's own layers compute, on the paths that GPUs are fast on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kfd.encoders.towers import Attention, VisionStem


def causal_mask(length: int) -> torch.Tensor:
    return torch.full((length, length), float("-inf")).triu(1)


@pytest.mark.parametrize("mask", [None, causal_mask(7)])
def test_attention_is_multihead_attention(mask: torch.Tensor | None) -> None:
    """Same start values from the same seed, same state dict, same result and gradient."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    torch.manual_seed(0)
    ours = Attention(12, 3)
    wanted = theirs.state_dict()
    assert ours.state_dict().keys() == wanted.keys()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name
    nn.init.normal_(ours.in_proj_bias)
    nn.init.normal_(ours.out_proj.bias)
    theirs.load_state_dict(ours.state_dict())
    tokens = torch.randn(2, 7, 12)
    expected = theirs(tokens, tokens, tokens, attn_mask=mask, need_weights=False)[0]
    got = ours(tokens, mask)
    torch.testing.assert_close(got, expected)
    weights = torch.randn_like(got)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.in_proj_weight.grad, theirs.in_proj_weight.grad)


def test_patches_are_those_of_the_convolution() -> None:
    torch.manual_seed(0)
    stem = VisionStem(8, 28, 14)
    convolution = stem.rgbt_stem.proj[1]
    clips = torch.randn(2, 3, 2, 28, 42)
    wanted = convolution(clips)[:, :, 0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(stem.rgbt_stem(clips), wanted)
    tokens, grid = stem(clips)
    assert grid == (2, 3) and tokens.shape == (2, 7, 8)


def test_a_mask_hides_what_comes_later() -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(8, 2), torch.randn(1, 5, 8)
    changed = tokens.clone()
    changed[:, 3:] += 1
    first, second = attention(tokens, causal_mask(5)), attention(changed, causal_mask(5))
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3:], second[:, 3:])
