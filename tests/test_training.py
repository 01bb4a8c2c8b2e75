"""The stream of batches, checkpoints, the rate and the optimisers, against what they promise."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from perceivers.data import infer, sources
from perceivers.data.batches import TrainingBatches, evaluation_batches
from perceivers.data.randomness import permutation, uniform
from perceivers.errors import BadInput
from perceivers.model import Model
from perceivers.training import defaults
from perceivers.training.callbacks import read_metrics
from perceivers.training.checkpoints import read_checkpoint, write_checkpoint
from perceivers.training.config import Architecture, Config, Training, overlay
from perceivers.training.module import LearningModel
from perceivers.training.optimisers import optimiser, warmup_cosine
from perceivers.training.train import prepare


@pytest.fixture(scope="module")
def data():
    table = sources.read("sample:wine")
    return prepare(table, infer.infer(table))


def batches(data, start=0):
    return TrainingBatches(data.rows, data.parts["train"], batch_size=17, seed=3, field_drop=0.3, start=start)


def equal(one, two):
    pieces = zip(one, two, strict=True)
    return all(torch.equal(a[f][k], b[f][k]) for a, b in pieces for f in a for k in a[f])


def test_uniform_numbers_depend_on_what_they_are_for_alone():
    rows = np.array([5, 2, 11])
    numbers = uniform(1, 2, rows, "crop", 7)
    assert np.array_equal(numbers[[2, 0]], uniform(1, 2, rows[[2, 0]], "crop", 7))
    for other in (uniform(2, 2, rows, "crop", 7), uniform(1, 3, rows, "crop", 7), uniform(1, 2, rows, "mask", 7)):
        assert not np.isclose(numbers, other).any()
    many = uniform(0, 0, np.arange(20_000), "x", 3)
    assert np.abs(many.mean(0) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(many.T) - np.eye(3)).max() < 0.03
    assert (many >= 0).all()
    assert (many < 1).all()


def test_the_batch_of_a_step_is_the_same_wherever_one_starts(data):
    stream = iter(batches(data))
    whole = [next(stream) for _ in range(12)]
    later = iter(batches(data, start=9))
    assert all(equal(one, next(later)) for one in whole[9:])
    assert not equal(whole[0], whole[7])


def test_an_epoch_has_every_row_at_most_once_and_only_train_rows(data):
    stream = batches(data)
    order = np.concatenate([piece for batch in stream.order(4) for piece in batch])
    assert len(np.unique(order)) == len(order) == stream.per_epoch * 17
    assert set(order) <= set(data.parts["train"])
    assert not np.array_equal(permutation(3, 0, order), permutation(3, 1, order))


def test_evaluation_reads_every_row_once(data):
    ids = data.parts["test"]
    owners = np.concatenate([owners for owners, _ in evaluation_batches(data.rows, ids, 4)])
    assert sorted(owners) == sorted(ids)


def test_altered_test_rows_change_nothing_that_training_sees():
    table = sources.read("sample:wine")
    schema = infer.infer(table)
    one = prepare(table, schema)
    factor = np.ones(len(table.frame))
    factor[one.parts["test"]] = 1000.0
    frame = table.frame.with_columns(pl.col("alcohol") * pl.Series(factor), pl.col("ash") * pl.Series(factor))
    two = prepare(sources.Table(frame=frame, name=table.name, root=None, targets=table.targets), schema)
    assert one.schema == two.schema
    assert np.array_equal(one.parts["train"], two.parts["train"])
    assert equal(next(iter(batches(one))), next(iter(batches(two))))


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    content = {"state": {0: {"m": torch.randn(3, 5), "n": (1, 2.5, None)}, 1: [True, "x"]}, "step": 7}
    write_checkpoint(content, tmp_path / "a.ckpt")
    again = read_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(again["state"][0].pop("m"), content["state"][0].pop("m"))
    assert again == content
    (tmp_path / "a.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:-8])
    with pytest.raises(BadInput, match=r"a\.ckpt"):
        read_checkpoint(tmp_path / "a.ckpt")


def test_muon_has_what_lies_between_two_matrices_and_adamw_the_rest():
    table = sources.read(pl.DataFrame({"s": [[float(i), 1.0, 3.0] for i in range(40)], "y": ["a", "b"] * 20}))
    prepared = prepare(table, infer.infer(table, ["y"]))
    config = defaults.resolve(Config(size="tiny"), prepared.schema, 28, 6)
    model = Model(prepared.schema, defaults.perceiver(config))
    muon, adamw = optimiser(model, config.training).optimisers
    names = {p: name for name, p in model.named_parameters()}
    found = [{names[p] for group in one.param_groups for p in group["params"]} for one in (muon, adamw)]
    assert found[0] | found[1] == set(names.values())
    assert not found[0] & found[1]
    inside = {name for p, name in names.items() if name.startswith("perceiver.") and p.ndim == 2}
    filters = {name for p, name in names.items() if ".blocks." in name and p.ndim == 3}
    assert len(filters) == 4
    assert found[0] == inside - {"perceiver.latents.array"} | filters


def test_the_rate_rises_linearly_and_falls_as_a_cosine():
    factor = warmup_cosine(100, 0.1)
    assert [factor(i) for i in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert [factor(i) for i in range(10, 100)] == pytest.approx(
        [(1 + math.cos(math.pi * (i - 10) / 90)) / 2 for i in range(10, 100)]
    )


def test_a_configuration_is_overlaid_and_its_mistakes_are_named():
    base = Config(size="tiny", training=Training(lr=0.1, seed=5))
    over = overlay(base, Config(minutes=2, training=Training(lr=0.3)))
    assert (over.size, over.minutes, over.training.lr, over.training.seed) == ("tiny", 2, 0.3, 5)
    assert Config.from_dict(over.to_dict(), "here") == over
    with pytest.raises(BadInput, match=r"here: unknown option training\.rate"):
        Config.from_dict({"training": {"rate": 1}}, "here")


def test_any_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    write_checkpoint({"m": torch.arange(7.0), "n": torch.tensor(True), "step": [3, None]}, tmp_path / "a.ckpt")
    whole = (tmp_path / "a.ckpt").read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(whole), 200, replace=False):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "a.ckpt").write_bytes(data)
        with pytest.raises(BadInput, match="damaged"):
            read_checkpoint(tmp_path / "a.ckpt")


def test_metrics_that_a_kill_cut_short_are_read_to_the_last_whole_row(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("step,train_loss,validation_loss,lr\n11,0.5,,0.1\n11,,0.25,\n12,0.7,,0.1\n13")
    assert [row["step"] for row in read_metrics(file)] == [11, 11, 12]
    assert read_metrics(file)[1] == {"step": 11, "train_loss": None, "validation_loss": 0.25, "lr": None}
    file.write_text("step,tr")
    assert read_metrics(file) == []


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_change_no_batch_even_where_rows_cannot_be_read(data, workers, monkeypatch):
    """With two rows a batch, some batches have no readable row: those of the next one stand in, wherever one starts."""
    unreadable = set(data.parts["train"][::3].tolist())
    monkeypatch.setattr(data.rows, "examples", lambda rows: (np.array([r for r in rows if r not in unreadable]), {}))

    def stream(start, workers):
        ids = data.parts["train"]
        return TrainingBatches(data.rows, ids, batch_size=2, seed=3, field_drop=0.3, start=start, workers=workers)

    plain = stream(0, 0)
    empty = [s for s in range(62) if unreadable.issuperset(np.concatenate(plain.order(0)[s]).tolist())]
    assert len(empty) > 3
    batches = iter(stream(empty[0] - 1, workers))
    assert all(equal(plain.batch(step), next(batches)) for step in range(empty[0] - 1, 70))


def test_a_checkpoint_with_other_weights_is_refused_in_one_line(data):
    before, now = (
        (Model(data.schema, defaults.perceiver(config)), config.training)
        for config in (
            defaults.resolve(Config(size="tiny", architecture=shape), data.schema, 28, 6)
            for shape in (Architecture(), Architecture(self_attends=1))
        )
    )
    with pytest.raises(BadInput, match="another version of perceivers"):
        LearningModel(*now, steps=1).load_state_dict(LearningModel(*before, steps=1).state_dict())
    with pytest.raises(BadInput, match="another version of perceivers"):
        optimiser(*now).load_state_dict(optimiser(*before).state_dict())
