"""Which kernel was chosen for a shape, and the trial that chooses it on this machine.

Not concerned with what kernels there are (`kernels.py`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import _disable_current_modes

TRIALS = 3
FASTEST = "fastest of those tried"  # why a kernel was taken


class Decision(NamedTuple):
    """A product or an attention by its kind and sizes, the kernel that it took, and why."""

    shape: str
    kernel: str
    why: str


Mode = Literal["process", "plain", "probing", "recorded"]

_chosen: dict[str, str] = {}
_tried: dict[str, dict[str, float]] = {}
_noted: Counter[Decision] | None = None
_mode: Mode = "process"


@contextmanager
def within(mode: Mode, chosen: dict[str, str]) -> Iterator[dict[str, str]]:
    """Inside, kernels are chosen in this way, and into this record."""
    global _mode, _chosen
    before, (_mode, _chosen) = (_mode, _chosen), (mode, chosen)
    try:
        yield chosen
    finally:
        _mode, _chosen = before


def plain() -> AbstractContextManager[Any]:
    """Inside, torch's own products are taken, in the papers' order."""
    return within("plain", {})


def probing() -> AbstractContextManager[dict[str, str]]:
    """Inside, kernels are tried as in training, forward and backward; gives the record that comes of it."""
    return within("probing", {})


def record() -> dict[str, str]:
    """The kernel of each shape that was tried so far in this process."""
    return dict(_chosen)


def take(choices: Mapping[str, str]) -> None:
    """These need not be tried again in this process."""
    _chosen.update(choices)


def mode() -> Mode:
    """How kernels are chosen at this place."""
    return _mode


@contextmanager
def decisions() -> Iterator[Counter[Decision]]:
    """How each product and attention inside was decided upon, and how often."""
    global _noted
    before, _noted = _noted, Counter()
    try:
        yield _noted
    finally:
        _noted = before


def tried() -> dict[str, dict[str, float]]:
    """The seconds of each kernel for the shapes that were tried in this process."""
    return {shape: dict(times) for shape, times in _tried.items()}


def fast(*arrays: Tensor) -> bool:
    """Whether kernels may be chosen for these: values on a CPU, and outside of a training run no gradients."""
    return not unchosen(*arrays)


def unchosen(*arrays: Tensor) -> str:
    """Why no kernel may be chosen for these; nothing where one may."""
    if _mode == "plain":
        return "plain products are asked for"
    if torch.compiler.is_compiling() or any(array.device.type != "cpu" for array in arrays):
        return "not on a CPU"
    if _mode != "process":
        return ""
    if torch.is_autocast_enabled("cpu"):
        return "autocast"
    return "gradients" if torch.is_grad_enabled() and any(array.requires_grad for array in arrays) else ""


def note(shape: str, kernel: str, why: str) -> None:
    if _noted is not None:
        _noted[Decision(shape, kernel, why)] += 1


def fastest(
    shape: str, kernels: Mapping[str, Callable[..., Any]], example: Callable[[], tuple], default: str = "plain"
) -> str:
    """The name of the kernel for a shape: recorded, or tried now, in turn, on an example of it.

    The example has values, also where the arrays at hand have none (`FakeTensorMode`): theirs would take no time.
    """
    if _mode == "recorded" or (_mode == "probing" and not torch.is_grad_enabled()):
        note(shape, _chosen.get(shape, default), "recorded" if shape in _chosen else "not in the record")
        return _chosen.get(shape, default)
    if shape not in _chosen:
        with (
            torch.set_grad_enabled(_mode == "probing"),
            _disable_current_modes(),
            saved_tensors_hooks(_same, _same),  # where activations are computed anew, their count would differ
            decisions(),  # not of what is at hand
            torch.random.fork_rng(devices=[]),  # what is drawn at hand hangs on no trial
        ):
            arguments = example()
            able = _able(kernels, arguments)
            times: dict[str, list[float]] = {name: [] for name in able}
            for _ in range(TRIALS):
                for name, kernel in able.items():
                    times[name].append(_seconds(kernel, arguments))
        _tried[shape] = {name: min(seconds) for name, seconds in times.items()}
        _chosen[shape] = min(_tried[shape], key=_tried[shape].__getitem__)
    note(shape, _chosen[shape], FASTEST if shape in _tried else "recorded")
    return _chosen[shape]


def _able(kernels: Mapping[str, Callable[..., Any]], arguments: tuple) -> dict[str, Callable[..., Any]]:
    """The kernels that this machine runs, each once to warm up. Raises what the last one did where it runs none."""
    able, refused = {}, None
    for name, kernel in kernels.items():
        try:
            _seconds(kernel, arguments)
            able[name] = kernel
        except RuntimeError as error:  # oneDNN refuses what a CPU lacks, and memory may end
            refused = error
    if refused and not able:
        raise refused
    return able


def _same(x: Tensor) -> Tensor:
    return x


def _seconds(kernel: Callable[..., Any], arguments: tuple) -> float:
    start = time.perf_counter()
    found = kernel(*arguments)
    if torch.is_grad_enabled():
        wanted = [array for array in arguments if isinstance(array, Tensor) and array.requires_grad]
        torch.autograd.grad(found, wanted, torch.ones_like(found))
    return time.perf_counter() - start
