"""Events in continuous time: what happened when, in which unit, with which values. Spikes, logs, sensor readings.

Not concerned with the forms in which events come (`occurrences.py`), with what is read off train (`recordings.py`),
with the module (`events_input.py`), nor with making a long table rows of events (`perceivers.data.long`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers import recipe
from perceivers.errors import BadInput
from perceivers.modalities import recordings
from perceivers.modalities.base import Inputs, Modality, Part, Uniform, one_of, positive
from perceivers.modalities.events_input import EventsInput, EventsInputs
from perceivers.modalities.raster import Raster
from perceivers.modalities.recordings import Recording
from perceivers.modalities.shaded import Plain, Shaded, shades

FARTHEST = 1e3  # standard deviations: what is farther away is taken to be there
BYTES = 24  # of an event in a file or a string, about


class Events(Modality):
    """Options: `time`, `unit` and `values` (names of columns or keys, "0", "1", "2" … of lists; None: by their names,
    else the first, the first of words or the second, and all others that are numbers; `unit: false`: all events are of
    one unit), `start` (from when time counts: `first`, the first event of each row, a number, a date, or the name of a
    column; None: one moment where all rows of train begin at about the same, else `first`), `files` (cells are paths of
    csv, tsv, parquet, npy or npz files), `max_events` (of a window; None: the 99th percentile of train, at most 4,096),
    `augment` (in training events are dropped, moved by a fraction of the usual gap, and their values shaken); and of
    train: `units` (the 1,000 most frequent; all others are unseen), `mean` and `std` (of the values of each unit, last
    of the unseen), `counts` (mean and standard deviation of log(1 + n) of each), `span` (of the longest row) and `gap`
    (the usual one between events of a unit).

    An example is a `Recording`.
    """

    name = "events"
    options: ClassVar[Mapping[str, Any]] = {
        "time": None,
        "unit": None,
        "values": None,
        "start": None,
        "files": False,
        "max_events": None,
        "augment": True,
        "units": None,
        "mean": None,
        "std": None,
        "counts": None,
        "span": None,
        "gap": None,
    }

    def check(self, field: Any) -> None:
        one_of(field, "time", str, None)
        one_of(field, "unit", str, None, False)
        one_of(field, "start", str, int, float, None)
        for option in ("files", "augment"):
            one_of(field, option, bool)
        positive(field, "max_events")
        for option in ("span", "gap"):
            one_of(field, option, int, float, None)
        for option in ("values", "units"):
            names = field.options[option]
            if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise BadInput(f"{field.name}: {option} must be a list of names, got {names!r:.60}")
        for option in ("mean", "std", "counts"):
            recordings.check_table(field, option)

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        return recordings.fit(field, cells)

    def read(self, field: Any, cell: Any) -> Recording | None:
        """A list of [time, unit, value …] or of dicts, a dict of lists, an array (n, 2 + k) or with named fields, JSON
        of these, or the Path of a file; a tuple of lists where the field has several columns. Events may come in any
        order; none at all is a recording of nothing, which is not the same as missing.
        """
        return recordings.read(field, cell)

    def remarks(self, field: Any, cell: Any, example: Recording | None) -> Sequence[str]:
        return () if example is None else example.remarks

    def windows(self, field: Any, example: Recording | None) -> list[Recording | None]:
        """Windows of `max_events` side by side, the last one flush with the end; of more than 16 a few, evenly."""
        most = field.options["max_events"]
        if example is None or len(example) <= most:
            return [example]
        count = min(-(-len(example) // most), recipe.EVENTS_MOST_WINDOWS)
        return [example.window(int(at), most) for at in np.linspace(0, len(example) - most, count).round()]

    def crop(self, field: Any, example: Recording, uniform: float) -> Recording:
        most = field.options["max_events"]
        return example.window(int(uniform * max(1, len(example) - most + 1)), most)

    def size(self, field: Any, cell: Any) -> int:
        if isinstance(cell, tuple):
            cell = cell[0]
        if isinstance(cell, Path):
            count = cell.stat().st_size // BYTES if cell.is_file() else 0
        elif isinstance(cell, str):
            count = len(cell) // BYTES
        elif isinstance(cell, Mapping):
            count = max([0, *(len(column) for column in cell.values() if isinstance(column, list | np.ndarray))])
        else:
            count = len(cell) if isinstance(cell, list | np.ndarray) else 0
        return 1 + -(-min(count, field.options["max_events"]) // _group(field))

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """For u units and k values an event: `times` (b n) float32, since the start, in usual gaps, in their order;
        `units` (b n) int64, u for an unseen one; `values` (b n k) float32, standardised by unit, at most 1e3 away from
        0, and 0 where not `there` (b n k); `mask` (b n), True where there is an event; `counts` (b u+1) float32,
        standardised log(1 + n) of each unit in the whole row; `length` (b) float32, of the whole row, in spans;
        `present` (b), False where the cell is missing. n ≥ 1; 0 where there is no event.
        """
        options, b = field.options, len(examples)
        u, k = len(options["units"]), len(options["values"])
        n = max([1, *(len(example) for example in examples if example is not None)])
        times, units = np.zeros((b, n)), np.zeros((b, n), np.int64)
        values, there, mask = np.zeros((b, n, k)), np.zeros((b, n, k), bool), np.zeros((b, n), bool)
        counts, length = np.zeros((b, u + 1)), np.zeros(b)
        present = np.array([example is not None for example in examples])
        means, stds = (np.array(options[name]).reshape(u + 1, k) for name in ("mean", "std"))
        usual, spread = np.array(options["counts"]).T
        for row, one in enumerate(examples):
            if one is not None:
                m = len(one)
                times[row, :m], units[row, :m], mask[row, :m] = one.times / options["gap"], one.units, True
                there[row, :m] = ~np.isnan(one.values)
                values[row, :m] = (one.values - means[one.units]) / stds[one.units]
                counts[row], length[row] = (np.log1p(one.counts) - usual) / spread, one.length / options["span"]
        values = np.clip(np.where(there, values, 0), -FARTHEST, FARTHEST)
        numbers = {"times": times, "values": values, "counts": counts, "length": length}
        others = {"units": units, "there": there, "mask": mask, "present": present}
        part = {name: torch.from_numpy(array.astype(np.float32)) for name, array in numbers.items()}
        return part | {name: torch.from_numpy(array) for name, array in others.items()}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Events are dropped, up to a fifth of them, and moved by up to a fifth of the usual gap; a few units are shown
        as unseen; the values of each unit are scaled and shifted together, and shaken one by one. The counts stay.
        """
        n, k = part["values"].shape[1:]
        u = len(field.options["units"])
        units = part["units"].masked_fill(uniform("unseen", n) < recipe.EVENTS_UNSEEN, u)
        if not field.options["augment"]:
            return {**part, "units": units}
        mask = part["mask"] & (uniform("events", n) >= recipe.EVENTS_DROPPED * uniform("dropped", 1))
        times = part["times"] + recipe.EVENTS_SHAKEN * (2 * uniform("times", n) - 1)
        of_units = rearrange(2 * uniform("units", 2 * (u + 1) * k) - 1, "b (two u k) -> two b u k", two=2, u=u + 1, k=k)
        rows = torch.arange(len(units))[:, None]
        change = of_units[:, rows, part["units"]]
        shaken = rearrange(2 * uniform("values", n * k) - 1, "b (n k) -> b n k", n=n, k=k) * 3**0.5
        values = (
            part["values"] * (1 + recipe.EVENTS_SCALE * change[0])
            + recipe.EVENTS_SHIFT * change[1]
            + recipe.EVENTS_NOISE * shaken
        )
        order = times.masked_fill(~mask, torch.inf).argsort(dim=1, stable=True)
        there = part["there"] & mask.unsqueeze(-1)
        moved = {"times": times * mask, "units": units, "values": values * there, "there": there, "mask": mask}
        return {**part, **{name: tensor[rows, order] for name, tensor in moved.items()}}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {name: tensor.masked_fill(rows.view(-1, *(1,) * (tensor.ndim - 1)), 0) for name, tensor in part.items()}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        def module(options: Mapping[str, Any], group: int) -> EventsInput:
            span = options["span"] / options["gap"]
            return EventsInput(len(options["units"]), len(options["values"]), group, span, channels)

        return EventsInputs({field.name: module(field.options, _group(field)) for field in fields})

    def draw(self, field: Any, cell: Any) -> str:
        """A raster: time to the right, a line for each unit, marks as high as their values are large."""
        example = self.read(field, cell)
        if example is None or not len(example):
            return _nothing(example).html()
        return self._raster(field, example, np.zeros(len(example))).html()

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """Each event with the weight of its token; that of the token for the whole is left out."""
        example = self.read(field, cell)
        if example is None or not len(example):
            return _nothing(example)
        total, seen = np.zeros(len(example)), np.zeros(len(example))
        pieces = self.windows(field, example)
        starts = np.linspace(0, len(example) - len(pieces[0] or ()), len(pieces)).round().astype(int)
        for start, piece, weight in zip(starts, pieces, weights, strict=False):
            index = np.arange(len(piece or ()))
            total[start + index] += weight[1 + index // _group(field)]
            seen[start + index] += 1
        return self._raster(field, example, shades(total / np.maximum(seen, 1)))

    def _raster(self, field: Any, example: Recording, weights: Float[np.ndarray, " n"]) -> Raster:
        means, stds = (np.array(field.options[name]) for name in ("mean", "std"))
        first = np.zeros(len(example))
        if field.options["values"]:
            first = ((example.values - means[example.units]) / stds[example.units])[:, 0]
        return Raster.of(example.times, example.units, first, [*field.options["units"], "unseen"], weights)

    def baseline(self, field: Any) -> Any:
        """The counts and rates, and of each of the most frequent units its values' mean and spread and its gaps."""
        from perceivers.modalities import features

        return features.Rates(len(field.options["units"]), len(field.options["values"]))


def _nothing(example: Recording | None) -> Plain:
    """What is said in place of a raster where there is nothing to draw."""
    return Plain("–" if example is None else "no events")


def _group(field: Any) -> int:
    """How many events, neighbours in time, are a token."""
    return -(-field.options["max_events"] // recipe.EVENTS_TOKENS)
