"""What stands on the command line becomes rows."""

import pytest

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.schema import Field, Schema, Split
from perceivers.errors import BadInput
from perceivers.model import Model
from perceivers.predict import inputs_as_table


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
