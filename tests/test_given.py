"""A class or a value for each given point: the order of points, chunks, errors, and whole runs."""

import json
import re

import numpy as np
import polars as pl
import pytest
import torch
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, mean_absolute_error, r2_score

import perceivers as pv
from perceivers.data import sinks, sources
from perceivers.data.loading import Rows
from perceivers.data.schema import Field, Schema, Split
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import MODALITIES, modality, per_point_metrics
from perceivers.modalities.given import CHUNK
from perceivers.modalities.given_queries import surroundings

RNG = np.random.default_rng(0)


def clouds(count=24, fewest=40, most=90):
    """Balls on sheets: the class is what a point is of, the value how high it lies; the property is both in one."""
    rows = []
    for _ in range(count):
        n = int(RNG.integers(fewest, most))
        ball = RNG.random(n) < 0.5
        directions = RNG.normal(size=(n, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        sheet = np.column_stack([RNG.uniform(-2, 2, (n, 2)), np.zeros(n)])
        points = np.where(ball[:, None], 0.6 * directions + [0, 0, 1], sheet)
        part = np.where(ball, "ball", "sheet")
        rows.append({"cloud": points.tolist(), "part": part.tolist(), "z": points[:, 2].tolist()})
    return pl.DataFrame(rows)


def schema(target="part"):
    kinds = {"part": "point_class", "z": "point_value"}
    fields = (Field("cloud", "given", "input", ("cloud",), {}), Field(target, kinds[target], "target", (target,), {}))
    return Schema(fields)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pv.fit(clouds(), schema=schema(), size="tiny", steps=12, out=tmp_path_factory.mktemp("given") / "run")


def test_a_run_with_classes(model):
    found = model.metrics["part"]
    assert list(found)[:5] == ["n", "points", "accuracy", "mean_iou", "f1"]
    assert set(found["per_class"]) == {"ball", "sheet"}
    frame = clouds(5)
    answers = model.predict(frame, proba=True)
    assert [len(one) for one in answers["part_predicted"]] == [len(one) for one in frame["cloud"]]
    for row in answers.iter_rows(named=True):
        np.testing.assert_allclose(np.add(row["part_probability_ball"], row["part_probability_sheet"]), 1, atol=1e-6)
    report = model.report.read_text(encoding="utf-8")
    assert "a cloud: what is true, what was answered" in report
    assert "random forest of points" in report
    again = pv.load(model.folder).predict(frame, proba=True)
    assert again.equals(answers)
    (explained,) = model.explain(frame.head(1))
    assert explained.answer["part"] == answers["part_predicted"][0].to_list()
    csv = sinks.to_bytes(answers, "csv").decode()
    assert json.loads(pl.read_csv(csv.encode())["part_predicted"][0]) == answers["part_predicted"][0].to_list()


def test_permuted_points_have_permuted_answers(model):
    cloud = np.array(clouds(1, 1_200, 1_201)["cloud"][0].to_list())  # three chunks, more than are read
    order = RNG.permutation(len(cloud))
    first, second = model.predict([{"cloud": one.tolist()} for one in (cloud, cloud[order])], proba=True).to_dicts()
    for name in ("part", "part_probability", "part_probability_ball"):
        assert np.array_equal(np.array(first[name])[order], second[name])


def test_chunks_are_the_whole(model):
    field = model.schema["cloud"]
    example = modality(field).read(field, RNG.normal(size=(2 * CHUNK + 101, 3)))
    chunks = modality(field).windows(field, example)
    whole = example._replace(cloud=chunks[0].cloud)
    target = model.schema["part"]
    with torch.inference_mode():
        batches = [{"cloud": modality(field).collate(field, one)} for one in (chunks, [whole])]
        parts = [model.model.answers(batch)["part"] for batch in batches]
    joined = [modality(target).join(target, list(part.numpy())) for part in parts]
    assert joined[0].shape == (2 * CHUNK + 101, 2)
    np.testing.assert_allclose(joined[0], joined[1], atol=1e-5)


def test_an_answer_is_of_its_own_point_and_not_of_what_else_is_asked(model):
    field = model.schema["cloud"]
    example = modality(field).windows(field, modality(field).read(field, RNG.normal(size=(83, 3))))[0]
    alone = example._replace(points=example.points[7:8], place=example.place[7:8])
    with torch.inference_mode():
        both = model.model.answers({"cloud": modality(field).collate(field, [example, alone])})["part"].numpy()
    np.testing.assert_allclose(both[1, :3], both[0].reshape(-1, 3)[7], atol=1e-6)


def test_what_is_asked_turns_and_grows_with_the_cloud():
    field = Field("c", "given", "input", ("c",), {**MODALITIES["given"].options, "points": 64, "rotation": "all"})
    field = field.with_options(features=[], feature_mean=[], feature_std=[], centre=[0, 0, 0], size=[0.0, 1.0])
    kind = modality(field)
    part = kind.collate(field, kind.windows(field, kind.read(field, RNG.normal(size=(37, 3)))))
    generator = torch.Generator().manual_seed(0)
    draws = {}

    def uniform(purpose, count):
        return draws.setdefault((purpose, count), torch.rand(1, count, generator=generator))

    changed = kind.augment(field, part, uniform)
    distances = [torch.cdist(one["asked"], one["points"]) for one in (part, changed)]
    scale = changed["asked"].norm() / part["asked"].norm()
    assert not torch.allclose(part["asked"], changed["asked"], atol=0.1)
    np.testing.assert_allclose(distances[1], scale * distances[0], atol=0.04)  # but for jitter


def test_a_run_with_values_and_groups(tmp_path):
    frame = clouds(30).with_columns(site=pl.Series([i % 15 for i in range(30)]))
    fields = (*schema("z").fields, Field("site", None, "ignore", ("site",)))
    grouped = Schema(fields, Split(group="site"))
    model = pv.fit(frame, schema=grouped, size="tiny", steps=3, out=tmp_path / "r")
    found = model.metrics["z"]
    assert list(found) == ["n", "points", "mae", "mse", "r2"]
    assert found["mae"]["low"] < found["mae"]["value"] < found["mae"]["high"]
    answers = model.predict(frame.head(3))["z_predicted"]
    assert [len(one) for one in answers] == [len(one) for one in frame["cloud"].head(3)]


def test_metrics_are_those_of_all_points_together():
    truth = [RNG.integers(0, 3, n) for n in (5, 17, 40)]
    answers = [RNG.random((len(one), 4)) for one in truth]
    found = per_point_metrics.classes(per_point_metrics.confusions(answers, truth, 4))
    said, true = np.concatenate([a.argmax(1) for a in answers]), np.concatenate(truth)
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(true, said))
    assert found["f1"]["value"] == pytest.approx(f1_score(true, said, average="macro"))
    assert found["mean_iou"]["value"] == pytest.approx(jaccard_score(true, said, average="macro"))
    assert (found["n"], found["points"]) == (3, 62)
    values = [RNG.normal(size=len(one)) for one in truth]
    guesses = [v[:, None] + RNG.normal(size=(len(v), 1)) for v in values]
    found = per_point_metrics.values(guesses, values)
    flat, guess = np.concatenate(values), np.concatenate(guesses)[:, 0]
    assert found["mae"]["value"] == pytest.approx(mean_absolute_error(flat, guess))
    assert found["r2"]["value"] == pytest.approx(r2_score(flat, guess))


def refused(target, cell, cloud):
    """What is said of a cell that does not fit."""
    try:
        found = modality(target).read(target, cell)
    except Unreadable as error:
        return str(error)
    return modality(target).mismatch(target, found, {"cloud": cloud})


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (["ball"] * 39, "39 came for a cloud of 40 points: expected one for each point"),
        (["ball"] * 39 + [None], r"point 40 has no value \(1 such points\)"),
        (["ball"] * 39 + ["cone"], "point 40: 'cone' is none of the categories"),
        ([["ball"]] * 40, "40 × 1 came, expected a list as long as the cloud"),
        ("no list", "'no list' came, expected a list"),
    ],
)
def test_what_does_not_fit_is_named_with_its_row(model, cell, message):
    frame = [{"cloud": RNG.normal(size=(40, 3)), "part": ["ball"] * 40} for _ in range(2)]
    table = sources.read({"cloud": [one["cloud"].tolist() for one in frame], "row": [0, 1]})
    rows = Rows(table, model.schema.inputs, modality)
    target = model.schema["part"]
    example = rows.columns["cloud"][1]
    assert re.search(message, refused(target, cell, example))


def test_rows_of_another_length_are_left_out_and_named(model):
    frame = clouds(3)
    short = frame.with_columns(pl.Series("part", [frame["part"][0][:-1].to_list(), *frame["part"][1:].to_list()]))
    with pytest.warns(UserWarning, match=r"1 row could not be read; .* row 1, part: \d+ came for a cloud of"):
        assert model.evaluate(short)["part"]["n"] == 2


def test_a_property_of_the_file_is_asked_and_not_read(tmp_path):
    for i, row in enumerate(clouds(12).iter_rows(named=True)):
        label = (np.array(row["part"]) == "ball").astype(float)
        np.save(tmp_path / f"{i}.npy", np.column_stack([row["cloud"], label]))
        np.savetxt(tmp_path / f"{i}.xyz", np.column_stack([row["cloud"], label]))
    pl.DataFrame({"scan": [f"{i}.xyz" for i in range(12)]}).write_csv(tmp_path / "scans.csv")
    inferred = pv.inspect(tmp_path / "scans.csv", "scan.column 4")
    assert (inferred["scan"].modality, inferred["scan.column 4"].modality) == ("given", "point_value")
    model = pv.fit(tmp_path / "scans.csv", "scan.column 4", size="tiny", steps=2, out=tmp_path / "run")
    assert model.schema["scan"].options["features"] == []
    answers = model.predict([str(tmp_path / "0.xyz")])
    assert len(answers["scan.column 4"][0]) == len(np.load(tmp_path / "0.npy"))
    with pytest.raises(BadInput, match="no property 'nothing' in this cloud, which has column 4"):
        pv.fit(tmp_path / "scans.csv", "scan.nothing", size="tiny", steps=2, out=tmp_path / "other")


def test_las_files_have_their_classification(tmp_path):
    laspy = pytest.importorskip("laspy")
    las = laspy.create(point_format=0)
    las.x, las.y, las.z = RNG.normal(size=(3, 31))
    las.classification = RNG.integers(0, 4, 31)
    las.write(tmp_path / "a.las")
    field = Field("a.classification", "point_class", "target", ("a",), {"property": "classification", "files": True})
    field = field.with_options(categories=["0", "1", "2", "3"])
    read = modality(field).read(field, tmp_path / "a.las")
    np.testing.assert_array_equal(read, np.array(las.classification))


def test_inspect_recognises_lists_as_long_as_clouds(tmp_path):
    frame = clouds(6)
    for i, row in enumerate(frame.iter_rows(named=True)):
        np.savetxt(tmp_path / f"{i}.xyz", row["cloud"])
        np.save(tmp_path / f"{i}.npy", np.array(row["z"]))
    named = frame.with_columns(
        scan=pl.Series([f"{i}.xyz" for i in range(6)]), height=pl.Series([f"{i}.npy" for i in range(6)])
    ).drop("cloud")
    named.write_parquet(tmp_path / "t.parquet")
    found = pv.inspect(tmp_path / "t.parquet", ["part", "height"])
    assert {f.name: f.modality for f in found.fields if f.role != "ignore" and f.name != "z"} == {
        "scan": "given",
        "part": "point_class",
        "height": "point_value",
    }
    assert "a class for each" in found["part"].reason


def test_what_surrounds_a_point_is_that_of_numpy_and_turns_along():
    cloud, features = RNG.normal(size=(1, 307, 3)), RNG.normal(size=(1, 307, 2))
    there = torch.ones(1, 307, dtype=torch.bool)
    there[0, 211:] = False

    def described(points):
        part = {"points": points, "mask": there, "asked": points[:, :5], "features": features}
        return surroundings({name: torch.as_tensor(array) for name, array in part.items()})

    near, mean, spread, wide, *_ = (one[0].numpy() for one in described(cloud))
    tree = KDTree(cloud[0, :211])
    size = np.sqrt((cloud[0, :211] ** 2).sum(1).mean())
    for row, (distance, index) in enumerate(zip(*tree.query(cloud[0, :5], 16), strict=True)):
        reach = size * np.sqrt(16 / 211)
        values = np.linalg.eigvalsh(np.cov(cloud[0, index].T, bias=True)) / reach**2
        np.testing.assert_allclose(near[row, :3], (cloud[0, index].mean(0) - cloud[0, row]) / reach, atol=1e-9)
        np.testing.assert_allclose(near[row, 4], distance.max() / reach)
        np.testing.assert_allclose(near[row, 5:8], np.sqrt(values), rtol=1e-6)
        np.testing.assert_allclose(near[row, 8:11], values / values.sum(), rtol=1e-6)
        np.testing.assert_allclose(mean[row], features[0, index].mean(0))
        np.testing.assert_allclose(spread[row], features[0, index].std(0))
    assert (wide[:, 4] > 0.5).all()
    turn = Rotation.random(random_state=0).as_matrix()
    turned = described(cloud @ turn.T)[0][0].numpy()
    np.testing.assert_allclose(turned[:, 3:11], near[:, 3:11], atol=1e-6)
    for at in (slice(0, 3), slice(11, 14)):
        np.testing.assert_allclose(turned[:, at], near[:, at] @ turn.T, atol=1e-6)
