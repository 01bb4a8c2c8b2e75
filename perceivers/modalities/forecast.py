"""Series as a target: the steps that follow what was read, or any series of a fixed length.

Not concerned with series as an input (`series.py`), nor with where windows are cut (`perceivers.data.long`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from perceivers.core.attention import linear
from perceivers.core.positions import fourier_channels, fourier_features
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.base import Batch, Part, Target
from perceivers.modalities.steps import whole

MOST_LINEAR = 512  # steps
MOST_ROWS = 20_000  # of each channel of each window, from which the linear map is found
PENALTIES = 10.0 ** np.arange(5, -2.5, -0.5)
BLOCKS = 5  # of rows, in which the linear map is tried
TINY = 1e-12  # errors below are none
LEAST_ROOT = 0.02  # of a series of roots: one that hardly moves is not blown up to a full swing
NUM_BANDS, RESOLUTION = 32, 64  # of asked times


def flat(example: Float[np.ndarray, "t c"] | None, horizon: int) -> Float[np.ndarray, " n"] | None:
    """A series of at most `horizon` steps (time, then k channels) → its values, horizon · k, NaN where missing.

    Raises Unreadable where it is longer.
    """
    if example is None:
        return None
    values = example[:, 1:]
    if len(values) > horizon:
        raise Unreadable(f"{len(values)} steps came, the longest in train has {horizon}")
    return np.pad(values, ((0, horizon - len(values)), (0, 0)), constant_values=np.nan).ravel()


def collate(field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
    """`values` (b n) float32, n = horizon · channels, standardised, 0 where missing; `present` (b n)."""
    n = field.options["horizon"] * field.options["channels"]
    raw = np.stack([np.full(n, np.nan) if example is None else example for example in examples])
    values = (raw - np.tile(field.options["mean"], field.options["horizon"])) / np.tile(
        field.options["std"], field.options["horizon"]
    )
    return {
        "values": torch.from_numpy(np.nan_to_num(values).astype(np.float32)),
        "present": torch.from_numpy(~np.isnan(values)),
    }


def shared(field: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What is known in advance; and a target that goes on from an input (`past`) has its mean and scale. Raises
    BadInput.
    """
    name = field.options["past"]
    known = [f for f in inputs.values() if f.modality == "series" and f.options["known"]]
    given = {"given": {f.name: f.options["channels"] for f in known}}
    asked = field.options["asked"]
    if asked is not None and (asked not in inputs or inputs[asked].modality != "asked"):
        raise BadInput(
            f"{field.name}: asked: {asked} is no input of asked times; there are {', '.join(inputs) or 'none'}"
        )
    if name is None:
        return given
    if asked is not None:
        raise BadInput(
            f"{field.name}: has a past and asked times: a forecast asks the steps that follow; leave one out"
        )
    if name not in inputs or inputs[name].modality != "series":
        raise BadInput(f"{field.name}: past: {name} is no input series; there are {', '.join(inputs) or 'none'}")
    past = inputs[name].options
    if past["channels"] != field.options["channels"]:
        raise BadInput(
            f"{field.name}: has {field.options['channels']} channels, {name}, its past, {past['channels']}: set "
            "`past: null`"
        )
    return {**given, "mean": past["mean"], "std": past["std"], "read": int(np.ceil(past["length"]))}


def as_cells(answer: Float[np.ndarray, "b n"], channels: int) -> list[Any]:
    """Answers as cells: lists, or with several channels lists of lists, as long as what was asked (else NaN)."""
    by_channel = rearrange(answer, "b (h k) -> b k h", k=channels)
    rows = [row[:, ~np.isnan(row).all(0)].tolist() for row in by_channel]
    return [row[0] for row in rows] if channels == 1 else rows


class AskedTarget(Target):
    """A query for each time that is asked → k standardised values; squared error. H are the most of train: answers to
    fewer are filled up.
    """

    def __init__(self, options: dict[str, Any], channels: int):
        super().__init__(1, channels)
        self.horizon, self.k, self.asked = options["horizon"], options["channels"], options["asked"]
        self.positions = linear(fourier_channels(1, NUM_BANDS), channels)
        self.head = linear(channels, self.k)
        self.register_buffer("mean", torch.tensor(options["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(options["std"]), persistent=False)

    def ask(self, batch: Batch) -> Float[Tensor, "b n e"]:
        times = batch[self.asked]["times"].unsqueeze(-1)
        return self.queries(len(times)) + self.positions(fourier_features(times, NUM_BANDS, [RESOLUTION]))

    def forward(self, outputs: Float[Tensor, "b n e"], batch: Batch) -> Float[Tensor, "b h"]:
        values = pad(self.head(outputs), (0, 0, 0, max(0, self.horizon - outputs.shape[1])))
        return rearrange(values, "b h k -> b (h k)")

    def loss(self, prediction: Float[Tensor, "b h"], part: Part) -> Float[Tensor, " b"]:
        """The mean over the times that have a value; 0 where none has."""
        return mean_square(prediction[:, : self.horizon * self.k], part)

    def answer(self, prediction: Float[Tensor, "b h"], batch: Batch) -> Float[Tensor, "b h"]:
        """NaN where no time was asked."""
        values = rearrange(prediction, "b (h k) -> b h k", k=self.k) * self.std + self.mean
        there = batch[self.asked]["there"]
        there = pad(there, (0, max(0, self.horizon - there.shape[1])))
        return rearrange(values.masked_fill(~there.unsqueeze(-1), torch.nan), "b h k -> b (h k)")


def mean_square(prediction: Float[Tensor, "b n"], part: Part) -> Float[Tensor, " b"]:
    """The mean over what is present; 0 where nothing is."""
    there = part["present"]
    return (there * (prediction - part["values"]) ** 2).sum(-1) / there.sum(-1).clamp(min=1)


class SeriesTarget(Target):
    """A query for each of H steps → k standardised values each; squared error.

    With a `past` the outputs are in units of that series, from its mean (Kim et al. 2022, "RevIN", section 3.2), and a
    linear map of its last steps is added (the autoregressive part of Lai et al. 2018, "LSTNet", section 3.6), found
    before the first step, so that the Perceiver learns what is left. Of values that are never negative (`roots`) it
    maps square roots, where that errs less (Box and Cox 1964): what rises and falls by more when it is high. What is
    known of the H steps in advance (`given`) is added to their queries.
    """

    def __init__(self, options: dict[str, Any], channels: int):
        super().__init__(options["horizon"], channels)
        self.horizon, self.k = options["horizon"], options["channels"]
        self.past, self.given = options["past"], options["given"]
        self.roots = self.past is not None and bool(options["roots"])
        self.head = linear(channels, self.k)
        nn.init.zeros_(self.head.weight)
        if self.past is not None:
            self.register_buffer("linear", torch.zeros(min(options["read"], MOST_LINEAR), self.horizon))
        if self.roots:
            self.register_buffer("rooted", torch.tensor(False))
            self.register_buffer("spread", torch.zeros(self.horizon))  # variance of the roots of each step
        self.known = nn.ModuleList(linear(2 * k, channels) for k in self.given.values())
        self.register_buffer("mean", torch.tensor(options["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(options["std"]), persistent=False)

    def ask(self, batch: Batch) -> Float[Tensor, "b h e"]:
        queries = super().ask(batch)
        for name, module in zip(self.given, self.known, strict=True):
            queries = queries + module(_last(batch[name], self.horizon))
        return queries

    def begin(self, batches: Iterable[tuple[Batch, Part]]) -> bool:
        """The linear map, by `ridge` from rows of train whose steps all have a value (where there are none, with gaps
        filled): of values or of roots, whichever errs less in rows that were held out.
        """
        if self.past is None:
            return False
        pasts, goals, count = [], [], 0
        for batch, part in batches:
            values = part["values"].masked_fill(~part["present"], torch.nan)
            pasts.append(batch[self.past])
            goals.append(rearrange(values, "b (h k) -> b h k", k=self.k).numpy())
            if (count := count + self.k * int(part["present"].all(-1).sum())) >= MOST_ROWS:
                break
        there, values = (torch.from_numpy(x).split([len(goal) for goal in goals]) for x in whole(np.concatenate(goals)))
        if not any(rows.any() for rows in there):
            return False
        rows = [({n: x[t] for n, x in past.items()}, v[t]) for past, t, v in zip(pasts, there, values, strict=True)]
        least = np.inf
        for rooted in (False, True)[: 1 + self.roots]:
            found, held, truth, spread = self._fit(rows, rooted)
            error = _error(held, truth)
            if error < least:
                least = error
                self.linear.copy_(found)
                if self.roots:
                    self.rooted.fill_(rooted)
                    self.spread.copy_(spread)
        return True

    def _fit(self, rows: Sequence[tuple[Part, Tensor]], rooted: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The map of values or of roots, what it says of rows held out (n h), the truth, and the variance (h)."""
        pieces = []
        for past, values in rows:
            read, mean, std = self._read(past, rooted)
            goals = ((self._root(values) if rooted else values) - mean.unsqueeze(1)) / std.unsqueeze(1)
            scales = [rearrange(x.expand(len(values), self.k), "b k -> (b k)") for x in (mean, std, self._floor())]
            pieces.append([*(rearrange(x, "b n k -> (b k) n") for x in (read, goals, values)), *scales])
        read, goals, truth, mean, std, floor = (
            torch.cat(piece)[:MOST_ROWS].double() for piece in zip(*pieces, strict=True)
        )
        found, held = ridge(read, goals, std**2)
        spread = ((held - goals) * std.unsqueeze(-1)).square().mean(0)
        held = mean.unsqueeze(-1) + std.unsqueeze(-1) * held
        return found, (held.clamp(min=0) ** 2 + spread - floor.unsqueeze(-1)) if rooted else held, truth, spread

    def _read(
        self, past: Part, rooted: bool
    ) -> tuple[Float[Tensor, "b l k"], Float[Tensor, "b k"], Float[Tensor, "b k"]]:
        """The last steps of a past, in units of its scale from its mean; and these."""
        values, there = _last(past, len(self.linear)).split(self.k, dim=-1)
        mean, std = past["mean"], past["std"]
        if not rooted:
            return values, mean, std
        roots = self._root(mean.unsqueeze(1) + std.unsqueeze(1) * values)
        count = there.sum(1).clamp(min=1)
        mean = (roots * there).sum(1) / count
        std = (((roots - mean.unsqueeze(1)) * there).square().sum(1) / count).sqrt().clamp(min=LEAST_ROOT)
        return (roots - mean.unsqueeze(1)) / std.unsqueeze(1) * there, mean, std

    def _floor(self) -> Float[Tensor, " k"]:
        """How far 0 is below train's mean, in its standard deviations."""
        return self.mean / self.std

    def _root(self, values: Float[Tensor, "b n k"]) -> Float[Tensor, "b n k"]:
        """The root of values over train's standard deviation."""
        return (values + self._floor()).clamp(min=0).sqrt()

    def forward(self, outputs: Float[Tensor, "b h e"], batch: Batch) -> Float[Tensor, "b n"]:
        values = self.head(outputs)
        if self.past is None:
            return rearrange(values, "b h k -> b (h k)")
        past = batch[self.past]
        rooted = self.roots and bool(self.rooted)
        read, mean, std = self._read(past, rooted)
        said = mean.unsqueeze(1) + std.unsqueeze(1) * einsum(read, self.linear, "b l k, l h -> b h k")
        if rooted:  # the mean of a square is the square of the mean and the variance
            said = said.clamp(min=0) ** 2 + self.spread.unsqueeze(-1) - self._floor()
        return rearrange(said + past["std"].unsqueeze(1) * values, "b h k -> b (h k)")

    def loss(self, prediction: Float[Tensor, "b n"], part: Part) -> Float[Tensor, " b"]:
        """The mean over the steps that have a value; 0 where none has."""
        return mean_square(prediction, part)

    def answer(self, prediction: Float[Tensor, "b n"], batch: Batch) -> Float[Tensor, "b n"]:
        values = rearrange(prediction, "b (h k) -> b h k", k=self.k)
        return rearrange(values * self.std + self.mean, "b h k -> b (h k)")


def ridge(
    inputs: Float[Tensor, "n l"], goals: Float[Tensor, "n h"], weights: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "l h"], Float[Tensor, "n h"]]:
    """The linear map by least squares with a penalty (Hoerl and Kennard 1970) from the last l, l/2, l/4 … steps; and
    what such maps, each of the other rows, say of the rows of a block.

    The number of steps, h at least, and the penalty of `PENALTIES` are those that err least, by the `weights`, in five
    blocks of rows, each foretold from the others: rows at random would hold nothing new, since windows overlap; those
    beside a block are left out for the same reason. Blocks count alike, however hard they are (the geometric mean).
    """
    counts = [inputs.shape[1]]
    while counts[-1] // 2 >= goals.shape[1]:
        counts.append(counts[-1] // 2)
    apart = min(goals.shape[1], len(inputs) // (2 * BLOCKS))
    errors = torch.zeros(len(counts), len(PENALTIES), dtype=inputs.dtype)
    blocks = []
    for block in _blocks(len(inputs)):
        others = torch.ones(len(inputs), dtype=torch.bool)
        others[max(0, int(block[0]) - apart) : int(block[-1]) + 1 + apart] = False
        blocks.append((block, others))
        for i, count in enumerate(counts):
            for j, found in enumerate(_maps(inputs[others, -count:], goals[others], PENALTIES)):
                wrong = (inputs[block, -count:] @ found - goals[block]) ** 2
                errors[i, j] += (weights[block] @ wrong.mean(-1)).clamp(min=TINY).log()
    i, j = divmod(int(errors.argmin()), len(PENALTIES))
    steps, penalty = slice(-counts[i], None), PENALTIES[j:]
    held = torch.zeros_like(goals)
    for block, others in blocks:
        held[block] = inputs[block, steps] @ next(_maps(inputs[others, steps], goals[others], penalty))
    return pad(next(_maps(inputs[:, steps], goals, penalty)), (0, 0, counts[0] - counts[i], 0)), held


def _blocks(rows: int) -> list[Tensor]:
    return [block for block in torch.arange(rows).tensor_split(BLOCKS) if len(block)]


def _error(held: Float[Tensor, "n h"], truth: Float[Tensor, "n h"]) -> float:
    """The logarithms of the mean squared errors of all blocks, added up."""
    wrong = (held - truth).square().mean(-1)
    return sum(float(wrong[block].mean().clamp(min=TINY).log()) for block in _blocks(len(wrong)))


def _maps(
    inputs: Float[Tensor, "n l"], goals: Float[Tensor, "n h"], penalties: Float[np.ndarray, " p"]
) -> Iterator[Float[Tensor, "l h"]]:
    """The map of each penalty."""
    values, vectors = torch.linalg.eigh(inputs.T @ inputs)
    turned = vectors.T @ (inputs.T @ goals)
    for penalty in penalties:
        yield vectors @ (turned / (values.clamp(min=0) + penalty).unsqueeze(-1))


def _last(part: Part, count: int) -> Float[Tensor, "b l f"]:
    """The last `count` steps of each series: the values, and whether they are there; 0 before the first step."""
    place = part["length"][:, None] - count + torch.arange(count, device=part["length"].device)
    inside: Bool[Tensor, "b l"] = place >= 0
    both = torch.cat([part["values"], part["present"].to(part["values"].dtype)], dim=-1)
    index = place.clamp(min=0, max=both.shape[1] - 1).unsqueeze(-1).expand(-1, -1, both.shape[2])
    return both.gather(1, index) * inside.unsqueeze(-1)
