"""Axes: which is taken for channels, and how large patches are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perceivers.modalities.axes import CHANNELS, named, patches, places, tokens


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(64, 48, 3), (32, 20, 3)], ["axis 1", "axis 2", CHANNELS]),
        ([(3, 64, 48), (3, 20, 32)], [CHANNELS, "axis 2", "axis 3"]),
        ([(6, 100)] * 3, [CHANNELS, "axis 2"]),
        ([(64, 48, 3), (32, 20, 4)], ["axis 1", "axis 2", "axis 3"]),
        ([(20, 20, 20)], ["axis 1", "axis 2", "axis 3"]),
        ([(100,), (3,)], ["axis 1"]),
        ([(4, 6)], ["axis 1", "axis 2"]),
    ],
)
def test_axes_without_names(shapes, expected):
    assert named(shapes) == expected


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=5), st.integers(1, 20_000))
def test_patches_bound_the_number_of_tokens(sizes, most):
    patch = patches(np.array(sizes) / 2, np.array(sizes), most)
    assert tokens(np.array(sizes) / 2, patch) <= 256
    assert tokens(sizes, patch) <= most
    if math.prod(sizes) <= min(256, most):
        assert patch == [1] * len(sizes)


def test_places_are_all_axes_but_the_channels():
    assert places(["y", CHANNELS, "x"]) == ["y", "x"]
