"""What a plan says, and the plain FLOPs of each stage of a Perceiver IO while it runs.

Not concerned with how it is found (`training.py`, `prediction.py`) nor shown (`page.py`).
"""

import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from perceivers.core import kernels
from perceivers.core.cost import decode_flops, encode_flops, process_flops
from perceivers.core.kernels import Decision
from perceivers.core.perceiver import PerceiverIO, PerceiverIOConfig

STATUS = Path("/proc/self/statm")
LIBRARIES = "libraries and data"  # what the process holds before a model is made


def held() -> int:
    """The bytes that this process holds; where the system does not say, the most that it has held."""
    if STATUS.exists():
        return int(STATUS.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True)
class Plan:
    """What is planned, in words; the precision and why; sizes, a row's `inputs` and `queries`; FLOPs of the plain model
    by stage; seconds; bytes by what they are for; each kernel with how often it is used; the record of the `choices`
    that were made by trial; and notes for a person.
    """

    what: str
    precision: str
    reason: str
    threads: int
    rows: int
    parameters: int
    inputs: int
    queries: int
    flop: dict[str, int]
    seconds: float
    bytes: dict[str, int]
    decisions: Counter[Decision]
    choices: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """All bytes at once, at most, with those of the libraries."""
        return sum(self.bytes.values())

    @property
    def own(self) -> int:
        """Those of the model and of what it computes."""
        return self.peak - self.bytes[LIBRARIES]

    def as_json(self) -> dict[str, Any]:
        """The shape that other programs read; bytes in GB."""
        return {
            "what": self.what,
            "precision": self.precision,
            "reason": self.reason,
            "threads": self.threads,
            "rows": self.rows,
            "parameters": self.parameters,
            "inputs": self.inputs,
            "queries": self.queries,
            "flop": self.flop,
            "seconds": self.seconds,
            "peak_gb": self.peak / 1e9,
            "own_gb": self.own / 1e9,
            "memory_gb": {name: size / 1e9 for name, size in self.bytes.items()},
            "kernels": [
                {**decision._asdict(), "times": count, "tried_s": kernels.tried().get(decision.shape)}
                for decision, count in self.decisions.most_common()
            ],
            "notes": list(self.notes),
        }


class Stages:
    """Plain FLOPs of what goes through a Perceiver IO, `flop` by stage, and how many inputs and queries a row has."""

    def __init__(self, config: PerceiverIOConfig):
        self.config = config
        self.flop = {"encode": 0, "process": 0, "decode": 0}
        self.inputs = self.queries = 0

    @contextmanager
    def watching(self, perceiver: PerceiverIO) -> Iterator[None]:
        """Counts inside: the three stages are asked as methods of this very object."""
        encode, process, decode = perceiver.encode, perceiver.process, perceiver.decode

        def encoded(inputs: Any, mask: Any = None) -> Tensor:
            b, self.inputs = _sizes(inputs)
            self.flop["encode"] += encode_flops(self.config, b, self.inputs)
            return encode(inputs, mask)

        def processed(latents: Tensor) -> Tensor:
            self.flop["process"] += process_flops(self.config, len(latents))
            return process(latents)

        def decoded(latents: Tensor, queries: Any, mask: Any = None, layers: Any = ()) -> Tensor:
            b, asked = _sizes(queries)
            self.queries += asked
            self.flop["decode"] += decode_flops(self.config, b, asked)
            return decode(latents, queries, mask, layers)

        watched: dict[str, Callable[..., Tensor]] = {"encode": encoded, "process": processed, "decode": decoded}
        vars(perceiver).update(watched)
        try:
            yield
        finally:
            for name in watched:
                del vars(perceiver)[name]


def _sizes(array: Any) -> tuple[int, int]:
    """(b, m) of an array, of features and positions, or of chunks."""
    b, m, _ = (array[0] if isinstance(array, tuple) else array).shape
    return b, m
