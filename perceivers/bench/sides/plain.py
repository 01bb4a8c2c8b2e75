"""Our side with every fast path switched off: what the kernels are worth.

Not concerned with models (`ours.py`).
"""

import torch
from torch import Tensor

from perceivers.core import kernels

from . import ours
from .worker import Built, Spec


def build(spec: Spec, device: torch.device) -> Built:
    """What `ours` builds, run by torch's own products."""
    built = ours.build(spec, device)

    def run() -> dict[str, Tensor]:
        with kernels.plain():
            return built.run()

    return Built(run, built.about)
