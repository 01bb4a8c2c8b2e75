"""Pieces of many elements, by torch's fused attention: the same as in `folded.py`, of arrays that are made.

It gives the logarithm of what each softmax sums, by which pieces are merged exactly. Not concerned with which of both
is faster (`folded.py`).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import layer_norm, pad

from perceivers.core.grids import wide
from perceivers.core.inputs import Mask, OwnSize, join

# The fused attention is the faster for widths that fill its registers.
WIDTH = 32

_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class FusedPooling:
    """Queries (#b n c) pool b rows of elements, piece after piece, layer-normed without weights."""

    def __init__(self, q: Float[Tensor, "#b n c"], b: int, eps: float, kind: torch.dtype):
        self.q, self.eps, self.width = _filled(q, kind).expand(b, -1, -1, -1), eps, q.shape[2]
        self.pooled, self.total = q.new_zeros(b, q.shape[1], q.shape[2]), q.new_full((b, q.shape[1], 1), -torch.inf)

    def add(self, piece: OwnSize, mask: Mask) -> None:
        x = wide(join(piece))
        x = _filled(layer_norm(x, x.shape[-1:], eps=self.eps), self.q.dtype)
        closed = None if mask is None else _closed(mask, self.total).expand(-1, -1, self.q.shape[2], -1)
        found, total = _attend(self.q, x, x, attn_mask=closed, scale=1.0)
        found, total = found[:, 0, :, : self.width].to(self.total), total.squeeze(1).unsqueeze(-1).to(self.total)
        both = torch.logaddexp(self.total, total)
        self.pooled = self.pooled.mul_((self.total - both).exp_()).addcmul_(found, (total - both).exp_())
        self.total = both

    def finish(self) -> tuple[Float[Tensor, "b n c"], Bool[Tensor, "b n 1"]]:
        """The layer-normed elements, pooled, before the norm's weights; and which queries saw none."""
        return self.pooled, self.total < torch.finfo(self.total.dtype).min / 2


class FusedAsking:
    """Queries, layer-normed without weights, ask keys (b n c), whose logits have an `offset`, and pool values."""

    def __init__(
        self, keys: Float[Tensor, "b n c"], offset: Float[Tensor, "b n"], values: Float[Tensor, "b n v"], eps: float
    ):
        self.eps, self.width, kind = eps, values.shape[2], values.dtype
        keys = torch.cat([keys, offset.unsqueeze(-1)], dim=-1)  # a query's last channel is 1
        most = max(keys.shape[2], self.width)
        self.keys, self.values = _filled(keys, kind, most), _filled(values, kind, most)

    def __call__(self, queries: OwnSize) -> Float[Tensor, "b o v"]:
        x = wide(join(queries))
        if not x.shape[1]:  # of which the fused attention makes a division by zero
            return self.values.new_zeros(*x.shape[:2], self.width)
        x = pad(layer_norm(x, x.shape[-1:], eps=self.eps), (0, 1), value=1.0)
        found, _ = _attend(_filled(x, self.keys.dtype, self.keys.shape[3]), self.keys, self.values, scale=1.0)
        return found[:, 0, :, : self.width]


def _filled(array: Float[Tensor, "b n c"], kind: torch.dtype, least: int = 0) -> Float[Tensor, "b 1 n x"]:
    """An array of one head, with channels of zeros that fill its width."""
    width = max(array.shape[2], least)
    return pad(array.to(kind), (0, -(-width // WIDTH) * WIDTH - array.shape[2])).unsqueeze(1)


def _closed(mask: Bool[Tensor, "b m"], like: Tensor) -> Float[Tensor, "b 1 1 m"]:
    """What is added to logits: the least number that there is where nothing may be seen, so that no sum is empty."""
    least = torch.finfo(like.dtype).min
    return torch.zeros(mask.shape, dtype=like.dtype, device=mask.device).masked_fill_(~mask, least)[:, None, None]
