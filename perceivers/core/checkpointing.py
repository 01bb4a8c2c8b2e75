"""What a backward pass computes anew, in place of keeping it (Chen et al. 2016, arXiv 1604.06174).

Not concerned with which functions do (`perceiver.py`), nor with how much memory there is (`training/origins.py`).
"""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.checkpoint import checkpoint

Checkpointing = Literal["off", "light", "full"]
CHECKPOINTING: tuple[Checkpointing, ...] = get_args(Checkpointing)

aten = torch.ops.aten
# Attentions that are one operation are products, too. A batch of products is one where it is no wider than its factors:
# the logits of an attention are not.
PRODUCTS = {
    aten.mm.default,
    aten.addmm.default,
    aten.linear.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    *([torch.ops.mkldnn._linear_pointwise.default] if torch.backends.mkldnn.is_available() else []),
}
# What is kept lies between what is not, and cuts the room for it up: after so many bytes the free pages are given back.
TRIMMED = 2**27


class Checkpoints:
    """Calls of functions in one forward pass, and how much of them is computed anew.

    off: nothing. full: all of it, so that only what goes into the functions is kept. light: all but what takes the
    time, products and attentions that are one operation; these are kept, the last of a function apart, and the weights
    as autocast casts them, once for all calls. Norms, activations and softmaxes are computed anew, which are most of
    the memory and little of the time (Korthikanti et al. 2022, arXiv 2205.05198, section 5). Raises ValueError for
    another kind.
    """

    def __init__(self, kind: str):
        if kind not in CHECKPOINTING:
            raise ValueError(f"checkpointing {kind!r} is none of {', '.join(CHECKPOINTING)}")
        self.kind = kind
        self.casts: dict[tuple[int, torch.dtype | None], Tensor] = {}
        self.bytes = 0

    def __call__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`function(x)`."""
        if self.kind == "off" or not torch.is_grad_enabled():
            return function(x)
        return cast(Tensor, checkpoint(function, x, use_reentrant=False, context_fn=self._contexts))

    def _contexts(self) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """Of a function's forward pass, and of its second."""
        if self.kind == "full":
            return nullcontext(), nullcontext()
        kept: list[Any] = []
        return _Keeping(self, kept), _Giving(self, kept)

    def count(self, product: Any) -> None:
        """A product was kept, or given back."""
        self.bytes += sum(x.nbytes for x in tree_leaves(product) if isinstance(x, Tensor) and x.device.type == "cpu")
        if self.bytes > TRIMMED:
            self.bytes = 0
            _trim()


class _Products(TorchDispatchMode):
    """Inside, the products of a function are those of `product`, and each weight is cast once."""

    def __init__(self, checkpoints: Checkpoints, kept: list[Any]):
        super().__init__()
        self.checkpoints, self.kept = checkpoints, kept

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        def run() -> Any:
            return func(*args, **(kwargs or {}))

        if func is aten._to_copy.default and isinstance(args[0], nn.Parameter):
            key, casts = (id(args[0]), (kwargs or {}).get("dtype")), self.checkpoints.casts
            if key not in casts:
                casts[key] = run()
            return casts[key].detach()
        if func not in PRODUCTS and not (func is aten.bmm.default and _narrow(*args)):
            return run()
        product = self.product(run)
        self.checkpoints.count(product)
        return _apart(product)

    def product(self, run: Callable[[], Any]) -> Any:
        raise NotImplementedError


class _Keeping(_Products):
    def product(self, run: Callable[[], Any]) -> Any:
        self.kept.append(run())
        return self.kept[-1]

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        del self.kept[-1:]  # what the last product goes into adds it to something, and need not know it
        super().__exit__(exc_type, exc_val, exc_tb)


class _Giving(_Products):
    def __enter__(self) -> "_Giving":
        self.rest = iter(self.kept)
        return super().__enter__()

    def product(self, run: Callable[[], Any]) -> Any:
        found = next(self.rest, None)
        return run() if found is None else found


def _narrow(left: Tensor, right: Tensor) -> bool:
    return left.shape[1] * right.shape[2] <= max(left[0].numel(), right[0].numel())


def _apart(product: Any) -> Any:
    """The same arrays, without the history of others."""
    return tree_map_only(Tensor, Tensor.detach, product)


def _trim() -> None:
    """Gives free pages back to the system, where it is glibc's (malloc_trim(3))."""
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if give_back is not None:
        give_back(0)
