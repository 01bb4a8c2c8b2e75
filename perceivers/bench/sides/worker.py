"""What a side can be asked: build, check, flops, run, probe.

Not concerned with how a model is built: each package has a file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .clocks import Clock, CPUClock, CUDAClock
from .counting import FlopCounter
from .probe import best_rate

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Built:
    """A model at work: `run` is what is measured and gives its outputs by name; `about` is told once."""

    run: Callable[[], dict[str, Tensor]]
    about: dict[str, Any]


class Worker:
    """Builds with `build`, from a specification and a device, and answers requests."""

    def __init__(self, build: Callable[[Spec, torch.device], Built]):
        self.build = build
        self.built: Built | None = None
        self.device = torch.device("cpu")

    def answer(self, request: Spec) -> Any:
        """The answer to one request, `do` being one of those below. Raises KeyError for another."""
        return self._actions[request["do"]](request)

    @property
    def _actions(self) -> dict[str, Callable[[Spec], Any]]:
        return {
            "build": self._build,
            "check": self._check,
            "flops": self._flops,
            "run": self._run,
            "probe": self._probe,
        }

    def _build(self, request: Spec) -> dict[str, Any]:
        torch.set_num_threads(request["threads"])
        self.device = torch.device(request["device"])
        torch.manual_seed(0)
        self.built = self.build(request["spec"], self.device)
        return self.built.about

    def _check(self, request: Spec) -> list[str]:
        """Runs once, and writes the outputs for a comparison. Raises ValueError where one is not finite."""
        outputs = {name: tensor.detach().float().cpu() for name, tensor in self._work().items()}
        if broken := [name for name, tensor in outputs.items() if not tensor.isfinite().all()]:
            raise ValueError(f"{broken[0]}: values that are not finite came, with which nothing can be compared")
        torch.save(outputs, request["to"])
        return sorted(outputs)

    def _flops(self, request: Spec) -> int:
        with FlopCounter() as counter:
            self._work()
        return counter.total

    def _run(self, request: Spec) -> dict[str, float]:
        return self._clock().measure(self._work)

    def _probe(self, request: Spec) -> float:
        torch.set_num_threads(request["threads"])
        self.device = torch.device(request["device"])
        return best_rate(request["precision"], self.device, self._clock())

    def _work(self) -> dict[str, Tensor]:
        if self.built is None:
            raise RuntimeError("nothing was built")
        return self.built.run()

    def _clock(self) -> Clock:
        return CUDAClock(torch.cuda) if self.device.type == "cuda" else CPUClock()
