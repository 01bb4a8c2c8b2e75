"""Files of events and of points, in folders of classes."""

import numpy as np
import polars as pl
import pytest

from perceivers.data import infer, sources
from perceivers.modalities import modality

RNG = np.random.default_rng(0)
COLUMNS = {"time": [0.1, 0.1, 0.4], "unit": ["a", "b", "a"], "value": [1.0, 2.0, 3.0]}


def tables(ending):
    """Writes a table of events with that ending."""
    frame = pl.DataFrame(COLUMNS)

    def write(path):
        if ending == "parquet":
            frame.write_parquet(path)
        elif ending == "npz":
            np.savez(path, time=COLUMNS["time"], unit=[0, 1, 0], value=COLUMNS["value"])
        else:
            frame.write_csv(path, separator="\t" if ending == "tsv" else ",")

    return write


def folder(root, ending, write):
    for kind in ("a", "b"):
        (root / kind).mkdir()
        for i in range(7):
            write(root / kind / f"{i}.{ending}")
    return sources.read(root)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "npz"])
def test_a_folder_of_files_with_times_holds_events(tmp_path, ending):
    table = folder(tmp_path, ending, tables(ending))
    field = infer.infer(table)["path"]
    assert (field.modality, field.options) == ("events", {"files": True})
    kind = modality(field)
    cells = [tmp_path / cell for cell in table.frame["path"]]
    field = field.with_options(**{**kind.options, "files": True})
    field = field.with_options(**kind.fit(field, cells))
    example = kind.read(field, cells[0])
    np.testing.assert_allclose(np.asarray(example.times), COLUMNS["time"])
    assert len(field.options["units"]) == 2


def test_tables_without_times_are_not_read_and_say_what_would_be(tmp_path):
    frame = pl.DataFrame({"when_it_was": [1.0, 2.0], "what": ["x", "y"]})
    field = infer.infer(folder(tmp_path, "csv", frame.write_csv))["path"]
    assert field.modality is None
    assert "`modality: events, files: true, time: …` (when_it_was, what)" in field.reason


@pytest.mark.parametrize("most", ["csv", "npz"])
def test_paths_of_tables_and_npz_files_hold_events_whichever_is_more(tmp_path, most):
    endings = [most] * 5 + ["csv", "npz", "csv", "npz"]
    for i, ending in enumerate(endings):
        tables(ending)(tmp_path / f"{i}.{ending}")
    paths = [f"{i}.{ending}" for i, ending in enumerate(endings)]
    pl.DataFrame({"log": paths, "state": ["a", "b", "b"] * 3}).write_csv(tmp_path / "t.csv")
    field = infer.infer(sources.read(tmp_path / "t.csv"), ["state"])["log"]
    assert (field.modality, field.options) == ("events", {"files": True})


@pytest.mark.parametrize(("ending", "bad"), [("csv", b""), ("csv", b"\x00\x01\n"), ("npz", b"PK, cut"), ("npz", b"")])
def test_one_file_that_cannot_be_opened_does_not_hide_the_others(tmp_path, ending, bad):
    table = folder(tmp_path, ending, tables(ending))
    (tmp_path / "a" / f"0.{ending}").write_bytes(bad)
    assert infer.infer(table)["path"].modality == "events"


def test_tables_that_cannot_be_opened_are_not_read(tmp_path):
    field = infer.infer(folder(tmp_path, "parquet", lambda path: path.write_bytes(b"PAR1 no table")))["path"]
    assert field.modality is None


@pytest.mark.parametrize("others", [{}, {"intensity": RNG.random(11)}])
def test_npz_files_with_an_array_named_points_are_clouds(tmp_path, others):
    def write(path):
        np.savez(path, points=RNG.normal(size=(11, 3)), **others)

    assert infer.infer(folder(tmp_path, "npz", write))["path"].modality == "points"


def test_damaged_files_of_a_sample_are_counted_and_one_is_named(tmp_path):
    def write(path):
        if path.name == "3.npy":
            path.write_bytes(b"damaged")
        else:
            np.save(path, np.zeros((2, 3, 4)))

    reason = infer.infer(folder(tmp_path, "npy", write))["path"].reason
    assert reason.endswith("; 2 of 14 that were tried are damaged, '3.npy' among them")
