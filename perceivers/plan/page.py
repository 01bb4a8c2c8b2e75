"""A plan as lines for a person.

Not concerned with how its numbers were found.
"""

from collections.abc import Iterator

from perceivers.core import kernels
from perceivers.core.precision import said
from perceivers.plan.check import Measured
from perceivers.plan.costs import Plan
from perceivers.terminal import counted


def lines(plan: Plan, measured: Measured | None) -> list[str]:
    """The plan, and what was measured beside it where it was."""
    return [
        f"{plan.what}: {plan.rows:,} × {plan.inputs:,} inputs, {plan.queries:,} queries, "
        f"{plan.parameters:,} parameters, {counted(plan.threads, 'thread')}",
        f"precision  {said(plan.precision, plan.reason)}",
        *_row("time", f"{_seconds(plan.seconds)}", "" if measured is None else _seconds(measured.seconds)),
        *_row("memory", f"{_bytes(plan.peak)}", "" if measured is None else _bytes(measured.peak)),
        *(f"  {name:<28}{_bytes(size):>12}" for name, size in plan.bytes.items()),
        f"FLOPs      {_flop(sum(plan.flop.values()))}",
        *(f"  {name:<28}{_flop(count):>12}" for name, count in plan.flop.items()),
        "kernels",
        *_kernels(plan),
        *(f"note: {note}" for note in plan.notes),
    ]


def _row(name: str, planned: str, measured: str) -> Iterator[str]:
    yield f"{name:<11}{planned}{f'; measured {measured}' if measured else ''}"


def _kernels(plan: Plan) -> Iterator[str]:
    tried = kernels.tried()
    for decision, count in plan.decisions.most_common():
        times = tried.get(decision.shape, {}) if "tried" in decision.why else {}
        shown = ", ".join(f"{name} {_seconds(seconds)}" for name, seconds in times.items())
        yield f"  {count:>4} × {decision.shape}: {decision.kernel} ({decision.why}{f': {shown}' if shown else ''})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _bytes(size: float) -> str:
    return f"{size / 1e9:.3f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _flop(count: float) -> str:
    return f"{count / 1e9:,.3f} G"
