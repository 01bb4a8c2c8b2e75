"""What was planned, measured: in a process of its own, which holds nothing else.

Not concerned with what is run (`training.py`, `prediction.py`).
"""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from perceivers.allocation import keep
from perceivers.bench.sides.clocks import CPUClock
from perceivers.core import kernels
from perceivers.core.perceiver import build
from perceivers.core.precision import lower
from perceivers.errors import Failed
from perceivers.plan import prediction, training
from perceivers.plan.costs import Plan, held
from perceivers.plan.probe import SMALL
from perceivers.training import fitting
from perceivers.training.module import LearningModel

RUNS = 5  # of a prediction, after the first
STEPS = 12


@dataclass(frozen=True)
class Measured:
    """Seconds, the bytes that the process held at most, and how many more than before the model was made."""

    seconds: float
    peak: int
    own: int

    def as_json(self, plan: Plan) -> dict[str, Any]:
        """Beside the plan, `off` by so many parts of what was measured."""
        return {
            "seconds": self.seconds,
            "seconds_off": plan.seconds / self.seconds - 1,
            "peak_gb": self.peak / 1e9,
            "peak_off": plan.peak / self.peak - 1,
            "own_gb": self.own / 1e9,
            "own_off": plan.own / max(1, self.own) - 1,
        }


def apart(measure: Callable[..., Measured], *given: Any) -> Measured:
    """Calls it in a process of its own. Raises Failed where that is killed."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), keep) as pool:
        try:
            return pool.submit(measure, *given).result()
        except BrokenProcessPool as error:
            raise Failed(
                "the process that --check ran was killed, likely for memory: free some, or ask less"
            ) from error


def step(options: Mapping[str, Any], plan: Plan) -> Measured:
    """A training step on the whole batch, as `training.asked(**options)` gives it, as it was planned."""
    found = training.asked(**options)
    found = training.Asked(found.data, fitting.with_kernels(found.config, plan.precision, plan.threads), found.start)
    with fitting.chosen_kernels(found.config, plan.choices), fitting.threads(plan.threads):
        stream = fitting.batches(found.data, found.config)
        few = fitting.batches(found.data, training.smaller(found.config, training.FEW)).batch(0)
        _step(found)(few)  # what the libraries set up at first is not the step's
        before = held()
        ahead = [stream.batch(i) for i in range(training.batches_held(found.config))]
        take = _step(found)
        take(ahead[0])
        peak = CPUClock().measure(lambda: take(ahead[0]))["peak"]
        del take, ahead
        taken = fitting.measure(found.model(), found.data, found.config, STEPS, float("inf"))
    return Measured(taken, int(peak), int(peak) - before)


def answer(place: str, inputs: Sequence[str], plain: bool, plan: Plan) -> Measured:
    """A prediction, as `prediction.asked` gives it, with random weights where it has none, as it was planned."""
    torch.set_num_threads(plan.threads)
    kernels.use(plan.choices)
    with torch.no_grad():  # what the libraries set up at first is not the model's
        build(SMALL)(torch.zeros(2, 64, 8), torch.zeros(2, 2, 8))
    before = held()
    found = prediction.asked(place, inputs, weights=True)
    lower(found.model, plan.precision)
    clock = CPUClock()
    with torch.no_grad(), kernels.plain() if plain else nullcontext():
        found.call(found.model, found.given)
        turns = [clock.measure(lambda: found.call(found.model, found.given)) for _ in range(RUNS)]
    peak = int(max(turn["peak"] for turn in turns))
    return Measured(min(turn["seconds"] for turn in turns), peak, peak - before)


def _step(found: training.Asked) -> training.Step:
    return training.Step(LearningModel(found.model().train(), found.config.training, STEPS))
