"""What stands on the command line becomes rows."""

import numpy as np
import pytest
from PIL import Image

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.loading import Rows
from perceivers.data.schema import Field, Schema, Split
from perceivers.errors import BadInput
from perceivers.modalities.image import Image as Pictures
from perceivers.model import Model
from perceivers.predict import inputs_as_table, predict, values_as_table


@pytest.fixture(scope="module")
def model():
    review = Field("review", "text", "input", ("review",), {"max_bytes": 20, "files": False})
    options = {"categories": ["a", "b"], "labels": "one", "class_weights": None}
    score = Field("score", "category", "target", ("score",), options)
    config = PerceiverIOConfig(8, 8, 3, 8, 1, self_heads=2)
    return Model(Schema((review, score), Split()), config)


@pytest.mark.parametrize("name", ["LICENCE", "a.txt", "notes.md", "two words.txt"])
def test_a_text_file_is_read(model, tmp_path, name):
    (tmp_path / name).write_text("\ufeffIt broke.", encoding="utf-8")
    assert inputs_as_table(model.schema.inputs, [str(tmp_path / name)]).frame["review"].to_list() == ["It broke."]


@pytest.mark.parametrize("words", ["It broke.", "good", "", "see a.txt", "x" * 5_000, "nul\0"])
def test_words_are_words(model, words):
    assert inputs_as_table(model.schema.inputs, [words, "more"]).frame["review"].to_list() == [words, "more"]


def test_what_is_no_text_file_is_refused(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for name, message in (("a.png", "reads texts"), ("missing.txt", "no such file"), ("latin", "byte 3 is not UTF-8")):
        with pytest.raises(BadInput, match=message):
            inputs_as_table(model.schema.inputs, [str(tmp_path / name)])


def test_a_table_that_is_missing_is_told_from_a_lone_value(model):
    two = Model(
        Schema((*model.schema.fields, Field("age", "number", "input", ("age",), {"mean": [0], "std": [1]})), Split()),
        model.config,
    )
    for given, message in (
        ("gone.csv", r"'gone\.csv': no such file; the model reads review, age"),
        ("31", "'31': one value"),
    ):
        with pytest.raises(BadInput, match=message):
            inputs_as_table(two.schema.inputs, [given])


def test_files_of_events_are_rows_and_a_table_that_names_them_is_a_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("time,unit\n0.5,x\n")
    np.savez(tmp_path / "b.npz", time=np.arange(3.0), unit=np.arange(3))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "list.csv").write_text("spikes\na.csv\n")
    spikes = Field("spikes", "events", "input", ("spikes",), {"files": True})
    for given in (["a.csv"], ["a.csv", "b.npz"], ["empty.csv"]):
        assert inputs_as_table([spikes], given).frame["spikes"].to_list() == given
    assert inputs_as_table([spikes], ["list.csv"]).frame["spikes"].to_list() == ["a.csv"]
    assert values_as_table([spikes], "a.csv").frame["spikes"].to_list() == ["a.csv"]
    with pytest.raises(BadInput, match=r"gone\.csv: no such file"):
        inputs_as_table([spikes], ["gone.csv"])


def test_one_file_is_a_row_and_one_value_is_asked_for_in_a_list(tmp_path):
    photo = Field("photo", "image", "input", ("photo",))
    (tmp_path / "a.png").write_bytes(b"")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png")):
        assert values_as_table([photo], given).frame["photo"].to_list() == [str(tmp_path / "a.png")]
    array = np.zeros((2, 3), np.uint8)
    for field, given, message in (
        (photo, array, "ndarray is no source of rows: .*; one value alone is given in a list"),
        (Field("words", "text", "input", ("words",)), "a sentence", "a sentence: no such .* given in a list"),
        (photo, [array, array / 255], "arrays of integers and of floats came: give all as one type"),
    ):
        with pytest.raises(BadInput, match=message):
            values_as_table([field], given)
    assert values_as_table([photo], [array, array]).frame["photo"].to_list() == [array.tolist()] * 2


def test_a_folder_of_files_of_events_has_a_row_for_each(tmp_path):
    spikes = Field("spikes", "events", "input", ("spikes",), {"files": True})
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text("time,unit\n0.5,x\n")
    for read in (lambda: inputs_as_table([spikes], [str(tmp_path)]), lambda: values_as_table([spikes], tmp_path)):
        assert read().frame.to_dict(as_series=False) == {"spikes": ["a.csv", "b.csv"]}


def test_one_missing_file_is_one_row_that_is_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save("there.png")
    photo = Field("photo", "image", "input", ("photo",), {**Pictures.options, "channels": 3})
    table = inputs_as_table([photo], ["gone.png", "there.png"])
    rows = Rows(table, [photo], lambda field: Pictures())
    assert rows.readable([0, 1]).tolist() == [1]
    assert rows.failed == {
        0: "the command line, row 1, photo: gone.png: no such file: mend its name, or add the file",
    }
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    table = inputs_as_table([photo], ["gone.png", "../there.png"])
    assert Rows(table, [photo], lambda field: Pictures()).readable([0, 1]).tolist() == [1]
    with pytest.raises(BadInput, match=r"gone\.png: no such file"):
        inputs_as_table([photo], ["gone.png", "gone too.png"])


def test_a_row_without_any_value_is_noted(model, capsys):
    predict(model, values_as_table(model.schema.inputs, {"review": ["fine", None, " "]}))
    assert "note: 2 rows without a value in any input, such as row 2: " in capsys.readouterr().err
