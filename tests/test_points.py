"""Clouds of points as an input: a set in any order and number, small changes, and a model that learns shapes."""

import re

import numpy as np
import pytest
import torch
from einops import rearrange
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from perceivers.data import infer, sources
from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.cloud import Scatter
from perceivers.modalities.points import ROTATIONS, Points, _rotation
from perceivers.modalities.points_input import farthest, nearest, surface
from perceivers.recipe import POINTS_NEIGHBOURS

RNG = np.random.default_rng(0)
CHANNELS = 13
POINTS = Points()
CLOUDS = [RNG.normal(size=(n, 3)) * [3, 2, 1] for n in (101, 53, 7)]


def field_of(cells, **options):
    field = Field("p", "points", "input", ("p",), options)
    field = field.with_options(**{**POINTS.options, **options})
    return field.with_options(**POINTS.fit(field, cells))


def module(field, seed=0):
    torch.manual_seed(seed)
    return POINTS.inputs([field], CHANNELS).eval()


def answer(field, cells):
    """The tokens of cells, as evaluation reads them."""
    examples = [POINTS.windows(field, POINTS.read(field, cell))[0] for cell in cells]
    return module(field)({"p": POINTS.collate(field, examples)})


def uniform(purpose, count, rows=3):
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(len(purpose)))


@pytest.mark.parametrize("count", [7, 101, 5_003])
@pytest.mark.parametrize("absolute", [False, True])
def test_order_changes_nothing_to_the_bit(count, absolute):
    grid = np.round(RNG.normal(size=(count, 4)), 1)  # with many ties
    field = field_of([grid], points=64, absolute=absolute)
    for seed in range(3):
        other = grid[np.random.default_rng(seed).permutation(count)]
        np.testing.assert_array_equal(POINTS.read(field, other), POINTS.read(field, grid))
        assert torch.equal(answer(field, [other])[0], answer(field, [grid])[0])


def test_neither_other_clouds_nor_padding_change_a_cloud():
    field = field_of(CLOUDS)
    together, mask = answer(field, [*CLOUDS, None])
    assert mask.sum(1).tolist() == [64, 53, 7, 0]
    for row, cloud in enumerate(CLOUDS):
        alone, whole = answer(field, [cloud])
        assert torch.allclose(together[row, : whole.sum()], alone[0, : whole.sum()], atol=1e-5)


def test_place_and_size_are_taken_out_unless_they_matter():
    field, cloud = field_of(CLOUDS), CLOUDS[0]
    plain = POINTS.collate(field, [POINTS.read(field, cloud)])
    assert float(plain["points"].square().sum(-1).mean()) == pytest.approx(1, abs=1e-4)
    far = POINTS.collate(field, [POINTS.read(field, 10 * cloud + 1e6)])
    assert torch.allclose(far["points"], plain["points"], atol=1e-4)
    std = field.options["size"][1]
    assert float(far["size"] - plain["size"]) == pytest.approx(np.log(10) / std, abs=1e-3)
    kept = field_of(CLOUDS, absolute=True)
    here, there = (POINTS.collate(kept, [POINTS.read(kept, cloud + x)])["points"] for x in (0, 2))
    unit = np.exp(kept.options["size"][0])
    assert torch.allclose(there - here, torch.full_like(here, 2 / unit), atol=1e-4)


def test_what_is_odd_is_read():
    field = field_of(CLOUDS)
    odd = [[[5.0, 5.0, 5.0]], np.ones((9, 3)), RNG.normal(size=(40, 3)) * [1, 1, 0], 1e30 * RNG.normal(size=(40, 3))]
    array, mask = answer(field, odd)
    assert array.isfinite().all()
    assert mask.any(1).all()
    many = RNG.normal(size=(1_000_003, 3)).astype(np.float32)
    assert POINTS.read(field, many).shape == (4 * field.options["points"], 3)


def test_gradients_reach_every_weight():
    field = field_of([np.column_stack([cloud, RNG.random(len(cloud))]) for cloud in CLOUDS])
    examples = [RNG.normal(size=(n, 4)).astype(np.float32) for n in (70, 20)]
    reader = module(field)
    array, _ = reader({"p": POINTS.collate(field, [*examples, None])})
    (array * torch.randn(array.shape)).sum().backward()
    for name, weight in reader.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_farthest_points_and_neighbours_are_those_of_the_definition():
    points = RNG.normal(size=(2, 50, 3))
    mask = np.ones((2, 50), bool)
    mask[1, 20:] = False
    found = farthest(torch.tensor(points), torch.tensor(mask), 9).numpy()
    for row, there in enumerate(mask):
        cloud = points[row, there]
        taken = [int(np.linalg.norm(cloud - cloud.mean(0), axis=1).argmax())]
        for _ in range(8):
            taken.append(int(np.min([np.linalg.norm(cloud - cloud[t], axis=1) for t in taken], axis=0).argmax()))
        assert found[row].tolist() == taken
    centres = torch.tensor(points[:, :5])
    index, known = nearest(centres, torch.tensor(points), torch.tensor(mask), POINTS_NEIGHBOURS)
    for row, there in enumerate(mask):
        count = min(POINTS_NEIGHBOURS, there.sum())
        _, truth = cKDTree(points[row, there]).query(points[row, :5], count)
        for given, sure, expected in zip(index[row], known[row], truth, strict=True):
            assert set(given[sure].tolist()) == set(expected.tolist())


def test_pieces_of_surface_stay_when_the_cloud_is_turned_and_know_a_ball_from_a_plane():
    ball = RNG.normal(size=(2_000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    plane = np.column_stack([RNG.uniform(-1, 1, (2_000, 2)), np.ones(2_000)])
    turn = Rotation.random(random_state=0).as_matrix()
    found = []
    for cloud in (ball, ball @ turn, plane, plane @ turn):
        points = torch.tensor(cloud)[None]
        centres = points[:, :7]
        near, known = nearest(centres, points, torch.ones(1, 2_000, dtype=torch.bool), POINTS_NEIGHBOURS)
        about = points[0][near] - rearrange(centres, "b m i -> b m 1 i")
        found.append(surface(about, known, centres))
    for before, after in (found[:2], found[2:]):
        assert torch.allclose(before[..., :5], after[..., :5], atol=1e-6)
        assert torch.allclose(before[..., 5:] @ torch.tensor(turn), after[..., 5:], atol=1e-6)
    height, aside, far, outwards, thick = found[0][..., :5].unbind(-1)
    assert torch.allclose(height, -(height**2 + aside**2) / 2, atol=0.02)  # on a ball of radius 1 below its tangent
    assert torch.allclose(far, torch.ones_like(far))
    assert outwards.min() > 0.98
    assert thick.max() < 0.05
    assert found[2][..., 0].abs().max() < 1e-6  # nothing stands out of a plane
    assert torch.allclose(found[2][..., 4:], torch.tensor([0.0, 0, 0, 1], dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("how", ROTATIONS)
def test_rotations_are_rotations(how):
    draws = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    matrices = _rotation(draws, how).double().numpy()
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (500, 3, 3)), atol=1e-5
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-5)
    angles = np.degrees(Rotation.from_matrix(matrices).magnitude())
    if how == "all":
        assert np.abs(matrices.mean(0)).max() < 0.1  # no direction is preferred
    elif how == "upright":
        np.testing.assert_allclose(matrices[:, 2], np.tile([0, 0, 1], (500, 1)), atol=1e-6)
        assert angles.max() > 150
    else:
        assert angles.max() <= (15 * np.sqrt(3) + 1e-3 if how == "small" else 1e-3)


def test_changes_keep_the_shape_and_turn_normals_along():
    clouds = [RNG.normal(size=(n, 3)) for n in (101, 53, 7)]
    field = field_of(clouds, rotation="all").with_options(
        features=["nx", "intensity", "ny", "nz"], feature_mean=[0.0] * 4, feature_std=[1.0] * 4
    )
    examples = [np.column_stack([c, c[:, 0], c[:, 0] ** 2, c[:, 1:]]).astype(np.float32) for c in clouds]
    part = POINTS.collate(field, examples)
    changed = POINTS.augment(field, part, uniform)
    for row, cloud in enumerate(clouds):
        count = len(cloud)
        before, after = (p["points"][row, :count].double().numpy() for p in (part, changed))
        turn, _ = Rotation.align_vectors(after, before)
        scale = np.linalg.norm(after) / np.linalg.norm(before)
        assert 0.84 < scale < 1.16
        np.testing.assert_allclose(after, scale * turn.apply(before), atol=0.05)
        normals = changed["features"][row, :count][:, [0, 2, 3]].double().numpy()
        np.testing.assert_allclose(normals, turn.apply(cloud), atol=0.1)
        assert torch.equal(changed["features"][row, :, 1], part["features"][row, :, 1])
        assert 0 < changed["mask"][row].sum() <= count
        assert not changed["mask"][row, count:].any()


def test_options_are_read_off_the_train_clouds():
    wide = [np.column_stack([cloud + 7, RNG.normal(5, 2, len(cloud)), np.ones(len(cloud))]) for cloud in CLOUDS]
    options = field_of(wide).options
    assert options["points"] == 91
    assert options["features"] == ["column 4"]
    assert options["rotation"] == "small"  # all lie along x
    assert options["feature_mean"][0] == pytest.approx(5, abs=0.5)
    turned = [cloud @ Rotation.random(random_state=i).as_matrix() for i in range(200) for cloud in CLOUDS[:1]]
    assert field_of(turned).options["rotation"] == "all"
    assert field_of(turned, absolute=True).options["rotation"] == "small"


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (["x", None], {}, "no cloud of the train rows can be read: 'x' came, expected the path of a cloud"),
        (CLOUDS, {"points": 0}, "points must be a positive integer"),
        (CLOUDS, {"rotation": "some"}, "rotation 'some' is none of all, upright, small, none"),
        (CLOUDS, {"absolute": "no"}, "absolute must be true or false"),
        (CLOUDS, {"features": "red"}, "features must be a list of names"),
        (CLOUDS, {"features": ["red"]}, "no cloud has the features red"),
    ],
)
def test_options_that_cannot_be(cells, options, message):
    with pytest.raises(BadInput, match=message):
        field_of(cells, **options)


def test_a_cloud_without_a_feature_that_train_had():
    field = field_of([np.column_stack([cloud, cloud[:, 0]]) for cloud in CLOUDS])
    with pytest.raises(Unreadable, match="no feature 'column 4' in this cloud, which has coordinates alone"):
        POINTS.read(field, CLOUDS[0])


def test_drawings_are_small_and_weights_are_drawn_where_the_patches_are():
    field = field_of(CLOUDS)
    cloud = RNG.normal(size=(80, 3)) + 50 * (np.arange(80)[:, None] < 40) * [1, 0, 0]
    drawn = POINTS.draw(field, cloud)
    assert re.match(r"<svg .*</svg>$", drawn, re.DOTALL)
    assert drawn.count("<circle") == 160
    assert len(POINTS.draw(field, RNG.normal(size=(5_000, 3)))) < 120_000
    assert POINTS.draw(field, None) == "–"
    part = POINTS.collate(field, [POINTS.read(field, cloud)])
    centres = farthest(part["points"], part["mask"], 64)[0]
    weights = (part["points"][0, centres, 0] > 0).double().numpy()[None]
    shaded = POINTS.shaded(field, cloud, weights)
    assert isinstance(shaded, Scatter)
    assert ((shaded.weights > 0.5) == (shaded.points[:, 0] > 0)).all()


def test_features_of_baselines_know_the_spread_and_nothing_of_the_pose():
    cloud = RNG.normal(size=(400, 3)) * [3, 2, 1]
    field = field_of(CLOUDS)
    maker = POINTS.baseline(field)
    turned = 1.0 * cloud @ Rotation.random(random_state=1).as_matrix() + 5
    found = maker.fit_transform([cloud, turned, None])
    np.testing.assert_allclose(found[0], found[1], atol=1e-2)
    np.testing.assert_allclose(
        found[0, 1:4], np.linalg.eigvalsh(np.cov(cloud.T)) / np.trace(np.cov(cloud.T)), atol=0.01
    )
    assert np.isnan(found[2]).all()


def test_a_folder_of_clouds_is_recognised(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            np.savetxt(tmp_path / name / f"{i}.xyz", RNG.normal(size=(9, 3)))
    field = infer.infer(sources.read(tmp_path))["path"]
    assert (field.modality, field.role, field.names_files) == ("points", "input", True)


def test_generated_shapes_are_told_apart_from_what_is_measured():
    table = sources.read("sample:shapes")
    assert table.frame.height == 2_000
    assert table.frame["class"].n_unique() == 10
    assert (table.frame["class"].value_counts()["count"] == 200).all()
    assert table.notes == ("generated by perceivers, no measurements",)
    schema = infer.infer(table)
    assert schema["cloud"].modality == "points"
    clouds = table.frame["cloud"].head(100).to_numpy()
    assert np.isfinite(clouds).all()
    np.testing.assert_allclose(np.sqrt((clouds**2).sum(-1).mean(-1)), 1, atol=0.05)
    assert field_of(list(clouds)).options["rotation"] == "all"
