"""The one place that decides how a product or an attention is computed.

On a CPU, each large product and attention is tried once on this machine with each kernel that can compute it, and the
fastest is used from then on in this process (`record`, `use`, `plain`). A training run, which must not hang on the
clock when it goes on, tries at its beginning (`probing`), forward and backward, and then takes what was chosen
(`recorded`). All kernels are the same function of the same weights. Not concerned with what they do (`products.py`,
`attentions.py`), with the trial (`trials.py`), nor with heads' layout or modules' order: an attention comes with its
heads apart.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core import products
from perceivers.core.attentions import ATTENTIONS, LEARNING_ATTENTIONS, attention_weights
from perceivers.core.derived import derived
from perceivers.core.products import LEARNING_PRODUCTS, PRODUCTS, kind_of
from perceivers.core.trials import (
    FASTEST,
    Decision,
    decisions,
    fast,
    fastest,
    mode,
    note,
    plain,
    probing,
    record,
    take,
    tried,
    unchosen,
    within,
)

__all__ = [
    "ATTENTIONS",
    "FASTEST",
    "LEARNING_ATTENTIONS",
    "LEARNING_PRODUCTS",
    "PRODUCTS",
    "Decision",
    "attend",
    "attention_weights",
    "check",
    "decisions",
    "fast",
    "fold",
    "kind_of",
    "linear",
    "plain",
    "probing",
    "project",
    "record",
    "recorded",
    "reorder",
    "tried",
    "use",
]

# Below this many weights the two plain matrix products are faster than the fused kernel, forward and backward
# (its backward pass is slow on small sizes on a CPU); above it their memory counts more.
PLAIN_WEIGHTS = 2**26
# Beyond so many weights, those of all heads leave the cache: the plain products are not tried.
CACHED_WEIGHTS = 2**22
# Products with fewer multiply-adds, and attentions with fewer weights, are not worth a choice.
SMALL_PRODUCT, SMALL_ATTENTION = 2**24, 2**18
# Rows, heads and keys that a kernel is tried with: enough to tell, few enough for a probe within a second. Keys beyond
# the cache are among them: they slow one kernel by half, and others not at all.
TRIED_ROWS, TRIED_HEADS, TRIED_KEYS = 512, 2, 2**14
LEARNING_ROWS, LEARNING_BATCH = 4096, 32  # in training, where attentions are many and small


def recorded(choices: Mapping[str, str]) -> AbstractContextManager[Any]:
    """Inside, with gradients or without, a shape's kernel is the one of this record, and a shape that it lacks has
    torch's own: nothing hangs on the clock. Raises ValueError where this machine lacks a kernel or it has no gradients.
    """
    check(choices, learning=True)
    return within("recorded", dict(choices))


def use(choices: Mapping[str, str]) -> None:
    """Takes a `record` for this process: the shapes in it are not tried again. Raises ValueError as `check`."""
    check(choices)
    take(choices)


def check(choices: Mapping[str, str], learning: bool = False) -> None:
    """Raises ValueError where a record has a kernel that is unknown, that this machine lacks, or for `learning` one
    without gradients.
    """
    for shape, name in choices.items():
        kind, dtype = (*shape.split(" "), "")[:2]
        known = KERNELS.get(kind, {})
        if name not in known:
            raise ValueError(f"kernel {name!r} of {shape!r} is none of {', '.join(known)}")
        if learning and name not in LEARNING.get(kind, ()):
            raise ValueError(f"kernel {name!r} of {shape!r} has no gradients: no run takes it")
        if name in ONEDNN and dtype not in map(_short, products.onednn_types()):
            raise ValueError(f"kernel {name!r} of {shape!r} is not to be had: this machine's torch lacks oneDNN for it")


def _unsuited(multiply_adds: int, kind: torch.dtype, *arrays: Tensor) -> str:
    """Why a product of these, computed in `kind`, is torch's own; nothing where a kernel is chosen."""
    if multiply_adds < SMALL_PRODUCT:
        return "small"
    return unchosen(*arrays) or ("" if kind in products.onednn_types() else "oneDNN has none here")


def reorder(*arrays: Tensor) -> bool:
    """Whether products around an attention may be taken in another order than the papers': values on a CPU."""
    return (
        mode() != "plain" and not torch.compiler.is_compiling() and all(array.device.type == "cpu" for array in arrays)
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
    if mode() != "process":
        x = x.to(kind)  # once for all of them
        return _apart(x, layers) if few else _joined(x, layers, _product)
    if why := _unsuited(x.numel() * sum(widths), kind, x, *weights):
        note(f"projection {_rows(x)}×{x.shape[-1]}→{sum(widths)}", "apart" if few else "joined", why)
        return _apart(x, layers) if few else _joined(products.cast(x, weights[0]), layers, products.plain)
    x = x.to(kind)
    rows, c = min(TRIED_ROWS, x.numel() // x.shape[-1]), x.shape[-1]
    kernel = fastest(
        f"projection {_short(kind)} {rows}×{c}→{'+'.join(map(str, widths))}",
        {name: PROJECTIONS[name] for name in PROJECTIONS if name != "packed" or _may_pack(weights[0])},
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
    learning = mode() != "process"
    small = (b * h if learning else 1) * n * m < SMALL_ATTENTION
    if why := "small" if small else unchosen(q, k, v):
        most = f"{'at most' if kernel == 'plain' else 'over'} {PLAIN_WEIGHTS:,} weights"
        note(f"attention {h}×{n}×{m}×{c}→{v.shape[3]}", kernel, f"{why}, {most}")
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
    return fastest(
        f"attention {kind} {f'{b}×' if learning else ''}{h}×{n}×{m}×{c}→{out}",
        {name: ATTENTIONS[name] for name in names if small or name != "plain"},
        lambda: (
            *(torch.rand(b, h, *size).to(q.dtype).requires_grad_(learning) for size in ((n, c), (m, c), (m, out))),
            None if mask is None else torch.ones(b, 1, m, dtype=torch.bool),
        ),
        "plain" if small else "fused",
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor, activation: nn.Module | None) -> Tensor:
    kind = kind_of(x, weight)
    if why := _unsuited(x.numel() * len(weight), kind, x, weight):
        note(f"product {_rows(x)}×{x.shape[-1]}→{len(weight)}", "plain", why)
        return products.plain(products.cast(x, weight), weight, bias, activation)
    learning = mode() != "process"
    rows, (d, c) = min(LEARNING_ROWS if learning else TRIED_ROWS, x.numel() // x.shape[-1]), weight.shape
    types = kind, weight.dtype, weight.dtype
    names = PRODUCTS.keys() if not learning and _may_pack(weight) else LEARNING_PRODUCTS
    kernel = fastest(
        f"product {_short(kind)} {rows}×{c}→{d}",
        {name: PRODUCTS[name] for name in names if name in PRODUCTS},
        lambda: (
            *(
                torch.rand(s).to(t).requires_grad_(learning)
                for s, t in zip(((rows, c), (d, c), (d,)), types, strict=True)
            ),
            None if learning else activation,
        ),
    )
    return PRODUCTS[kernel](products.cast(x, weight), weight, bias, activation)


def _may_pack(weight: Tensor) -> bool:
    """Whether weights may be kept twice: those in bfloat16, which have half the size."""
    return weight.dtype == torch.bfloat16


def _apart(x: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    return tuple(linear(x, layer) for layer in layers)


def _joined(x: Tensor, layers: Sequence[nn.Linear], product: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    """One product: it costs a copy of the weights, and reads the array once."""
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    return product(x, weight, bias, None).split([layer.out_features for layer in layers], dim=-1)


def _packed(x: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """As `_joined`, of weights that are joined and packed once, and kept a second time."""
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Tensor] = [layer.bias for layer in layers]
    weight, bias = derived([*biases, *weights], lambda: (products.pack(torch.cat(weights)), torch.cat(biases)))
    return products.onednn(x, weight, bias, None).split([layer.out_features for layer in layers], dim=-1)


PROJECTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "apart": _apart,
    "joined": lambda x, layers: _joined(x, layers, products.onednn),
    "packed": _packed,
}
LEARNING = {"product": LEARNING_PRODUCTS, "attention": LEARNING_ATTENTIONS}
ONEDNN = {"onednn", "packed", "joined"}
KERNELS = {
    "product": PRODUCTS,
    "attention": ATTENTIONS,
    "projection": PROJECTIONS,
    "pieces": ("folded", "fused"),  # see `folded.py`
}


def _short(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _rows(x: Tensor) -> int:
    return x.numel() // max(1, x.shape[-1])
