"""What `evaluate` asks of the rows that it is given. Its numbers are tested in `test_metrics.py`."""

import polars as pl
import pytest
from test_cli import call
from test_model import example_model

import perceivers as pv
from perceivers.errors import BadInput
from perceivers.model import save_model

ROWS = pl.DataFrame({"x": [1.0, 2.0, 1.5], "c": ["u", "v", "u"], "t": ["one", "two", "three"], "y": ["a", "b", "z"]})


@pytest.fixture
def model(tmp_path):
    save_model(example_model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("columns", "mend"),
    [
        ({"y": "answer"}, r"rows\.csv: no column 'y', the truth that answers are compared with.* predict needs none"),
        ({"y": "Y"}, r"no column 'y'.*did you mean 'Y'.* predict needs none"),
    ],
)
def test_data_without_the_truth_are_refused_with_what_would_mend_it(model, tmp_path, columns, mend):
    ROWS.rename(columns).write_csv(tmp_path / "rows.csv")
    with pytest.raises(BadInput, match=mend):
        call("evaluate", model, tmp_path / "rows.csv")
    assert call("predict", model, tmp_path / "rows.csv", "--out", tmp_path / "out.csv") == 0


def test_rows_that_all_lack_the_truth(model):
    with pytest.raises(BadInput, match="no row has a value in y"):
        pv.load(model).evaluate(ROWS.with_columns(y=pl.lit(None, pl.String)))


def test_one_row_of_an_unknown_class_is_one_row(model):
    with pytest.warns(
        UserWarning, match=r"^1 row of classes of 'y' that the model does not know, 'z': counted as wrong"
    ):
        found = pv.load(model).evaluate(ROWS)
    assert found["y"]["n"] == 3
    assert found["y"]["accuracy"]["value"] <= 2 / 3


def test_explain_asks_before_it_begins_whether_it_can_write(model, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    monkeypatch.setattr("perceivers.api.load_model", None, raising=False)  # nothing is loaded
    for name in ("out.png", "out.html", "out.json"):
        with pytest.raises(BadInput, match=rf"{name}: cannot be written: .* is read-only"):
            call("explain", model, '{"x": 1, "c": "u", "t": "one"}', "--out", tmp_path / name)
        assert not (tmp_path / name).exists()
