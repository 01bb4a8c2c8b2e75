"""A linear model beside the Perceiver: both answer, and their raw predictions are averaged (Cheng et al. 2016, "Wide &
deep learning", section 3).

Where rows are few, or what counts are single words, nothing beats a linear model; where it is worth little, it has
little weight. It is found before the first step, from train rows alone. Not concerned with which columns it reads
(`modalities/terms.py`), with how its weights are found (`wide_fits.py`), nor with how the Perceiver learns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag

from perceivers.data.batches import evaluation_batches
from perceivers.data.loading import Rows
from perceivers.data.schema import Field, Schema
from perceivers.modalities import modality
from perceivers.modalities.base import Batch, Target
from perceivers.modalities.terms import Terms
from perceivers.wide_fits import Found, fit

MOST_WEIGHTS = 2**24  # of a target: with more, it has no linear model
MOST_ROWS = 20_000
MOST_CELLS = 2**25  # rows × dense columns that are read
MOST_ELEMENTS = 2**20  # of what is counted: four megabytes of text
BATCH = 64
SHARES = 21  # from 0 to 1, that are tried
LEAST_SKILL = 0.01


class Wide(nn.Module):
    """Linear maps from columns of the inputs to raw predictions: `outputs` are {target: how many numbers}."""

    def __init__(self, inputs: Sequence[Field], outputs: Mapping[str, int]):
        super().__init__()
        found = [(field, modality(field).terms(field)) for field in inputs]
        self.names = [field.name for field, terms in found if terms is not None]
        self.terms = nn.ModuleList(terms for _, terms in found if terms is not None)
        self.width = sum(terms.width for terms in self.columns.values())
        self.outputs = dict(outputs)
        self.maps = nn.ModuleList(LinearMap(self.width, k) for k in outputs.values())

    @property
    def columns(self) -> dict[str, Terms]:
        """The columns of each input that has some."""
        return dict(zip(self.names, cast(Iterable[Terms], self.terms), strict=True))

    @property
    def of_target(self) -> dict[str, "LinearMap"]:
        """The map of each target."""
        return dict(zip(self.outputs, cast(Iterable[LinearMap], self.maps), strict=True))

    @property
    def counted(self) -> np.ndarray:
        """Which of all columns are counts (width), as `Terms.counts` says."""
        return np.concatenate([np.full(terms.width, terms.counts) for terms in self.columns.values()])

    def read(self, batch: Batch) -> tuple[Int[Tensor, "b t"], Float[Tensor, "b t"]]:
        """Of each row t columns and their values: all others are 0."""
        first, places, values = 0, [], []
        for name, terms in self.columns.items():
            place, value = terms(batch[name])
            places.append(place + first)
            values.append(value)
            first += terms.width
        return torch.cat(places, dim=1), torch.cat(values, dim=1)

    def forward(self, batch: Batch) -> dict[str, Float[Tensor, "b k"]]:
        """A batch → the raw prediction of each target."""
        places, values = self.read(batch)
        return {name: linear(places, values) for name, linear in self.of_target.items()}

    def mixed(self, predictions: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The predictions, those of its targets averaged with its own."""
        mixed = dict(predictions)
        for name, line in self(batch).items():
            mixed[name] = torch.lerp(predictions[name], line, self.of_target[name].share)
        return mixed


class LinearMap(nn.Module):
    """Columns → k numbers. share: what they count in the mean with the Perceiver's"""

    def __init__(self, width: int, k: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, k))
        self.register_buffer("bias", torch.zeros(k))
        self.register_buffer("share", torch.zeros(()))

    def forward(self, places: Int[Tensor, "b t"], values: Float[Tensor, "b t"]) -> Float[Tensor, "b k"]:
        weight = self.weight
        return embedding_bag(places, weight, mode="sum", per_sample_weights=values.to(weight.dtype)) + self.bias


def find(
    rows: Rows,
    ids: np.ndarray,
    units: Callable[[np.ndarray], np.ndarray],
    schema: Schema,
    targets: Mapping[str, Target],
) -> Wide | None:
    """The linear models of the targets that have one, from the train rows `ids`; None where nothing foretells any.

    `units` gives each of some rows a number that rows which belong together share: they are held out together. The
    shares are r/(1 + r), for a map of skill r beside a model of skill 1.
    """
    probe = Wide(schema.inputs, {})
    outputs = {name: target.foretold for name, target in targets.items() if target.foretold}
    outputs = {name: k for name, k in outputs.items() if probe.width * k <= MOST_WEIGHTS}
    if not probe.names or not outputs:
        return None
    ids = rows.readable(_chosen(probe, rows, ids))
    if not len(ids):
        return None
    for name, terms in probe.columns.items():
        if terms.counts:
            terms.learn(batch[name] for _, batch in evaluation_batches(rows, ids, BATCH))
    seen = _read(probe, {name: targets[name] for name in outputs}, evaluation_batches(rows, ids, BATCH))
    kinds, keys = probe.counted, units(seen.rows)
    found = {}
    for name, k in outputs.items():
        goals, there = seen.goals[name]
        one = fit(seen.columns[there], kinds, goals[there], keys[there], k)
        if one is not None and one.skill > LEAST_SKILL:
            found[name] = one
    return _made(schema, probe, found) if found else None


def _made(schema: Schema, probe: Wide, found: Mapping[str, Found]) -> Wide:
    wide = Wide(schema.inputs, {name: len(one.bias) for name, one in found.items()})
    wide.terms.load_state_dict(probe.terms.state_dict())
    for name, linear in wide.of_target.items():
        linear.weight.copy_(torch.from_numpy(found[name].weight))
        linear.bias.copy_(torch.from_numpy(found[name].bias))
        linear.share.fill_(found[name].skill / (1 + found[name].skill))
    return wide


def _chosen(wide: Wide, rows: Rows, ids: np.ndarray) -> np.ndarray:
    """As many rows, drawn at random, as are read within seconds."""
    dense = int((~wide.counted).sum())
    drawn = np.random.default_rng(0).permutation(np.sort(ids))[: min(MOST_ROWS, MOST_CELLS // max(1, dense))]
    counted = [rows.columns[name] for name, terms in wide.columns.items() if terms.counts]
    sizes = np.array([sum(column.size(int(row)) for column in counted) for row in drawn])
    return drawn[np.cumsum(sizes) - sizes < MOST_ELEMENTS]


def weigh(
    wide: Wide,
    targets: Mapping[str, Target],
    predict: Callable[[Batch], Mapping[str, Tensor]],
    batches: Iterable[tuple[np.ndarray, Batch]],
) -> Wide | None:
    """The linear models with the shares of the least cross-entropy or squared error on rows that neither has learned
    from; None where all of them are 0. `predict` is the Perceiver's prediction.
    """
    shares = torch.linspace(0, 1, SHARES)
    losses = {name: torch.zeros(SHARES, dtype=torch.float64) for name in wide.outputs}
    with torch.inference_mode():
        for _, batch in batches:
            given, own = predict(batch), wide(batch)
            for name, total in losses.items():
                goals, there = targets[name].goals(batch[name])
                mixes = [torch.lerp(given[name].float(), own[name], float(share))[there] for share in shares]
                total += torch.stack([_loss(mix.double(), goals[there]).cpu() for mix in mixes])
    for name, linear in wide.of_target.items():
        if losses[name].any():  # else no row has the target
            linear.share.fill_(shares[int(losses[name].argmin())])
    kept = {name: linear for name, linear in wide.of_target.items() if linear.share > 0}
    wide.outputs = {name: wide.outputs[name] for name in kept}
    wide.maps = nn.ModuleList(kept.values())
    return wide if kept else None


def _loss(prediction: Float[Tensor, "b k"], goals: Tensor) -> Tensor:
    """Of logits and classes (b), or of values and values (b k), summed over rows."""
    if goals.ndim == 1:
        return cross_entropy(prediction, goals, reduction="sum")
    return ((prediction - goals) ** 2).sum()


@dataclass(frozen=True)
class _Seen:
    """Row ids (n), their columns (n width, sparse), and of each target the goals (n …) and whether there is one (n)."""

    rows: np.ndarray
    columns: Any
    goals: dict[str, tuple[np.ndarray, np.ndarray]]


def _read(wide: Wide, targets: Mapping[str, Target], batches: Iterable[tuple[np.ndarray, Batch]]) -> _Seen:
    """All rows; the columns of one that has several windows are the mean of theirs."""
    from scipy.sparse import csr_array, vstack

    owners, blocks = [], []
    goals: dict[str, list[Any]] = {name: [] for name in targets}
    for of_window, batch in batches:
        places, values = (x.numpy() for x in wide.read(batch))
        row = np.repeat(np.arange(len(places)), places.shape[1])
        blocks.append(csr_array((values.ravel(), (row, places.ravel())), shape=(len(places), wide.width)))
        owners.append(of_window)
        for name, target in targets.items():
            goals[name].append(target.goals(batch[name]))
    rows, first, place, count = np.unique(
        np.concatenate(owners), return_index=True, return_inverse=True, return_counts=True
    )
    mean = csr_array((1 / count[place], (place, np.arange(len(place)))))
    joined = {
        name: [torch.cat(each).numpy()[first] for each in zip(*found, strict=True)] for name, found in goals.items()
    }
    return _Seen(rows, (mean @ vstack(blocks)).tocsr(), {name: (one, there) for name, (one, there) in joined.items()})
