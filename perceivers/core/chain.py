"""The cheapest order of the products around an attention of one head.

softmax(Zq·Wqᵀ·Wk·Zᵀ/√k)·Z·Wvᵀ·Woᵀ is a chain of matrices on both sides of the softmax, and every order is the same
function. Where few queries read many elements, the queries go to the elements' channels: these are keys and values
themselves. Where many queries read few elements, keys and values go to the queries' channels instead.
Not concerned with how the attention in the middle is computed (`kernels.py`).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from perceivers.core import kernels

# Where another order saves fewer multiply-adds, the papers' is kept: it has fewer copies.
WORTH = 2**24

Order = Literal["plain", "inputs", "queries"]


class Sizes(NamedTuple):
    """a rows of n queries of d channels, which are the same for all where a is 1, and b rows of m inputs of c channels;
    k, v and e: what keys, values and the output are made of.
    """

    a: int
    b: int
    n: int
    d: int
    m: int
    c: int
    k: int
    v: int
    e: int


def logits_costs(s: Sizes) -> dict[Order, int]:
    """Multiply-adds of the logits where they are products of projections, with the inputs, or with the queries."""
    return {
        "plain": s.a * s.n * s.d * s.k + s.b * (s.m * s.c * s.k + s.n * s.m * s.k),
        "inputs": s.a * (s.n * s.d * s.k + s.n * s.k * s.c) + s.b * s.n * s.m * s.c,
        "queries": s.b * (s.m * s.c * s.k + s.m * s.k * (s.d + 1) + s.n * s.m * (s.d + 1)),
    }


def pooled_costs(s: Sizes) -> dict[Order, int]:
    """Multiply-adds from the softmax to the output where the values are projections, the inputs, or outputs."""
    return {
        "plain": s.b * (s.m * s.c * s.v + s.n * s.m * s.v + s.n * s.v * s.e),
        "inputs": s.b * (s.n * s.m * s.c + s.n * s.c * s.v + s.n * s.v * s.e),
        "queries": s.b * (s.m * s.c * s.v + s.m * s.v * s.e + s.n * s.m * s.e),
    }


def queries(order: Order, inputs_q: Float[Tensor, "a n d"], to_q: nn.Linear, to_k: nn.Linear) -> Float[Tensor, "a n x"]:
    """What queries are in an order: their products with `keys` over √x are the logits, up to what a softmax drops."""
    if order == "queries":
        return pad(inputs_q.to(kernels.kind_of(inputs_q, to_q.weight)), (0, 1), value=1.0)
    q = kernels.linear(inputs_q, to_q)
    if order == "plain":
        return q
    q = q @ to_k.weight  # the keys' bias adds the same to all of a query's logits
    return q * (q.shape[-1] / len(to_q.weight)) ** 0.5


def keys(order: Order, inputs_kv: Float[Tensor, "b m c"], to_q: nn.Linear, to_k: nn.Linear) -> Float[Tensor, "b m x"]:
    """What keys are in an order: see `queries`."""
    if order == "inputs":
        return inputs_kv.to(kernels.kind_of(inputs_kv, to_k.weight))
    k = kernels.linear(inputs_kv, to_k)
    if order == "plain":
        return k
    both = k @ torch.cat([to_q.weight, to_q.bias[:, None]], dim=1)
    return both * (both.shape[-1] / len(to_q.weight)) ** 0.5


def values(
    order: Order, inputs_kv: Float[Tensor, "b m c"], to_v: nn.Linear, output: nn.Linear
) -> Float[Tensor, "b m x"]:
    """What the softmax pools in an order. Its weights sum to one, so biases may come before or behind."""
    if order == "inputs":
        return inputs_kv.to(kernels.kind_of(inputs_kv, to_v.weight))
    projected = kernels.linear(inputs_kv, to_v)
    return projected if order == "plain" else kernels.linear(projected, output)


def finish(
    order: Order,
    pooled: Float[Tensor, "b n x"],
    to_v: nn.Linear,
    output: nn.Linear,
    blind: Bool[Tensor, "b #n 1"] | None = None,
) -> Float[Tensor, "b n e"]:
    """From what was pooled to the output. `blind` queries saw nothing: what they pool is zeros in every order."""

    def seen(x: Tensor) -> Tensor:
        return x if blind is None else x.masked_fill(blind, 0.0)

    if order == "queries":
        return pooled if blind is None else torch.where(blind, output.bias.to(pooled.dtype), pooled)
    return kernels.linear(seen(kernels.linear(pooled, to_v)) if order == "inputs" else pooled, output)


def cheapest(costs: dict[Order, int]) -> Order:
    """The order of the fewest multiply-adds; the papers' where others save little."""
    best = min(costs, key=costs.__getitem__)
    return best if costs["plain"] - costs[best] >= WORTH else "plain"


def layer(weight: Float[Tensor, "d c"], bias: Float[Tensor, " d"], like: Tensor) -> nn.Linear:
    """A linear layer of these weights, in the type of `like`."""
    made = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    weight, bias = (array.to(like.dtype).contiguous() for array in (weight, bias))
    made.weight, made.bias = (nn.Parameter(array, requires_grad=False) for array in (weight, bias))
    return made
