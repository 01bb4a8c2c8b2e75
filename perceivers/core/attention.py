"""Attention, and the two modules that a Perceiver is made of: `CrossAttend` and `SelfAttend`.

Not concerned with positions, latents or queries (`positions.py`, `perceiver.py`), nor with how an attention is
computed (`kernels.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core import chain, kernels

Mask = Bool[Tensor, "b m"] | Bool[Tensor, "b n m"]


def linear(in_channels: int, out_channels: int) -> nn.Linear:
    """A linear layer with the papers' initial weights: truncated normal of variance 1/in_channels, zero bias."""
    layer = nn.Linear(in_channels, out_channels)
    nn.init.trunc_normal_(layer.weight, std=in_channels**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


class DotProduct(nn.Module):
    """The pooling inside an attention, a module of its own so that a hook can see its queries and keys.

    A query whose keys are all masked pools zeros.
    """

    def forward(
        self,
        q: Float[Tensor, "b h n k"],
        k: Float[Tensor, "b h m k"],
        v: Float[Tensor, "b h m v"],
        mask: Bool[Tensor, "b #n m"] | None,
    ) -> Float[Tensor, "b h n v"]:
        return kernels.attend(q, k, v, mask)

    def weights(
        self, q: Float[Tensor, "b h n k"], k: Float[Tensor, "b h m k"], mask: Bool[Tensor, "b #n m"] | None
    ) -> Float[Tensor, "b h n m"]:
        """The weights that `forward` pools with."""
        return kernels.attention_weights(q, k, mask)


class Attention(nn.Module):
    """Multi-head attention with free query-key and value widths (Perceiver IO, appendix E.2).

    `qk_channels` defaults to `q_channels`, `v_channels` to `qk_channels`, `output_channels` to `q_channels`.
    Every query sees the keys where `mask` is True: (b m) for all queries alike, (b n m) for each its own. `pool`
    says what a query with no key to see gets. Raises ValueError where a width cannot be divided among the heads.
    """

    def __init__(
        self,
        q_channels: int,
        kv_channels: int | None = None,
        *,
        num_heads: int = 1,
        qk_channels: int | None = None,
        v_channels: int | None = None,
        output_channels: int | None = None,
        pool: DotProduct | None = None,
    ):
        super().__init__()
        kv_channels = kv_channels or q_channels
        qk_channels = qk_channels or q_channels
        v_channels = v_channels or qk_channels
        for name, width in (("qk_channels", qk_channels), ("v_channels", v_channels)):
            if width % num_heads:
                raise ValueError(f"{name}={width} cannot be divided among {num_heads} heads: take a multiple")
        self.num_heads = num_heads
        self.to_q = linear(q_channels, qk_channels)
        self.to_k = linear(kv_channels, qk_channels)
        self.to_v = linear(kv_channels, v_channels)
        self.pool = pool or DotProduct()
        self.output = linear(v_channels, output_channels or q_channels)

    def forward(
        self, inputs_q: Float[Tensor, "#b n d"], inputs_kv: Float[Tensor, "b m c"], mask: Mask | None = None
    ) -> Float[Tensor, "b n e"]:
        if mask is not None and mask.ndim == 2:
            mask = rearrange(mask, "b m -> b 1 m")
        orders = self.orders(inputs_q, inputs_kv.shape, mask is not None)
        if orders != ("plain", "plain"):
            return self._reordered(*orders, inputs_q, inputs_kv, mask)
        if inputs_q is inputs_kv:
            q, k, v = self._heads(kernels.project(inputs_q, (self.to_q, self.to_k, self.to_v)))
        else:
            q, (k, v) = self.queries(inputs_q), self.keys_values(inputs_kv)
        return self.merge(self.pool(q.expand(len(k), -1, -1, -1), k, v, mask))

    def orders(
        self, inputs_q: Float[Tensor, "#b n d"], shape_kv: Sequence[int], masked: bool
    ) -> tuple[chain.Order, chain.Order]:
        """The cheapest ways to the logits and from the softmax to the output, for inputs of `shape_kv`."""
        uniform = masked and type(self.pool) is not DotProduct  # which pools biases where nothing is seen
        if self.num_heads > 1 or uniform or not kernels.reorder(inputs_q):
            return "plain", "plain"
        (a, n, d), (b, m, c), (e, v) = inputs_q.shape, shape_kv, self.output.weight.shape
        sizes = chain.Sizes(a, b, n, d, m, c, len(self.to_k.weight), v, e)
        return chain.cheapest(chain.logits_costs(sizes)), chain.cheapest(chain.pooled_costs(sizes))

    @property
    def watched(self) -> bool:
        """Whether somebody waits for what is pooled with: see `record_attention`."""
        return bool(self.pool._forward_hooks)

    def _reordered(
        self,
        logits: chain.Order,
        pooled: chain.Order,
        inputs_q: Float[Tensor, "#b n d"],
        inputs_kv: Float[Tensor, "b m c"],
        mask: Bool[Tensor, "b #n m"] | None,
    ) -> Float[Tensor, "b n e"]:
        q = chain.queries(logits, inputs_q, self.to_q, self.to_k)
        k = chain.keys(logits, inputs_kv, self.to_q, self.to_k)
        read = k if logits == "inputs" else inputs_kv  # which is cast once
        values = chain.values(pooled, read, self.to_v, self.output)
        found = self.pool(*(x.unsqueeze(1) for x in (q.expand(len(k), -1, -1), k, values)), mask)
        blind = None if mask is None else ~mask.any(-1, keepdim=True)
        return chain.finish(pooled, found.squeeze(1), self.to_v, self.output, blind)

    def queries(self, inputs_q: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n k"]:
        return self._heads([kernels.linear(inputs_q, self.to_q)])[0]

    def keys_values(
        self, inputs_kv: Float[Tensor, "b m c"]
    ) -> tuple[Float[Tensor, "b h m k"], Float[Tensor, "b h m v"]]:
        k, v = self._heads(kernels.project(inputs_kv, (self.to_k, self.to_v)))
        return k, v

    def merge(self, pooled: Float[Tensor, "b h n v"]) -> Float[Tensor, "b n e"]:
        """What the heads pooled, side by side, through the last projection."""
        return kernels.linear(rearrange(pooled, "b h n c -> b n (h c)"), self.output)

    def _heads(self, projected: Sequence[Float[Tensor, "b n _"]]) -> list[Float[Tensor, "b h n _"]]:
        return [rearrange(x, "b n (h c) -> b h n c", h=self.num_heads) for x in projected]


def tanh_gelu() -> nn.Module:
    """The papers' activation: `jax.nn.gelu` is the tanh form."""
    return nn.GELU(approximate="tanh")


class MLP(nn.Sequential):
    """Linear, activation, Linear: (… channels) → (… channels)."""

    def __init__(self, channels: int, widening_factor: int = 1, activation: nn.Module | None = None):
        super().__init__(
            linear(channels, widening_factor * channels),
            activation or tanh_gelu(),
            linear(widening_factor * channels, channels),
        )

    def forward(self, input: Float[Tensor, "*s c"]) -> Float[Tensor, "*s c"]:
        widen, narrow = cast(nn.Linear, self[0]), cast(nn.Linear, self[2])
        return kernels.linear(kernels.linear(input, widen, self[1]), narrow)


class Residual(nn.Module):
    """An array and a branch of it, added; in training the branch is dropped for a row with probability `rate` (Huang et
    al. 2016).
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "b n d"], branch: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        if not self.training or self.rate == 0:  # a copy of another type is nobody else's: no third array is made
            return x + branch if branch.dtype == x.dtype else branch.to(x.dtype).add_(x)
        branch = branch.to(x.dtype)
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.rate
        return torch.addcmul(x, branch, (kept / (1 - self.rate)).to(x.dtype))


class CrossAttend(nn.Module):
    """Queries (b n d) read an array (b m c): pre-norm attention and MLP (Perceiver, section 3.1).

    `query_residual` adds the queries to what they read; leave it out where a query is only a question.
    """

    def __init__(
        self,
        q_channels: int,
        kv_channels: int,
        attention: Attention,
        mlp: nn.Module,
        *,
        query_residual: bool = True,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.query_norm = nn.LayerNorm(q_channels)
        self.kv_norm = nn.LayerNorm(kv_channels)
        self.attention = attention
        self.mlp_norm = nn.LayerNorm(q_channels)
        self.mlp = mlp
        self.query_residual = query_residual
        self.residual = Residual(drop_path)

    def forward(
        self, queries: Float[Tensor, "#b n d"], inputs: Float[Tensor, "b m c"], mask: Mask | None = None
    ) -> Float[Tensor, "b n d"]:
        return self.finish(queries, self.attention(self.query_norm(queries), self.kv_norm(inputs), mask))

    def finish(self, queries: Float[Tensor, "#b n d"], read: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """What comes after the attention: the residual and the MLP."""
        x = queries + read.to(queries.dtype) if self.query_residual else read
        return self.residual(x, self.mlp(self.mlp_norm(x)))


class SelfAttend(nn.Module):
    """An array (b n d) reads itself: pre-norm attention and MLP (Perceiver, section 3.1)."""

    def __init__(self, channels: int, attention: Attention, mlp: nn.Module, *, drop_path: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = attention
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = mlp
        self.residual = Residual(drop_path)

    def forward(self, x: Float[Tensor, "b n d"], mask: Mask | None = None) -> Float[Tensor, "b n d"]:
        normed = self.norm(x)
        x = self.residual(x, self.attention(normed, normed, mask))
        return self.residual(x, self.mlp(self.mlp_norm(x)))


@contextmanager
def record_attention(
    module: nn.Module, keep: Callable[[Tensor], Tensor] = lambda weights: weights
) -> Iterator[dict[str, list[Tensor]]]:
    """The attention weights (b h n m) of every `Attention` inside `module`, by name, once for each call.

    The forward pass is the ordinary one: a hook reads the queries and keys that it pools with. `keep` makes of the
    weights what is kept, where all of them would fill the memory.

    >>> with record_attention(model) as weights:            # doctest: +SKIP
    ...     model(inputs, queries)
    >>> weights["encoder.attention"][0].shape                # doctest: +SKIP
    """
    found: dict[str, list[Tensor]] = {}
    hooks = []
    for name, part in module.named_modules():
        if isinstance(part, Attention):

            def record(pool, arguments, _, name=name):
                q, k, _v, mask = arguments
                found.setdefault(name, []).append(keep(pool.weights(q, k, mask)))

            hooks.append(part.pool.register_forward_hook(record))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
