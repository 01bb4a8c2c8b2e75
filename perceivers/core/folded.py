"""A cross-attend of one head, without gradients, over many elements: what is long goes through in pieces.

Few latents read many elements, or many queries on a grid ask few latents. In float32 the layer norm is folded into a
piece's products, and of positions on a grid the rows and the columns alone are multiplied (`grids.py`); in bfloat16 it
is that or torch's fused attention of each piece (`fused.py`), whichever a trial finds faster on this machine. The same
function of the same weights. Not concerned with masks of single queries, with gradients, nor with chunks' shapes
(`streaming.py`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core import chain, kernels
from perceivers.core.attention import CrossAttend
from perceivers.core.fused import FusedAsking, FusedPooling
from perceivers.core.grids import OnGrid, Products, Sums, normed, wide
from perceivers.core.inputs import Array, Mask, Parts, Whole, cut, join, shape_of
from perceivers.core.trials import fastest, note

# Attentions with fewer weights stay whole. Of those with more, a piece has so many weights, or, fused, so many numbers
# of its own: what the caches of two cores hold.
MANY, WEIGHTS, NUMBERS = 2**22, 2**20, 2**19


def way(latents: Tensor, array: Array, kind: torch.dtype) -> str:
    """How products of this type take an array's pieces: folded, or fused where pooling was faster so in a trial."""
    if kind != torch.bfloat16:
        return "folded"
    features, grid = _apart(array.arrays[0] if isinstance(array, Parts) else array)
    n, f, p, w = latents.shape[1], features.shape[-1], grid.shape[1] if grid else 0, len(grid.columns) if grid else 1
    h = max(1, min(4 * WEIGHTS // n, 4 * NUMBERS // (f + p)) // w)  # some pieces, of which either way has its own

    def example() -> tuple[dict[str, Any], Whole]:
        array = torch.rand(1, h * w, f)
        poolings = {name: pooling(torch.rand(1, n, f + p), 1, 1e-5, kind) for name, pooling in POOLINGS.items()}
        return poolings, (array, OnGrid(torch.rand(h, p), torch.rand(w, p))) if p else array

    def trial(name: str) -> Callable[[dict[str, Any], Whole], None]:
        def run(poolings: dict[str, Any], array: Whole) -> None:
            for part, _ in cut(array, None, piece(latents, (1, h * w, f + p), name)):
                poolings[name].add(part, None)

        return run

    shape = f"pieces bfloat16 {n}×{h * w}×{f}{f'+{p}' if p else ''}"
    return fastest(shape, {name: trial(name) for name in POOLINGS}, example, "folded")


def piece(latents: Tensor, shape: Sequence[int], of: str) -> int:
    """How many elements of an array of this shape are taken at once by latents or queries, in a `way`."""
    b, _, c = shape
    return max(1, NUMBERS // (b * c) if of == "fused" else WEIGHTS // (b * latents.shape[1]))


def many(cross: CrossAttend, latents: Tensor, size: int) -> bool:
    """Whether so many elements go through in pieces: without gradients, and where nobody watches the attention."""
    return size * latents.shape[1] >= MANY and kernels.fold(latents) and not cross.attention.watched


def reads(cross: CrossAttend, latents: Float[Tensor, "#b n d"], shape: tuple[int, ...], masked: bool) -> bool:
    """Whether latents read inputs of this shape by `read`: where it has the fewest multiply-adds."""
    return many(cross, latents, shape[1]) and cross.attention.orders(latents, shape, masked) == ("inputs", "inputs")


def read(
    cross: CrossAttend, latents: Float[Tensor, "#b n d"], arrays: Iterable[tuple[Array, Mask]]
) -> Float[Tensor, "b n d"]:
    """The latents read arrays, one behind the other, the softmax carried along."""
    attention, norm = cross.attention, cross.kv_norm
    q = wide(chain.queries("inputs", cross.query_norm(latents), attention.to_q, attention.to_k))
    q, n, kind = q * norm.weight * q.shape[-1] ** -0.5, q.shape[1], attention.to_k.weight.dtype
    pooling, name, m = None, "", 0
    for array, mask in arrays:
        shape = shape_of(array)
        if pooling is None:
            name = way(q, array, kind)
            pooling = POOLINGS[name](q, shape[0], norm.eps, kind)
        for part, seen in cut(array, mask, piece(q, shape, name)):
            m += shape_of(part)[1]
            if shape_of(part)[1]:
                pooling.add(part, seen)
    assert pooling is not None
    note(f"attention 1×{n}×{m}×{q.shape[2]}→{q.shape[2]}", name, "many inputs")
    pooled, blind = pooling.finish()
    pooled = torch.where(blind, 0, pooled) * norm.weight + norm.bias
    return cross.finish(latents, chain.finish("inputs", pooled, attention.to_v, attention.output, blind))


class FoldedPooling:
    """Queries (#b n c) pool b rows of elements, piece after piece: by products with their folded layer norms."""

    def __init__(self, q: Float[Tensor, "#b n c"], b: int, eps: float, kind: torch.dtype):
        self.products, self.sums, self.eps, self.kind = Products(q), Sums(q.expand(b, -1, -1)), eps, kind
        self.top, self.total = q.new_full((b, 1, q.shape[1]), -torch.inf), q.new_zeros(b, 1, q.shape[1])

    def add(self, piece: Whole, mask: Mask) -> None:
        x = normed(*_apart(piece), self.eps, self.kind)
        logits = self.products(x)
        if mask is not None:
            logits.masked_fill_(~mask.unsqueeze(-1), -torch.inf)
        top = torch.maximum(self.top, logits.amax(1, keepdim=True))
        finite = top.clamp(min=torch.finfo(top.dtype).min)
        shares, faded = logits.sub_(finite).exp_(), (self.top - finite).exp()
        self.total = self.total.mul_(faded).add_(shares.sum(1, keepdim=True))
        self.sums.add(x, shares, faded)
        self.top = top

    def finish(self) -> tuple[Float[Tensor, "b n c"], Bool[Tensor, "b n 1"]]:
        """The layer-normed elements, pooled, before the norm's weights; and which queries saw none."""
        return self.sums.finish() / self.total.mT, (self.total == 0).mT


POOLINGS: dict[str, Any] = {"folded": FoldedPooling, "fused": FusedPooling}


def asks(decoder: CrossAttend, latents: Tensor, queries: Whole, size: int, mask: Tensor | None) -> bool:
    """Whether so many queries ask by a `GridReader`."""
    on_grid = isinstance(queries, tuple) and isinstance(queries[1], OnGrid) and mask is None
    return on_grid and decoder.attention.num_heads == 1 and many(decoder, latents, size)


class GridReader:
    """Latents (b n d), which a decoder reads for `size` queries on a grid, and linear `layers` behind it."""

    def __init__(
        self,
        decoder: CrossAttend,
        latents: Float[Tensor, "b n d"],
        first: Whole,
        size: int,
        layers: Sequence[nn.Linear],
    ):
        attention, norm = decoder.attention, decoder.query_norm
        (b, n, d), (e, v), kind = latents.shape, attention.output.weight.shape, attention.to_v.weight.dtype
        sizes = chain.Sizes(b, b, size, attention.to_q.in_features, n, d, len(attention.to_k.weight), v, e)
        self.way = way(latents, first, kind)
        note(f"attention 1×{size}×{n}×{sizes.d}→{v}", self.way, "many queries on a grid")
        self.decoder, self.layers = decoder, layers
        self.order = chain.cheapest(chain.pooled_costs(sizes))
        inputs = decoder.kv_norm(latents)
        keys = wide(chain.keys("queries", inputs, attention.to_q, attention.to_k))
        keys = keys * keys.shape[-1] ** -0.5
        offset = keys[..., -1] + keys[..., :-1] @ norm.bias
        values = chain.values(self.order, inputs, attention.to_v, attention.output)
        self.pool = ASKINGS[self.way](keys[..., :-1] * norm.weight, offset, values, norm.eps)

    def __call__(self, queries: Whole) -> Float[Tensor, "b o r"]:
        decoder, attention = self.decoder, self.decoder.attention
        found = chain.finish(self.order, self.pool(queries), attention.to_v, attention.output)
        x = decoder.finish(join(queries) if decoder.query_residual else found, found)
        for layer in self.layers:
            x = kernels.linear(x, layer)
        return x


class FoldedAsking:
    """Queries, layer-normed without weights, ask keys (b n c), whose logits have an `offset`, and pool values."""

    def __init__(
        self, keys: Float[Tensor, "b n c"], offset: Float[Tensor, "b n"], values: Float[Tensor, "b n v"], eps: float
    ):
        self.products, self.offset, self.eps = Products(keys), offset.unsqueeze(1), eps
        self.values = [chain.layer(of_row.T, of_row.new_zeros(of_row.shape[1]), of_row) for of_row in values]

    def __call__(self, queries: Whole) -> Float[Tensor, "b o v"]:
        x = normed(*_apart(queries), self.eps, self.values[0].weight.dtype)
        weights = self.products(x).add_(self.offset).softmax(-1)
        return torch.stack([kernels.linear(*both) for both in zip(weights, self.values, strict=True)])


ASKINGS: dict[str, Any] = {"folded": FoldedAsking, "fused": FusedAsking}


def _apart(array: Whole) -> tuple[Tensor, OnGrid | None]:
    """What stands on a grid and the grid, or an array alone."""
    if isinstance(array, tuple) and isinstance(array[1], OnGrid):
        return array[0], array[1]
    return join(array), None
