"""The seconds of operations, each tried alone on arrays of its shapes.

Not concerned with where the operations come from (`trace.py`).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from perceivers.core import kernels
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.plan.trace import Array, Operation, Trace

LONG = 0.1  # seconds: what takes so long is tried once
SECONDS, LEAST, MOST = 0.005, 3, 20  # of tries for each of the others, and how many at least and at most
_aten = torch.ops.aten
# Those of whole numbers, which torch refuses to divide by zero.
DIVISIONS = {_aten.div, _aten.floor_divide, _aten.floor_divide_, _aten.fmod, _aten.remainder, _aten.remainder_}
SMALL = PerceiverIOConfig(8, 8, num_latents=2, latent_channels=8, self_attends_per_block=4)


def total(operations: Mapping[Operation, int]) -> float:
    """The time of all of them, each as often as it comes, and of the Python between them."""
    between = _between()
    return sum(count * (_seconds(operation) + between) for operation, count in operations.items())


def _between() -> float:
    """Seconds that modules take around an operation: a small model, beyond the time of its operations alone."""
    model = build(SMALL).eval()
    inputs, queries = torch.zeros(1, 2, SMALL.input_channels), torch.zeros(1, 1, SMALL.query_channels)
    with torch.no_grad(), kernels.plain():
        with Trace() as traced:
            model(inputs, queries)
        whole = min(_timed(model, (inputs, queries), {}) for _ in range(MOST))
    operations = traced.operations
    alone = sum(count * _seconds(operation) for operation, count in operations.items())
    return max(0.0, whole - alone) / operations.total()


@torch.no_grad()
def _seconds(operation: Operation) -> float:
    whole = int(operation.function._overloadpacket in DIVISIONS)
    arguments = _filled(operation.arguments, whole)
    named = {name: _filled(value, whole) for name, value in operation.named}
    times = [_timed(operation.function, arguments, named)]
    if times[0] > LONG:
        return times[0]
    times = []
    while len(times) < LEAST or (sum(times) < SECONDS and len(times) < MOST):
        times.append(_timed(operation.function, arguments, named))
    return min(times)


def _timed(function: Callable[..., Any], arguments: Any, named: dict[str, Any]) -> float:
    began = time.perf_counter()
    function(*arguments, **named)
    return time.perf_counter() - began


def _filled(nest: Any, whole: int) -> Any:
    """Arguments with a tensor for each `Array`: halves, True, and of whole numbers `whole`: 0 is an index anywhere."""
    if isinstance(nest, Array):
        return _tensor(nest, whole)
    return [_filled(one, whole) for one in nest] if isinstance(nest, tuple) else nest


def _tensor(array: Array, whole: int) -> Tensor:
    value = 0.5 if array.dtype.is_floating_point else True if array.dtype == torch.bool else whole
    extent = 1 + sum((size - 1) * step for size, step in zip(array.shape, array.stride, strict=True))
    empty = 0 in array.shape
    return torch.full((0 if empty else extent,), value, dtype=array.dtype).as_strided(array.shape, array.stride)
