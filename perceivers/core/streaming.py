"""Exact cross-attention over inputs that come in chunks: memory for one chunk, however many there are.

The softmax is carried along from chunk to chunk (Milakov and Gimelshein 2018, "Online normalizer calculation for
softmax"); the backward pass reads the chunks again and computes their keys, values and weights anew (Rabe and Staats
2021, "Self-attention does not need O(n²) memory"; Dao et al. 2022). Not concerned with where chunks come from
(`inputs.py`), nor with the rest of a cross-attend (`attention.py`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from perceivers.core import folded
from perceivers.core.attention import CrossAttend, DotProduct
from perceivers.core.inputs import (
    Array,
    Chunks,
    Learned,
    Listed,
    Mask,
    Parts,
    check_types,
    cut,
    join,
    once,
    pieces,
    shape_of,
)
from perceivers.core.reader import answering

# Inputs that come one after the other, how many is not known, are taken for so many.
MANY = 2**24
# Keys (b h m k), values (b h m v) and mask of each chunk, in order; the same at every call but for read-once inputs.
Stream = Callable[[], Iterator[tuple[Float[Tensor, "b h m k"], Float[Tensor, "b h m v"], Mask]]]


def read(
    cross: CrossAttend, latents: Float[Tensor, "#b n d"], inputs: Array | Chunks | Iterable, mask: Mask
) -> Float[Tensor, "b n d"]:
    """The latents, each row's or the same for all, read a whole array, `Chunks`, or an iterable of chunks.

    Chunks bring their own masks, so `mask` must be None with them. An iterable may be one that can be read only once;
    only a list of chunks gives gradients. Raises ValueError where chunks do not fit each other or their `shape`, and
    where arrays or masks are of a type that is not read.
    """
    kind = cross.kv_norm.weight.dtype
    if isinstance(inputs, Tensor | tuple | Parts):
        check_types("the array", inputs, mask, kind)
        shape = shape_of(inputs)
        if folded.reads(cross, latents, shape, mask is not None):
            return folded.read(cross, latents, [(inputs, mask)])
        return cross(latents, join(inputs), mask)
    if mask is not None:
        raise ValueError("chunks bring their own masks: leave `mask` out, or give an array")
    if isinstance(inputs, np.ndarray):
        raise ValueError(
            "a numpy array came: give torch.from_numpy(array), or Sliced(array, size) to read it by pieces"
        )
    if isinstance(inputs, Sequence) and torch.is_grad_enabled():
        inputs = Listed(inputs)
    if isinstance(inputs, Chunks):
        if folded.reads(cross, latents, inputs.shape, True):
            return folded.read(cross, latents, _typed(pieces(inputs), kind))
        return _read_chunks(cross, latents.expand(inputs.shape[0], -1, -1), inputs)
    return _read_once(cross, latents, inputs)


def ask(
    cross: CrossAttend,
    latents: Float[Tensor, "b n d"],
    queries: Array | Chunks,
    mask: Mask,
    see: Callable[[Mask], Mask],
    layers: Sequence[nn.Linear],
) -> Float[Tensor, "b o e"]:
    """Queries read the latents, and what they read goes through `layers`. Those of chunks come by the chunk; in
    training the backward pass computes each chunk anew. Many, without gradients, in pieces that stay in the cache.
    """
    whole = isinstance(queries, Tensor | tuple | Parts)
    kind = cross.query_norm.weight.dtype
    if whole:
        check_types("the array", queries, mask, kind)
    _, size, _ = shape_of(queries) if whole else queries.shape
    many = folded.many(cross, latents, size)
    answers, answer, way = [], None, ""
    for array, seen in [(queries, mask)] if whole else _typed(pieces(queries), kind):
        if answer is None:
            answer, way = answering(cross, latents, next(cut(array, seen, size)), size, layers)
        step = folded.piece(latents, shape_of(array), way) if many else size
        for piece, visible in cut(array, seen, step):
            if torch.is_grad_enabled() and not whole:
                answers.append(checkpoint(answer, piece, see(visible), use_reentrant=False))
            else:
                answers.append(answer(piece, see(visible)))
    return answers[0] if len(answers) == 1 else torch.cat(answers, dim=1)


def _read_chunks(cross: CrossAttend, latents: Float[Tensor, "b n d"], inputs: Chunks) -> Float[Tensor, "b n d"]:
    attention = cross.attention

    def stream() -> Iterator[tuple[Tensor, Tensor, Mask]]:
        for array, mask in _typed(pieces(inputs), cross.kv_norm.weight.dtype):
            yield *attention.keys_values(cross.kv_norm(join(array))), mask

    def weights() -> list[nn.Parameter]:
        return [p for part in parts for p in part.parameters() if p.requires_grad]

    parts = [cross.kv_norm, attention.to_k, attention.to_v, *([inputs.adapter] if isinstance(inputs, Learned) else [])]
    given = weights()

    def again() -> Iterator[tuple[Tensor, Tensor, Mask]]:
        if any(a is not b for a, b in zip(given, weights(), strict=True)):
            raise RuntimeError("the model has other weights than in the forward pass: chunks cannot be read again")
        return stream()

    return _finish(cross, latents, again, given)


def _read_once(cross: CrossAttend, latents: Float[Tensor, "#b n d"], inputs: Iterable) -> Float[Tensor, "b n d"]:
    if torch.is_grad_enabled() and any(p.requires_grad for p in cross.parameters()):
        raise ValueError(
            "a backward pass reads the inputs twice, and these can be read once: "
            "give `Chunks` or a list, or wrap the call in torch.no_grad()"
        )
    chunks = _typed(once(inputs), cross.kv_norm.weight.dtype)
    first, *_ = held = next(chunks)
    b, _, c = shape_of(first)
    if folded.reads(cross, latents, (b, MANY, c), True):
        return folded.read(cross, latents, chain([held], chunks))

    def stream() -> Iterator[tuple[Tensor, Tensor, Mask]]:
        for array, mask in chain([held], chunks):
            yield *cross.attention.keys_values(cross.kv_norm(join(array))), mask

    return _finish(cross, latents.expand(b, -1, -1), stream, [])


def _typed(chunks: Iterable[tuple[Array, Mask]], kind: torch.dtype) -> Iterator[tuple[Array, Mask]]:
    """The chunks as they come. Raises ValueError where weights of this type do not take one."""
    for i, (array, mask) in enumerate(chunks):
        check_types(f"chunk {i}", array, mask, kind)
        yield array, mask


def _finish(
    cross: CrossAttend, latents: Float[Tensor, "b n d"], stream: Stream, weights: Sequence[Tensor]
) -> Float[Tensor, "b n d"]:
    q = cross.attention.queries(cross.query_norm(latents))
    width = cross.attention.to_v.out_features // cross.attention.num_heads
    pooled, seen = _Pool.apply(q, width, stream, *weights)
    if type(cross.attention.pool) is not DotProduct and not bool(seen.all()):
        raise ValueError("a row has nothing to read, and this model pools then over the whole input: give one array")
    return cross.finish(latents, cross.attention.merge(pooled))


class _Pool(torch.autograd.Function):
    """softmax(q·kᵀ/√k)·v over a stream of keys and values of `width`, and which queries saw anything (b 1 n 1).

    `weights` are all that the stream depends upon and that may want a gradient. A query that sees nothing pools zeros.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Float[Tensor, "b h n k"], width: int, stream: Stream, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        kind = torch.promote_types(q.dtype, torch.float32)  # sums over millions are kept in float32 whatever comes
        top = q.new_full((*q.shape[:3], 1), -torch.inf, dtype=kind)
        total, pooled = torch.zeros_like(top), q.new_zeros((*q.shape[:3], width), dtype=kind)
        for k, v, mask in stream():
            if not k.shape[2]:
                continue
            logits = _logits(q, k, mask, kind)
            new_top = torch.maximum(top, logits.amax(-1, keepdim=True))
            finite = new_top.clamp(min=torch.finfo(kind).min)  # where nothing was seen yet: exp(-inf - finite) = 0
            shares, faded = (logits - finite).exp_(), (top - finite).exp()
            total = total * faded + shares.sum(-1, keepdim=True)
            pooled = pooled * faded + (shares.to(v.dtype) @ v).to(kind)
            top = new_top
        seen = total > 0
        pooled = torch.where(seen, pooled / total, 0)
        ctx.save_for_backward(q, pooled, torch.where(seen, top + total.log(), torch.inf), *weights)
        ctx.stream, ctx.kind = stream, kind
        ctx.autocast = torch.is_autocast_enabled(q.device.type), torch.get_autocast_dtype(q.device.type)
        ctx.mark_non_differentiable(seen)
        return pooled.to(q.dtype), seen

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore[bad-override]  the decorator has no names of arguments
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        q, pooled, normaliser, *weights = ctx.saved_tensors
        enabled, dtype = ctx.autocast
        grad = grad_outputs[0].to(ctx.kind)
        inner = (grad * pooled).sum(-1, keepdim=True)
        to_q, to_weights = torch.zeros_like(q, dtype=ctx.kind), [torch.zeros_like(w) for w in weights]
        with torch.enable_grad(), torch.autocast(q.device.type, dtype=dtype, enabled=enabled):
            for k, v, mask in ctx.stream():
                with torch.no_grad():
                    shares = (_logits(q, k, mask, ctx.kind) - normaliser).exp_()
                    to_v = shares.mT.to(v.dtype) @ grad.to(v.dtype)
                    slopes = shares * ((grad.to(v.dtype) @ v.mT).to(ctx.kind) - inner) * q.shape[-1] ** -0.5
                    to_q += slopes.to(k.dtype) @ k
                    to_k = slopes.mT.to(q.dtype) @ q
                if weights:  # some of which may stay as they are
                    both = [(x, to_x) for x, to_x in ((k, to_k.to(k.dtype)), (v, to_v)) if x.requires_grad]
                    outputs, given = zip(*both, strict=True)
                    found = torch.autograd.grad(outputs, weights, given, allow_unused=True)
                    to_weights = [s if f is None else s.add_(f) for s, f in zip(to_weights, found, strict=True)]
        return to_q.to(q.dtype), None, None, *to_weights


def _logits(q: Tensor, k: Tensor, mask: Mask, kind: torch.dtype) -> Float[Tensor, "b h n m"]:
    logits = ((q * q.shape[-1] ** -0.5) @ k.mT).to(kind)
    return logits if mask is None else logits.masked_fill(~mask[:, None, None], -torch.inf)
