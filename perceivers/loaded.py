"""What a model can be asked once it is loaded, whoever trained it: rows in, answers, explanations and metrics out.

Not concerned with how a model finds them: trained here (`api.py`) or published (`jobs/`).
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor, nn

from perceivers.core.precision import Precision, agreement, choose, put, said
from perceivers.data import sinks
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.evaluate import Evaluation, metrics_dict
from perceivers.explain import Explanation
from perceivers.modalities.base import Metrics
from perceivers.predict import inputs_as_table, values_as_table
from perceivers.terminal import counted, say


class Loaded(ABC):
    """A model that is ready to answer: what `perceivers.load` gives. `module`: what computes."""

    module: nn.Module

    @property
    @abstractmethod
    def reads(self) -> tuple[Field, ...]:
        """The fields that it reads."""

    @abstractmethod
    def predict_table(self, table: Table, *, proba: bool = False) -> tuple[pl.DataFrame, dict[int, str]]:
        """The rows and their answers; and the rows that could not be read, with the reason."""

    @abstractmethod
    def arrange(self, table: Table) -> Table:
        """The rows that are answered, of those that came: of a long table its series. Raises BadInput."""

    @abstractmethod
    def explain_table(self, table: Table) -> tuple[list[Explanation], dict[int, str]]:
        """An explanation for each arranged row and target; and the rows that could not be read, with the reason."""

    @abstractmethod
    def methods(self) -> dict[str, dict[str, str]]:
        """For each target, the formulas of an explanation in words."""

    @abstractmethod
    def evaluations(self, data: Any) -> tuple[list[Evaluation], dict[int, str], list[str]]:
        """The metrics with answers and truth; the rows that could not be read, with the reason; notes for a person."""

    @abstractmethod
    def first_answers(self, table: Table) -> dict[str, Tensor]:
        """The answers to the first rows, a batch at most, by target: (rows k) for k classes, else (numbers 1)."""

    def lower(self, precision: Precision, beside: Table | None = None) -> str:
        """Answers from now on in a precision: what was taken, and why. `auto` is what this machine is good at.

        Weights in float32 are no longer there: to go back, load the model again. Of `beside` the first rows are then
        answered in both, and how far bf16 agrees is said on stderr.
        """
        chosen, reason = choose(precision, next(self.module.parameters()).device)
        exact = self.first_answers(beside) if beside is not None and chosen == "bf16" else {}
        put(self.module, chosen)
        fast = self.first_answers(beside) if beside is not None and exact else {}
        for name, answers in exact.items():
            say(f"{name}: bf16 beside float32 on the first rows: {agreement(answers, fast[name])}")
        return said(chosen, reason)

    def written(self, inputs: Sequence[str]) -> Table:
        """The rows that a person wrote on the command line. Raises BadInput."""
        return inputs_as_table(self.reads, inputs)

    def values(self, data: Any) -> Table:
        """The rows that Python code gives. Raises BadInput."""
        return values_as_table(self.reads, data)

    def predict(self, data: Any, *, proba: bool = False) -> pl.DataFrame:
        """Rows in, the same rows and the answers out. `data`: a source, a data frame, or a list of values or dicts."""
        return self.predict_table(self.values(data), proba=proba)[0]

    def explain(self, data: Any) -> list[Explanation]:
        """What the answers rest on: shares of the fields by removal, and attention, for each row and target."""
        return self.explain_table(self.arrange(self.values(data)))[0]

    def evaluate(self, data: Any) -> dict[str, Metrics]:
        """The metrics, with 95 % intervals, on the rows of `data`; on the training data: on their test rows alone."""
        found, failed, notes = self.evaluations(data)
        if failed:
            warnings.warn(
                f"{counted(len(failed), 'row')} could not be read; the first: {next(iter(failed.values()))}",
                stacklevel=2,
            )
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return metrics_dict(found)

    def check_out(self, out: Path) -> None:
        """Raises BadInput where no answers could be written at `out`: asked before anything begins."""
        sinks.check_out(out)

    def predict_to(self, table: Table, out: Path, *, proba: bool = False) -> tuple[str, dict[int, str]]:
        """Writes the answers in the format of `out`'s ending. What was written, in words; and the unreadable rows."""
        frame, failed = self.predict_table(table, proba=proba)
        sinks.write_table(frame, out)
        return f"{counted(len(frame), 'row')}: {out}", failed
