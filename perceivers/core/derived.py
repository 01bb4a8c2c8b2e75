"""What follows from weights alone, made once in inference and kept while they stay as they are.

Not concerned with what it is.
"""

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
    """What `make` makes of `weights`, the first of which has one such thing. It goes when that weight goes."""
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
