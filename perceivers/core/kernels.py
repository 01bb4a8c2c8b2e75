"""The one place that decides how a product or an attention is computed.

Without gradients on a CPU, each large product and attention is tried once on this machine with each kernel that can
compute it, and the fastest is used from then on in this process (`record`, `use`, `plain`). All kernels are the same
function of the same weights. Not concerned with heads' layout or modules' order: an attention comes with its heads
apart.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear as torch_linear
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils._python_dispatch import _disable_current_modes

# Below this many weights the two plain matrix products are faster than the fused kernel, forward and backward
# (its backward pass is slow on small sizes on a CPU); above it their memory counts more.
PLAIN_WEIGHTS = 2**26
# Beyond so many weights, those of all heads leave the cache: the plain products are not tried.
CACHED_WEIGHTS = 2**22
# Products with fewer multiply-adds, and attentions with fewer weights, are not worth a choice.
SMALL_PRODUCT, SMALL_ATTENTION = 2**24, 2**18
# Rows, heads and keys that a kernel is tried with: enough to tell, few enough for a probe within a second.
TRIED_ROWS, TRIED_HEADS, TRIED_KEYS, TRIALS = 512, 2, 2048, 3
# A block of an attention's weights: two megabytes, the cache of a core.
BLOCK_QUERIES, BLOCK_KEYS = 512, 1024


class Decision(NamedTuple):
    """A product or an attention by its kind and sizes, the kernel that it took, and why."""

    shape: str
    kernel: str
    why: str


_chosen: dict[str, str] = {}
_tried: dict[str, dict[str, float]] = {}
_noted: Counter[Decision] | None = None
_plain = False


@contextmanager
def plain() -> Iterator[None]:
    """Inside, torch's own products are taken, in the papers' order."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


def record() -> dict[str, str]:
    """The kernel of each shape that was tried so far in this process."""
    return dict(_chosen)


def use(choices: Mapping[str, str]) -> None:
    """Takes a `record` for this process: the shapes in it are not tried again."""
    for shape, name in choices.items():
        known = KERNELS.get(shape.split(" ")[0], {})
        if name not in known:
            raise ValueError(f"kernel {name!r} of {shape!r} is none of {', '.join(known)}")
    _chosen.update(choices)


@contextmanager
def decisions() -> Iterator[Counter[Decision]]:
    """How each product and attention inside was decided upon, and how often."""
    global _noted
    before, _noted = _noted, Counter()
    try:
        yield _noted
    finally:
        _noted = before


def tried() -> dict[str, dict[str, float]]:
    """The seconds of each kernel for the shapes that were tried in this process."""
    return {shape: dict(times) for shape, times in _tried.items()}


def fast(*arrays: Tensor) -> bool:
    """Whether kernels may be chosen for these: no gradients, no autocast, values on a CPU."""
    return not _unchosen(*arrays)


def _unchosen(*arrays: Tensor) -> str:
    """Why no kernel may be chosen for these; nothing where one may."""
    grad = torch.is_grad_enabled()
    if _plain:
        return "plain products are asked for"
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    if torch.compiler.is_compiling() or any(array.device.type != "cpu" for array in arrays):
        return "not on a CPU"
    return "gradients" if any(grad and array.requires_grad for array in arrays) else ""


def _unsuited(multiply_adds: int, *arrays: Tensor) -> str:
    """Why a product of these is torch's own; nothing where a kernel is chosen. The last array is a weight."""
    if multiply_adds < SMALL_PRODUCT:
        return "small"
    return _unchosen(*arrays) or ("" if arrays[-1].dtype in _onednn_types() else "oneDNN has none here")


def _note(shape: str, kernel: str, why: str) -> None:
    if _noted is not None:
        _noted[Decision(shape, kernel, why)] += 1


def linear(x: Float[Tensor, "*s c"], layer: nn.Linear, activation: nn.Module | None = None) -> Float[Tensor, "*s d"]:
    """A linear layer, and the activation behind it, by the kernel that fits the size. `x` is cast to the weights."""
    weight, bias = layer.weight, layer.bias
    if why := _unsuited(x.numel() * len(weight), x, weight):
        _note(f"product {_rows(x)}×{x.shape[-1]}→{len(weight)}", "plain", why)
        y = layer(_cast(x, weight))
        return y if activation is None else activation(y)
    x = x.to(weight.dtype)
    rows, (d, c) = min(TRIED_ROWS, x.numel() // x.shape[-1]), weight.shape
    kernel = _fastest(
        f"product {str(x.dtype)[6:]} {rows}×{c}→{d}",
        PRODUCTS,
        lambda: (*(torch.rand(size).to(x.dtype) for size in ((rows, c), (d, c), (d,))), activation),
    )
    return PRODUCTS[kernel](x, weight, bias, activation)


def project(x: Float[Tensor, "*s c"], layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """Several linear layers of one array. With gradients as one product: the array is read and differentiated once."""
    weights = [layer.weight for layer in layers]
    outputs = sum(map(len, weights))
    if why := _unsuited(x.numel() * outputs, x, *weights):
        _note(f"projection {_rows(x)}×{x.shape[-1]}→{outputs}", "joined", why)
        return _joined(_cast(x, weights[0]), layers, _plain_product)
    x = x.to(weights[0].dtype)
    rows, c, widths = min(TRIED_ROWS, x.numel() // x.shape[-1]), x.shape[-1], [len(weight) for weight in weights]
    kernel = _fastest(
        f"projection {str(x.dtype)[6:]} {rows}×{c}→{'+'.join(map(str, widths))}",
        PROJECTIONS,
        lambda: (torch.rand(rows, c).to(x.dtype), [nn.Linear(c, d, dtype=x.dtype) for d in widths]),
    )
    return PROJECTIONS[kernel](x, layers)


def attend(
    q: Float[Tensor, "b h n k"],
    k: Float[Tensor, "b h m k"],
    v: Float[Tensor, "b h m v"],
    mask: Bool[Tensor, "b #n m"] | None = None,
) -> Float[Tensor, "b h n v"]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1), by the kernel that fits the size.

    `mask` is True where a query may attend. A query whose keys are all masked gets zeros.
    """
    (b, h, n, c), m = q.shape, k.shape[2]
    kernel = "plain" if b * h * n * m <= PLAIN_WEIGHTS else "fused"
    if why := "small" if n * m < SMALL_ATTENTION else _unchosen(q, k, v):
        most = f"{'at most' if kernel == 'plain' else 'over'} {PLAIN_WEIGHTS:,} weights"
        _note(f"attention {h}×{n}×{m}×{c}→{v.shape[3]}", kernel, f"{why}, {most}")
    else:
        small = b * h * n * m <= CACHED_WEIGHTS
        h, n, m = min(h, TRIED_HEADS), min(n, TRIED_ROWS), min(m, TRIED_KEYS)
        sizes = (n, c), (m, c), (m, v.shape[3])
        kind = f"{str(q.dtype)[6:]}{'' if small else ' large'}{'' if mask is None else ' masked'}"
        kernel = _fastest(
            f"attention {kind} {h}×{n}×{m}×{c}→{v.shape[3]}",
            {name: kernel for name, kernel in ATTENTIONS.items() if small or name != "plain"},
            lambda: (
                *(torch.rand(1, h, *size).to(q.dtype) for size in sizes),
                None if mask is None else torch.ones(1, 1, m, dtype=torch.bool),
            ),
        )
    return ATTENTIONS[kernel](q, k, v, mask)


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


def _apart(x: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    return tuple(linear(x, layer) for layer in layers)


def _joined(x: Tensor, layers: Sequence[nn.Linear], product: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    """One product: it costs a copy of the weights, and reads the array once."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return product(x, weight, bias, None).split([layer.out_features for layer in layers], dim=-1)


def _cast(x: Tensor, weight: Tensor) -> Tensor:
    """In the type of the weights; autocast casts both by its own rules."""
    return x if x.is_meta or torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)


def _plain_product(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    y = torch_linear(x, weight, bias)
    return y if activation is None else activation(y)


def _onednn_product(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    """A product of oneDNN on the plain weights, bias and GELU fused."""
    if isinstance(activation, nn.GELU):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], activation.approximate)
    y = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y if activation is None else activation(y)


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    place = "cpu" if q.is_meta else q.device.type  # arrays without values have no autocast of their own
    with torch.autocast(place, enabled=False):  # the softmax adds up in float32 whatever it is given
        return attention_weights(q, k, mask) @ v


def _fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    width, out = q.shape[-1], v.shape[-1]
    if width != out and fast(q, k, v):  # torch fuses equal widths alone: the narrower get zeros
        wide = -(-max(width, out) // 16) * 16
        q, k, v = pad(q * (wide / width) ** 0.5, (0, wide - width)), pad(k, (0, wide - width)), pad(v, (0, wide - out))
        return _fused_attention(q, k, v, mask)[..., :out]
    if mask is None:
        return scaled_dot_product_attention(q, k, v)
    heads = mask.unsqueeze(1)
    blind = ~heads.any(-1, keepdim=True)  # the fused kernel gives NaN there, forward or backward: let it see, then drop
    pooled = scaled_dot_product_attention(q, k, v, attn_mask=heads | blind)
    return pooled.masked_fill(blind, 0.0)


def _chunked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
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


PRODUCTS: dict[str, Callable[..., Tensor]] = {"plain": _plain_product, "onednn": _onednn_product}
ATTENTIONS: dict[str, Callable[..., Tensor]] = {
    "plain": _plain_attention,
    "fused": _fused_attention,
    "chunked": _chunked_attention,
}


PROJECTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "apart": _apart,
    "joined": lambda x, layers: _joined(x, layers, _onednn_product),
}
KERNELS = {"product": PRODUCTS, "attention": ATTENTIONS, "projection": PROJECTIONS}


def _onednn_types() -> tuple[torch.dtype, ...]:
    """What oneDNN multiplies on this CPU; nothing in a torch without it."""
    if not torch.backends.mkldnn.is_available():
        return ()
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if bf16 else (torch.float32,)


def _fastest(shape: str, kernels: Mapping[str, Callable[..., Any]], example: Callable[[], tuple]) -> str:
    """The name of the kernel for a shape: recorded, or tried now, in turn, on an example of it.

    The example has values, also where the arrays at hand have none (`FakeTensorMode`): theirs would take no time.
    """
    if shape not in _chosen:
        with torch.no_grad(), _disable_current_modes(), decisions():  # those of a try are not of what is at hand
            arguments = example()
            times = {name: [_seconds(kernel, arguments)] for name, kernel in kernels.items()}  # the first one warms up
            for _ in range(TRIALS):
                for name, kernel in kernels.items():
                    times[name].append(_seconds(kernel, arguments))
        _tried[shape] = {name: min(seconds[1:]) for name, seconds in times.items()}
        _chosen[shape] = min(_tried[shape], key=_tried[shape].__getitem__)
    _note(shape, _chosen[shape], "fastest of those tried" if shape in _tried else "recorded")
    return _chosen[shape]


def _rows(x: Tensor) -> int:
    return x.numel() // max(1, x.shape[-1])


def _seconds(kernel: Callable[..., Any], arguments: tuple) -> float:
    start = time.perf_counter()
    kernel(*arguments)
    return time.perf_counter() - start
