"""Arrays as cells of frames: whatever holds them, each cell is read back as it was."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from perceivers.data import infer, sources
from perceivers.data.loading import cells
from perceivers.errors import BadInput

ARRAYS = np.random.default_rng(0).normal(size=(5, 2, 3, 7)).astype(np.float32)
UNEVEN = [ARRAYS[0], ARRAYS[1, :1], None, ARRAYS[3, :, :, :5], ARRAYS[4]]
Y = list("ababa")


SOURCES = {
    "dict": lambda x: {"x": list(x), "y": Y},
    "rows": lambda x: [{"x": cell, "y": y} for cell, y in zip(x, Y, strict=True)],
    "pandas": lambda x: pd.DataFrame({"x": pd.Series(list(x)), "y": Y}),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("arrays", [ARRAYS, UNEVEN, ARRAYS[:, 0], ARRAYS > 0, ARRAYS.astype(np.float16)])
def test_numpy_arrays_in_frames(kind, arrays):
    table = sources.read(SOURCES[kind](arrays))
    assert table.frame.columns == ["x", "y"]
    field = infer.infer(table)["x"]
    assert field.modality == ("series" if np.ndim(arrays[0]) == 2 else "array")
    for found, expected in zip(cells(table, field), arrays, strict=True):
        assert (found is None) == (expected is None)
        if expected is not None:
            np.testing.assert_array_equal(np.array(found), expected)


def test_a_whole_array_is_a_row_for_each_of_its_first_axis():
    table = sources.read({"x": ARRAYS, "y": np.array(Y)})
    assert table.frame.schema == {"x": pl.Array(pl.Float32, (2, 3, 7)), "y": pl.String}


def test_tensors_of_arrow_in_memory_and_in_files(tmp_path):
    whole = pa.table({"x": pa.FixedShapeTensorArray.from_numpy_ndarray(ARRAYS), "y": Y})
    for number, (table, expected) in enumerate([(whole, ARRAYS), (whole.slice(1, 3), ARRAYS[1:4])]):
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(table, path)
        for source in (table, path):
            frame = sources.read(source).frame
            assert frame["x"].dtype == pl.Array(pl.Float32, (2, 3, 7))
            np.testing.assert_array_equal(frame["x"].to_numpy(), expected)


def test_tensors_that_are_stored_in_another_order_of_their_axes():
    stored = np.ascontiguousarray(ARRAYS.transpose(0, 2, 3, 1)).reshape(5, -1)
    kind = pa.fixed_shape_tensor(pa.float32(), (3, 7, 2), permutation=[2, 0, 1])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), stored.shape[1])
    frame = sources.read(pa.table({"x": pa.ExtensionArray.from_storage(kind, storage)})).frame
    np.testing.assert_array_equal(frame["x"].to_numpy(), ARRAYS)


def test_missing_tensors_are_missing():
    kind = pa.fixed_shape_tensor(pa.int32(), (2, 3))
    storage = pa.array([list(range(6)), None, list(range(6, 12))], pa.list_(pa.int32(), 6))
    frame = sources.read(pa.table({"x": pa.ExtensionArray.from_storage(kind, storage)})).frame
    assert frame["x"].to_list() == [[[0, 1, 2], [3, 4, 5]], None, [[6, 7, 8], [9, 10, 11]]]


def test_arrays_of_different_ranks():
    with pytest.raises(BadInput, match="column 'x' holds arrays of 2 and 3 axes: give all the same axes"):
        sources.read({"x": [ARRAYS[0], ARRAYS[0, 0], None], "y": Y[:3]})


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (np.ones((2, 3), complex), "column 'x' holds arrays of type complex128: give real numbers"),
        (np.array([[1, None]], object), "column 'x' holds arrays of type object"),
        (np.array([["a", "b"]]), "column 'x' holds arrays of type <U1"),
        (np.ones((2, 0)), r"column 'x' holds an array of shape \(2, 0\): an axis of size 0"),
    ],
)
def test_arrays_that_hold_no_numbers(cell, message):
    with pytest.raises(BadInput, match=message):
        sources.read({"x": [cell, cell], "y": [1, 2]})
