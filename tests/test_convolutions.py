"""Blocks of convolutions over tokens, beside sums over neighbours by hand, and what is masked."""

import numpy as np
import pytest
import torch

from perceivers.modalities.array_input import ArrayTokens, inside
from perceivers.modalities.convolutions import ConvBlock

SHAPES = {1: (9,), 2: (5, 4)}


def convolved(x: np.ndarray, layer: torch.nn.Module) -> np.ndarray:
    """Each place (*s w) from those at most one away."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    out = np.empty_like(x)
    for place in np.ndindex(x.shape[:-1]):
        out[place] = bias
        for step in np.ndindex(weight.shape[2:]):
            near = tuple(i + j - 1 for i, j in zip(place, step, strict=True))
            if all(0 <= i < size for i, size in zip(near, x.shape[:-1], strict=True)):
                out[place] += weight[(slice(None), slice(None), *step)] @ x[near]
    return out


@pytest.mark.parametrize("axes", [1, 2])
def test_a_block_sums_over_neighbours(axes):
    torch.manual_seed(0)
    block = ConvBlock(6, 3, axes)
    x = torch.randn(1, *SHAPES[axes], 6)
    values = x[0].double().numpy()
    normed = (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, keepdims=True) + block.norm.eps)
    between = convolved(normed, block.first)
    between = torch.nn.functional.gelu(torch.from_numpy(between)).numpy()
    expected = values + convolved(between, block.second)
    found = block(x, torch.ones(1, *SHAPES[axes], dtype=torch.bool))
    torch.testing.assert_close(found[0].double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("axes", [1, 2])
def test_what_is_not_there_changes_nothing_and_stays_nothing(axes):
    torch.manual_seed(0)
    block = ConvBlock(6, 3, axes)
    torch.nn.init.normal_(block.norm.bias)
    small = SHAPES[axes]
    large = tuple(size + 2 for size in small)
    corner = (slice(None), *(slice(size) for size in small))
    x, padded = torch.randn(3, *small, 6), torch.zeros(3, *large, 6)
    padded[corner] = x
    mask = torch.zeros(3, *large, dtype=torch.bool)
    mask[corner] = True
    alone, found = block(x, torch.ones(3, *small, dtype=torch.bool)), block(padded, mask)
    torch.testing.assert_close(found[corner], alone, atol=1e-5, rtol=1e-4)
    assert (found[~mask] == 0).all()


def test_a_token_sees_as_far_as_it_says_and_no_farther():
    torch.manual_seed(0)
    module = ArrayTokens((2, 2), 1, 5, (None, None), blocks=2)
    sizes = torch.tensor([[26, 26]])
    there = inside(sizes, (26, 26))
    values = torch.randn(1, 26, 26, 1)
    changed = values.clone()
    changed[0, 12, 12] += 1
    different = (module(values, there, sizes)[0] - module(changed, there, sizes)[0]).abs().amax(-1).reshape(13, 13) > 0
    rows, columns = different.nonzero().T
    assert module.distance == 4
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 10, 2, 10)
