import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from perceivers.data.infer import infer
from perceivers.data.loading import cells
from perceivers.data.schema import Field
from perceivers.data.sources import Table, read
from perceivers.errors import BadInput


def test_digits():
    table = read("sample:digits")
    original = load_digits()
    assert table.frame.schema == {"image": pl.Array(pl.UInt8, (8, 8)), "class": pl.String}
    np.testing.assert_allclose(np.array(table.frame["image"].to_list()), original.images / 16 * 255, atol=0.5)
    assert table.frame["class"].to_list() == [str(digit) for digit in original.target]
    schema = infer(table)
    assert (schema["image"].modality, schema["image"].role) == ("image", "input")
    assert (schema["class"].modality, schema["class"].role) == ("category", "target")


@pytest.mark.parametrize(("name", "load"), [("wine", load_wine), ("breast_cancer", load_breast_cancer)])
def test_classes(name, load):
    table, original = read(f"sample:{name}"), load()
    assert table.targets == ("class",)
    assert table.frame.columns == [*original.feature_names, "class"]
    np.testing.assert_array_equal(table.frame.drop("class").to_numpy(), original.data)
    assert table.frame["class"].to_list() == list(original.target_names[original.target])
    assert {f.modality for f in infer(table).inputs} == {"number"}


def test_diabetes():
    table, original = read("sample:diabetes"), load_diabetes(scaled=False)
    assert table.targets == ("progression",)
    np.testing.assert_array_equal(table.frame.to_numpy(), np.c_[original.data, original.target])
    assert infer(table)["progression"].modality == "number"


def test_spikes_tell_the_waves_apart_by_their_times_alone():
    table = read("sample:spikes")
    (field,) = infer(table).inputs
    assert (field.modality, field.columns) == ("events", ("times", "neurons"))
    frame = table.frame.explode("times", "neurons")
    counts = frame.group_by("class", "neurons").len()["len"].to_numpy()
    assert np.ptp(counts) < 6 * np.sqrt(counts.mean())  # one Poisson rate for all
    for wave, sign in (("forward", 1), ("backward", -1)):
        median = frame.filter(pl.col("class") == wave).group_by("neurons").agg(pl.col("times").median()).sort("neurons")
        assert (np.diff(median["times"].to_numpy()) * sign > 0).all()


def test_an_unknown_sample_lists_the_known_ones():
    with pytest.raises(
        BadInput, match="digits, breast_cancer, wine, diabetes, shapes, spikes, chairs; did you mean sample:digits"
    ):
        read("sample:digit")


def test_arrays_of_a_sample_stay_arrays_on_their_way_and_lists_stay_lists():
    table = Table(
        pl.DataFrame(
            {
                "whole": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.UInt8, 2)),
                "gaps": pl.Series([[1, 2], None], dtype=pl.Array(pl.UInt8, 2)),
                "lists": [[1, 2], [3]],
            }
        ),
        "t",
        None,
    )
    fields = [Field(name, "series", "input", (name,)) for name in table.frame.columns]
    whole, gaps, lists = (cells(table, field) for field in fields)
    assert [array.dtype for array in whole] == [np.uint8] * 2
    np.testing.assert_array_equal(whole, [[1, 2], [3, 4]])
    assert gaps == [[1, 2], None]
    assert lists == [[1, 2], [3]]
