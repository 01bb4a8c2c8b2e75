"""What the pages of a run are made of.

Not concerned with how any of it is shown.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perceivers.data.schema import Field, Schema
from perceivers.explain import Average, Explanation
from perceivers.modalities.base import Metrics, Modality
from perceivers.slices import Slices


@dataclass(frozen=True)
class TargetResult:
    """One target on the test rows. `answers` are probabilities (n k) or numbers (n k); `truth` class indices (n),
    0/1 (n k) or numbers (n k); `rows` the row ids (n).

    `average` is over a sample of the test rows; `explain(row)` explains one of them, with `method` in words; None where
    inputs are too large for that.
    """

    field: Field
    modality: Modality
    metrics: Metrics
    answers: np.ndarray
    truth: np.ndarray
    rows: np.ndarray
    baselines: dict[str, Metrics]
    slices: Slices
    average: Average | None
    explain: Callable[[int], Explanation | None]
    method: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """A finished run. `history` has a dict a step: step, train_loss, validation_loss, lr, None where not measured.

    `cell(field name, row)` draws an input as HTML (`Modality.draw`, which escapes), `example(field name, row)` is what
    was read; `row_name(row)` names a row.
    """

    title: str
    data: str
    command: str
    schema: Schema
    targets: list[TargetResult]
    history: list[dict[str, Any]]
    split_sizes: dict[str, int]
    parameters: int
    size: str
    seconds: float
    steps: int
    notes: list[str]
    unreadable: list[str]
    cell: Callable[[str, int], str]
    row_name: Callable[[int], str]
    example: Callable[[str, int], Any]
    versions: dict[str, str]
