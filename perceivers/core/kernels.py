"""The one place that decides how a product or an attention is computed.

On a CPU, each large product and attention is tried once on this machine with each kernel that can compute it, and the
fastest is used from then on in this process (`record`, `use`, `plain`). A training run, which must not hang on the
clock when it goes on, tries at its beginning (`probing`), forward and backward, and then takes what was chosen
(`recorded`). All kernels are the same function of the same weights. Not concerned with heads' layout or modules'
order: an attention comes with its heads apart.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks
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
# Rows, heads and keys that a kernel is tried with: enough to tell, few enough for a probe within a second. Keys beyond
# the cache are among them: they slow one kernel by half, and others not at all.
TRIED_ROWS, TRIED_HEADS, TRIED_KEYS, TRIALS = 512, 2, 2**14, 3
LEARNING_ROWS, LEARNING_BATCH = 4096, 32  # in training, where attentions are many and small
# A block of an attention's weights: two megabytes, the cache of a core.
BLOCK_QUERIES, BLOCK_KEYS = 512, 1024


class Decision(NamedTuple):
    """A product or an attention by its kind and sizes, the kernel that it took, and why."""

    shape: str
    kernel: str
    why: str


Mode = Literal["process", "plain", "probing", "recorded"]

_chosen: dict[str, str] = {}
_tried: dict[str, dict[str, float]] = {}
_noted: Counter[Decision] | None = None
_mode: Mode = "process"


@contextmanager
def _within(mode: Mode, chosen: dict[str, str]) -> Iterator[dict[str, str]]:
    global _mode, _chosen
    before, (_mode, _chosen) = (_mode, _chosen), (mode, chosen)
    try:
        yield chosen
    finally:
        _mode, _chosen = before


def plain() -> AbstractContextManager[Any]:
    """Inside, torch's own products are taken, in the papers' order."""
    return _within("plain", {})


def probing() -> AbstractContextManager[dict[str, str]]:
    """Inside, kernels are tried as in training, forward and backward; gives the record that comes of it."""
    return _within("probing", {})


def recorded(choices: Mapping[str, str]) -> AbstractContextManager[Any]:
    """Inside, with gradients or without, a shape's kernel is the one of this record, and a shape that it lacks has
    torch's own: nothing hangs on the clock. Raises ValueError where this machine lacks a kernel.
    """
    check(choices)
    return _within("recorded", dict(choices))


def record() -> dict[str, str]:
    """The kernel of each shape that was tried so far in this process."""
    return dict(_chosen)


def use(choices: Mapping[str, str]) -> None:
    """Takes a `record` for this process: the shapes in it are not tried again. Raises ValueError as `recorded`."""
    check(choices)
    _chosen.update(choices)


def check(choices: Mapping[str, str]) -> None:
    """Raises ValueError where a record has a kernel that is unknown, or that this machine lacks."""
    for shape, name in choices.items():
        kind, dtype = (*shape.split(" "), "")[:2]
        known = KERNELS.get(kind, {})
        if name not in known:
            raise ValueError(f"kernel {name!r} of {shape!r} is none of {', '.join(known)}")
        if name == "onednn" and dtype not in map(_short, _onednn_types()):
            raise ValueError(f"kernel {name!r} of {shape!r} is not to be had: this machine's torch lacks oneDNN for it")


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
    """Whether kernels may be chosen for these: values on a CPU, and outside of a training run no gradients."""
    return not _unchosen(*arrays)


def _unchosen(*arrays: Tensor) -> str:
    """Why no kernel may be chosen for these; nothing where one may."""
    if _mode == "plain":
        return "plain products are asked for"
    if torch.compiler.is_compiling() or any(array.device.type != "cpu" for array in arrays):
        return "not on a CPU"
    if _mode != "process":
        return ""
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    return "gradients" if torch.is_grad_enabled() and any(array.requires_grad for array in arrays) else ""


def _unsuited(multiply_adds: int, kind: torch.dtype, *arrays: Tensor) -> str:
    """Why a product of these, computed in `kind`, is torch's own; nothing where a kernel is chosen."""
    if multiply_adds < SMALL_PRODUCT:
        return "small"
    return _unchosen(*arrays) or ("" if kind in _onednn_types() else "oneDNN has none here")


def _note(shape: str, kernel: str, why: str) -> None:
    if _noted is not None:
        _noted[Decision(shape, kernel, why)] += 1


def reorder(*arrays: Tensor) -> bool:
    """Whether products around an attention may be taken in another order than the papers': values on a CPU."""
    return (
        _mode != "plain" and not torch.compiler.is_compiling() and all(array.device.type == "cpu" for array in arrays)
    )


def fold(*arrays: Tensor) -> bool:
    """Whether layers may be multiplied with each other before they see these: as `reorder`, for inference."""
    return not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu") and reorder(*arrays)


def linear(x: Float[Tensor, "*s c"], layer: nn.Linear, activation: nn.Module | None = None) -> Float[Tensor, "*s d"]:
    """A linear layer, and the activation behind it, by the kernel that fits the size. `x` is cast to the weights."""
    return _product(x, layer.weight, layer.bias, activation)


def project(x: Float[Tensor, "*s c"], layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """Several linear layers of one array. With gradients as one product, which reads and differentiates the array once,
    but where it has fewer rows than the weights, which are copied for that.
    """
    weights = [layer.weight for layer in layers]
    kind, widths = kind_of(x, weights[0]), [len(weight) for weight in weights]
    few = _rows(x) < sum(widths)
    if _mode != "process":
        return _apart(x, layers) if few else _joined(x, layers, _product)
    if why := _unsuited(x.numel() * sum(widths), kind, x, *weights):
        _note(f"projection {_rows(x)}×{x.shape[-1]}→{sum(widths)}", "apart" if few else "joined", why)
        return _apart(x, layers) if few else _joined(_cast(x, weights[0]), layers, _plain_product)
    x = x.to(kind)
    rows, c = min(TRIED_ROWS, x.numel() // x.shape[-1]), x.shape[-1]
    kernel = _fastest(
        f"projection {_short(kind)} {rows}×{c}→{'+'.join(map(str, widths))}",
        PROJECTIONS,
        lambda: (torch.rand(rows, c).to(kind), [nn.Linear(c, d, dtype=kind) for d in widths]),
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
    learning = _mode != "process"
    small = (b * h if learning else 1) * n * m < SMALL_ATTENTION
    if why := "small" if small else _unchosen(q, k, v):
        most = f"{'at most' if kernel == 'plain' else 'over'} {PLAIN_WEIGHTS:,} weights"
        _note(f"attention {h}×{n}×{m}×{c}→{v.shape[3]}", kernel, f"{why}, {most}")
    else:
        kernel = _tried_attention(q, k, v, mask, learning)
    return ATTENTIONS[kernel](q, k, v, mask)


def _tried_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, learning: bool) -> str:
    (b, h, n, c), m, out = q.shape, k.shape[2], v.shape[3]
    small = b * h * n * m <= (PLAIN_WEIGHTS if learning else CACHED_WEIGHTS)
    names = LEARNING_ATTENTIONS if learning else ATTENTIONS.keys()
    b, h = (min(b, LEARNING_BATCH), h) if learning else (1, min(h, TRIED_HEADS))
    n, m = min(n, TRIED_ROWS), min(m, TRIED_KEYS)
    kind = f"{_short(q.dtype)}{'' if small else ' large'}{'' if mask is None else ' masked'}"
    return _fastest(
        f"attention {kind} {f'{b}×' if learning else ''}{h}×{n}×{m}×{c}→{out}",
        {name: ATTENTIONS[name] for name in names if small or name != "plain"},
        lambda: (
            *(torch.rand(b, h, *size).to(q.dtype).requires_grad_(learning) for size in ((n, c), (m, c), (m, out))),
            None if mask is None else torch.ones(b, 1, m, dtype=torch.bool),
        ),
        "plain" if small else "fused",
    )


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


def _product(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    kind = kind_of(x, weight)
    if why := _unsuited(x.numel() * len(weight), kind, x, weight):
        _note(f"product {_rows(x)}×{x.shape[-1]}→{len(weight)}", "plain", why)
        return _plain_product(_cast(x, weight), weight, bias, activation)
    learning = _mode != "process"
    rows, (d, c) = min(LEARNING_ROWS if learning else TRIED_ROWS, x.numel() // x.shape[-1]), weight.shape
    types = kind, weight.dtype, weight.dtype
    kernel = _fastest(
        f"product {_short(kind)} {rows}×{c}→{d}",
        PRODUCTS,
        lambda: (
            *(
                torch.rand(s).to(t).requires_grad_(learning)
                for s, t in zip(((rows, c), (d, c), (d,)), types, strict=True)
            ),
            None if learning else activation,
        ),
    )
    return PRODUCTS[kernel](_cast(x, weight), weight, bias, activation)


def _apart(x: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    return tuple(linear(x, layer) for layer in layers)


def _joined(x: Tensor, layers: Sequence[nn.Linear], product: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    """One product: it costs a copy of the weights, and reads the array once."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return product(x, weight, bias, None).split([layer.out_features for layer in layers], dim=-1)


def kind_of(x: Tensor, weight: Tensor) -> torch.dtype:
    """The type in which a product is computed."""
    place = x.device.type
    return torch.get_autocast_dtype(place) if not x.is_meta and torch.is_autocast_enabled(place) else weight.dtype


def _short(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _cast(x: Tensor, weight: Tensor) -> Tensor:
    """In the type of the weights; autocast casts both by its own rules."""
    return x if x.is_meta or torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)


def _plain_product(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    y = torch_linear(x, weight, bias)
    return y if activation is None else activation(y)


def _onednn_product(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    """A product of oneDNN on the plain weights, the bias and without gradients GELU fused."""
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad):
        y = _Product.apply(x, weight, bias, kind_of(x, weight))
        return y if activation is None else activation(y)
    x, weight, bias = (array.to(kind_of(x, weight)) for array in (x, weight, bias))
    if isinstance(activation, nn.GELU):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], activation.approximate)
    y = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y if activation is None else activation(y)


class _Product(torch.autograd.Function):
    """The product with its gradients, which are plain products. All of them are computed in one type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kind: torch.dtype) -> Tensor:
        ctx.types = x.dtype, weight.dtype, bias.dtype
        x, weight = x.to(kind), weight.to(kind)
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias.to(kind), "none", [], "")

    @staticmethod
    @once_differentiable
    def backward(  # pyrefly: ignore[bad-override]  the decorator has no names of arguments
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        (x, weight), (x_type, weight_type, bias_type) = ctx.saved_tensors, ctx.types
        grad, rows = grad_outputs[0].flatten(0, -2), x.flatten(0, -2)
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = (grad @ weight).view(x.shape).to(x_type)
        if ctx.needs_input_grad[1]:  # the narrower of the two is the one that is transposed
            wider = grad.shape[1] > rows.shape[1]
            to_weight = ((rows.mT @ grad).mT if wider else grad.mT @ rows).to(weight_type)
        if ctx.needs_input_grad[2]:
            to_bias = grad.sum(0).to(bias_type)
        return to_x, to_weight, to_bias, None


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
LEARNING_ATTENTIONS = ("plain", "fused")  # those that have gradients


PROJECTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "apart": _apart,
    "joined": lambda x, layers: _joined(x, layers, _onednn_product),
}
FASTEST = "fastest of those tried"  # why a kernel was taken
KERNELS = {"product": PRODUCTS, "attention": ATTENTIONS, "projection": PROJECTIONS}


def _onednn_types() -> tuple[torch.dtype, ...]:
    """What oneDNN multiplies on this CPU; nothing in a torch without it."""
    if not torch.backends.mkldnn.is_available():
        return ()
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return (torch.float32, torch.bfloat16) if bf16 else (torch.float32,)


def _fastest(
    shape: str, kernels: Mapping[str, Callable[..., Any]], example: Callable[[], tuple], default: str = "plain"
) -> str:
    """The name of the kernel for a shape: recorded, or tried now, in turn, on an example of it.

    The example has values, also where the arrays at hand have none (`FakeTensorMode`): theirs would take no time.
    """
    if _mode == "recorded" or (_mode == "probing" and not torch.is_grad_enabled()):
        _note(shape, _chosen.get(shape, default), "recorded" if shape in _chosen else "not in the record")
        return _chosen.get(shape, default)
    if shape not in _chosen:
        with (
            torch.set_grad_enabled(_mode == "probing"),
            _disable_current_modes(),
            saved_tensors_hooks(_same, _same),  # where activations are computed anew, their count would differ
            decisions(),
        ):  # not of what is at hand
            arguments = example()
            times = {name: [_seconds(kernel, arguments)] for name, kernel in kernels.items()}  # the first one warms up
            for _ in range(TRIALS):
                for name, kernel in kernels.items():
                    times[name].append(_seconds(kernel, arguments))
        _tried[shape] = {name: min(seconds[1:]) for name, seconds in times.items()}
        _chosen[shape] = min(_tried[shape], key=_tried[shape].__getitem__)
    _note(shape, _chosen[shape], FASTEST if shape in _tried else "recorded")
    return _chosen[shape]


def _same(x: Tensor) -> Tensor:
    return x


def _rows(x: Tensor) -> int:
    return x.numel() // max(1, x.shape[-1])


def _seconds(kernel: Callable[..., Any], arguments: tuple) -> float:
    start = time.perf_counter()
    found = kernel(*arguments)
    if torch.is_grad_enabled():
        wanted = [array for array in arguments if isinstance(array, Tensor) and array.requires_grad]
        torch.autograd.grad(found, wanted, torch.ones_like(found))
    return time.perf_counter() - start
