"""Numbers and dates of a table, one or several columns, as inputs and as targets.

Not concerned with metrics (`metrics.py`), nor with which columns are numbers (`perceivers.data.infer`).
"""

import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.attention import linear
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import metrics
from perceivers.modalities.base import (
    Batch,
    Inputs,
    Metrics,
    Modality,
    Part,
    Target,
    Weights,
    is_missing,
    numbers,
    one_of,
)
from perceivers.modalities.terms import NumberTerms, Terms

BINS = 16  # of the piecewise-linear encoding of a number
LARGEST_TARGET = 1e30  # answers are float32, and errors are squared
FARTHEST = 1e6  # standard deviations: what is farther away is taken to be there
EPOCH = datetime(1970, 1, 1)
DAY = 86_400  # seconds
SECONDS = (-62_135_596_800, 253_402_300_799)  # of the years 1 to 9999: what a datetime holds


class Number(Modality):
    """Numbers and dates. Options: `unit`, for people; `date` (True, or how strings write it, such as %d.%m.%Y: values
    are days since 1970, UTC); and of train, for each column, `mean`, `std` and `quantiles` (from the least value to
    the greatest, at equal shares of the rows).

    An example is float64 (k), one value for each column, NaN where missing.
    """

    name = "number"
    options: ClassVar[Mapping[str, Any]] = {"mean": None, "std": None, "quantiles": None, "unit": None, "date": False}

    def check(self, field: Any) -> None:
        k = len(field.columns)
        for option in ("mean", "std"):
            numbers(field, option, k)
        if not all(std > 0 for std in field.options["std"] or []):
            raise BadInput(f"{field.name}: std must be above 0, got {field.options['std']!r:.60}")
        one_of(field, "unit", str, None)
        one_of(field, "date", str, bool)
        _check_quantiles(field, k)

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        values = self._readable(field, cells)
        found = [_statistics(column[~np.isnan(column)]) for column in values.T]
        if field.role == "target" and not (~np.isnan(values)).all(axis=1).any():
            raise BadInput(f"{field.name}: no row of train has a number in it: choose another target")
        options = {name: [statistics[name] for statistics in found] for name in ("mean", "std", "quantiles")}
        return {name: value for name, value in options.items() if field.options[name] is None}

    def _readable(self, field: Any, cells: Sequence[Any]) -> np.ndarray:
        try:
            return self.read_all(field, cells)
        except Unreadable:
            rows = []
            for cell in cells:
                with suppress(Unreadable):
                    rows.append(self.read_all(field, [cell])[0])
            return np.array(rows).reshape(-1, len(field.columns))

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """int, float, bool, date, datetime, or a str of one; a tuple for several columns → float64 (k)."""
        values = self.read_all(field, [cell])[0]
        return None if np.isnan(values).all() else values

    def read_all(self, field: Any, cells: Sequence[Any]) -> np.ndarray:
        """float64 (n k), NaN where missing. Raises Unreadable at infinities and at what is no number."""
        k = len(field.columns)
        values = _values(cells, k, field.options["date"])
        if values.shape not in ((len(cells),), (len(cells), k)):
            raise Unreadable(f"{str(cells[0])[:60]} came, expected {'a number' if k == 1 else f'{k} numbers'}")
        if np.isinf(values).any():
            raise Unreadable("infinity came, expected a finite number, or nothing where it is missing")
        if field.role == "target" and (np.abs(values) > LARGEST_TARGET).any():
            raise Unreadable(f"a target beyond {LARGEST_TARGET:g} came: give it in a larger unit")
        return values.reshape(len(cells), k)

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """For k columns: `values` (b k) float32, standardised by train's mean and std, at most 1e6 away from 0;
        `ranks` (b k) float32 in [0, 1], the share of train's values below; `present` (b k). 0 where not present.
        """
        k = len(field.columns)
        raw = np.array([np.full(k, np.nan) if e is None else e for e in examples]).reshape(-1, k)
        mean, std = np.array(field.options["mean"]), np.array(field.options["std"])
        quantiles = np.reshape(field.options["quantiles"], (k, -1)).T
        present = ~np.isnan(raw)
        with np.errstate(over="ignore"):  # far beyond what train has seen
            values, knots = (np.where(present, raw, mean) - mean) / std, (quantiles - mean) / std
        ranks = np.stack([_ranks(*column) for column in zip(values.T, knots.T, strict=True)], axis=1) * present
        values = np.clip(values, -FARTHEST, FARTHEST)
        return {
            "values": torch.from_numpy(values.astype(np.float32)),
            "ranks": torch.from_numpy(ranks.astype(np.float32)),
            "present": torch.from_numpy(present),
        }

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        kept = ~rows[:, None]
        return {name: tensor * kept for name, tensor in part.items()}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return NumberInputs([f.name for f in fields], sum(len(f.columns) for f in fields), channels)

    def terms(self, field: Any) -> Terms:
        return NumberTerms(len(field.columns))

    def target(self, field: Any, channels: int) -> Target:
        return NumberTarget(field.options["mean"], field.options["std"], channels)

    def draw(self, field: Any, cell: Any) -> str:
        cells = cell if isinstance(cell, tuple) else (cell,)
        unit = f" {field.options['unit']}" if field.options["unit"] else ""
        return html.escape(", ".join("–" if is_missing(c) else f"{c}{unit}" for c in cells))

    def baseline(self, field: Any) -> Any:
        """The values, NaN where missing."""
        from perceivers.modalities import features

        return features.numbers(len(field.columns))

    def columns(self, field: Any, answer: np.ndarray, proba: bool) -> dict[str, list[Any]]:
        names = self.answered(field)
        if field.options["date"]:
            return {n: [_moment(days) for days in c] for n, c in zip(names, answer.T, strict=True)}
        return {name: column.tolist() for name, column in zip(names, answer.T, strict=True)}

    def answered(self, field: Any) -> Sequence[str]:
        return [field.name] if len(field.columns) == 1 else field.columns

    def panels(self, show: Any) -> Any:
        return show.distances()

    def metrics(self, field: Any, answer: np.ndarray, truth: Sequence[Any], groups: Sequence[Any] | None) -> Metrics:
        """In the field's unit, which `unit` names; dates in days."""
        found = metrics.regression(answer, np.reshape(truth, answer.shape), groups)
        unit = unit_of(field)
        return {**found, "unit": unit} if unit else found


def unit_of(field: Any) -> str | None:
    """The unit of a field's values and of their errors, for people."""
    return "days" if field.options.get("date") else field.options.get("unit")


def _check_quantiles(field: Any, k: int) -> None:
    quantiles = field.options["quantiles"]
    if quantiles is None:
        return
    if not isinstance(quantiles, list) or len(quantiles) != k:
        raise BadInput(f"{field.name}: quantiles must be a list for each of {k} columns, got {quantiles!r:.60}")
    for column in quantiles:
        numbers(field.with_options(quantiles=column), "quantiles", BINS + 1)
        if column != sorted(column):
            raise BadInput(f"{field.name}: quantiles must rise, got {column!r:.60}")


def _values(cells: Sequence[Any], columns: int, how: bool | str) -> np.ndarray:
    if not isinstance(how, str):  # a date such as 20261123 would pass for a number
        with suppress(TypeError, ValueError, OverflowError):
            return np.array(cells, dtype=np.float64)
    rows = [cell if columns > 1 else (cell,) for cell in cells]  # strings that are empty, dates …
    return np.array([[_number(value, how) for value in row] for row in rows])


def _number(value: Any, how: bool | str = False) -> float:
    """A value as a number, dates as days. `how` is the format of dates in strings, where it is not ISO 8601."""
    if is_missing(value):
        return np.nan
    if isinstance(how, str) and isinstance(value, str):
        try:
            return _number(datetime.strptime(value.strip(), how))
        except ValueError as error:
            raise Unreadable(f"{value[:60]!r} came, expected a date written as {how}") from error
    if isinstance(value, date):  # a datetime is one, too
        moment = value if isinstance(value, datetime) else datetime.combine(value, time())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() / DAY
    if not isinstance(value, str | bool | int | float | Decimal | np.number | np.bool_):
        raise Unreadable(f"a {type(value).__name__} came, expected a number or a date")
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        if isinstance(value, str):
            with suppress(ValueError):
                return _number(datetime.fromisoformat(value.strip()))
        raise Unreadable(f"{str(value)[:60]!r} came, expected a number or a date such as 2026-11-23") from error


def _moment(days: float) -> datetime:
    """To the second."""
    return EPOCH + timedelta(seconds=round(float(np.clip(days * DAY, *SECONDS))))


def _statistics(values: Float[np.ndarray, " n"]) -> dict[str, Any]:
    if not len(values):
        return {"mean": 0.0, "std": 1.0, "quantiles": [0.0] * (BINS + 1)}
    unit = np.abs(values).max() or 1.0
    scaled = values / unit  # squares and differences of large numbers would overflow
    std = unit * scaled.std()
    return {
        "mean": float(unit * scaled.mean()),
        "std": float(std) if std > 1e-12 * unit else 1.0,
        "quantiles": (unit * np.quantile(scaled, np.linspace(0, 1, BINS + 1))).tolist(),
    }


def _ranks(values: Float[np.ndarray, " n"], quantiles: Float[np.ndarray, " q"]) -> Float[np.ndarray, " n"]:
    """The share of train below each value, in the middle of ties, linear between quantiles."""
    shares = np.linspace(0, 1, len(quantiles))
    upper = np.interp(values, quantiles, shares)
    lower = -np.interp(-values, -quantiles[::-1], -shares[::-1])
    return (upper + lower) / 2


class NumberInputs(Inputs):
    """All number fields together: a token for each column (b k channels).

    A token is the column's embedding + its value, softly clipped at ±3 (Holzmüller et al. 2024, section 3), times a
    direction + a piecewise-linear encoding of its rank (Gorishniy et al. 2022, section 3.2). Missing has its own.
    """

    def __init__(self, names: Sequence[str], columns: int, channels: int):
        super().__init__()
        self.names = list(names)
        std = channels**-0.5
        self.column = nn.Parameter(torch.empty(columns, channels).normal_(std=std))
        self.direction = nn.Parameter(torch.empty(columns, channels).normal_(std=std))
        self.bins = nn.Parameter(torch.empty(columns, BINS, channels).normal_(std=std * BINS**-0.5))
        self.missing = nn.Parameter(torch.empty(columns, channels).normal_(std=std))

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "b k c"], Bool[Tensor, "b k"]]:
        values, ranks, present = (
            torch.cat([batch[name][key] for name in self.names], dim=1) for key in ("values", "ranks", "present")
        )
        clipped = values / (1 + (values / 3) ** 2).sqrt()
        filled = (ranks.unsqueeze(-1) * BINS - torch.arange(BINS, device=ranks.device)).clamp(0, 1)
        known = (
            self.column
            + einsum(clipped, self.direction, "b k, k c -> b k c")
            + einsum(filled, self.bins, "b k t, k t c -> b k c")
        )
        return torch.where(present.unsqueeze(-1), known, self.missing), torch.ones_like(present)

    def lengths(self, batch: Batch) -> list[int]:
        return [batch[name]["values"].shape[1] for name in self.names]

    def weights(self, fields: Mapping[str, Any]) -> dict[str, Weights]:
        """A column of another name is another thing: its weights are no start."""
        found, first = {}, 0
        for name in self.names:
            rows = slice(first, first := first + len(fields[name].columns))
            found[name] = f"number {name}", {key: weight[rows] for key, weight in self.named_parameters()}
        return found


class NumberTarget(Target):
    """One query → k standardised values; squared error, so that the answer is the mean."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int):
        super().__init__(1, channels)
        self.head = linear(channels, len(mean))
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)

    @property
    def foretold(self) -> int:
        return len(self.mean)

    def goals(self, part: Part) -> tuple[Float[Tensor, "b k"], Bool[Tensor, " b"]]:
        return part["values"], part["present"].all(-1)

    def forward(self, outputs: Float[Tensor, "b 1 e"], batch: Batch) -> Float[Tensor, "b k"]:
        return self.head(rearrange(outputs, "b 1 e -> b e"))

    def loss(self, prediction: Float[Tensor, "b k"], part: Part) -> Float[Tensor, " b"]:
        """The mean over columns; a missing one counts 0."""
        return (part["present"] * (prediction - part["values"]) ** 2).mean(-1)

    def answer(self, prediction: Float[Tensor, "b k"], batch: Batch) -> Float[Tensor, "b k"]:
        return prediction * self.std + self.mean
