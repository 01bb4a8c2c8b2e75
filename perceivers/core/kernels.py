"""The one place that decides how a product or an attention is computed.

Not concerned with heads' layout or modules' order: an attention comes with its heads apart.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

# Below this many weights the two plain matrix products are faster than the fused kernel, forward and backward
# (its backward pass is slow on small sizes on a CPU); above it their memory counts more.
PLAIN_WEIGHTS = 2**26


def project(x: Float[Tensor, "*s c"], layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """Several linear layers of one array as one product: the array is read, cast and differentiated once."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return linear(x, weight, bias).split([layer.out_features for layer in layers], dim=-1)


def attend(
    q: Float[Tensor, "b h n k"],
    k: Float[Tensor, "b h m k"],
    v: Float[Tensor, "b h m v"],
    mask: Bool[Tensor, "b #n m"] | None = None,
) -> Float[Tensor, "b h n v"]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1), by the kernel that fits the size.

    `mask` is True where a query may attend. A query whose keys are all masked gets zeros.
    """
    b, h, n, m = *q.shape[:3], k.shape[2]
    if b * h * n * m <= PLAIN_WEIGHTS:
        place = "cpu" if q.is_meta else q.device.type  # arrays without values have no autocast of their own
        with torch.autocast(place, enabled=False):  # the softmax adds up in float32 whatever it is given
            return attention_weights(q, k, mask) @ v
    if mask is None:
        return scaled_dot_product_attention(q, k, v)
    heads = mask.unsqueeze(1)
    blind = ~heads.any(-1, keepdim=True)  # the fused kernel gives NaN there, forward or backward: let it see, then drop
    pooled = scaled_dot_product_attention(q, k, v, attn_mask=heads | blind)
    return pooled.masked_fill(blind, 0.0)


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
