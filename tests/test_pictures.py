"""Pictures of explained answers: bars are the shares, words are the answer's, everything has a place."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from perceivers.data.schema import Field
from perceivers.explain import Explanation, FieldExplanation
from perceivers.modalities import MODALITIES
from perceivers.report.looks import row_name
from perceivers.report.pictures import DPI, WIDTH, Panel, picture

CLASS = Field("kind", "category", "target", ("kind",), {**MODALITIES["category"].options, "categories": ["a", "b"]})


def field(name, kind):
    more = {"max_bytes": 64} if kind == "text" else {}
    return Field(name, kind, "input", (name,), {**MODALITIES[kind].options, **more})


def explanation(fields, row=2):
    return Explanation(row, CLASS, {"kind": "a", "kind_probability": 0.875}, fields)


def explained(one, share, change, attention, weights, cell):
    drawn = partial(MODALITIES[one.modality].shaded, one, cell, weights)
    return FieldExplanation(one, share, change, attention, weights, drawn)


def numbers(shares):
    weights = np.full((1, 1), 1 / len(shares))
    return [
        explained(field(f"n{i}", "number"), s, [float(np.log(2))], 1 / len(shares), weights, i)
        for i, s in enumerate(shares)
    ]


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    return found + [t.get_text() for axes in figure.axes for t in (*axes.texts, *axes.get_yticklabels())]


def test_bars_are_as_long_as_shares_and_attention_and_the_words_are_there():
    figure = Figure((WIDTH, 5.0))
    panel = Panel(explanation(numbers([0.5, 0.3, 0.2])))
    panel.draw(figure, 5.0, 50)
    (axes,) = figure.axes
    lengths = [p.get_width() for p in axes.patches if isinstance(p, Rectangle)]
    np.testing.assert_allclose(lengths, [50, 33.3, 30, 33.3, 20, 33.3])
    assert axes.get_xlim() == (0, 50)
    shown = texts(figure)
    assert {"kind: a", "88 % sure, row 3", "n0 = 0", "50 %  × 2"} <= {*shown}


def test_one_field_has_no_bars_and_many_are_counted():
    text = explained(field("note", "text"), None, None, 1.0, np.full((1, 4), 0.25), "word " * 3)
    assert Panel(explanation([text])).lines == []
    many = Panel(explanation(numbers([0.05] * 20)))
    figure = Figure((WIDTH, many.height))
    many.draw(figure, many.height, 20)
    assert "and 10 more" in texts(figure)


def test_a_long_text_ends_where_its_room_does():
    text = explained(field("note", "text"), None, None, 1.0, np.full((1, 16), 1 / 16), "x" * 5_000)
    panel = Panel(explanation([text]))
    figure = Figure((WIDTH, panel.height))
    panel.draw(figure, panel.height, 20)
    letters = [t for t in figure.axes[0].texts if t.get_text() in "x…"]
    assert all(0 <= t.get_position()[1] <= 1 for t in letters)


def test_a_file_is_named():
    one = explained(field("size", "number"), None, None, 1.0, np.ones((1, 1)), 3)
    named = replace(one, file="eye.png")
    assert row_name(explanation([one, named])) == "row 3, eye.png"


@pytest.mark.parametrize("count", [1, 12])
def test_a_picture_has_all_answers_below_each_other_and_is_the_same_again(count):
    answers = [explanation(numbers([0.6, 0.4]), row) for row in range(count)]
    with Image.open(io.BytesIO(picture(answers, "png"))) as found:
        assert found.width == WIDTH * DPI
        assert count * 120 < found.height < 300 + count * 350
    assert picture(answers, "svg") == picture(answers, "svg")
