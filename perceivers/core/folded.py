"""A cross-attend of one head, without gradients, over many elements: their layer norm is folded into its products.

Few latents read many elements, or many queries on a grid ask few latents: what is long goes through in pieces that
stay in the cache, and of positions on a grid the rows and the columns alone (`grids.py`). The same function of the same
weights. Not concerned with masks of single queries, with gradients, nor with chunks' shapes (`streaming.py`).
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from perceivers.core import chain, kernels
from perceivers.core.attention import CrossAttend
from perceivers.core.grids import OnGrid, Products, Sums, normed, wide
from perceivers.core.inputs import Mask, Whole, join
from perceivers.core.trials import note

# Attentions with fewer weights stay whole; of those with more, a piece has so many: the cache of two cores.
MANY, PIECE = 2**22, 2**20


def piece(weights: int) -> int:
    """How many elements are taken at once, of so many attention weights each."""
    return max(1, PIECE // weights)


def reads(cross: CrossAttend, latents: Float[Tensor, "#b n d"], shape: tuple[int, ...], masked: bool) -> bool:
    """Whether latents read inputs of this shape by `read`: where it has the fewest multiply-adds."""
    attention, (_, m, _) = cross.attention, shape
    many = m * latents.shape[1] >= MANY and kernels.fold(latents) and not attention.watched
    return many and attention.orders(latents, shape, masked) == ("inputs", "inputs")


def read(
    cross: CrossAttend, latents: Float[Tensor, "#b n d"], pieces: Iterator[tuple[Whole, Mask]]
) -> Float[Tensor, "b n d"]:
    """The latents read arrays, one behind the other, the softmax carried along."""
    attention, norm = cross.attention, cross.kv_norm
    q = wide(chain.queries("inputs", cross.query_norm(latents), attention.to_q, attention.to_k))
    products, sums, m = Products(q * norm.weight * q.shape[-1] ** -0.5), None, 0
    top = total = q.new_tensor(-torch.inf)
    for array, mask in pieces:
        x = normed(*_apart(array), norm.eps, attention.to_k.weight.dtype)
        logits = products(x)
        if sums is None:
            b, n = len(logits), q.shape[1]
            sums, top, total = Sums(q.expand(b, -1, -1)), q.new_full((b, 1, n), -torch.inf), q.new_zeros(b, 1, n)
        m += logits.shape[1]
        if not logits.shape[1]:
            continue
        if mask is not None:
            logits.masked_fill_(~mask.unsqueeze(-1), -torch.inf)
        new_top = torch.maximum(top, logits.amax(1, keepdim=True))
        finite = new_top.clamp(min=torch.finfo(q.dtype).min)
        shares, faded = logits.sub_(finite).exp_(), (top - finite).exp()
        total = total.mul_(faded).add_(shares.sum(1, keepdim=True))
        sums.add(x, shares, faded)
        top = new_top
    assert sums is not None
    note(f"attention 1×{q.shape[1]}×{m}×{q.shape[2]}→{q.shape[2]}", "folded", "many inputs")
    blind = (total == 0).mT
    pooled = torch.where(blind, 0, sums.finish() / total.mT) * norm.weight + norm.bias
    return cross.finish(latents, chain.finish("inputs", pooled, attention.to_v, attention.output, blind))


def asks(decoder: CrossAttend, latents: Tensor, queries: Whole, size: int, mask: Tensor | None) -> bool:
    """Whether so many queries ask by a `GridReader`."""
    on_grid = isinstance(queries, tuple) and isinstance(queries[1], OnGrid) and mask is None
    many = size * latents.shape[1] >= MANY and kernels.fold(latents)
    return on_grid and many and decoder.attention.num_heads == 1 and not decoder.attention.watched


class GridReader:
    """Latents (b n d), which a decoder reads for `size` queries on a grid, and linear `layers` behind it."""

    def __init__(self, decoder: CrossAttend, latents: Float[Tensor, "b n d"], size: int, layers: Sequence[nn.Linear]):
        attention, norm = decoder.attention, decoder.query_norm
        (b, n, d), (e, v) = latents.shape, attention.output.weight.shape
        sizes = chain.Sizes(b, b, size, attention.to_q.in_features, n, d, len(attention.to_k.weight), v, e)
        note(f"attention 1×{size}×{n}×{sizes.d}→{v}", "folded", "many queries on a grid")
        self.decoder, self.layers = decoder, layers
        self.order = chain.cheapest(chain.pooled_costs(sizes))
        inputs = decoder.kv_norm(latents)
        keys = wide(chain.keys("queries", inputs, attention.to_q, attention.to_k))
        keys = keys * keys.shape[-1] ** -0.5
        self.products = Products(keys[..., :-1] * norm.weight)
        self.offset = (keys[..., -1] + keys[..., :-1] @ norm.bias).unsqueeze(1)
        values = chain.values(self.order, inputs, attention.to_v, attention.output)
        self.values = [chain.layer(of_row.T, of_row.new_zeros(of_row.shape[1]), of_row) for of_row in values]

    def __call__(self, queries: Whole) -> Float[Tensor, "b o r"]:
        decoder, kind = self.decoder, self.values[0].weight.dtype
        logits = self.products(normed(*_apart(queries), decoder.query_norm.eps, kind)).add_(self.offset)
        pooled = torch.stack([kernels.linear(*both) for both in zip(logits.softmax(-1), self.values, strict=True)])
        attention = decoder.attention
        found = chain.finish(self.order, pooled, attention.to_v, attention.output)
        x = decoder.finish(join(queries) if decoder.query_residual else found, found)
        for layer in self.layers:
            x = kernels.linear(x, layer)
        return x


def _apart(array: Whole) -> tuple[Tensor, OnGrid | None]:
    """What stands on a grid and the grid, or an array alone."""
    if isinstance(array, tuple) and isinstance(array[1], OnGrid):
        return array[0], array[1]
    return join(array), None
