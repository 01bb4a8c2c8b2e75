"""What an answer rests on: the share of each input field by removal, and where the model looks.

Two things that are never mixed up. *Shares* compare answers with and without a field. *Attention* says what the
answer's query read through the latents (`core/rollout.py`); a model may look at what changes nothing.

Not concerned with pages and pictures of it (`perceivers.report`).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch.nn.functional import pad

from perceivers.data.loading import Rows
from perceivers.data.schema import Field
from perceivers.data.sources import Table, file_names
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import modality
from perceivers.modalities.base import Batch
from perceivers.modalities.intervals import DRAWS, SEED
from perceivers.modalities.shaded import Shaded
from perceivers.model import Model
from perceivers.predict import require_columns

EXACT = 6  # up to so many fields, all their sets are tried
SAMPLED = 256  # about so many sets above that
MOST_FIELDS = 100  # so many at most, those with the most attention, are examined
READ = 2**19  # fields read in all sets of a row: of thousands of fields, fewer sets are tried
TOKENS = 2**16  # input elements in one pass
WINDOWS = 64  # of a row in one pass
AVERAGED, ROWS = 2**20, (8, 32)  # input elements and rows of an average

ATTENTION = (
    "attention: rollout of decode × process × encode, the mean over heads and over the answer's queries, summed over "
    "what the field gives; it says where the model looks, not what changes the answer"
)
LINEAR = "linear part: {share:.0%} of the prediction is a linear model's, which attention does not show"
SHARE = (
    "share of the answer: |Shapley value| of the field over their sum, from the change of {what} when fields are "
    "made missing"
)


@dataclass(frozen=True)
class FieldExplanation:
    """One input field of one answer.

    `change` (c): the field's Shapley value, in log-probability of the answer or in the target's units. `share`: of
    the sum of all fields' `|change|`, the mean over c; None where nothing changes, or the field was not examined, as
    is the only one of a model.
    `attention`: of the whole input, 1. `weights` (w m): that of its m elements, for each window.
    `shaded()`: the field's cell with the attention drawn on it. `file`: the file that the cell names, for a person.
    """

    field: Field
    share: float | None
    change: list[float] | None
    attention: float
    weights: Float[np.ndarray, "w m"]
    shaded: Callable[[], Shaded]
    file: str | None = None


@dataclass(frozen=True)
class Explanation:
    """One answer of one row: what it is, and its fields in the schema's order. `row` is an index, from 0."""

    row: int
    target: Field
    answer: dict[str, Any]
    fields: list[FieldExplanation]

    def to_dict(self) -> dict[str, Any]:
        """As `explain --json` writes it: the row counted from 1, as in all that is printed."""
        fields = {
            f.field.name: {
                "share": f.share,
                "change": f.change,
                "attention": f.attention,
                "weights": f.weights.round(6).tolist(),
            }
            for f in self.fields
        }
        return {"row": self.row + 1, "target": self.target.name, "answer": self.answer, "fields": fields}


def explain(model: Model, table: Table) -> tuple[list[Explanation], dict[int, str]]:
    """An explanation for each row and target; and the rows that could not be read, or explained, with the reason.

    Raises BadInput where a column that the model reads is missing, or no row can be explained.
    """
    require_columns(table, model.schema.inputs)
    rows = Rows(table, model.schema.inputs, modality)
    found = []
    for row in rows.readable(np.arange(len(rows))).tolist():
        try:
            found += explain_row(model, rows, row)
        except Unreadable as error:
            rows.failed[row] = f"{table.name}, row {row + 1}: {error}"
    if not found:
        raise BadInput(f"no row can be read; the first: {next(iter(rows.failed.values()))}")
    return found, rows.failed


def explain_row(model: Model, rows: Rows, row: int) -> list[Explanation]:
    """An explanation for each target of one readable row. Raises Unreadable where an input of it stays in a file."""
    with torch.inference_mode():
        looked = _joined([model.eval().attention(batch) for batch in _inputs(model, rows, row)])
    examined = _examined(model, {name: w.sum(-1).mean().item() for name, w in next(iter(looked.values())).items()})
    removed = removal(model, _inputs(model, rows, row), examined)
    return [
        _explanation(model, rows, row, field, looked[field.name], examined, *removed[field.name])
        for field in model.schema.targets
    ]


def _explanation(
    model: Model,
    rows: Rows,
    row: int,
    target: Field,
    looked: dict[str, torch.Tensor],
    examined: list[Field],
    answer: np.ndarray,
    changes: np.ndarray,
) -> Explanation:
    by_name = dict(zip((f.name for f in examined), zip(changes, shares(np.abs(changes)), strict=True), strict=True))
    fields = []
    for field in model.schema.inputs:
        weights = looked[field.name].double().cpu().numpy()
        change, share = by_name.get(field.name, (None, None))
        column = rows.columns[field.name]
        fields.append(
            FieldExplanation(
                field,
                None if share is None or np.isnan(share) else float(share),
                None if change is None else change.tolist(),
                float(weights.sum(1).mean()),
                weights,
                partial(modality(field).shaded, field, column.cell(row), weights),
                file_names(column.cells[row]) if field.names_files else None,
            )
        )
    columns = modality(target).columns(target, answer[None], False)
    return Explanation(row, target, {name: values[0] for name, values in columns.items()}, fields)


def _inputs(model: Model, rows: Rows, row: int) -> Iterator[Batch]:
    """The input parts of one row: an element for each of its windows, so many at a time."""
    for _, batch in rows.windowed(np.array([row]), WINDOWS):
        yield {field.name: batch[field.name] for field in model.schema.inputs}


def _joined(looked: list[dict[str, dict[str, torch.Tensor]]]) -> dict[str, dict[str, torch.Tensor]]:
    """The weights (w m) of all windows: nothing is looked at where windows of other batches are longer."""
    return {
        target: {
            name: torch.cat([pad(one[target][name], (0, most - one[target][name].shape[1])) for one in looked])
            for name in fields
            for most in [max(one[target][name].shape[1] for one in looked)]
        }
        for target, fields in looked[0].items()
    }


def _examined(model: Model, attention: dict[str, float]) -> list[Field]:
    if len(attention) == 1:
        return []
    kept = set(sorted(attention, key=lambda name: -attention[name])[: scope(len(attention))[0]])
    return [field for field in model.schema.inputs if field.name in kept]


def scope(count: int) -> tuple[int, int]:
    """(how many of `count` fields are examined, in about how many sets), so that a row takes seconds at most."""
    sets = min(SAMPLED, max(2 * EXACT, READ // count))
    return min(count, MOST_FIELDS, sets // 2), sets  # an order and its reverse are two sets a field


# Removal ------------------------------------------------------------------------------------------------------
def removal(model: Model, batches: Iterable[Batch], fields: list[Field]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{target: (the answer (k), the Shapley value (f c) of each of `fields`)} of one row, given as its windows, some in
    each batch.
    """
    present, weights = coalitions(len(fields), scope(len(model.schema.inputs))[1])
    answers = [_answers_to_sets(model, batch, fields, present) for batch in batches]
    found = {}
    for target in model.schema.targets:
        kind = modality(target)
        of_sets = np.concatenate([one[target.name] for one in answers], axis=1)
        values = kind.stack([kind.join(target, list(one)) for one in of_sets])
        whole = values[present.all(1).argmax()]
        found[target.name] = whole, weights @ kind.evidence(target, values, whole)
    return found


def shares(sizes: Float[np.ndarray, "f c"]) -> Float[np.ndarray, " f"]:
    """Each field's part of the sum over fields, the mean over the columns where there is one; NaN where none is."""
    total = sizes.sum(0)
    there = total > 1e-9
    return (sizes[:, there] / total[there]).mean(1) if there.any() else np.full(len(sizes), np.nan)


def coalitions(count: int, sampled: int = SAMPLED) -> tuple[Bool[np.ndarray, "s f"], Float[np.ndarray, "f s"]]:
    """Sets of fields, and the matrix that turns their values into the fields' Shapley values (Shapley 1953).

    All sets up to six fields; above, about `sampled` of them, along seeded random orders of the fields and their
    reverses (Castro, Gómez and Tejada 2009; Mitchell et al. 2022, section 3.2, for the reverses). The whole set is
    among them.
    """
    steps = _all_steps(count) if count <= EXACT else _sampled_steps(count, sampled)
    places: dict[frozenset[int], int] = {frozenset(): 0}
    found = []
    for field, before, weight in steps:
        without = places.setdefault(before, len(places))
        found.append((field, places.setdefault(before | {field}, len(places)), without, weight))
    present, weights = np.zeros((len(places), count), bool), np.zeros((count, len(places)))
    for members, place in places.items():
        present[place, list(members)] = True
    for field, having, without, weight in found:
        weights[field, having] += weight
        weights[field, without] -= weight
    return present, weights


def _all_steps(count: int) -> Iterator[tuple[int, frozenset[int], float]]:
    """(field, the set that it joins, the share of all orders in which it joins that set)."""
    for field in range(count):
        others = [i for i in range(count) if i != field]
        for size in range(count):
            for members in combinations(others, size):
                yield field, frozenset(members), 1 / (count * comb(count - 1, size))


def _sampled_steps(count: int, sampled: int) -> Iterator[tuple[int, frozenset[int], float]]:
    random = np.random.default_rng(0)
    pairs = max(1, round(sampled / (2 * count)))
    for _ in range(pairs):
        order = random.permutation(count).tolist()
        for one in (order, order[::-1]):
            for place, field in enumerate(one):
                yield field, frozenset(one[:place]), 1 / (2 * pairs)


def _answers_to_sets(
    model: Model, batch: Batch, fields: list[Field], present: Bool[np.ndarray, "s f"]
) -> dict[str, Float[np.ndarray, "s w k"]]:
    """The answers to each window where only the fields of each set are there."""
    with torch.inference_mode():
        array, _ = model.eval().read(batch)
        windows, length = array.shape[:2]
        at_once = min(len(present), max(1, TOKENS // (windows * length)))
        repeated = {name: {k: torch.cat([t] * at_once) for k, t in part.items()} for name, part in batch.items()}
        pieces = []
        for start in range(0, len(present), at_once):
            sets = torch.from_numpy(present[start : start + at_once])
            if len(sets) < at_once:  # the last ones
                repeated = {n: {k: t[: len(sets) * windows] for k, t in part.items()} for n, part in repeated.items()}
            asked = dict(repeated)
            for field, there in zip(fields, sets.T, strict=True):
                missing = (~there).repeat_interleave(windows)
                asked[field.name] = modality(field).drop(field, repeated[field.name], missing)
            pieces.append(model.answers(asked))
    answers = {f.name: torch.cat([piece[f.name] for piece in pieces]) for f in model.schema.targets}
    return {name: found.double().cpu().numpy().reshape(len(present), windows, -1) for name, found in answers.items()}


# Many rows ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Average:
    """Over `n` rows: each field's share of the answer and of the attention, in the schema's order.

    `low` and `high` (f): 95 % of the shares when other rows had been explained, by 2,000 seeded bootstraps over rows.
    """

    n: int
    fields: list[Field]
    share: Float[np.ndarray, " f"]
    attention: Float[np.ndarray, " f"]
    low: Float[np.ndarray, " f"]
    high: Float[np.ndarray, " f"]


def sample_size(model: Model, rows: Rows, row: int) -> int:
    """How many rows like `row` are explained for an average: 8 to 32, so that its time is bounded."""
    sets, elements = len(coalitions(*scope(len(model.schema.inputs)))[0]), AVERAGED
    with torch.inference_mode(), suppress(Unreadable):
        elements = sum(model.eval().read(batch)[1].numel() for batch in _inputs(model, rows, row))
    return int(np.clip(AVERAGED // (sets * elements), *ROWS))


def average(explanations: list[Explanation]) -> Average:
    """Of one target. The share is that of the mean |change|, so that rows in which much changes count more."""
    fields = [f.field for f in explanations[0].fields]
    nothing = np.zeros(max([1, *(len(f.change or ()) for e in explanations for f in e.fields)]))
    sizes = np.array([[np.abs(f.change or nothing) for f in e.fields] for e in explanations])
    attention = np.mean([[f.attention for f in e.fields] for e in explanations], axis=0)
    rows = np.random.default_rng(SEED).integers(len(sizes), size=(DRAWS, len(sizes)))
    drawn = np.array([shares(sizes[one].mean(0)) for one in rows])
    defined = drawn[~np.isnan(drawn).any(1)]  # in the others nothing changes
    low, high = np.percentile(defined if len(defined) else drawn, [2.5, 97.5], axis=0)
    return Average(len(explanations), fields, shares(sizes.mean(0)), attention, low, high)


def method(model: Model, target: Field) -> dict[str, str]:
    """The formulas in words, with what was done for this many fields."""
    count = len(model.schema.inputs)
    attention = {"attention": ATTENTION}
    if model.wide is not None and target.name in model.wide.outputs:
        attention["linear"] = LINEAR.format(share=float(model.wide.of_target[target.name].share))
    if count == 1:  # it has the whole answer, and was never missing in training
        return attention
    examined, sets = scope(count)
    how = f"exact: all {2**count} sets of the {count} fields"
    if count > EXACT:
        how = f"estimated from about {sets} sets of fields along seeded random orders"
    if count > examined:
        how += f"; of the {examined} fields with the most attention alone"
    return {"share": f"{SHARE.format(what=modality(target).evidence_name)} ({how})", **attention}
