"""The contract of a modality: one kind of data, in one file. To add a kind of data is to write one such file.

A cell's way: `read` (one cell → an example) or `read_all` (a column at once) → `collate` (examples → tensors, a
*part* of the batch) → `augment` (in training) → the module of `inputs` → an array (b m c).
An answer's way: the queries of `target` → outputs (b o e) → prediction → loss, or `answer` → `columns`, `metrics`.
Not concerned with where rows come from (`perceivers.data`) nor with the Perceiver in the middle.
"""

import html
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.positions import LearnedArray
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.large import Piece, is_stacked
from perceivers.modalities.shaded import Plain, Shaded

# One field of a batch: named tensors, the batch first. `collate` of the modality says which, with dtype and range, and
# where it gives a `Stacked` in place of one that would not fit into memory.
Part = dict[str, Any]
# All fields of a batch, by name.
Batch = dict[str, Part]
# (purpose, k) → (b, k) numbers in [0, 1) that depend on the seed, the epoch, the row and the purpose alone.
Uniform = Callable[[str, int], Tensor]
# The weights of one input field, each a parameter, a view of one or a buffer, by names that mean the same in any
# model; first the kind: fields of one kind can take over each other's weights.
Weights = tuple[str, dict[str, Tensor]]
# Metrics of one target: {"n": 360, "accuracy": {"value": 0.98, "low": 0.96, "high": 0.99}, …}
Metrics = dict[str, Any]

UNSEEN = "is none of those of training: it is read as unseen"  # what a remark says of a category or a unit


class Modality(ABC):
    """One kind of data. Stateless: what it must know of a field stands in the field's options.

    `options` holds every option that a field of this kind may have, with its default; None means that `fit` reads
    it off the train rows. In all methods `field` is a `perceivers.data.schema.Field` (name, columns, options).
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    evidence_name: ClassVar[str] = "the predicted value"  # what `evidence` gives, for a sentence
    evidence_is_log: ClassVar[bool] = False  # of a probability: its changes are factors

    # The door -------------------------------------------------------------------------------------------------
    def check(self, field: Any) -> None:
        """Raises BadInput where an option in `field` is nothing that this modality could use: people write them.

        Here: where there are several columns.
        """
        one_column(field)

    @abstractmethod
    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        """The options that are None in `field`, read off the cells of the train rows. Raises BadInput."""

    def agree(self, field: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a fitted target that it shares with the fitted inputs, by their names. Raises BadInput."""
        return {}

    @abstractmethod
    def read(self, field: Any, cell: Any) -> Any:
        """One cell → one example (usually a numpy array), or None where the cell is missing.

        A cell is what the table holds (str, int, float, bool, list, None, numpy array, datetime), a
        `pathlib.Path` where the table names a file, or a tuple of those where the field has several columns.
        Raises Unreadable with one line that says what came and what was expected.
        """

    def read_all(self, field: Any, cells: Sequence[Any]) -> Sequence[Any] | np.ndarray | None:
        """All examples of a column at once, indexable by an integer array, where that is cheap; else None."""
        return None

    def remarks(self, field: Any, cell: Any, example: Any) -> Sequence[str]:
        """What a person should know of how a cell was read, each in a few words that fit many rows."""
        return ()

    def remarks_on_all(self, field: Any, cells: Sequence[Any], examples: Any) -> Iterable[tuple[int, str]]:
        """The same for what `read_all` gave: rows, each with a remark."""
        return ()

    def windows(self, field: Any, example: Any) -> list[Any]:
        """The pieces of an example that is too long for one pass: the answers to them are averaged."""
        return [example]

    def crop(self, field: Any, example: Any, uniform: float) -> Any:
        """In training, one piece in place of all `windows`, chosen by a number in [0, 1)."""
        return example

    def mismatch(self, field: Any, example: Any, examples: Mapping[str, Any]) -> str | None:
        """A line that says why an example does not go with the others of its row (`examples`, by field), if so."""
        return None

    def size(self, field: Any, cell: Any) -> int:
        """About how many input elements a cell will take, found cheaply: batches are bucketed by it."""
        return 1

    @abstractmethod
    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """Examples (None where missing) → padded tensors. The docstring is the array contract."""

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """A randomly changed copy of a part, in training, as a pure function of `uniform`."""
        return part

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        """The part as if the field were missing in `rows`: in training, so that missing fields are known."""
        raise BadInputModality(self.name, "drop")

    # As an input ----------------------------------------------------------------------------------------------
    def inputs(self, fields: Sequence[Any], channels: int) -> "Inputs":
        """The module that turns all input fields of this modality into an array."""
        raise BadInputModality(self.name, "inputs")

    def terms(self, field: Any) -> Any:
        """What a linear model beside the Perceiver reads of a field: a `perceivers.modalities.terms.Terms`, or None."""
        return None

    # As a target ----------------------------------------------------------------------------------------------
    @property
    def askable(self) -> bool:
        """Whether it can be a target: it has its own `target`."""
        return type(self).target is not Modality.target

    def target(self, field: Any, channels: int) -> "Target":
        """The module that asks for this field and reads the answer."""
        raise BadTargetModality(self.name, "target")

    def join(self, field: Any, answers: Sequence[Float[np.ndarray, " k"]]) -> np.ndarray:
        """The answers to the windows of a row → its answer: here their mean."""
        return answers[0] if len(answers) == 1 else np.mean(answers, axis=0)

    def stack(self, rows: Sequence[Any]) -> np.ndarray:
        """Answers or examples of rows as one array that rows index."""
        return np.asarray(rows)

    def columns(self, field: Any, answer: np.ndarray, proba: bool) -> dict[str, list[Any]]:
        """Answers (n k) as columns: those in `answered`, and beside them what else is known, such as probabilities."""
        raise BadTargetModality(self.name, "columns")

    def answered(self, field: Any) -> Sequence[str]:
        """Which of `columns` hold the answer itself."""
        return [field.name]

    def predicted(
        self, field: Any, answer: np.ndarray, proba: bool, cells: Callable[[str], list[Any]]
    ) -> dict[str, list[Any]]:
        """What `predict` adds to the rows: `columns`. `cells` gives the rows' cells of an input field by its name."""
        return self.columns(field, answer, proba)

    def metrics(self, field: Any, answer: np.ndarray, truth: Sequence[Any], groups: Sequence[Any] | None) -> Metrics:
        """Answers (n k) against the examples `truth`: n, and a value with a 95 % interval for each metric.

        The first metric after `n` is the one that is named first to people; `better` says which is compared.
        """
        raise BadTargetModality(self.name, "metrics")

    def row_scores(self, field: Any, answer: np.ndarray, truth: np.ndarray) -> tuple[str, Float[np.ndarray, " n"]]:
        """The name of a metric, and each row's own: rows are compared by it. As it stands: how far off numbers are."""
        return "mae", np.nanmean(np.abs(answer - truth).reshape(len(truth), -1), axis=1)

    def rivals(self, field: Any, simple: Any) -> dict[str, np.ndarray]:
        """{name: answers to the test rows} of simple models, which a result must beat. `simple`, a
        `perceivers.baselines.Simple`, has the examples, and models to choose from. As it stands: those for numbers.
        """
        return simple.regressors()

    def panels(self, show: Any) -> Any:
        """What the report shows of answers beside their metrics, one of the methods of `show`, a
        `perceivers.report.page.Show`. As it stands: the rows that are worst by `row_scores`, each `compared`.
        """
        return show.rows()

    def compared(self, field: Any, answer: np.ndarray, truth: Any, example: Callable[[str], Any]) -> str:
        """The answer (k) to one row and what was true, as HTML; empty where the score says all. `example` gives the
        row's example of an input field by its name.
        """
        found = self.columns(field, np.asarray(answer)[None], False)
        said = ", ".join(str(found[name][0]) for name in self.answered(field))
        return f"{html.escape(said)} (true: {html.escape(str(truth))})"

    def evidence(self, field: Any, answer: Float[np.ndarray, "n k"], asked: Float[np.ndarray, " k"]) -> np.ndarray:
        """What is compared (n c) when fields are removed: the answers' values, or the log-probability of what was
        answered (`asked`, the answer with nothing removed).
        """
        return answer

    # For a person ---------------------------------------------------------------------------------------------
    @abstractmethod
    def draw(self, field: Any, cell: Any) -> str:
        """A cell as a piece of HTML (escaped, self-contained, small)."""

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """A cell with the weights of its m tokens drawn on it, for each of its w `windows` (the last one again where
        another field has more); weights of elements in several windows are averaged. Shades are relative to the
        largest. As it stands: the cell alone, for kinds that have nothing inside to shade.
        """
        return Plain(self.draw(field, cell))

    def like(self, field: Any, origin: Any) -> Any:
        """A new model's input `field` with what it must share with `origin`, a start's, to take its weights."""
        return field

    def fitted(self, name: str, weight: Tensor, old: Any, new: Any) -> Tensor | None:
        """A weight of an input `old` as one of an input `new`, whose shape is another; None: it is made anew."""
        return None

    def refitted(self, old: Any, new: Any) -> list[str]:
        """What else of an input `old` is fitted to be one of `new`, for a person: what no weight holds."""
        return []

    def baseline(self, field: Any) -> Any:
        """A scikit-learn transformer from a list of examples to honest features for logistic, ridge and forest."""
        raise BadInputModality(self.name, "baseline")


class Inputs(nn.Module, ABC):
    """The input fields `names` of one modality, side by side along m."""

    names: list[str]

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        """A batch → an array and its mask."""

    @abstractmethod
    def lengths(self, batch: Batch) -> list[int]:
        """How many elements of m each of `names` has."""

    def pieces(self, batch: Batch) -> list[Piece]:
        """The same array in pieces, where a field of the batch is too large for memory. As it stands, a single one."""
        return [Piece(sum(self.lengths(batch)), lambda: self(batch))]

    @abstractmethod
    def weights(self, fields: Mapping[str, Any]) -> dict[str, Weights]:
        """For each of `names`, given the fields by name, its weights: a model that starts from another takes them."""


def rows_of(batch: Batch) -> int:
    """How many rows a batch has."""
    return len(next(iter(next(iter(batch.values())).values())))


class Target(nn.Module, ABC):
    """Asks for one field: queries, a head that reads the outputs, and a loss. `batch` holds the parts of all inputs.

    reads: the input whose part the loss sees beside the field's own; None: no other
    """

    reads: str | None = None

    def __init__(self, num_queries: int, channels: int):
        super().__init__()
        self.queries = LearnedArray(num_queries, channels)

    def ask(self, batch: Batch) -> Float[Tensor, "b o e"]:
        """The queries; as it stands, a few learned ones, the same for every row."""
        return self.queries(rows_of(batch))

    @property
    def foretold(self) -> int | None:
        """How many numbers the raw prediction has, where it is logits of classes or values that a linear model can
        foretell; None: it is not.
        """
        return None

    def goals(self, part: Part) -> tuple[Tensor, Bool[Tensor, " b"]]:
        """What is to be `foretold`: classes (b) int64 or values (b k), and whether a row has it."""
        raise NotImplementedError

    def begin(self, batches: Iterable[tuple[Batch, Part]]) -> bool:
        """Before the first step: sets what has a closed form from train rows, each batch with the part of the field.
        Whether there was something to set: then the model may be at its best as it is.
        """
        return False

    @abstractmethod
    def forward(self, outputs: Float[Tensor, "b o e"], batch: Batch) -> Tensor:
        """Outputs → raw prediction: logits, or standardised values (b k)."""

    @abstractmethod
    def loss(self, prediction: Tensor, part: Part) -> Float[Tensor, " b"]:
        """The loss of each row."""

    @abstractmethod
    def answer(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Raw prediction → what may be averaged over windows: probabilities, or values in the field's units."""


def is_missing(cell: Any) -> bool:
    """None, NaN, or a string of white space alone."""
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or (isinstance(cell, float | np.floating) and bool(np.isnan(cell)))


def fault(read: Callable[[Any], Any], cells: Iterable[Any]) -> str:
    """Why the first cell that cannot be read cannot, in the words of the error."""
    for cell in cells:
        try:
            read(cell)
        except Unreadable as error:
            return str(error)
    return "every cell is empty, or names a file that is not there"


def one_column(field: Any) -> None:
    """Raises BadInput where a field has several columns but its modality reads one."""
    if len(field.columns) != 1:
        raise BadInput(
            f"{field.name}: {field.modality} reads one column, not {', '.join(field.columns)}: make it so many fields"
        )


def one_of(field: Any, option: str, *choices: Any) -> None:
    """Raises BadInput where an option is none of `choices`; a type stands for all of its values."""
    value = field.options[option]
    if not any(type(value) is c if isinstance(c, type) else value is c or value == c for c in choices):
        names = " or ".join(c.__name__ if isinstance(c, type) else "null" if c is None else repr(c) for c in choices)
        raise BadInput(f"{field.name}: {option} must be {names}, got {value!r:.60}")


def positive(field: Any, option: str) -> None:
    """Raises BadInput where an option is not None or a positive integer."""
    value = field.options[option]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise BadInput(f"{field.name}: {option} must be a positive integer, got {value!r:.60}")


def whole(field: Any, option: str, most: int) -> None:
    """Raises BadInput where an option is not None or a whole number from 0 to `most`."""
    value = field.options[option]
    if value is not None and (type(value) is not int or not 0 <= value <= most):
        raise BadInput(f"{field.name}: {option} must be a whole number from 0 to {most}, got {value!r:.60}")


def numbers(field: Any, option: str, count: int | None = None) -> None:
    """Raises BadInput where an option is not None or a list of (`count`) finite numbers."""
    value = field.options[option]
    if value is None:
        return
    if not isinstance(value, list) or not all(type(x) in (int, float) and math.isfinite(x) for x in value):
        raise BadInput(f"{field.name}: {option} must be a list of numbers, got {value!r:.60}")
    if count is not None and len(value) != count:
        raise BadInput(f"{field.name}: {option} must hold {count} numbers, got {len(value)}")


class BadInputModality(NotImplementedError):
    """A kind of data that no model can read."""

    def __init__(self, name: str, method: str):
        super().__init__(f"{name} cannot be an input: its modality has no `{method}`")


class BadTargetModality(NotImplementedError):
    """A kind of data that cannot be asked for."""

    def __init__(self, name: str, method: str):
        super().__init__(f"{name} cannot be a target: its modality has no `{method}`")


class ByBand(Protocol):
    """A module of one field that reads a part which is too large for memory."""

    def pieces(self, part: Part) -> list[Piece]: ...


class PerField(Inputs):
    """One module for each field. A module maps a Part to (array (b m c), mask (b m)); it is `ByBand` where the modality
    gives a `Stacked`.
    """

    def __init__(self, modules: Mapping[str, nn.Module]):
        super().__init__()
        self.names = list(modules)
        self.fields = nn.ModuleList(modules.values())

    def forward(self, batch: Batch) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        found = self._each(batch)
        return torch.cat([array for array, _ in found], dim=1), torch.cat([mask for _, mask in found], dim=1)

    def lengths(self, batch: Batch) -> list[int]:
        return [array.shape[1] for array, _ in self._each(batch)]

    def pieces(self, batch: Batch) -> list[Piece]:
        found = []
        for name, module in zip(self.names, self.fields, strict=True):
            part = batch[name]
            if is_stacked(part):
                found += cast(ByBand, module).pieces(part)
            else:
                found.append(Piece(module(part)[0].shape[1], partial(module, part)))
        return found

    def weights(self, fields: Mapping[str, Any]) -> dict[str, Weights]:
        return {
            name: (type(module).__name__, module.state_dict(keep_vars=True))
            for name, module in zip(self.names, self.fields, strict=True)
        }

    def _each(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        return [module(batch[name]) for name, module in zip(self.names, self.fields, strict=True)]
