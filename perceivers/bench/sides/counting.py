"""FLOPs of whatever runs inside, by torch's own formulas.

`FlopCounterMode` also tells modules apart by hooks on gradients, which fail without gradients. Not concerned with what
no formula knows: products by kernels outside of torch's own operators.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCounter(TorchDispatchMode):
    """Adds up `total`: one for each multiplication and each addition of a product."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func._overloadpacket not in flop_registry:
            with self:
                parts = func.decompose(*args, **named)
            return func(*args, **named) if parts is NotImplemented else parts
        out = func(*args, **named)
        self.total += flop_registry[func._overloadpacket](*args, **named, out_val=out)
        return out
