"""The contract of a job: a table in, the same table and a published model's answers out, one row at a time.

Not concerned with what a row holds: each job is a file.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from perceivers.data import sinks
from perceivers.data.folders import MODALITY_OF
from perceivers.data.loading import cells
from perceivers.data.schema import Field
from perceivers.data.sources import Table, file_names, opened
from perceivers.errors import BadInput, Unreadable
from perceivers.evaluate import Evaluation
from perceivers.explain import ATTENTION, Explanation, FieldExplanation
from perceivers.files import check_place
from perceivers.loaded import Loaded
from perceivers.modalities.shaded import Shaded
from perceivers.predict import new_name
from perceivers.terminal import counted, say

Example = TypeVar("Example")


class Job(Loaded, Generic[Example]):
    """What one published model does. `name`: of the model, for messages; `wants`: what it reads, in words.

    An example is what `read` makes of a row's cells.
    """

    field: Field
    target: Field
    wants: str

    def __init__(self, module: nn.Module, name: str):
        self.module, self.name = module, name

    @property
    def reads(self) -> tuple[Field, ...]:
        return (self.field,)

    @abstractmethod
    def suits(self, cells: list[Any]) -> bool:
        """Whether the cells of a column look like what the model reads: that is how its column is found."""

    @abstractmethod
    def read(self, cell: Any) -> Example:
        """The cell of a row (a Path where it names a file; a tuple of several columns). Raises Unreadable."""

    def remarks(self, example: Example) -> Sequence[str]:
        """What a person should know of how an example was read, each in a few words that fit many rows."""
        return ()

    @abstractmethod
    def answer(self, example: Example, proba: bool) -> dict[str, Any]:
        """The columns of an answer."""

    @abstractmethod
    def numbers(self, example: Example) -> np.ndarray | Tensor:
        """What an answer rests on, of one window: (… k) for k classes, else (numbers 1)."""

    @abstractmethod
    def attention(self, example: Example) -> Float[np.ndarray, "w m"]:
        """How much of what the answer reads comes from each element of the input, of sum 1 in each window."""

    @abstractmethod
    def shaded(self, example: Example, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The input with the attention drawn on it."""

    def methods(self) -> dict[str, dict[str, str]]:
        return {self.target.name: {"attention": ATTENTION}}

    def predict_table(self, table: Table, *, proba: bool = False) -> tuple[pl.DataFrame, dict[int, str]]:
        table = self.arrange(table)
        failed: dict[int, str] = {}
        answers = dict(self.each(table, lambda row, example: self.answer(example, proba), failed))
        frame, rows = table.frame, range(len(table.frame))
        for name in next(iter(answers.values())):
            values = [answers[row][name] if row in answers else None for row in rows]
            frame = frame.with_columns(pl.Series(new_name(frame, name), values))
        if failed:
            errors = pl.Series(new_name(frame, "error"), [failed.get(row) for row in rows], dtype=pl.String)
            frame = frame.with_columns(errors)
        return frame, failed

    def first_answers(self, table: Table) -> dict[str, Tensor]:
        _, found = next(self.each(self.arrange(table), lambda _, example: self.numbers(example), {}))
        return {self.target.name: torch.as_tensor(found)}

    def explain_table(self, table: Table) -> tuple[list[Explanation], dict[int, str]]:
        failed: dict[int, str] = {}
        column = self.column(table)
        given = cells(table, column)

        def explanation(row: int, example: Example) -> Explanation:
            weights = self.attention(example)
            shaded = partial(self.shaded, example, weights)
            file = file_names(given[row]) if column.names_files else None
            field = FieldExplanation(self.field, None, None, 1.0, weights, shaded, file)
            return Explanation(row, self.target, self.answer(example, False), [field])

        return [found for _, found in self.each(table, explanation, failed)], failed

    def evaluations(self, data: Any) -> tuple[list[Evaluation], dict[int, str], list[str]]:
        raise BadInput(
            f"{self.name}: evaluate compares classes with the right ones, and this model names none: use predict or "
            "explain; `train … --from` gives a model that can be measured"
        )

    def arrange(self, table: Table) -> Table:
        return table

    def each(
        self, table: Table, found: Callable[[int, Example], Any], failed: dict[int, str]
    ) -> Iterator[tuple[int, Any]]:
        """What is `found` for each row; the others are noted in `failed`. Raises BadInput where no row can be read."""
        column, remarks = self.column(table), Counter()
        for row, cell in enumerate(cells(table, column)):
            try:
                example = self.read(opened(table.root, cell) if column.names_files else cell)
            except Unreadable as error:
                failed[row] = f"{table.name}, row {row + 1}: {error}"
                continue
            remarks.update(self.remarks(example))
            yield row, found(row, example)
        for remark, count in remarks.items():
            say(f"note: {remark} ({counted(count, 'row')})")
        if len(failed) == len(table.frame):
            first = next(iter(failed.values()))
            raise BadInput(first if len(failed) == 1 else f"no row can be read; the first: {first}")

    def column(self, table: Table) -> Field:
        """The field with the table's own columns: those of its names, or else the only ones that look like it.

        Raises BadInput where there are none, or too many.
        """
        frame, names = table.frame, self.field.columns
        if set(names) <= set(frame.columns):
            return self.field
        found = [name for name in frame.columns if self.suits(frame[name].drop_nulls().to_list())]
        if len(found) != len(names):
            which = ", ".join(found[:5]) or "none"
            raise BadInput(
                f"{table.name}: {self.name} reads {self.wants}, and the columns that look like it are {which}: "
                f"name {'it' if len(names) == 1 else 'them'} {' and '.join(map(repr, names))}"
            )
        return replace(self.field, columns=tuple(found))


def are_pictures(cells: list[Any]) -> bool:
    """Whether a column holds names of pictures, or arrays."""
    if cells and isinstance(cells[0], str):
        return MODALITY_OF.get(Path(cells[0]).suffix.lower()) == "image"
    return bool(cells) and isinstance(cells[0], list | np.ndarray)


def numbered(out: Path, ending: str, row: int, count: int) -> Path:
    """Where the answer to one row of `count` is written: `out`, or with its number from 1 on before the ending."""
    number = f"-{row + 1:0{len(str(count))}d}" if count > 1 else ""
    return out.with_name(f"{out.name[: -len(ending)]}{number}{out.name[-len(ending) :]}")


def check_ending(out: Path, ending: str, own: Collection[str], holds: str, table: str) -> None:
    """Raises BadInput where a file can hold neither a job's own kind of answer, by its `ending`, nor a table.

    `holds` and `table` say what the one and the other hold.
    """
    if ending in own:
        check_place(out)
    elif out.suffix.lower() in sinks.WRITERS:
        sinks.check_out(out)
    else:
        raise BadInput(
            f"{out}: unknown ending {out.suffix!r}: {', '.join(own)} {holds}, and {', '.join(sinks.WRITERS)} {table}"
        )
