"""What the sides have in common: noise as inputs, and a step of training.

Not concerned with models.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SIDE = 224  # of ImageNet's pictures


def about(model: nn.Module, version: str) -> dict[str, Any]:
    """What is told of a model once."""
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "version": version, "torch": torch.__version__}


def array(size: int, channels: int, device: torch.device) -> Tensor:
    """Noise (1 size channels), the same on every side."""
    return torch.randn(1, size, channels, generator=torch.Generator().manual_seed(size)).to(device)


def step(
    model: nn.Module,
    logits: Callable[[Tensor], Tensor],
    batch: int,
    device: torch.device,
    precise: Callable[[], AbstractContextManager[Any]],
) -> Callable[[], dict[str, Tensor]]:
    """A step of AdamW on a batch of noise: pictures → `logits` (b 1000) → cross-entropy, forward and backward."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)).to(device)
    classes = torch.arange(batch, device=device)

    def run() -> dict[str, Tensor]:
        optimiser.zero_grad()
        with precise():
            answer = logits(images)
        loss = cross_entropy(answer.float(), classes)
        loss.backward()
        optimiser.step()
        return {"loss": loss.detach()}

    return run
