"""A decoder that is asked for many outputs: what does not hang on a query is computed once for all of them.

Queries that differ in few channels are narrow, and so is what one head pools. A linear layer and a layer norm of such
an array are again linear, but for the length of each element: projections are then taken of the narrow arrays, and
linear layers behind the decoder become one with its last. The same function of the same weights, in fewer
multiply-adds. Not concerned with masks or gradients: there the decoder itself is asked.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from perceivers.core import chain, folded, kernels
from perceivers.core.attention import MLP, CrossAttend
from perceivers.core.grids import wide
from perceivers.core.inputs import Whole, join

# Making a reader costs about as much as answering so many queries a channel of what is pooled.
WORTH = 4

Answer = Callable[[Whole, Tensor | None], Float[Tensor, "b o r"]]


class Reader:
    """Latents (b n d), which a decoder reads for `size` queries, and linear `layers` behind it.

    `same` are the queries' last channels, which all of them share.
    """

    def __init__(
        self,
        decoder: CrossAttend,
        latents: Float[Tensor, "b n d"],
        size: int,
        same: Float[Tensor, " p"],
        layers: Sequence[nn.Linear],
    ):
        attention, (widen, self.activation, narrow) = decoder.attention, cast(Sequence, decoder.mlp)
        output, to_k, e, p = attention.output, attention.to_k, attention.output.out_features, len(same)
        spread = chain.layer(torch.eye(e, e - p, dtype=same.dtype), pad(same, (e - p, 0)), same)
        self.to_q = Normed(spread, decoder.query_norm, attention.to_q)
        (b, n, d), (v, k) = latents.shape, (output.in_features, to_k.out_features)
        sizes = chain.Sizes(b, b, size, e - p + 1, n, d, k, v, e)
        self.order, self.to_k, self.pool = chain.cheapest(chain.logits_costs(sizes)), to_k, attention.pool
        normed = decoder.kv_norm(latents)
        self.keys = chain.keys(self.order, normed, self.to_q.layer, to_k)
        self.values = kernels.linear(normed, attention.to_v)
        self.widen = Normed(output, decoder.mlp_norm, widen)
        weight, bias = wide(layers[0].weight), wide(layers[0].bias)
        for layer in layers[1:]:
            weight, bias = wide(layer.weight) @ weight, wide(layer.weight) @ bias + wide(layer.bias)
        bias = bias + weight @ (wide(output.bias) + wide(narrow.bias))
        self.residual = chain.layer(weight @ wide(output.weight), bias, output.weight)
        self.narrow = chain.layer(weight @ wide(narrow.weight), torch.zeros_like(bias), narrow.weight)
        self.kind = layers[-1].weight.dtype

    def __call__(self, queries: Float[Tensor, "b o f"]) -> Float[Tensor, "b o r"]:
        q = chain.queries(self.order, self.to_q(queries), self.to_q.layer, self.to_k)
        pooled = self.pool(*(x.unsqueeze(1) for x in (q, self.keys, self.values)), None).squeeze(1)
        hidden = kernels.linear(self.widen(pooled), self.widen.layer, self.activation)
        return kernels.linear(pooled, self.residual).to(self.kind) + kernels.linear(hidden, self.narrow)


class Normed:
    """What goes through a linear layer and a norm into another layer: (… c) → (… c + 1), the input of `layer`.

    With X the first layer's weights and bias less their means over channels, the norm is that of X·[x, 1]; its length
    is that of R·[x, 1], where X = Q·R.
    """

    def __init__(self, first: nn.Linear, norm: nn.LayerNorm, second: nn.Linear):
        whole = torch.cat([wide(first.weight), wide(first.bias)[:, None]], dim=1)
        whole = whole - whole.mean(0)
        weight, bias = wide(second.weight), wide(second.bias)
        self.root = (torch.linalg.qr(whole, mode="r").R.T * len(whole) ** -0.5).to(second.weight.dtype)
        self.layer = chain.layer((weight * norm.weight) @ whole, weight @ norm.bias + bias, second.weight)
        self.eps = norm.eps

    def __call__(self, x: Float[Tensor, "*s c"]) -> Float[Tensor, "*s c+1"]:
        x = pad(x.to(self.root.dtype), (0, 1), value=1.0)
        square = wide(x @ self.root).square().sum(-1, keepdim=True)
        return x * (square + self.eps).rsqrt().to(x.dtype)


def answering(
    decoder: CrossAttend,
    latents: Float[Tensor, "b n d"],
    first: tuple[Whole, Tensor | None],
    size: int,
    layers: Sequence[nn.Linear],
) -> tuple[Answer, str]:
    """What answers queries and their mask, of which `size` will come, the `first` of them as given, and its way to take
    pieces: a `Reader` where it saves work, and else the decoder itself.
    """

    def plainly(queries: Whole, mask: Tensor | None) -> Float[Tensor, "b o r"]:
        x = decoder(join(queries), latents, mask)
        for layer in layers:
            x = kernels.linear(x, layer)
        return x

    queries, mask = first
    if folded.asks(decoder, latents, queries, size, mask):
        on_grid = folded.GridReader(decoder, latents, queries, size, layers)
        return (lambda queries, mask: on_grid(queries) if mask is None else plainly(queries, mask)), on_grid.way
    same = queries[1] if isinstance(queries, tuple) else None
    if not (isinstance(same, Tensor) and same.ndim == 2 and len(same) == 1 and mask is None):
        return plainly, "folded"
    if not (layers and _narrow(decoder, size) and kernels.fold(latents)):
        return plainly, "folded"
    reader = Reader(decoder, latents, size, same[0], layers)

    def answer(queries: Whole, mask: Tensor | None) -> Float[Tensor, "b o r"]:
        fits = mask is None and isinstance(queries, tuple) and queries[1] is same
        return reader(queries[0]) if fits else plainly(queries, mask)

    return answer, "folded"


def _narrow(decoder: CrossAttend, size: int) -> bool:
    """Whether what is pooled is narrower than an output, by one head, and nothing else goes into one."""
    attention = decoder.attention
    alone = attention.num_heads == 1 and not decoder.query_residual and isinstance(decoder.mlp, MLP)
    v, e = attention.output.in_features, attention.output.out_features
    return alone and v + 1 < e and size >= WORTH * v
