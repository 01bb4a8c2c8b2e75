import json
from pathlib import Path

import numpy as np
import pytest
import torch

from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features, grid, sines

GOLDENS = Path(__file__).parent / "goldens"
CASES = {case["name"]: case for case in json.loads((GOLDENS / "fourier_features.json").read_text())["cases"]}
PUBLISHED = [name for name in CASES if name.startswith("full_")]


@pytest.fixture(scope="module")
def goldens():
    return np.load(GOLDENS / "fourier_features.npz")


def formula(positions, num_bands, resolution):
    """The paper's appendix D, one position, axis and band at a time."""
    rows = []
    for x in positions:
        angles = [
            np.pi * f * x[axis] for axis, size in enumerate(resolution) for f in np.linspace(1.0, size / 2, num_bands)
        ]
        rows.append([*x, *np.sin(angles), *np.cos(angles)])
    return np.array(rows)


def test_fourier_features_are_the_formula():
    torch.manual_seed(3)
    positions = torch.rand(11, 3) * 2 - 1
    got = fourier_features(positions, 5, (7, 13, 29))
    assert got.shape == (11, fourier_channels(3, 5))
    np.testing.assert_allclose(got, formula(positions.double().numpy(), 5, (7, 13, 29)), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name not in PUBLISHED])
def test_fourier_features_are_the_original_code_s(name, goldens):
    case, positions = CASES[name], torch.from_numpy(goldens[f"{name}_positions"])
    axes, bands = positions.shape[1], case["num_bands"]
    got = fourier_features(positions, bands, case["max_resolution"] or case["index_dims"])
    columns = slice(0 if case["concat_pos"] else axes, axes + bands * axes if case["sine_only"] else None)
    np.testing.assert_allclose(got[:, columns], goldens[f"{name}_features"], atol=1e-5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_to_the_order_of_operations(name, goldens):
    positions, frequencies = (torch.from_numpy(goldens[f"{name}_{kind}"]) for kind in ("positions", "freq_bands"))
    np.testing.assert_allclose(sines(positions, frequencies), goldens[f"{name}_features"], atol=1e-6)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "index_dims" in case])
def test_grids_are_the_original_code_s(name, goldens):
    shape = CASES[name]["index_dims"]
    got = grid(shape)
    if name in PUBLISHED:
        got = got[torch.from_numpy(goldens[f"{name}_rows"])]
    np.testing.assert_allclose(got, goldens[f"{name}_positions"], atol=2e-7)


def test_grid_has_the_last_axis_fastest_and_both_ends():
    expected = [[a, b] for a in (-1.0, 0.0, 1.0) for b in (-1.0, 1.0)]
    assert grid((3, 2)).tolist() == expected
    assert grid((1, 2)).tolist() == [[-1.0, -1.0], [-1.0, 1.0]]


def test_one_resolution_for_each_axis():
    with pytest.raises(ValueError, match="resolution has 1 axes but the positions have 2"):
        fourier_features(torch.zeros(3, 2), 4, (7,))


def test_learned_array_is_the_same_for_every_row():
    module = LearnedArray(5, 7)
    rows = module(3)
    assert rows.shape == (3, 5, 7)
    assert torch.equal(rows[0], rows[2])
    assert 0.01 < module.array.std() < 0.03
