"""A row is known again whatever it comes in."""

import numpy as np
import polars as pl
import pytest

from perceivers.data import infer, seen, sources

FRAME = pl.DataFrame(
    {
        "size": [1.5, None, -0.0, 3.0] * 10,
        "count": [1, 2, 3, 4] * 10,
        "kind": ["a ", "b", "", "ü"] * 10,
        "answer": [f"class {i % 3}" for i in range(40)],
    }
)


def fingerprints(data):
    table = sources.read(data)
    schema = infer.infer(sources.read(FRAME), ["answer"])
    return seen.fingerprints(table, (*schema.inputs, *schema.targets))


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_row_is_the_same_in_every_format(ending, tmp_path):
    path = tmp_path / f"rows.{ending}"
    {"csv": FRAME.write_csv, "parquet": FRAME.write_parquet, "jsonl": FRAME.write_ndjson}[ending](path)
    assert np.array_equal(fingerprints(path), fingerprints(FRAME))
    assert np.array_equal(fingerprints(FRAME.to_pandas()), fingerprints(FRAME))


def test_rows_are_told_apart_by_every_cell():
    base = fingerprints(FRAME[:1])
    for name, value in (("size", 2.5), ("count", 9), ("kind", "b"), ("answer", "class 1")):
        changed = FRAME[:1].with_columns(pl.lit(value).cast(FRAME[name].dtype).alias(name))
        assert fingerprints(changed) != base
    assert len(set(fingerprints(FRAME).tolist())) == len(FRAME.unique())


def test_a_file_is_its_name_and_size(tmp_path):
    for folder, size in (("one", 5), ("two", 5), ("three", 6)):
        (tmp_path / folder / "cat").mkdir(parents=True)
        (tmp_path / folder / "cat" / "a.png").write_bytes(bytes(size))
    fields = [type(infer.infer(sources.read(FRAME), ["answer"]).inputs[0])("photo", "image", "input", ("path",), {})]
    found = [
        seen.fingerprints(sources.Table(pl.DataFrame({"path": ["cat/a.png"]}), "x", tmp_path / folder), fields)[0]
        for folder in ("one", "two", "three")
    ]
    assert found[0] == found[1] != found[2]
