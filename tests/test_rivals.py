import numpy as np
import polars as pl
import pytest
import torch

from benchmarks import nets, rivals
from perceivers.data import infer, sources
from perceivers.data.schema import Field, Schema, Split
from perceivers.training.train import prepare

B, M, QUERIES = 3, 12, 2


@pytest.mark.parametrize("body", [rivals.TransformerEncoder(), rivals.RNN(), rivals.CNN(None), rivals.CNN((3, 4))])
def test_what_is_masked_does_not_matter_where_it_is_at_the_end(body):
    torch.manual_seed(7)
    rival = rivals.Rival(body).eval()
    tokens, queries = torch.randn(B, M, rivals.CHANNELS), torch.randn(B, QUERIES, rivals.CHANNELS)
    mask = torch.arange(M) < torch.tensor([[12], [8], [4]])
    changed = tokens + 5 * ~mask.unsqueeze(-1)
    found = rival.encode(tokens, mask)
    assert rival.decode(rival.process(found), queries).shape == (B, QUERIES, rivals.CHANNELS)
    assert torch.allclose(rival.encode(changed, mask), found, atol=1e-5)
    assert not torch.allclose(rival.encode(torch.randn_like(tokens), mask), found, atol=1e-2)


@pytest.fixture(scope="module")
def digits():
    table = sources.read("sample:digits")
    return prepare(table, infer.infer(table))


def gain(model, data, rows):
    """How much ten steps on a batch lower the loss on it, as it is in training: averages of norms follow late."""
    optimiser = torch.optim.AdamW(model.parameters())
    batch = data.rows.batch(data.parts["train"][:rows])
    before = model.train().losses(batch)["class"].mean().item()
    for _ in range(10):
        rivals._step(model, [batch], optimiser, progress=0.1)
    return before - model.losses(batch)["class"].mean().item()


@pytest.mark.parametrize("name", ["CNN", "RNN", "Transformer encoder"])
def test_rivals_learn(name, digits):
    rival = rivals.rivals(digits)[name]
    model = rivals.compete(rival, digits, seconds=1e-9, seed=0)  # built, and not yet trained
    assert gain(model, digits, 50) > 0.3


def test_a_transformer_reads_few_patches(digits, monkeypatch):
    monkeypatch.setattr(rivals, "TRANSFORMER_PATCHES", 20)  # of pictures of 8 × 8
    for name, patch in (("Transformer encoder", 2), ("RNN", 1)):
        model = rivals.compete(rivals.rivals(digits)[name], digits, seconds=1e-9, seed=0)
        assert next(f for f in model.schema.inputs).options["patch"] == patch


def test_pictures_of_one_size_are_a_grid(digits):
    assert rivals.rivals(digits)["CNN"].body.grid == (8, 8)


def test_cells_are_no_sequence():
    table = sources.read("sample:wine")
    assert list(rivals.rivals(prepare(table, infer.infer(table)))) == ["Transformer encoder"]


def tones():
    """Two pitches, of 0.1 to 0.2 s at 8 kHz."""
    random = np.random.default_rng(0)
    times = [np.arange(random.integers(800, 1_600)) / 8_000 for _ in range(24)]
    sounds = [np.sin(2 * np.pi * (300 + 600 * (i % 2)) * t + random.uniform(0, 6)) for i, t in enumerate(times)]
    frame = pl.DataFrame({"sound": [s.tolist() for s in sounds], "class": ["low", "high"] * 12})
    table = sources.read(frame)
    sound = Field("sound", "audio", "input", ("sound",), {"rate": 8_000})
    return prepare(table, Schema((sound, *infer.infer(table, ("class",)).targets), Split()))


def balls():
    """Balls and flat clouds, of 40 to 60 points."""
    random = np.random.default_rng(0)
    clouds = [random.normal(size=(random.integers(40, 60), 3)) * [1, 1, 1 - i % 2] for i in range(24)]
    table = sources.read(pl.DataFrame({"cloud": [c.tolist() for c in clouds], "class": ["ball", "flat"] * 12}))
    cloud = Field("cloud", "points", "input", ("cloud",))
    return prepare(table, Schema((cloud, *infer.infer(table, ("class",)).targets), Split()))


@pytest.mark.parametrize(
    ("make", "names"),
    [(tones, ["CNN", "RNN", "M5", "Transformer encoder"]), (balls, ["PointNet", "Transformer encoder"])],
)
def test_sound_and_points_have_networks_of_their_own_that_learn(make, names):
    data = make()
    found = rivals.rivals(data)
    assert list(found) == names
    (own,) = {"M5", "PointNet"} & set(names)
    model = rivals.compete(found[own], data, seconds=1e-9, seed=0)
    assert not any("frontend" in name or "positions" in name for name, _ in model.named_parameters())
    assert gain(model, data, 16) > 0.3


def test_m5_hears_a_sound_at_any_level_and_its_tokens_are_as_many_as_it_is_long():
    net = nets.M5(8_000, 1, 7).eval()
    samples = torch.randn(2, 1, 4_000)
    samples[1, :, 2_500:] = 0
    part = {"samples": samples, "lengths": torch.tensor([4_000, 2_500])}
    tokens, mask = net(part)
    assert tokens.shape == (2, 4, 7)
    assert mask.sum(1).tolist() == [4, 3]
    assert torch.allclose(net({**part, "samples": samples / 8})[0], tokens, atol=1e-4)


def test_pointnet_sees_a_set_without_the_points_that_are_hidden():
    net = nets.PointNet(2, 7).eval()
    points, features = torch.randn(2, 31, 3), torch.randn(2, 31, 2)
    mask = torch.arange(31) < torch.tensor([[31], [19]])
    found, there = net({"points": points, "features": features, "mask": mask})
    assert found.shape == (2, 1, 7)
    assert there.all()
    order = torch.randperm(31)
    turned = {"points": points[:, order], "features": features[:, order], "mask": mask[:, order]}
    assert torch.allclose(net(turned)[0], found, atol=1e-6)
    hidden = {"points": points + 9 * ~mask[..., None], "features": features, "mask": mask}
    assert torch.allclose(net(hidden)[0], found, atol=1e-6)
    gone, there = net({"points": points, "features": features, "mask": mask & False})
    assert gone.isfinite().all()
    assert not there.any()
