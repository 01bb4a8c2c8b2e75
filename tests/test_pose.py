import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from perceivers.data.chairs import chairs
from perceivers.data.shapes import SURFACES, shapes
from perceivers.modalities.pose import _moments, _upright, rotation_of


def scaled(cloud):
    cloud = np.asarray(cloud, np.float64) - np.mean(cloud, axis=0)
    return cloud / np.sqrt((cloud**2).sum(1).mean())


RANDOM = np.random.default_rng(3)
POSED = [scaled(SURFACES[k](211, RANDOM) * RANDOM.uniform(0.8, 1.2, 3)) for k in ("cone", "saddle") for _ in range(53)]
TURNS = Rotation.random(len(POSED), random_state=1)
ABOUT_Z = Rotation.from_euler("z", RANDOM.uniform(0, 360, (len(POSED), 1)), degrees=True)


@pytest.mark.parametrize(
    ("clouds", "expected"),
    [
        (POSED, "small"),
        ([turn.apply(cloud) for turn, cloud in zip(TURNS, POSED, strict=True)], "all"),
        ([turn.apply(cloud) for turn, cloud in zip(ABOUT_Z, POSED, strict=True)], "upright"),
        ([scaled(cloud) for cloud in shapes()[0][:101]], "all"),
        ([scaled(cloud) for cloud in chairs()[0][:101]], "upright"),
        ([scaled(SURFACES["sphere"](1_021, RANDOM)) for _ in range(23)], "small"),  # nothing tells how they are turned
        (POSED[:1], "small"),
        ([np.zeros((1, 3))] * 7, "small"),
    ],
)
def test_how_clouds_are_turned_is_seen(clouds, expected):
    assert rotation_of(clouds) == expected


def test_moments_vanish_on_average_over_all_turns_and_upright_is_the_mean_over_turns_about_z():
    cloud = POSED[0]
    over_all = np.mean([_moments(turn.apply(cloud)) for turn in Rotation.random(20_000, random_state=0)], axis=0)
    assert np.abs(over_all).max() < 0.02 < np.abs(_moments(cloud)).max()
    about_z = Rotation.from_euler("z", np.arange(0, 360, 7.2)[:, None], degrees=True)
    over_z = np.mean([_moments(turn.apply(cloud)) for turn in about_z], axis=0)
    np.testing.assert_allclose(_upright(cloud), over_z, atol=0.01)
