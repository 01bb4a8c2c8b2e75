"""A model run on weights that have no values: what it would compute and hold, at no cost.

What depends on the batch alone is computed, as sizes hang on it; what has met a weight has a shape and no values.
Not concerned with seconds (`probe.py`).
"""

import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from perceivers.modalities.terms import Terms


class Array(NamedTuple):
    """What stands for a tensor in an operation."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class Operation(NamedTuple):
    """One of torch's own operations and what it was given, `Array` for each tensor, lists as tuples."""

    function: Any
    arguments: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]


class Trace(TorchDispatchMode):
    """Inside: `operations` and how often each came, their `flops`, and the bytes `held` now and at the `peak`."""

    def __init__(self):
        super().__init__()
        self.operations: Counter[Operation] = Counter()
        self.flops = self.held = self.peak = 0
        self._sizes: dict[int, int] = {}
        self._ignored: list[Tensor] = []

    def ignore(self, tensors: Any) -> None:
        """The bytes of these, a nest of lists and dicts, are not counted: views show them again."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor):
                self._sizes[tensor.untyped_storage()._cdata] = 0
                self._ignored.append(tensor)

    def begin(self) -> None:
        """Forgets what came so far, but for what is held."""
        self.operations.clear()
        self.flops, self.peak = 0, self.held

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        out = func(*args, **named)
        if func.namespace != "prim":  # a question about a tensor, no operation
            self.operations[Operation(func, _frozen(args), tuple((k, _frozen(v)) for k, v in named.items()))] += 1
            if formula := FORMULAS.get(func._overloadpacket):
                self.flops += formula(*args, **named, out_val=out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.hold(tensor)
        return out

    def hold(self, tensor: Tensor) -> None:
        """Counts the bytes of a tensor from now on until nothing refers to them."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = storage.nbytes()
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._let_go, storage._cdata)

    def _let_go(self, storage: int) -> None:
        self.held -= self._sizes.pop(storage)


def hollow(model: nn.Module) -> None:
    """Takes the values of all weights away, in place; a model on the meta device comes to the CPU."""
    mode, found = FakeTensorMode(allow_non_fake_inputs=True), {}
    for module in model.modules():
        if isinstance(module, Terms):  # looked up outside of torch, and known in advance
            continue
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    if tensor.dtype == torch.bool:  # which says what is computed: at first no
                        found[tensor] = torch.zeros(tensor.shape, dtype=torch.bool) if tensor.is_meta else tensor
                    if tensor not in found:
                        with mode:
                            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                        is_weight = isinstance(tensor, nn.Parameter)
                        found[tensor] = nn.Parameter(empty, tensor.requires_grad) if is_weight else empty
                    tensors[name] = found[tensor]


def bytes_of(tensors: Any) -> int:
    """The bytes of all tensors in a nest of lists and dicts."""
    return sum(tensor.nbytes for tensor in tree_leaves(tensors) if isinstance(tensor, Tensor))


def _frozen(arguments: Any) -> Any:
    """Arguments as a key: tensors as `Array`, lists as tuples."""
    arrays = tree_map_only(Tensor, lambda t: Array(tuple(t.shape), t.stride(), t.dtype), arguments)
    return _tuples(arrays)


def _tuples(nest: Any) -> Any:
    if isinstance(nest, list) or type(nest) is tuple:
        return tuple(_tuples(one) for one in nest)
    return nest


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _attention_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape)


def _pointwise(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return 2 * x.numel() * len(weight)


FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    **({torch.ops.mkldnn._linear_pointwise: _pointwise} if torch.backends.mkldnn.is_available() else {}),
}
