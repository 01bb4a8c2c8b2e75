"""Series of numbers: one or many channels, uneven lengths, missing values, time stamps.

Not concerned with the forms in which series come (`steps.py`), with the modules (`series_input.py`, `forecast.py`), nor
with cutting a long table into rows (`perceivers.data.long`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers import recipe
from perceivers.arrays import array_shape
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import forecast, metrics, steps
from perceivers.modalities.base import (
    Inputs,
    Metrics,
    Modality,
    Part,
    PerField,
    Target,
    Uniform,
    fault,
    numbers,
    one_of,
    positive,
)
from perceivers.modalities.lines import legend, lines
from perceivers.modalities.series_input import SeriesInput
from perceivers.modalities.shaded import Curve, Plain, Shaded, shades
from perceivers.modalities.terms import SeriesTerms, Terms
from perceivers.modalities.warp import warp
from perceivers.terminal import counted

SAMPLE = 1_000  # series of train that `fit` reads
MOST_DRAWN = 240  # steps
PAST_DRAWN = 3  # times the horizon, beside a forecast
LEAST_SCALE = 0.05  # of train's: a series that hardly moves is not blown up to a full swing
FARTHEST = 1e3  # standard deviations: what is farther away is taken to be there


class Series(Modality):
    """Options: `time` (which of the columns has the times of the steps), `files` (cells are paths of npy files),
    `steps_first` (of nested lists and arrays; None: by train's shapes), `own_scale` (each series is standardised by
    itself, not by train), `augment` (shaken in training, a few steps go missing), `warp` (warped in time, scaled and
    shifted, too: not where steps or their level are asked); and of train: `channels`, `mean` and `std` (of each),
    `length` (the longest), `step` (the usual time between steps) and `patch` (steps a token).

    In forecasts: `known` (an input reaches `horizon` steps into the future) and `words` (its column holds words: each
    word of train is a channel of 0 and 1). Of a target: `horizon` (its steps; None:
    the longest of train), `past` (the input that it goes on from), `asked` (the input of its times), and of the inputs:
    `given` (the channels of those that are known), `read` (the steps of its past), `roots` (train's values are never
    negative; the linear part may read their square roots).

    An example is float64 (t, 1 + k): the time since the first step in usual steps, then k channels, NaN where missing;
    of a target (horizon · k), without the times.
    """

    name = "series"
    options: ClassVar[Mapping[str, Any]] = {
        "time": None,
        "files": False,
        "steps_first": None,
        "own_scale": False,
        "augment": True,
        "warp": True,
        "channels": None,
        "mean": None,
        "std": None,
        "length": None,
        "step": None,
        "patch": None,
        "known": False,
        "words": None,
        "horizon": None,
        "past": None,
        "asked": None,
        "given": None,
        "read": None,
        "roots": None,
    }

    def check(self, field: Any) -> None:
        one_of(field, "time", None, *(field.columns if len(field.columns) > 1 else ()))
        for option in ("files", "own_scale", "augment", "warp", "known"):
            one_of(field, option, bool)
        for option in ("steps_first", "roots"):
            one_of(field, option, bool, None)
        for option in ("channels", "patch", "horizon", "read"):
            positive(field, option)
        for option in ("mean", "std"):
            numbers(field, option, field.options["channels"])
        for option in ("length", "step"):
            one_of(field, option, int, float, None)
        one_of(field, "past", str, None)
        one_of(field, "asked", str, None)
        if not isinstance(field.options["words"], list | None):
            raise BadInput(
                f"{field.name}: words must be a list, or true with a horizon, got {field.options['words']!r}"
            )
        if not isinstance(field.options["given"], dict | None):
            raise BadInput(
                f"{field.name}: given must be input fields with their channels, got {field.options['given']!r}"
            )

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        chosen = [cells[i] for i in np.random.default_rng(0).permutation(len(cells))[:SAMPLE]]
        if field.options["steps_first"] is None:
            field = field.with_options(steps_first=steps.steps_first(chosen))
        examples = list(_readable(field, chosen))
        if not examples:
            why = fault(partial(self._steps, field), chosen)
            raise BadInput(f"{field.name}: no series can be read in the rows of train: {why}")
        usual = Counter(example.shape[1] - 1 for example in examples).most_common(1)[0][0]
        channels = field.options["channels"] or usual
        fitting = [example for example in examples if example.shape[1] == channels + 1]
        if not fitting:
            raise BadInput(f"{field.name}: no series of train has {channels} channels; most have {usual}")
        gaps = np.concatenate([np.diff(example[:, 0]) for example in fitting])
        step = float(np.median(gaps)) if len(gaps) else 1.0
        most = max(len(example) for example in fitting)
        options = {
            "channels": channels,
            "length": max(most, 1 + max(float(example[-1, 0]) for example in fitting) / step),
            "step": step * (field.options["step"] or 1.0),
            "patch": next((p for p in _powers() if most / p <= recipe.SERIES_TOKENS), recipe.SERIES_MOST_PATCH),
            **_statistics(np.concatenate([example[:, 1:] for example in fitting])),
        }
        if field.role == "target":
            options["horizon"] = most
            options["roots"] = all(np.nanmin(example[:, 1:], initial=0) >= 0 for example in fitting)
        return {"steps_first": field.options["steps_first"]} | {
            name: value for name, value in options.items() if field.options[name] is None
        }

    def agree(self, field: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return forecast.shared(field, inputs)

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """A list of numbers (one channel), a list of lists (channels, or steps of channels), an array, JSON of these,
        or the Path of an npy file; a tuple for several columns, each with one list. No steps at all is missing.
        """
        example = self._steps(field, cell)
        return forecast.flat(example, field.options["horizon"]) if field.role == "target" else example

    def _steps(self, field: Any, cell: Any) -> Float[np.ndarray, "t c"] | None:
        times, values = self._columns(field, cell)
        if values is None or not len(values):
            return None
        channels = field.options["channels"]
        if channels is not None and values.shape[1] != channels:
            raise Unreadable(f"{values.shape[1]} channels came, expected {channels}, as in training")
        if times is None:
            times = np.arange(len(values), dtype=np.float64)
        elif len(times) != len(values):
            raise Unreadable(f"{len(times)} times came for {len(values)} steps")
        elif (np.diff(times) <= 0).any():
            place = int(np.flatnonzero(np.diff(times) <= 0)[0])
            what = "twice" if times[place] == times[place + 1] else "before it"
            raise Unreadable(f"step {place + 2}: time {times[place + 1]:g} came {what}: sort the steps, each time once")
        since = (times - times[0]) / (field.options["step"] or 1.0)
        return np.column_stack([since, values])

    def _columns(self, field: Any, cell: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The times, where a column has them, and the values (t k) of the others, NaN where a column is missing; None
        where all are.
        """
        of_column = dict(zip(field.columns, cell if len(field.columns) > 1 else (cell,), strict=True))
        times = steps.as_times(of_column.pop(field.options["time"])) if field.options["time"] else None
        arrays = {name: steps.as_array(one) for name, one in of_column.items()}
        found = {name: a for name, a in arrays.items() if a is not None and a.size}
        if not found:
            return times, None
        first = field.options["steps_first"]
        shaped = {name: a[:, None] if a.ndim == 1 else a if first else a.T for name, a in found.items()}
        if len({len(a) for a in shaped.values()}) > 1:
            lengths = ", ".join(f"{len(a)} in {name}" for name, a in shaped.items())
            raise Unreadable(f"columns of different lengths came: {lengths}")
        missing = np.full((len(next(iter(shaped.values()))), 1), np.nan)
        return times, np.concatenate([shaped.get(name, missing) for name in of_column], axis=1)

    def mismatch(self, field: Any, example: Any, examples: Mapping[str, Any]) -> str | None:
        """Of a target whose times are asked: values after the last of them."""
        asked = field.options["asked"]
        if example is None or asked is None:
            return None
        there = ~np.isnan(example.reshape(-1, field.options["channels"])).all(1)
        values, times = int(np.flatnonzero(there).max(initial=-1)) + 1, examples[asked]
        if values <= (count := 0 if times is None else len(times)):
            return None
        return f"{values} values came for {counted(count, 'time')} in {asked!r}: expected a time for each value"

    def size(self, field: Any, cell: Any) -> int:
        if isinstance(cell, tuple):
            cell = cell[-1]
        if isinstance(cell, Path):
            sides = array_shape(cell)
        elif isinstance(cell, list | np.ndarray) and len(cell):
            sides = (len(cell), len(cell[0]) if isinstance(cell[0], list | np.ndarray) else 1)
        else:
            sides = (1,)
        return -(-max(sides, default=1) // field.options["patch"])

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """For k channels: `values` (b t k) float32, standardised, at most 1e3 away from 0, 0 where missing; `present`
        (b t k); `times` (b t) float32, in usual steps since the first; `length` (b) int64, its steps, 0 where missing;
        `mean` and `std` (b k) float32, of the series itself where `own_scale`, in train's units, else 0 and 1.
        Of a target: see `forecast.collate`.
        """
        if field.role == "target":
            return forecast.collate(field, examples)
        k = field.options["channels"]
        longest = max([1, *(len(example) for example in examples if example is not None)])
        array = np.full((len(examples), longest, 1 + k), np.nan)
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                row[: len(example)] = example
        times, values = array[:, :, 0], (array[:, :, 1:] - field.options["mean"]) / field.options["std"]
        mean, std = _own_scale(values) if field.options["own_scale"] else (np.zeros((1, k)), np.ones((1, k)))
        values = np.clip((values - mean[:, None]) / std[:, None], -FARTHEST, FARTHEST)
        shape = (len(examples), k)
        return {
            "values": torch.from_numpy(np.nan_to_num(values).astype(np.float32)),
            "present": torch.from_numpy(~np.isnan(values)),
            "times": torch.from_numpy(np.nan_to_num(times).astype(np.float32)),
            "length": torch.tensor([0 if example is None else len(example) for example in examples]),
            "mean": torch.from_numpy(np.broadcast_to(mean, shape).astype(np.float32)),
            "std": torch.from_numpy(np.broadcast_to(std, shape).astype(np.float32)),
        }

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Shaken, a few steps go missing; with `warp` cropped and warped in time, scaled and shifted, too.

        Um et al. 2017 ("Data augmentation of wearable sensor data"), sections 3.1 to 3.5.
        """
        if not field.options["augment"]:
            return part
        t, k = part["values"].shape[1:]
        values, present = part["values"], part["present"]
        noise = rearrange(uniform("jitter", 2 * t * k), "b (two t k) -> two b t k", two=2, t=t).sum(0) - 1  # a triangle
        if field.options["warp"]:
            values, present = warp(values, present, part["length"], uniform("warp", 5) * 2 - 1)
            change = rearrange(uniform("scale", 2 * k) * 2 - 1, "b (two k) -> two b 1 k", two=2)
            values = values * (1 + recipe.SERIES_SCALE * change[0]) + recipe.SERIES_SHIFT * change[1]
        values = values + (recipe.SERIES_JITTER if field.options["warp"] else recipe.SERIES_NOISE) * 6**0.5 * noise
        present = present & (uniform("gaps", t) >= recipe.SERIES_GAPS).unsqueeze(-1)
        return {**part, "values": values * present, "present": present}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        dropped = {name: part[name].clone() for name in part}
        for name, tensor in dropped.items():
            tensor[rows] = 1 if name == "std" else 0
        return dropped

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField(
            {
                f.name: SeriesInput(f.options["channels"], f.options["patch"], f.options["length"], channels)
                for f in fields
            }
        )

    def terms(self, field: Any) -> Terms:
        return SeriesTerms(field.options)

    def target(self, field: Any, channels: int) -> Target:
        kind = forecast.SeriesTarget if field.options["asked"] is None else forecast.AskedTarget
        return kind(field.options, channels)

    def draw(self, field: Any, cell: Any) -> str:
        """A small chart of the channels over time."""
        example = self._steps(field, cell)
        return "–" if example is None else lines(example[:, 0], example[:, 1:].T)

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """At most 240 steps, each with its share of its patch's weight; that of the token for the whole is left out."""
        example = self.read(field, cell)
        if example is None or np.isnan(example[:, 1:]).all():
            return Plain("–")
        chosen = np.unique(np.linspace(0, len(example) - 1, MOST_DRAWN).round().astype(int))
        of_step = weights[:, 1:].mean(0)[chosen // field.options["patch"]]
        return Curve(example[chosen, 0], example[chosen, 1:], shades(of_step))

    def baseline(self, field: Any) -> Any:
        """Each channel at 64 equal steps, or at every step where all series are of one length below."""
        from perceivers.modalities import features

        return features.Resampled(field.options["channels"])

    def stack(self, rows: Sequence[Any]) -> np.ndarray:
        """Where more times are asked than in train, rows differ in length: the shorter ones are filled up with NaN."""
        longest = max(map(len, rows))
        return np.stack([np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows])

    def columns(self, field: Any, answer: np.ndarray, proba: bool) -> dict[str, list[Any]]:
        return {field.name: forecast.as_cells(answer, field.options["channels"])}

    def rivals(self, field: Any, simple: Any) -> dict[str, np.ndarray]:
        """Where it goes on from a `past`, what is simply said of that."""
        from perceivers.modalities import naive

        if field.options["past"] is None:
            return simple.regressors()
        before, asked = simple.examples(field.options["past"])
        return naive.forecasts(before, simple.goals, asked, field.options["horizon"], field.options["read"])

    def compared(self, field: Any, answer: np.ndarray, truth: Any, example: Callable[[str], Any]) -> str:
        """The first channel: the answer, the truth, and where they go on from a past the last steps of that."""
        said, true = (values.reshape(-1, field.options["channels"])[:, 0] for values in (answer, truth))
        past = example(field.options["past"]) if field.options["past"] else None
        before = np.empty(0) if past is None else past[-PAST_DRAWN * len(true) :, 1]
        gap = np.full(len(before), np.nan)
        both = [np.r_[gap, said], np.r_[gap, true], np.r_[before, np.full(len(true), np.nan)]]
        names = ("answer", "truth", "before")[: 2 if past is None else 3]
        return lines(np.arange(len(both[0])), both[: len(names)]) + legend(*names)

    def evidence(self, field: Any, answer: Float[np.ndarray, "n k"], asked: Float[np.ndarray, " k"]) -> np.ndarray:
        return np.nan_to_num(answer)

    def row_scores(self, field: Any, answer: np.ndarray, truth: np.ndarray) -> tuple[str, Float[np.ndarray, " n"]]:
        """The mean squared error of each row on standardised values, over the steps that have one."""
        scale = np.tile(field.options["std"], field.options["horizon"])
        return "mse", np.nanmean(((answer - truth) / scale) ** 2, axis=1)

    def metrics(self, field: Any, answer: np.ndarray, truth: Sequence[Any], groups: Sequence[Any] | None) -> Metrics:
        scale, true = np.tile(field.options["std"], field.options["horizon"]), np.asarray(truth)
        return metrics.forecast(np.where(np.isnan(true), 0.0, answer), true, scale, groups)


def _powers() -> list[int]:
    return [2**i for i in range(recipe.SERIES_MOST_PATCH.bit_length())]


def _readable(field: Any, cells: Sequence[Any]) -> Any:
    for cell in cells:
        with suppress(Unreadable):
            example = Series()._steps(field, cell)
            if example is not None:
                yield example


def _statistics(values: Float[np.ndarray, "n k"]) -> dict[str, list[float]]:
    """The mean and standard deviation of each channel; 0 and 1 where it has no value, 1 where it is constant."""
    there = ~np.isnan(values)
    count = np.maximum(there.sum(0), 1)
    mean = np.where(there, values, 0.0).sum(0) / count
    std = np.sqrt((np.where(there, values - mean, 0.0) ** 2).sum(0) / count)
    std = np.where(std > 1e-9 * np.maximum(1e-300, np.abs(mean)), std, 1.0)
    return {"mean": mean.tolist(), "std": std.tolist()}


def _own_scale(values: Float[np.ndarray, "b t k"]) -> tuple[Float[np.ndarray, "b k"], Float[np.ndarray, "b k"]]:
    """The mean and scale of each series by itself (Kim et al. 2022, "RevIN", section 3.2), where it has values."""
    there = ~np.isnan(values)
    count = np.maximum(there.sum(1), 1)
    mean = np.where(there, values, 0.0).sum(1) / count
    square = (np.where(there, values - mean[:, None], 0.0) ** 2).sum(1) / count
    return mean, np.sqrt(square + LEAST_SCALE**2)
