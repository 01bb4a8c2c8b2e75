"""Our side with every fast path switched off, or one of them: what the kernels are worth.

Not concerned with models (`ours.py`).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from perceivers.core import folded, kernels

from . import ours
from .worker import Built, Spec


def build(spec: Spec, device: torch.device) -> Built:
    """What `ours` builds, run by torch's own products, or `without` one gain: a process does nothing else after it."""
    if without := spec.get("without"):
        SWITCHES[without]()
        return ours.build(spec, device)
    built = ours.build({**spec, "kernels": "plain"}, device)

    def run() -> dict[str, Tensor]:
        with kernels.plain():
            return built.run()

    return Built(run, built.about)


def _torchs_products() -> None:
    kernels.PRODUCTS.pop("onednn")
    _weights_as_they_lie()
    _projections_apart()


def _weights_as_they_lie() -> None:
    for kind in (kernels.PRODUCTS, kernels.PROJECTIONS):
        kind.pop("packed")


def _projections_apart() -> None:
    for name in ("joined", "packed"):
        kernels.PROJECTIONS.pop(name, None)


def _whole_attentions() -> None:
    kernels.ATTENTIONS.pop("chunked")


def _papers_order() -> None:
    kernels.reorder = lambda *arrays: False


def _inputs_made() -> None:
    folded.MANY = 2**62


SWITCHES: dict[str, Callable[[], None]] = {
    "torch's products": _torchs_products,
    "weights as they lie": _weights_as_they_lie,
    "projections apart": _projections_apart,
    "whole attentions": _whole_attentions,
    "the papers' order": _papers_order,
    "inputs made": _inputs_made,
}
