"""Times at which values are asked: an input that is not read, but says where the target's queries stand.

Not concerned with the values there (`forecast.py`).
"""

import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.positions import LearnedArray
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import steps
from perceivers.modalities.base import Inputs, Modality, Part, PerField, numbers


class Asked(Modality):
    """Columns: a list of times a row, and, where the series that is read has times, these: times count from the first
    of them. A row may ask for more times than any of train. Options: `span` (None: the least and the greatest of
    train).

    An example is float64 (n): the times since the first one of the series.
    """

    name = "asked"
    options: ClassVar[Mapping[str, Any]] = {"span": None}

    def check(self, field: Any) -> None:
        if len(field.columns) > 2:
            raise BadInput(f"{field.name}: asked reads the times asked and those of a series, not {len(field.columns)}")
        numbers(field, "span", 2)

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        if field.options["span"] is not None:
            return {}
        found = []
        for cell in cells:
            with suppress(Unreadable):
                found.append(self.read(field, cell))
        known = np.concatenate([example for example in found if example is not None] or [np.zeros(0)])
        if not len(known):
            raise BadInput(f"{field.name}: no time is asked in the rows of train")
        return {"span": [float(known.min()), float(known.max())]}

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """A list of numbers or dates; a tuple of it and of the times of a series."""
        asked, of_series = cell if len(field.columns) == 2 else (cell, None)
        times, first = steps.as_times(asked), steps.as_times(of_series)
        if times is None or not len(times):
            return None
        return times - (0.0 if first is None or not len(first) else first[0])

    def size(self, field: Any, cell: Any) -> int:
        return 0

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`times` (b n) float32, in [-1, 1] over train's span; `there` (b n), True where one is asked."""
        longest = max([1, *(len(example) for example in examples if example is not None)])
        array = np.full((len(examples), longest), np.nan)
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                row[: len(example)] = example
        low, high = field.options["span"]
        placed = 2 * (array - low) / (high - low or 1.0) - 1
        return {
            "times": torch.from_numpy(np.nan_to_num(placed).astype(np.float32)),
            "there": torch.from_numpy(~np.isnan(array)),
        }

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "times": part["times"] * ~rows[:, None]}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField({field.name: Unread(channels) for field in fields})

    def draw(self, field: Any, cell: Any) -> str:
        example = self.read(field, cell)
        return "–" if example is None else html.escape(", ".join(f"{time:.4g}" for time in example[:10]))

    def baseline(self, field: Any) -> Any:
        """The number of times, the first and the last."""
        from perceivers.modalities import features

        return features.ends()


class Unread(nn.Module):
    """A token that says that times are asked."""

    def __init__(self, channels: int):
        super().__init__()
        self.field = LearnedArray(1, channels)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b 1 c"], Bool[Tensor, "b 1"]]:
        array = self.field(len(part["times"]))
        return array, torch.ones(array.shape[:2], dtype=torch.bool, device=array.device)
