"""Targets that hold an entry for each point of a cloud: a list beside it, or a property of its own file.

Not concerned with how clouds are read: that they are clouds is known before.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from perceivers.arrays import array_shape, read_array
from perceivers.data.schema import Field
from perceivers.data.sources import Table, resolve
from perceivers.errors import BadInput, Unreadable

OPENED = 20  # files
MOST_CLASSES = 50  # integers with more distinct values are values
CLASS_NAME = re.compile(r"(?i)class|label|categor|segment|semantic|instance|part|object")


class Property(NamedTuple):
    """A target such as `scan.classification`: that property of the points in the files of column `scan`."""

    target: str
    column: str
    name: str


def property_of(table: Table, target: str) -> Property | None:
    """What a target that is no column means, where it begins with one."""
    if target in table.frame.columns:
        return None
    for column in table.frame.columns:
        if target.startswith(f"{column}.") and len(target) > len(column) + 1:
            return Property(target, column, target[len(column) + 1 :])
    return None


def with_given(table: Table, fields: tuple[Field, ...], properties: Sequence[Property]) -> tuple[Field, ...]:
    """The fields with targets that ask for each point of the only cloud, and that cloud as one whose points are asked.

    Raises BadInput where a property is asked of what is no cloud.
    """
    clouds = {f.name: f for f in fields if f.modality == "points" and f.role == "input"}
    for one in properties:
        if one.column not in clouds:
            raise BadInput(f"{table.name}: target {one.target!r}: {one.column!r} is not read as a cloud of points")
    if len({one.column for one in properties} or clouds) != 1:
        return fields
    cloud = clouds[properties[0].column if properties else next(iter(clouds))]
    of_lists = [
        replace(found, name=f.name, columns=f.columns)
        for f in fields
        if f.role == "target" and (found := _of_lists(table, cloud, f)) is not None
    ]
    targets = {f.name: f for f in (*of_lists, *map(_of_property, properties))}
    if not targets:
        return fields
    options = {"without": [one.name for one in properties]} if properties else {}
    reason = f"{cloud.reason}; its points are asked"
    asked = replace(cloud, modality="given", options={**cloud.options, **options}, reason=reason)
    kept = [asked if f.name == cloud.name else targets.pop(f.name, f) for f in fields]
    return (*kept, *targets.values())


def _of_property(one: Property) -> Field:
    """By its name, as files do not say what their numbers mean."""
    is_class = bool(CLASS_NAME.search(one.name))
    reason = (
        f"{one.name!r} of each point in the files of {one.column!r}; named like {'classes' if is_class else 'values'}"
    )
    options = {"property": one.name, "files": True, "source": one.column}
    return Field(one.target, "point_class" if is_class else "point_value", "target", (one.column,), options, reason)


def _of_lists(table: Table, cloud: Field, target: Field) -> Field | None:
    """A column of lists, or of npy files, each as long as the cloud has points, as far as that is seen here."""
    cells, clouds = table.frame[target.columns[0]], table.frame[cloud.columns[0]]
    both = pl.DataFrame({"cell": cells, "cloud": clouds}).drop_nulls().head(OPENED)
    entries = [_entries(table, target, cell) for cell in both["cell"].to_list()]
    lists = [one for one in entries if one is not None and one.ndim == 1]
    if not lists or len(lists) < len(entries):
        return None
    counts = [_count(table, cell) for cell in both["cloud"].to_list()]
    if any(count is not None and count != len(one) for count, one in zip(counts, lists, strict=True)):
        return None
    every = np.concatenate(lists)
    whole = every.dtype.kind in "iu" or (every.dtype.kind == "f" and bool((every == np.round(every)).all()))
    is_class = every.dtype.kind in "UOb" or (whole and len(np.unique(every)) <= MOST_CLASSES)
    options = {"source": cloud.name, **({"files": True} if target.names_files else {})}
    reason = f"a list as long as {cloud.name!r} has points: a {'class' if is_class else 'value'} for each"
    return Field(target.name, "point_class" if is_class else "point_value", "target", target.columns, options, reason)


def _entries(table: Table, target: Field, cell: Any) -> np.ndarray | None:
    """The entries of a cell; None where it is no list, or cannot be opened."""
    if isinstance(cell, str) and target.names_files:
        with suppress(Unreadable, OSError, ValueError):
            return read_array(resolve(table.root, cell))
        return None
    if isinstance(cell, str):
        with suppress(ValueError, RecursionError):
            cell = json.loads(cell)
    return np.asarray(cell) if isinstance(cell, list | np.ndarray) and len(cell) else None


def _count(table: Table, cell: Any) -> int | None:
    """How many points a cell has, where that is seen without reading it as a cloud."""
    if not isinstance(cell, str):
        return len(cell)
    with suppress(Unreadable):
        shape = array_shape(resolve(table.root, cell))
        return shape[0] if shape else None
    return None
