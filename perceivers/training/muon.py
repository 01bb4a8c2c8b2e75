"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal, for all matrices of one shape at once.

The filters of a convolution are a matrix, one row for each. Not concerned with which weights are given to it
(`optimisers.py`): each must have two axes or more.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration, as published
ITERATIONS = 5
MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """As `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`, but matrices of one shape are one product.

    `dtype` is that of the products: bfloat16 where the machine is good at it, as the published one.
    """

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, weight_decay: float, dtype: torch.dtype):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(_shape(matrix), []).append(matrix)
            for matrices in by_shape.values():
                self._step(matrices, group["lr"], group["weight_decay"])
        return loss

    def _step(self, matrices: list[Tensor], lr: float, weight_decay: float) -> None:
        """One step of matrices that are alike, the tall ones on their side."""
        gradients = [matrix.grad for matrix in matrices]
        momenta = [self._momentum(matrix) for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
        updates = torch._foreach_lerp(gradients, momenta, MOMENTUM)  # Nesterov's look ahead
        stack = torch.stack([_on_side(update) for update in updates]).to(self.dtype)
        rate = lr * 0.2 * max(stack.shape[1:]) ** 0.5  # the size of AdamW's updates (Liu et al. 2025)
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        for matrix, update in zip(matrices, orthogonal(stack), strict=True):
            _on_side(matrix).add_(update, alpha=-rate)

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        return state["momentum_buffer"]


def orthogonal(matrices: Float[Tensor, "k n m"]) -> Float[Tensor, "k n m"]:
    """Each matrix (n <= m) with its singular values moved near to 1, by the Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    x = matrices / matrices.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _shape(weights: Tensor) -> tuple[int, int]:
    rows, columns = len(weights), weights[0].numel()
    return min(rows, columns), max(rows, columns)


def _on_side(weights: Tensor) -> Tensor:
    """The matrix or its transpose, whichever is wide; a view."""
    matrix = weights.view(len(weights), -1)
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
