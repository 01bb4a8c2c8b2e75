"""The best rate at which this machine multiplies matrices: what "limit" means.

Not concerned with models: their shapes may allow less.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

from .clocks import Clock

SHAPES = ((512, 1024, 1024), (2048, 2048, 2048), (4096, 1024, 4096))  # rows, in, out
SECONDS = 0.25  # for each way and shape


def best_rate(precision: str, device: torch.device, clock: Clock) -> float:
    """FLOP/s of the fastest product of all ways and shapes. `precision`: `float32` or `bfloat16`."""
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    best = 0.0
    with torch.inference_mode():
        for rows, inner, outer in SHAPES:
            x, w = (torch.randn(*shape, device=device).to(dtype) for shape in ((rows, inner), (outer, inner)))
            for way in ways(x, w):
                best = max(best, 2 * rows * inner * outer / _fastest(way, clock))
    return best


def ways(x: Tensor, w: Tensor) -> list[Callable[[], Tensor]]:
    """The products that torch has for these: its default, and oneDNN's own, with the weights as they are or packed."""
    default = [lambda: linear(x, w)]
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return default
    mkldnn = torch.ops.mkldnn
    if x.dtype == torch.bfloat16 and not mkldnn._is_mkldnn_bf16_supported():
        return default
    packed = mkldnn._reorder_linear_weight(w, x.shape[0])
    return [
        *default,
        lambda: mkldnn._linear_pointwise(x, w, None, "none", [], ""),
        lambda: mkldnn._linear_pointwise(x, packed, None, "none", [], ""),
    ]


def _fastest(way: Callable[[], Tensor], clock: Clock) -> float:
    way()
    times, spent = [], 0.0
    while spent < SECONDS or len(times) < 3:
        times.append(clock.measure(way)["seconds"])
        spent += times[-1]
    return min(times)
