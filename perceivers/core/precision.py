"""Inference in bfloat16: what this machine is good at, a model in it, and how far its answers agree with exact ones.

The weights of attentions and MLPs are bfloat16 and so are their products; residuals, norms, softmaxes and sums over
inputs stay float32. Not concerned with training (autocast, in `training/`), nor with which kernel multiplies
(`kernels.py`).
"""

import time
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from perceivers.core.attention import MLP, Attention
from perceivers.core.products import onednn_types

Precision = Literal["auto", "float32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# How much faster bfloat16 must be to be worth its error, and the product that it is measured by.
WORTH, SIDE, TRIALS = 1.3, 1024, 3


@dataclass(frozen=True)
class Agreement:
    """How far fast answers (… k) are from exact ones: the largest difference over the largest value; of the `decided`
    rows, whose exact margin between first and second exceeds twice the largest difference, the `same` top answers.
    """

    error: float
    decided: int
    same: int

    def __str__(self) -> str:
        error = f"relative error {self.error:.1e}"
        top = f"; the same top answer in {self.same:,} of {self.decided:,} clear rows"
        return error + top if self.decided else error


def agreement(exact: Float[Tensor, "*rows k"], fast: Float[Tensor, "..."]) -> Agreement:
    """Compares two answers to the same inputs. Raises ValueError where they differ in shape."""
    if exact.shape != fast.shape:
        raise ValueError(f"answers {tuple(exact.shape)} and {tuple(fast.shape)} came: give two of one shape")
    exact, fast = exact.double(), fast.double()
    difference = (exact - fast).abs().max()
    error = (difference / exact.abs().max().clamp(min=torch.finfo(torch.float64).tiny)).item()
    if exact.shape[-1] < 2:
        return Agreement(error, 0, 0)
    first, second = exact.topk(2).values.unbind(-1)
    clear = first - second > 2 * difference
    same = clear & (exact.argmax(-1) == fast.argmax(-1))
    return Agreement(error, int(clear.sum()), int(same.sum()))


def choose(precision: str, device: torch.device) -> tuple[str, str]:
    """float32 or bf16, and why where that was not just asked for. `auto` is bfloat16 where this machine
    multiplies it faster by a third.

    Raises ValueError for another name.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return precision, ""
    times = bf16_speed(device)
    if precision == "bf16":
        return precision, "slower on this machine than float32" if times < 1 else ""
    reason = f"this machine multiplies bfloat16 {times:.1f} times as fast as float32"
    return ("bf16" if times > WORTH else "float32"), reason


def lower(model: nn.Module, precision: str) -> str:
    """Puts a model, in place, into a precision for inference. What was taken, and why, in words: see `choose`."""
    chosen, reason = choose(precision, next(model.parameters()).device)
    put(model, chosen)
    return said(chosen, reason)


def put(model: nn.Module, chosen: str) -> None:
    """Puts a model, in place, into float32 or bf16."""
    dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
    for module in model.modules():
        if isinstance(module, Attention | MLP):
            module.to(dtype)


def said(chosen: str, reason: str) -> str:
    """What `choose` gives, in words."""
    return f"{chosen}: {reason}" if reason else chosen


@torch.no_grad()
def bf16_speed(device: torch.device) -> float:
    """How many times faster a product of matrices is in bfloat16 than in float32, tried in turn; 0 on a CPU for which
    oneDNN has none: torch's own take minutes.
    """
    if device.type == "cpu" and torch.bfloat16 not in onednn_types():
        return 0.0
    exact = torch.rand(SIDE, SIDE, generator=torch.Generator(device).manual_seed(0), device=device)
    arrays = {"float32": exact, "bf16": exact.bfloat16()}
    seconds: dict[str, list[float]] = {name: [] for name in arrays}
    for _ in range(1 + TRIALS):
        for name, array in arrays.items():
            start = time.perf_counter()
            (array @ array)[0, 0].item()  # a GPU has finished when a number is there
            seconds[name].append(time.perf_counter() - start)
    return min(seconds["float32"][1:]) / min(seconds["bf16"][1:])
