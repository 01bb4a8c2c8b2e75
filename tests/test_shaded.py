"""What is drawn with weights on it: signs stay whole, cells stay text, weights reach their elements."""

import re
import unicodedata
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from perceivers.data.schema import Field
from perceivers.modalities import MODALITIES
from perceivers.modalities.cloud import Scatter
from perceivers.modalities.raster import Raster
from perceivers.modalities.shaded import Curve, Passage, Picture, Plain, busiest, shades

EVIL = "<script>alert('x')</script>"


def field(kind, **options):
    return Field("x", kind, "input", ("x",), {**MODALITIES[kind].options, **options})


@given(st.text(min_size=1, max_size=60))
def test_pieces_are_the_text_and_the_page_shows_it_escaped(text):
    weights = np.random.default_rng(0).random(len(text))
    passage = Passage(text, weights)
    assert "".join(piece for piece, _ in passage.pieces()) == text
    for piece, _ in passage.pieces()[1:]:
        assert unicodedata.category(piece[0]) not in ("Mn", "Me")
    assert not re.search(r"<(?!/?(mark|span)\b)", passage.html())


def test_emoji_and_accents_are_not_torn_apart():
    for sign in ("👩‍👧‍👦", "👍🏽", "🇩🇪", "e\u0301", "❤️"):
        passage = Passage(sign, np.linspace(0, 1, len(sign)))
        assert len(passage.pieces()) == 1


def test_text_shares_a_tokens_weight_among_its_bytes_and_windows_are_averaged():
    text, f = "0123456789abcdefghij", field("text", max_bytes=16)
    windows = MODALITIES["text"].windows(f, MODALITIES["text"].read(f, text))
    assert [w.tobytes().decode() for w in windows] == [text[:16], text[4:]]
    shaded = MODALITIES["text"].shaded(f, text, np.array([[0, 0, 0, 1.0], [0, 0, 1.0, 0]]))
    np.testing.assert_allclose(shaded.weights, [0] * 12 + [1] * 4 + [0] * 4)
    assert shaded.text == text
    arabic = MODALITIES["text"].shaded(field("text", max_bytes=99), "سلام", np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(arabic.weights, [1, 1, 0, 0])


def test_a_long_text_is_cut_to_its_busiest_stretch():
    f, weights = field("text", max_bytes=4_000), np.zeros((1, 1_000))
    weights[0, 800] = 1.0
    shaded = MODALITIES["text"].shaded(f, "x" * 4_000, weights)
    assert (shaded.before, shaded.after, len(shaded.text), shaded.weights.max()) == (True, True, 400, 1.0)
    assert busiest(np.array([0, 1, 0, 3, 3, 0.0]), 2) == 3


def test_pixels_take_the_shade_of_their_patch():
    f = field("image", channels=1, patch=2, mean=[0.5], std=[0.2])
    picture = np.arange(15, dtype=np.uint8).reshape(3, 5).tolist()
    weights = np.array([[0, 0.1, 0.2, 0.3, 0, 0.4]])
    shaded = MODALITIES["image"].shaded(f, picture, weights)
    np.testing.assert_allclose(shaded.weights, np.array([[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 0, 0, 4]]) / 4)
    assert (shaded.blended()[0, 0] == 0).all()
    assert tuple(shaded.blended()[2, 4]) != (14, 14, 14)


@pytest.mark.parametrize(("kind", "options"), [("number", {"unit": EVIL}), ("category", {"categories": ["a"]})])
def test_a_cell_without_an_inside_is_drawn_as_it_is(kind, options):
    drawn = MODALITIES[kind].shaded(field(kind, **options), 3, np.ones((1, 1))).html()
    assert "<" not in drawn
    assert "3" in drawn


def test_everything_can_be_drawn_for_a_page_and_for_a_picture():
    random = np.random.default_rng(0)
    times = np.sort(random.random(23))
    for shaded in (
        Plain("a &lt; b"),
        Picture(random.integers(0, 255, (300, 200, 3), dtype=np.uint8), random.random((300, 200))),
        Passage(EVIL, random.random(len(EVIL)), True, True),
        Curve(times, random.normal(size=(23, 2)), random.random(23)),
    ):
        assert "<script" not in shaded.html()
        assert len(shaded.html()) < 150_000
        figure = Figure()
        shaded.draw(figure.add_subplot())
        figure.canvas.draw()
    ElementTree.fromstring(Curve(times, random.normal(size=(23, 2)), random.random(23)).html())


def test_shades_of_nothing_are_nothing():
    assert (shades(np.zeros(3)) == 0).all()
    np.testing.assert_allclose(shades(np.array([1.0, 2.0, 4.0])), [0.25, 0.5, 1])


@pytest.mark.parametrize("kind", ["cloud", "raster"])
def test_dots_and_strokes_have_the_colours_of_their_legend(kind):
    weights = np.linspace(0, 1, 7)
    if kind == "cloud":
        shaded = Scatter(np.random.default_rng(0).normal(size=(7, 3)), weights)
    else:
        shaded = Raster(np.arange(7.0), np.zeros(7, int), np.ones(7), weights, ["a"], 7)
    axes = Figure().add_axes((0, 0, 1, 1))
    shaded.draw(axes)
    for drawn in axes.collections:
        found = np.unique(drawn.get_facecolor()[:, :3] if kind == "cloud" else drawn.get_color()[:, :3], axis=0)
        np.testing.assert_allclose(found, np.unique(shaded.scale(weights), axis=0))
    assert len(axes.collections) == (2 if kind == "cloud" else 1)


def test_names_of_units_stand_inside_of_a_raster_and_can_be_read_in_a_card():
    names = ["a unit of a long name", *map(str, range(9))]
    raster = Raster(np.arange(10.0), np.arange(10), np.ones(10), np.zeros(10), names, 10)
    figure = Figure(figsize=(4, raster.height(4)))
    axes = figure.add_axes((0, 0, 1, 1))
    raster.draw(axes)
    room = axes.get_window_extent()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert all(box.x0 >= room.x0 and box.y0 >= room.y0 and box.y1 <= room.y1 for box in boxes)
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))
    first_mark = axes.transData.transform((0, 0))[0]
    assert boxes[0].x1 <= first_mark
    drawn = ElementTree.fromstring(raster.html())
    assert int(drawn.get("width")) <= 240  # of a card: nothing is scaled down
    assert float(drawn.get("font-size")) >= 9
