"""What is said of rows as they are read. Their batches are tested with training (`test_training.py`)."""

import pytest

from perceivers.data import sources
from perceivers.data.loading import MOST_REMARKS, Rows
from perceivers.data.schema import Field
from perceivers.modalities import modality

KNOWN = Field("kind", "category", "input", ("kind",), {"categories": ["a"], "labels": "one", "class_weights": None})


@pytest.mark.parametrize("labels", ["one", "many"])
def test_remarks_on_very_many_categories_are_a_few_and_the_number_of_rows(labels):
    table = sources.read({"kind": ["a", *(f"new {i}" for i in range(10_000)), "new 3"]})
    rows = Rows(table, [KNOWN.with_options(labels=labels)], modality)
    rows.readable(range(len(rows)))
    column = rows.columns["kind"]
    assert len(column.remarks) <= MOST_REMARKS
    if labels == "one":
        lines = rows.remarks()
        assert lines[3].endswith("(2 rows, such as row 5)")
        assert lines[5:] == ["kind: and more remarks of this kind (9,995 rows)"]
