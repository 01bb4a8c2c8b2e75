"""What follows from weights alone, made once while they stay as they are: in inference kept, in training for a step.

Not concerned with what it is.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

T = TypeVar("T")


class _Kept(NamedTuple):
    """`weights` hold the memory that `value` was made of, so that no other weights can come to lie there."""

    weights: list[Tensor]
    versions: list[int]
    value: Any


_kept = WeakTensorKeyDictionary()


def derived(weights: Sequence[Tensor], make: Callable[[], T]) -> T:
    """What `make` makes of `weights`, the first of which has one such thing. It goes when that weight goes.

    It is made anew where torch has counted a change of a weight. What is written through `.data` or numpy it does not
    count: say so by `torch.autograd.graph.increment_version`.
    """
    first = weights[0]
    if torch.is_grad_enabled() or first.is_meta or torch.is_autocast_enabled(first.device.type):
        return make()
    if any(weight.is_inference() for weight in weights):  # whose changes are not counted
        return make()
    found = _kept.get(first)
    if found is None or not _same(found, weights):
        found = _kept[first] = _Kept([w.detach() for w in weights], [w._version for w in weights], make())
    return found.value


def _same(found: _Kept, weights: Sequence[Tensor]) -> bool:
    """Whether these are the weights of old, and nobody has written into them."""
    return len(weights) == len(found.weights) and all(
        new.dtype == old.dtype
        and new.shape == old.shape
        and new.untyped_storage()._cdata == old.untyped_storage()._cdata
        and (new.storage_offset(), new.stride()) == (old.storage_offset(), old.stride())
        and new._version == version
        for new, old, version in zip(weights, found.weights, found.versions, strict=True)
    )


_casts = WeakTensorKeyDictionary()


def cast_once(weight: Tensor, kind: torch.dtype) -> Tensor:
    """Weights in another type, for a product that keeps them for its backward pass: one array for all such products of
    a step, which goes with the last of them.
    """
    if weight.dtype == kind or weight.is_inference():
        return weight.to(kind)
    found = _casts.get(weight)
    array = found.value() if found is not None and _same(found, [weight]) else None
    if array is None or array.dtype != kind:
        array = weight.to(kind)
        _casts[weight] = _Kept([weight.detach()], [weight._version], weakref.ref(array))
    return array
