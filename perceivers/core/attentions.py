"""Attentions: by plain products, by torch's fused kernel, and by blocks of weights that stay in the cache.

All of them are softmax(q·kᵀ/√k)·v, where a query whose keys are all masked gets zeros. Not concerned with which of
them is taken (`kernels.py`).
"""

from collections.abc import Callable
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from perceivers.core.trials import fast

# A block of an attention's weights: two megabytes, the cache of a core.
BLOCK_QUERIES, BLOCK_KEYS = 512, 1024


def attention_weights(
    q: Float[Tensor, "b h n k"],
    k: Float[Tensor, "b h m k"],
    mask: Bool[Tensor, "b #n m"] | None = None,
) -> Float[Tensor, "b h n m"]:
    """softmax(q·kᵀ/√k), exactly zero where `mask` is False."""
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is None:
        return logits.softmax(-1)
    closed = ~mask.unsqueeze(1)
    weights = logits.masked_fill(closed, torch.finfo(logits.dtype).min).softmax(-1)
    return weights.masked_fill(closed, 0.0)


def plain(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    place = "cpu" if q.is_meta else q.device.type  # arrays without values have no autocast of their own
    with torch.autocast(place, enabled=False):  # the softmax adds up in float32 whatever it is given
        return attention_weights(q, k, mask) @ v


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    width, out = q.shape[-1], v.shape[-1]
    if width != out and fast(q, k, v):  # torch fuses equal widths alone: the narrower get zeros
        wide = -(-max(width, out) // 16) * 16
        q, k, v = pad(q * (wide / width) ** 0.5, (0, wide - width)), pad(k, (0, wide - width)), pad(v, (0, wide - out))
        return fused(q, k, v, mask)[..., :out]
    if mask is None:
        return scaled_dot_product_attention(q, k, v)
    heads = mask.unsqueeze(1)
    blind = ~heads.any(-1, keepdim=True)  # the fused kernel gives NaN there, forward or backward: let it see, then drop
    pooled = scaled_dot_product_attention(q, k, v, attn_mask=heads | blind)
    return pooled.masked_fill(blind, 0.0)


def chunked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Blocks of weights that stay in the cache, the softmax carried along (as `streaming.py` does with gradients)."""
    (b, h, n, _), out = q.shape, q.new_empty(*q.shape[:3], v.shape[3])
    for i, j, start in product(range(b), range(h), range(0, n, BLOCK_QUERIES)):
        place = slice(start, start + BLOCK_QUERIES)
        seen = None if mask is None else mask[i].expand(n, -1)[place]
        out[i, j, place] = _pool_block(q[i, j, place] * q.shape[3] ** -0.5, k[i, j], v[i, j], seen)
    return out


def _pool_block(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Float[Tensor, "n v"]:
    kind = torch.float32 if q.dtype == torch.bfloat16 else q.dtype
    top = q.new_full((len(q), 1), torch.finfo(kind).min, dtype=kind)
    total, pooled = torch.zeros_like(top), q.new_zeros(len(q), v.shape[1], dtype=kind)
    for start in range(0, len(k), BLOCK_KEYS):
        place = slice(start, start + BLOCK_KEYS)
        logits = (q @ k[place].T).to(kind)
        if mask is not None:
            logits.masked_fill_(~mask[:, place], -torch.inf)
        new_top = torch.maximum(top, logits.amax(-1, keepdim=True))
        shares, faded = logits.sub_(new_top).exp_(), (top - new_top).exp_()
        total = total.mul_(faded).add_(shares.sum(-1, keepdim=True))
        pooled = pooled.mul_(faded).add_(shares.to(v.dtype) @ v[place])
        top = new_top
    return torch.where(total > 0, pooled / total, 0).to(q.dtype)


ATTENTIONS: dict[str, Callable[..., Tensor]] = {
    "plain": plain,
    "fused": fused,
    "chunked": chunked,
}
LEARNING_ATTENTIONS = ("plain", "fused")  # those that have gradients
