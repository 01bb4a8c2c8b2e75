"""Answers of a model for rows of any source: a table in, the same table and the answers out.

Not concerned with how good the answers are (`evaluate.py`), nor with the command line.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import torch

from perceivers.data import long, sources
from perceivers.data.batches import evaluation_batches
from perceivers.data.folders import MODALITY_OF, list_files
from perceivers.data.future import future
from perceivers.data.loading import Rows, with_value
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import BadInput, nearest
from perceivers.modalities import modality
from perceivers.model import Model
from perceivers.terminal import counted, say

BATCH = 128


def answers(model: Model, rows: Rows, ids: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(the row ids that could be read, {target: answers (n k)}). The windows of a long example are joined."""
    pieces: dict[str, dict[int, list[np.ndarray]]] = {field.name: {} for field in model.schema.targets}
    model.eval()
    with torch.inference_mode():
        for owners, batch in evaluation_batches(rows, ids, BATCH):
            for name, answer in model.answers(batch).items():
                for row, one in zip(owners.tolist(), answer.double().cpu().numpy(), strict=True):
                    pieces[name].setdefault(row, []).append(one)
        read = sorted(next(iter(pieces.values())))
        if not read:  # not one row could be read: no answers, as wide as they would have been
            nothing = {field.name: modality(field).collate(field, [None]) for field in model.schema.inputs}
            pieces = {name: {0: [answer[0].double().numpy()]} for name, answer in model.answers(nothing).items()}
    found = {}
    for field in model.schema.targets:
        kind = modality(field)
        joined = [kind.join(field, pieces[field.name][row]) for row in read or [0]]
        found[field.name] = kind.stack(joined)[: len(read)]
    return np.array(read, dtype=np.int64), found


@torch.inference_mode()
def first_answers(model: Model, table: Table) -> dict[str, torch.Tensor]:
    """The answers to the first rows that can be read: see `Loaded`. Raises BadInput as `predict`."""
    require_columns(table, model.schema.inputs)
    rows = Rows(to_answer(model, table)[0], model.schema.inputs, modality)
    model.eval()
    _, batch = next(evaluation_batches(rows, np.arange(min(BATCH, len(rows))), BATCH), (None, None))
    found = {} if batch is None else model.answers(batch)
    classes = [field.name for field in model.schema.targets if field.modality == "category"]
    return {name: answer if name in classes else answer.reshape(-1, 1) for name, answer in found.items()}


def predict(model: Model, table: Table, *, proba: bool = False) -> tuple[pl.DataFrame, dict[int, str]]:
    """The table and an answer for each target, with `error` where a row could not be read; and these errors by row.
    What is remarkable in how rows were read is said on stderr.

    Raises BadInput where a column that the model reads is missing.
    """
    require_columns(table, model.schema.inputs)
    said = table.notes
    table, asked = to_answer(model, table)
    for note in table.notes:
        if note not in said:
            say(f"note: {note}")
    if asked is not None:
        return _forecast(model, table, asked)
    rows = Rows(table, model.schema.inputs, modality)
    read, found = answers(model, rows, np.arange(len(rows)))
    for remark in (*rows.remarks(), *_empty(table, model.schema.inputs, read)):
        say(f"note: {remark}")
    frame = table.frame

    def cells(name: str) -> list[Any]:
        return [rows.columns[name].cell(int(row)) for row in read]

    place = pl.Series(np.arange(len(rows)), dtype=pl.Int64)
    for field in model.schema.targets:
        columns = modality(field).predicted(field, found[field.name], proba, cells)
        for name, values in columns.items():
            by_row = dict(zip(read.tolist(), values, strict=True))
            frame = frame.with_columns(pl.Series(new_name(frame, name), [by_row.get(row) for row in place]))
    if rows.failed:
        errors = [rows.failed.get(row) for row in place]
        frame = frame.with_columns(pl.Series(new_name(frame, "error"), errors, dtype=pl.String))
    return frame, rows.failed


def _empty(table: Table, inputs: Sequence[Field], read: np.ndarray) -> list[str]:
    """A line on the rows that say nothing."""
    empty = read[~with_value(table, inputs)[read]]
    if not len(empty):
        return []
    what = f"{counted(len(empty), 'row')} without a value in any input, such as row {empty[0] + 1}"
    return [f"{what}: the answer is what is usual, and says nothing of the row"]


def new_name(frame: pl.DataFrame, name: str) -> str:
    """`name`, or `<name>_predicted` where the table has such a column: what came in is never overwritten."""
    while name in frame.columns:
        name += "_predicted"
    return name


def to_answer(model: Model, table: Table) -> tuple[Table, pl.DataFrame | None]:
    """The rows that are answered: of a long table its series, or the windows that end at each series' last step; and,
    where steps are forecast, the series and time of each. Raises BadInput.
    """
    if model.schema.long is None:
        return table, None
    if model.schema.long.horizon is None:
        return long.arrange(table, model.schema), None
    return future(table, model.schema)


def _forecast(model: Model, windows: Table, asked: pl.DataFrame) -> tuple[pl.DataFrame, dict[int, str]]:
    """One row for each series and step after its last: the input's own columns for series, time and the targets."""
    rows = Rows(windows, model.schema.inputs, modality)
    read, found = answers(model, rows, np.arange(len(rows)))
    horizon = asked.height // len(rows)
    frame = asked[(read[:, None] * horizon + np.arange(horizon)).ravel()]
    for field in model.schema.targets:
        frame = frame.with_columns(pl.Series(field.columns[-1], found[field.name].ravel()))
    return frame, rows.failed


def require_columns(table: Table, fields: Iterable[Field]) -> None:
    """Raises BadInput where the table lacks a column of the fields."""
    known = dict.fromkeys(table.frame.columns)
    missing = [(column, field) for field in fields for column in field.columns if column not in known]
    if missing:
        column, field = missing[0]
        others = [name for name in dict.fromkeys(name for name, _ in missing) if name != column]
        more = f", nor {', '.join(map(repr, others))}" if others else ""
        raise BadInput(
            f"{table.name}: no column {column!r}, which the model reads as {field.modality}{more} (a cell may be "
            f"empty, in JSON null){nearest(column, known)}"
        )


def inputs_as_table(fields: Sequence[Field], inputs: Sequence[str]) -> Table:
    """What a person wrote on the command line as one table of `fields`: a source, files, values or JSON rows.

    Raises BadInput where it is none of these, or a mixture.
    """
    if not inputs:
        raise BadInput("nothing to predict: give a table, files, values, JSON rows, or - for stdin")
    if _are_recordings(fields, inputs):
        return _recordings(fields[0], inputs, "the command line")
    if len(inputs) == 1 and _is_source(inputs[0]):
        return sources.read(inputs[0])
    if all(text.lstrip().startswith("{") for text in inputs):
        return replace(sources.read([_json_row(text) for text in inputs]), name="the command line")
    if source := next((text for text in inputs if _is_source(text)), None):
        raise BadInput(f"{source}: a table or folder is given alone, not with other inputs: predict one at a time")
    field = _only_field(fields, inputs[0])
    if field.names_files:
        return _files(field, inputs, "the command line")
    return Table(pl.DataFrame({field.columns[0]: [_value(text, field) for text in inputs]}), "the command line", None)


def _files(field: Field, names: Sequence[str], where: str) -> Table:
    """A row for each file: one that is not there is named when it is read. Raises BadInput where none is."""
    if not any(map(_is_file, names)):
        _file(names[0], field)
    inside = all(_is_inside(name) for name in names)
    cells = names if inside else [os.path.abspath(Path(name).resolve() if _is_file(name) else name) for name in names]
    return Table(pl.DataFrame({field.columns[0]: cells}), where, Path() if inside else Path("/"))


def _is_inside(name: str) -> bool:
    """Whether a file is below the working directory."""
    try:
        return Path(name).resolve().is_relative_to(Path.cwd())
    except (OSError, RuntimeError, ValueError):  # a loop of links, or too long for a name
        return True  # reading will name it


def _recordings(field: Field, inputs: Sequence[str], where: str) -> Table:
    """A row for each file of events, or for each in a folder. Raises BadInput."""
    folder = Path(inputs[0])
    if not folder.is_dir():
        return _files(field, inputs, where)
    found = list_files(folder)
    frame = found.frame.rename({"path": field.columns[0]})
    return Table(frame, str(folder), folder, notes=found.notes)


def _are_recordings(fields: Sequence[Field], inputs: Sequence[str]) -> bool:
    """Whether these are files of events, one a row, though they are tables, or a folder of such: the model reads such
    files alone, and the first has no column that would name them.
    """
    field = fields[0]
    if len(fields) > 1 or field.modality != "events" or not field.names_files:
        return False
    if not any(map(_is_file, inputs)) and not (len(inputs) == 1 and _is_folder(inputs[0])):
        return False
    try:
        return not _is_source(inputs[0]) or field.columns[0] not in sources.read(inputs[0]).frame.columns
    except BadInput:  # it is damaged, which is said of its row
        return True


def _is_one_file(fields: Sequence[Field], name: str) -> bool:
    """Whether this is a file that the only field reads, and no source of rows."""
    return _are_one_column(fields) and fields[0].names_files and _is_file(name) and not _is_source(name)


def _file(text: str, field: Field) -> Path:
    """The file of that name, which `field` reads. Raises BadInput where there is none."""
    try:
        path = Path(text).resolve()
        if path.is_file():
            return path
    except (OSError, RuntimeError, ValueError):  # a loop of links, or too long for a name
        pass
    raise BadInput(f"{text:.200}: no such file, and the model reads files ({field.modality})")


def _value(text: str, field: Field) -> str:
    """What was written, or what the text file of that name holds. Raises BadInput for another, or a missing one."""
    ending = text[text.rfind(".") :].lower()
    other = ending in sources.TABLE_SUFFIXES or (ending in MODALITY_OF and ending != ".txt")
    if field.modality != "text" or not (other or ending == ".txt" or _is_file(text)):
        return text
    if any(c.isspace() for c in text) and not _is_file(text):
        return text  # a sentence that ends in a file's name
    path = _file(text, field)
    if other:
        raise BadInput(f"{text}: the model reads texts: give a text file, a table, or the words themselves")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{text}: byte {error.start} is not UTF-8: save the file as UTF-8") from error


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # a text may be longer than a file's name, or hold NUL
        return False


def values_as_table(fields: Sequence[Field], data: Any) -> Table:
    """What Python code gives: any source, one file, or a list of values (texts, arrays, paths) of the only field.

    Raises BadInput where it is none of these, or where arrays of integers and of floats are mixed.
    """
    if isinstance(data, str | Path) and _are_recordings(fields, [str(data)]):
        return _recordings(fields[0], [str(data)], "the given values")
    if isinstance(data, str | Path) and _is_one_file(fields, str(data)):
        data = [data]
    if isinstance(data, list | tuple) and data and not isinstance(data[0], dict):
        field = _only_field(fields, type(data[0]).__name__)
        if field.names_files and all(isinstance(value, str | Path) for value in data):
            return _files(field, [str(value) for value in data], "the given values")
        if len({value.dtype.kind for value in data if isinstance(value, np.ndarray)}) > 1:
            raise BadInput("arrays of integers and of floats came: give all as one type: a column has one")
        cells = [value.tolist() if isinstance(value, np.ndarray) else value for value in data]
        return replace(sources.read({field.columns[0]: cells}), name="the given values", root=None)
    try:
        return sources.read(data)
    except BadInput as error:
        if not _are_one_column(fields) or isinstance(data, Path | dict | list | tuple):
            raise
        raise BadInput(f"{error}; one value alone is given in a list: [value]") from error


def read_stdin(stream: IO[bytes]) -> Table:
    """CSV or JSON lines from a stream, told apart by the first character."""
    content = stream.read()
    kind = ".jsonl" if content.lstrip()[:1] == b"{" else ".csv"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"stdin{kind}"
        path.write_bytes(content)
        try:
            return replace(sources.read(path), name="stdin", root=Path())
        except BadInput as error:
            raise BadInput(str(error).replace(str(path), "stdin")) from error


def _is_source(text: str) -> bool:
    if not text or text.startswith("sample:"):
        return bool(text)
    if _is_file(text):
        return Path(text).suffix.lower() in sources.TABLE_SUFFIXES
    return _is_folder(text)


def _is_folder(text: str) -> bool:
    try:
        return Path(text).is_dir()
    except (OSError, ValueError):  # as above
        return False


def _are_one_column(fields: Sequence[Field]) -> bool:
    """A clip and its sound are one."""
    return len({field.columns for field in fields}) == len(fields[0].columns) == 1


def _only_field(fields: Sequence[Field], given: str) -> Field:
    if not _are_one_column(fields):
        names = ", ".join(dict.fromkeys(column for field in fields for column in field.columns))
        is_table = given[given.rfind(".") :].lower() in sources.TABLE_SUFFIXES  # would be read, if it were there
        what = "no such file" if is_table else "one value"
        raise BadInput(f"{given!r:.80}: {what}; the model reads {names}: give a table, or rows as JSON objects")
    return fields[0]


def _json_row(text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{text[:60]!r}: not a JSON object: {error}") from error
