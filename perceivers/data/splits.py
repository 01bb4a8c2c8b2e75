"""Which rows are for training, validation and test: drawn once, without leaks.

What stays together is a *unit*: the rows of a group, and rows with the same inputs. The order in which units are drawn
is a pure function of the seed and of a unit's first row.
Not concerned with which rows have a target, nor with batches.
"""

import hashlib
from collections import defaultdict

import numpy as np
import polars as pl
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from perceivers.data.dates import find_times, to_seconds
from perceivers.data.folders import SPLITS
from perceivers.data.randomness import uniform
from perceivers.data.rules import present
from perceivers.data.schema import Schema
from perceivers.data.sources import Table, resolve
from perceivers.errors import BadInput, Unreadable

Rows = Int[np.ndarray, " n"]
PARTS = ("train", "validation", "test")
CHAINED = 0.5  # groups that equal rows chain to more than this share of all rows are kept apart


def split(table: Table, schema: Schema, rows: Rows) -> dict[str, Rows]:
    """The sorted row ids of train, validation and test, out of `rows`. Raises BadInput where a part would be empty."""
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    if table.parts is not None:
        parts = {name: np.intersect1d(rows, found) for name, found in table.parts.items()}
    elif schema.split.column is not None:
        parts = _by_column(table, schema, rows)
    elif schema.split.group is None and schema.split.time is not None:
        parts = _by_time(table, schema, rows, schema.split.fractions)
    else:
        parts = _drawn(table, schema, rows, schema.split.fractions)
    return _without_gaps(table, parts, schema.split.fractions)


def _without_gaps(table: Table, parts: dict[str, Rows], fractions: tuple[float, float, float]) -> dict[str, Rows]:
    """The parts. Raises BadInput where one is empty that should not be."""
    for name, fraction in zip(PARTS, fractions, strict=True):
        if not len(parts[name]) and (fraction or name == "train"):
            raise BadInput(
                f"{table.name}: {sum(map(len, parts.values()))} rows leave none for {name}: rows of a group, of one "
                "time or with the same inputs stay together; give more rows, or a column `split`"
            )
    return parts


def folds(table: Table, schema: Schema, rows: Rows, k: int, seed: int) -> list[dict[str, Rows]]:
    """Cross-validation: train, validation and test k times, where every row is tested once.

    Of the rest, as large a share as in the schema's split is for validation. A column `split` is not looked at.
    Raises BadInput where there are too few units for that, and where rows are ordered by time.
    """
    if schema.split.time is not None and schema.split.group is None:
        raise BadInput(f"{table.name}: rows ordered by {schema.split.time!r} are split once, not cross-validated")
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    units, strata = units_of(table, schema, rows), _strata(table, schema, rows)
    if k < 2 or units.max() + 1 < k:
        raise BadInput(f"{table.name}: {units.max() + 1} groups of different rows cannot be {k} folds of at least 2")
    fold_of_unit = _fold_of_units(units, strata, k, _keys(units, rows, seed))
    train, validation, _ = schema.split.fractions
    share = (train / (train + validation), validation / (train + validation), 0.0)
    found = []
    for fold in range(k):
        tested = fold_of_unit[units] == fold
        rest = _without_gaps(table, _drawn(table, schema, rows[~tested], share, seed), share)
        found.append({"train": rest["train"], "validation": rest["validation"], "test": rows[tested]})
    return found


def _by_column(table: Table, schema: Schema, rows: Rows) -> dict[str, Rows]:
    """As the column says; where it knows no validation, a share of train is drawn by the other rules."""
    name = str(schema.split.column)
    values = [str(v or "").strip().lower() for v in table.frame[name].gather(rows).to_list()]
    for row, value in zip(rows, values, strict=True):
        if value not in SPLITS:
            raise BadInput(f"{table.name}, row {row + 1}: {name!r} is {value!r}, not train, validation or test")
    part = np.array([SPLITS[value] for value in values])
    parts = {p: rows[part == p] for p in PARTS}
    if not len(parts["test"]) and schema.split.fractions[2]:
        raise BadInput(f"{table.name}: column {name!r} leaves no row for test: mark some, or rename the column")
    share = schema.split.fractions[1]
    if not len(parts["validation"]) and share and len(parts["train"]):
        rest = (1 - share, share, 0.0)
        by_time = schema.split.group is None and schema.split.time is not None
        drawn = (_by_time if by_time else _drawn)(table, schema, parts["train"], rest)
        parts |= {"train": drawn["train"], "validation": drawn["validation"]}
    return parts


def _by_time(table: Table, schema: Schema, rows: Rows, fractions: tuple[float, float, float]) -> dict[str, Rows]:
    """The last share of the times is test, the one before it validation. Equal times are never parted.

    Equal rows go together to the latest part that has one of them, unless this would take half of train away.
    """
    name = str(schema.split.time)
    cells = table.frame[name].gather(rows)
    known = present(cells)
    seconds = to_seconds(cells, schema.date(name) or find_times(known))
    if seconds.has_nulls():
        row = int(rows[seconds.is_null().arg_true()[0]])
        raise BadInput(f"{table.name}, row {row + 1}: {name!r} is no time: {table.frame[name][row]!r}")
    times, place = np.unique(seconds.to_numpy(), return_inverse=True)
    test = len(times) - round(fractions[2] * len(times))
    validation = test - round(fractions[1] * len(times))
    part = np.digitize(place, [max(validation, 0), max(test, 0)])
    units = by_first(_fingerprints(table, schema, rows))
    latest = np.zeros(units.max() + 1, dtype=np.int64)
    np.maximum.at(latest, units, part)
    together = latest[units]
    if (together == 0).sum() >= (part == 0).sum() / 2:
        part = together
    return {name: rows[part == i] for i, name in enumerate(PARTS)}


def _drawn(
    table: Table, schema: Schema, rows: Rows, fractions: tuple[float, float, float], seed: int | None = None
) -> dict[str, Rows]:
    """Rows, or whole groups, are drawn class by class; then the rows of a unit follow its first one.

    So a row's part hardly depends on what stands in others. A class of two rows or more has one in train.
    """
    units, strata = units_of(table, schema, rows), _strata(table, schema, rows)
    drawn = _groups(table, schema, rows)
    part = _draw(drawn, strata, _keys(drawn, rows, schema.split.seed if seed is None else seed), fractions)
    _, first = np.unique(units, return_index=True)
    part = part[first]
    _mend_classes(part, units, strata)
    _fill(part, units, strata, fractions)
    return {name: rows[part[units] == i] for i, name in enumerate(PARTS)}


def _draw(drawn: np.ndarray, strata: np.ndarray, keys: np.ndarray, fractions: tuple[float, float, float]) -> np.ndarray:
    """The part (0, 1, 2) of each row, where rows with the same number in `drawn` go together."""
    _, first, sizes = np.unique(drawn, return_index=True, return_counts=True)
    part = np.zeros(len(first), dtype=np.int64)
    owed = np.zeros(3)  # rows that rounding has kept from a part so far
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata[first] == stratum)
        members = members[np.argsort(keys[members], kind="stable")]
        size = sizes[members]
        wanted = np.array(fractions) * size.sum() + owed
        ends = np.cumsum([max(0, round(wanted[2])), max(0, round(wanted[1]))])
        part[members] = np.array([2, 1, 0])[np.digitize(np.cumsum(size) - size / 2, ends)]
        part[members[-1]] = 0
        owed = wanted - np.bincount(part[members], weights=size, minlength=3)
    return part[drawn]


def _mend_classes(part: np.ndarray, units: np.ndarray, strata: np.ndarray) -> None:
    """Moves a unit of each class that has several rows, but none in train, to train."""
    sizes, counts = np.bincount(units), np.bincount(strata)
    trained = np.bincount(strata[part[units] == 0], minlength=len(counts))
    for stratum in np.flatnonzero((trained == 0) & (counts > 1)):
        members = np.unique(units[strata == stratum])
        part[members[np.argmin(sizes[members])]] = 0


def _fill(part: np.ndarray, units: np.ndarray, strata: np.ndarray, fractions: tuple[float, float, float]) -> None:
    """Moves one of train's smallest units into each part that is empty and should not be, where train can spare it."""
    _, first, sizes = np.unique(units, return_index=True, return_counts=True)
    for empty in (2, 1):
        train = np.flatnonzero(part == 0)
        if fractions[empty] and not (part == empty).any() and len(train) > 1:
            classes = strata[first[train]]
            last = np.bincount(classes)[classes] == 1  # a class's last unit is the last to go
            part[train[np.lexsort((sizes[train], last))[0]]] = empty


def _fold_of_units(units: np.ndarray, strata: np.ndarray, k: int, keys: np.ndarray) -> np.ndarray:
    """Each unit to the fold with the fewest rows of its class; of those, to the one with the fewest rows."""
    _, first, sizes = np.unique(units, return_index=True, return_counts=True)
    fold = np.zeros(len(first), dtype=np.int64)
    total = [0] * k
    by_class: dict[int, list[int]] = defaultdict(lambda: [0] * k)
    for unit in np.lexsort((keys, -sizes)):
        mine = by_class[int(strata[first[unit]])]
        chosen = min(range(k), key=lambda f: (mine[f], total[f], f))
        fold[unit] = chosen
        mine[chosen] += int(sizes[unit])
        total[chosen] += int(sizes[unit])
    return fold


def _keys(units: np.ndarray, rows: Rows, seed: int) -> np.ndarray:
    """The order in which units are drawn, by their first rows."""
    _, first = np.unique(units, return_index=True)
    return uniform(seed, 0, rows[first], "split", 1)[:, 0]


def _strata(table: Table, schema: Schema, rows: Rows) -> np.ndarray:
    """0, 1 … by the first target of single labels; all 0 where there is none, or groups are kept together."""
    labels = [f for f in schema.targets if f.modality == "category" and f.options.get("labels", "one") == "one"]
    if not labels or schema.split.group is not None:
        return np.zeros(len(rows), dtype=np.int64)
    return _codes(table.frame[labels[0].columns[0]].gather(rows))


def units_of(table: Table, schema: Schema, rows: Rows) -> np.ndarray:
    """0, 1 … by first rows: rows with the same number stay together, for their group or their inputs are the same."""
    same = by_first(_fingerprints(table, schema, rows))
    groups = _groups(table, schema, rows)
    n = int(groups.max()) + 1
    links = coo_array((np.ones(len(rows)), (groups, n + same)), shape=(n + same.max() + 1,) * 2)
    chained = by_first(connected_components(links, directed=False)[1][groups])
    largest_group, largest_chain = np.bincount(groups).max(), np.bincount(chained).max()
    if schema.split.group is not None and largest_chain > max(largest_group, CHAINED * len(rows)):
        return groups
    return chained


def _groups(table: Table, schema: Schema, rows: Rows) -> np.ndarray:
    """0, 1 … by first rows: the groups; a row without one is a group of its own."""
    if schema.split.group is None:
        return np.arange(len(rows))
    cells = table.frame[schema.split.group].gather(rows)
    codes = _codes(cells)
    alone = cells.is_null().to_numpy()
    codes[alone] = codes.max() + 1 + np.arange(alone.sum())
    return by_first(codes)


def _codes(cells: pl.Series) -> np.ndarray:
    """0, 1 … by first rows, the same for equal cells."""
    return by_first(cells.hash().to_numpy())


def by_first(values: np.ndarray) -> np.ndarray:
    """0, 1 … in the order in which the values come first."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _fingerprints(table: Table, schema: Schema, rows: Rows) -> np.ndarray:
    """uint64, equal where the cells of all inputs are; files are equal where their bytes are."""
    found = []
    for field in schema.inputs:
        for name in field.columns:
            cells = table.frame[name].gather(rows)
            cells = _contents(table, cells) if field.names_files and cells.dtype == pl.String else cells
            found.append(cells.alias(str(len(found))))
    return pl.DataFrame(found).hash_rows().to_numpy()


def _contents(table: Table, cells: pl.Series) -> pl.Series:
    """Names of files → the same string for files of the same bytes; only files of the same size are opened. Empty files
    are not alike: each will be named when it is read.
    """
    paths = {}
    by_size = defaultdict(set)
    for name in cells.drop_nulls().unique().to_list():
        try:
            paths[name] = resolve(table.root, name)
            by_size[paths[name].stat().st_size].add(name)
        except (Unreadable, OSError):
            continue  # it will be named when it is read
    same = {name for size, names in by_size.items() if size and len(names) > 1 for name in names}
    return pl.Series(
        cells.name,
        [hashlib.blake2b(paths[name].read_bytes()).hexdigest() if name in same else name for name in cells.to_list()],
    )
