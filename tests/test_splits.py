import datetime
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from perceivers.data.infer import infer
from perceivers.data.schema import Field, Schema, Split
from perceivers.data.sources import Table, read
from perceivers.data.splits import PARTS, folds, split
from perceivers.errors import BadInput

X = Field("x", "number", "input", ("x",))
CLASS = Field("y", "category", "target", ("y",), {"labels": "one"})
VALUE = Field("y", "number", "target", ("y",))


def table(**columns):
    return Table(pl.DataFrame(columns), "rows.csv", None)


def schema(target=CLASS, **options):
    return Schema((X, target), Split(**options))


def every(rows):
    return np.arange(rows.frame.height)


def check(parts, rows):
    """Every row once, sorted; no part is empty."""
    together = np.concatenate([parts[name] for name in PARTS])
    np.testing.assert_array_equal(np.sort(together), rows)
    for ids in parts.values():
        assert len(ids)
        assert (np.diff(ids) > 0).all()


def part_of(parts, n):
    found = np.full(n, -1)
    for i, name in enumerate(PARTS):
        found[parts[name]] = i
    return found


# Properties -------------------------------------------------------------------------------------------------------
tables = st.integers(12, 150).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 400), min_size=n, max_size=n),
        st.lists(st.sampled_from("aaaaaaabbbcd"), min_size=n, max_size=n),
        st.lists(st.one_of(st.none(), st.integers(0, n // 3)), min_size=n, max_size=n),
        st.integers(0, 5),
    )
)


@given(tables)
@settings(max_examples=100, deadline=None)
def test_no_row_is_lost_and_equal_inputs_and_classes_are_where_they_belong(drawn):
    x, y, _, seed = drawn
    assume(len(set(x)) >= 6)
    rows = table(x=x, y=y)
    parts = split(rows, schema(seed=seed), every(rows))
    check(parts, every(rows))
    part = part_of(parts, len(x))
    for value in set(x):
        assert len(set(part[np.array(x) == value])) == 1
    for label in set(y):
        if y.count(label) > 1:
            assert (part[np.array(y) == label] == 0).any()
    again = split(rows, schema(seed=seed), every(rows)[::-1])
    assert all((parts[name] == again[name]).all() for name in PARTS)


@given(tables)
@settings(max_examples=100, deadline=None)
def test_groups_stay_together_and_so_do_equal_inputs_where_it_is_possible(drawn):
    _, y, groups, seed = drawn
    n = len(y)
    assume(len(set(groups)) >= 4)
    rows = table(x=range(n), y=y, g=groups)
    part = part_of(split(rows, schema(seed=seed, group="g"), every(rows)), n)
    for group in set(groups) - {None}:
        assert len({p for p, g in zip(part, groups, strict=True) if g == group}) == 1
    x = np.arange(n)
    first, last = next((i, j) for i in x for j in x if groups[i] is not None and groups[j] not in (None, groups[i]))
    x[last] = x[first]
    share = np.mean([g in (groups[first], groups[last]) for g in groups])
    assume(share < 0.5)
    part = part_of(split(table(x=x, y=y, g=groups), schema(seed=seed, group="g"), every(rows)), n)
    assert part[first] == part[last]


@given(tables, st.integers(2, 5))
@settings(max_examples=100, deadline=None)
def test_folds(drawn, k):
    x, y, _, seed = drawn
    n = len(x)
    assume(max(x.count(value) for value in x) <= n / 8)
    rows = table(x=x, y=y)
    found = folds(rows, schema(), every(rows), k, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([parts["test"] for parts in found])), every(rows))
    for parts in found:
        check(parts, every(rows))
        part = part_of(parts, n)
        for value in set(x):
            assert len(set(part[np.array(x) == value])) == 1
    again = folds(rows, schema(), every(rows), k, seed)
    assert all((a[name] == b[name]).all() for a, b in zip(found, again, strict=True) for name in PARTS)


# Shares -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["digits", "wine", "breast_cancer", "diabetes"])
def test_shares_are_as_asked_in_every_class(name):
    rows = read(f"sample:{name}")
    inferred = infer(rows)
    parts = split(rows, inferred, every(rows))
    check(parts, every(rows))
    n = rows.frame.height
    for part, share in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
        assert abs(len(parts[part]) - share * n) <= 2
        if inferred.targets[0].modality == "category":
            labels = rows.frame["class"].to_numpy()
            for label in set(labels):
                assert abs((labels[parts[part]] == label).sum() - share * (labels == label).sum()) <= 2


def test_small_classes_share_out_the_parts_among_them():
    labels = [str(i // 2) for i in range(200)]  # 100 classes of two rows
    parts = split(table(x=range(200), y=labels), schema(), np.arange(200))
    assert abs(len(parts["test"]) - 30) <= 1
    assert abs(len(parts["validation"]) - 30) <= 1


def test_the_seed_decides():
    rows = table(x=range(100), y=["a", "b"] * 50)
    first, second = (split(rows, schema(seed=seed), every(rows))["test"] for seed in (0, 1))
    assert set(first) != set(second)


def test_other_fractions():
    rows = table(x=range(100), y=["a", "b"] * 50)
    parts = split(rows, schema(fractions=(0.5, 0.0, 0.5)), every(rows))
    assert {name: len(ids) for name, ids in parts.items()} == {"train": 50, "validation": 0, "test": 50}


def test_only_eligible_rows_are_drawn():
    rows = table(x=range(40), y=["a", "b"] * 20)
    eligible = np.arange(0, 40, 2)
    check(split(rows, schema(), eligible), eligible)


@pytest.mark.parametrize("target", [CLASS, VALUE])
def test_what_stands_in_test_rows_decides_nothing(target):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": rng.normal(size=200), "y": rng.integers(0, 3, 200)})
    before = split(Table(frame, "", None), schema(target), np.arange(200))
    is_test = np.isin(np.arange(200), before["test"])
    for x in (np.full(200, 1e9), rng.normal(size=200) * 1e3):
        altered = frame.with_columns(x=np.where(is_test, x, frame["x"].to_numpy()))
        after = split(Table(altered, "", None), schema(target), np.arange(200))
        assert all((before[name] == after[name]).all() for name in PARTS)


def test_groups_of_any_size_leave_no_part_empty():
    groups = ["big"] * 80 + ["middle"] * 15 + ["small"] * 5
    rows = table(x=range(100), y=["a", "b"] * 50, g=groups)
    parts = split(rows, schema(group="g"), every(rows))
    check(parts, every(rows))
    assert 0 in parts["train"]


def test_equal_rows_that_would_chain_all_groups_do_not():
    groups = [i // 10 for i in range(100)]
    rows = table(x=[0, *range(9)] * 10, y=["a", "b"] * 50, g=groups)
    part = part_of(split(rows, schema(group="g"), every(rows)), 100)
    assert all(len(set(part[np.array(groups) == g])) == 1 for g in range(10))


# A column ---------------------------------------------------------------------------------------------------------
def test_a_column_decides():
    names = ["train", "Validation", " test "] * 10
    rows = table(x=range(30), y=["a", "b"] * 15, split=names)
    parts = split(rows, schema(column="split"), every(rows))
    assert [len(parts[name]) for name in PARTS] == [10, 10, 10]
    assert {names[i] for i in parts["validation"]} == {"Validation"}


def test_validation_is_drawn_from_train_where_a_column_has_none():
    x = [*range(50), *range(50), *range(1000, 1100)]
    rows = table(x=x, y=["a", "b"] * 100, split=["train"] * 100 + ["test"] * 100)
    parts = split(rows, schema(column="split"), every(rows))
    assert set(parts["test"]) == set(range(100, 200))
    assert abs(len(parts["validation"]) - 15) <= 5
    assert all((i + 50 in parts["validation"]) == (i in parts["validation"]) for i in range(50))


def test_validation_of_a_column_is_drawn_by_group_and_by_time():
    rows = table(x=range(100), y=["a", "b"] * 50, split=["train"] * 80 + ["test"] * 20, g=[i // 4 for i in range(100)])
    by_group = split(rows, schema(column="split", group="g"), every(rows))
    assert all(4 * (i // 4) + j in by_group["validation"] for i in by_group["validation"] for j in range(4))
    by_time = split(rows, schema(column="split", time="x"), every(rows))
    np.testing.assert_array_equal(by_time["validation"], np.arange(68, 80))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train"] * 9 + ["tets"], "rows.csv, row 10: 'split' is 'tets', not train, validation or test"),
        (["train"] * 9 + [None], "row 10: 'split' is '', not train"),
        (["train"] * 10, "leaves no row for test"),
        (["test"] * 10, "leave none for train"),
    ],
)
def test_unusable_columns(names, message):
    rows = table(x=range(10), y=["a", "b"] * 5, split=names)
    with pytest.raises(BadInput, match=message):
        split(rows, schema(column="split"), every(rows))


# Time -------------------------------------------------------------------------------------------------------------
def days(count):
    return [datetime.date(2024, 1, 1) + datetime.timedelta(int(i)) for i in range(count)]


@pytest.mark.parametrize(
    "stamps",
    [
        list(range(100)),
        [-0.5 * i for i in range(100)],
        days(100),
        [str(day) for day in days(100)],
        [day.strftime("%d.%m.%Y") for day in days(100)],
    ],
)
def test_the_last_by_time_are_test(stamps):
    order = np.random.default_rng(0).permutation(100)
    rows = table(x=range(100), y=["a", "b"] * 50, t=[stamps[i] for i in order])
    parts = split(rows, schema(time="t"), every(rows))
    check(parts, every(rows))
    sign = -1 if stamps[-1] == -49.5 else 1
    when = sign * order if sign == 1 else 99 - order
    assert sorted(when[parts["test"]]) == list(range(85, 100))
    assert sorted(when[parts["validation"]]) == list(range(70, 85))


def test_equal_times_and_equal_rows_stay_together():
    rows = table(x=[*range(99), 3], y=["a", "b"] * 50, t=[i // 5 for i in range(100)])
    part = part_of(split(rows, schema(time="t"), every(rows)), 100)
    assert part[3] == part[99] == 2
    assert all(len({p for i, p in enumerate(part) if i // 5 == t and i != 3}) == 1 for t in range(20))


def test_group_beats_time():
    rows = table(x=range(100), y=["a", "b"] * 50, g=[i % 10 for i in range(100)])
    part = part_of(split(rows, schema(group="g", time="x"), every(rows)), 100)
    assert all(len(set(part[g::10])) == 1 for g in range(10))


def test_a_row_without_time_is_named():
    rows = table(x=range(4), y=["a", "b"] * 2, t=["2024-01-01", "2024-01-02", None, "2024-01-03"])
    with pytest.raises(BadInput, match=r"rows\.csv, row 3: 't' is no time: None"):
        split(rows, schema(time="t"), every(rows))


# Too little -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("x", [[1, 2], [1] * 50, [1, 2] * 25])
def test_too_few_different_rows(x):
    rows = table(x=x, y=["a", "b"] * (len(x) // 2))
    with pytest.raises(BadInput, match="leave none for"):
        split(rows, schema(), every(rows))


def test_three_rows_are_enough():
    rows = table(x=[1, 2, 3], y=["a", "b", "a"])
    check(split(rows, schema(), every(rows)), every(rows))


def test_unusable_folds():
    rows = table(x=[1, 2, 3], y=["a", "b", "a"])
    with pytest.raises(BadInput, match="3 groups of different rows cannot be 5 folds"):
        folds(rows, schema(), every(rows), 5, 0)
    with pytest.raises(BadInput, match="ordered by 'x' are split once"):
        folds(rows, schema(time="x"), every(rows), 2, 0)


# Files ------------------------------------------------------------------------------------------------------------
def test_files_of_equal_bytes_stay_together(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"text {i % 20:02}")
    rows = Table(
        pl.DataFrame({"x": [f"{i}.txt" for i in range(39)] + ["gone.txt"], "y": ["a", "b"] * 20}), "t", tmp_path
    )
    files = replace(schema(), fields=(Field("x", "text", "input", ("x",), {"files": True}), CLASS))
    part = part_of(split(rows, files, every(rows)), 40)
    assert (part[:19] == part[20:39]).all()
    assert len(set(part)) == 3


def test_cells_that_are_lists_and_arrays():
    arrays = np.arange(60 * 4, dtype=np.uint8).reshape(60, 2, 2)
    arrays[30:] = arrays[:30]
    for dtype in (pl.Array(pl.UInt8, (2, 2)), pl.List(pl.List(pl.UInt8))):
        rows = table(x=pl.Series(arrays.tolist(), dtype=dtype), y=["a", "b"] * 30)
        part = part_of(split(rows, schema(), every(rows)), 60)
        assert (part[:30] == part[30:]).all()
        assert len(set(part)) == 3
