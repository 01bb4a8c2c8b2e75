"""How a command computes: by which kernels, in which precision, and what is said of it.

Not concerned with how either is chosen: see `core/kernels.py` and `core/precision.py`.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

from perceivers.terminal import say


@contextmanager
def computing(
    model: Any,
    kernels: Literal["auto", "plain"],
    precision: Literal["auto", "float32", "bf16"] = "float32",
    table: Any = None,
) -> Iterator[None]:
    """Inside, a `Loaded` model answers so; a line then says what was taken and why, where something was chosen. In bf16
    the first rows of `table` are answered in float32 as well, and how far both agree is said.
    """
    from perceivers.core import kernels as products

    with products.plain() if kernels == "plain" else nullcontext():
        taken = model.lower(precision, table)
        with products.decisions() as found:
            yield
    if kernels == "plain" or precision != "float32" or any(decision.why == products.FASTEST for decision in found):
        say(f"computed in {taken}; products and attentions: {summary(found)}")


def summary(found: Counter[Any]) -> str:
    """Decisions in a line: how often each kernel was taken, and why."""
    by_reason = Counter[str]()
    for decision, count in found.items():
        by_reason[f"{decision.kernel} ({decision.why})"] += count
    return ", ".join(f"{count:,} {said}" for said, count in by_reason.most_common())
