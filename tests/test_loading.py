"""What is said of rows as they are read. See `test_training.py` and `test_batches.py` for batches."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from perceivers.data import sources
from perceivers.data.batches import TrainingBatches
from perceivers.data.loading import MOST_REMARKS, Rows
from perceivers.data.schema import Field
from perceivers.modalities import modality
from perceivers.modalities.array import Array

KNOWN = Field("kind", "category", "input", ("kind",), {"categories": ["a"], "labels": "one", "class_weights": None})


@pytest.mark.parametrize("labels", ["one", "many"])
def test_remarks_on_very_many_categories_are_a_few_and_the_number_of_rows(labels):
    table = sources.read({"kind": ["a", *(f"new {i}" for i in range(10_000)), "new 3"]})
    rows = Rows(table, [KNOWN.with_options(labels=labels)], modality)
    rows.readable(range(len(rows)))
    column = rows.columns["kind"]
    assert len(column.remarks) <= MOST_REMARKS
    lines = rows.remarks()
    assert lines[3] == "kind: 'new 3' is none of those of training: it is read as unseen (2 rows, such as row 5)"
    assert lines[5:] == ["kind: and more remarks of this kind (9,995 rows)"]


def test_what_is_not_kept_is_read_once_a_batch(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    for number in range(7):
        np.save(tmp_path / f"{number}.npy", random.normal(size=(3, 5)))
    (tmp_path / "5.npy").write_bytes(b"words")
    names = [f"{number}.npy" for number in range(7)]
    table = sources.Table(pl.DataFrame({"scan": names, "kind": ["a"] * 7}), "scans", tmp_path)
    options = {**Array.options, "axes": ["y", "x"], "files": True, "channels": 1, "mean": [0.0], "std": [1.0]}
    options |= {"patch": [1, 1], "extents": {}, "missing": False}
    scan = Field("scan", "array", "input", ("scan",), options)
    rows = Rows(table, [scan, replace(KNOWN, role="target")], modality)
    rows.columns["scan"].room = 0
    opened = []
    read = Array.read
    monkeypatch.setattr(Array, "read", lambda self, field, cell: (opened.append(cell.name), read(self, field, cell))[1])
    batches = TrainingBatches(rows, np.arange(7), batch_size=7, seed=0, field_drop=0.0, workers=0)
    pieces = batches.batch(0)
    assert sorted(opened) == names
    assert sum(len(piece["scan"]["values"]) for piece in pieces) == 6
    assert list(rows.failed) == [5]
    assert len(batches.row_ids(0)) == 6


def test_fewer_windows_of_another_field_stand_beside_the_others_evenly():
    table = sources.read({"long": ["abcdefghij" * 2], "short": ["abcdefghi"]})
    fields = [Field(name, "text", "input", (name,), {"max_bytes": 4, "files": False}) for name in ("long", "short")]
    ((owners, batch),) = Rows(table, fields, modality).windowed(np.array([0]))
    long, short = (bytes(batch[name]["bytes"].flatten().tolist()).decode() for name in ("long", "short"))
    assert long == "abcdefghijabcdefghij"
    assert short == "abcdabcdefghefghfghi"
    assert owners.tolist() == [0] * 5
