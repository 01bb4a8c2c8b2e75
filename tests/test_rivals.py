import pytest
import torch

from benchmarks import rivals
from perceivers.data import infer, sources
from perceivers.training.train import prepare

B, M, QUERIES = 3, 12, 2


@pytest.mark.parametrize("body", [rivals.TransformerEncoder(), rivals.RNN(), rivals.CNN(None), rivals.CNN((3, 4))])
def test_what_is_masked_does_not_matter_where_it_is_at_the_end(body):
    torch.manual_seed(7)
    rival = rivals.Rival(body).eval()
    tokens, queries = torch.randn(B, M, rivals.CHANNELS), torch.randn(B, QUERIES, rivals.CHANNELS)
    mask = torch.arange(M) < torch.tensor([[12], [8], [4]])
    changed = tokens + 5 * ~mask.unsqueeze(-1)
    found = rival(tokens, queries, mask)
    assert found.shape == (B, QUERIES, rivals.CHANNELS)
    assert torch.allclose(rival(changed, queries, mask), found, atol=1e-5)
    assert not torch.allclose(rival(torch.randn_like(tokens), queries, mask), found, atol=1e-2)


@pytest.fixture(scope="module")
def digits():
    table = sources.read("sample:digits")
    return prepare(table, infer.infer(table))


@pytest.mark.parametrize("name", ["CNN", "RNN", "Transformer encoder"])
def test_rivals_learn(name, digits):
    rival = rivals.rivals(digits)[name]
    model = rivals.compete(rival, digits, seconds=1e-9, seed=0)  # built, and not yet trained
    optimiser = torch.optim.AdamW(model.parameters())
    batch = digits.rows.batch(digits.parts["train"][:50])
    before = model.losses(batch)["class"].mean().item()
    for _ in range(10):
        rivals._step(model.train(), batch, optimiser, progress=0.1)
    assert model.eval().losses(batch)["class"].mean().item() < before - 0.3


def test_pictures_of_one_size_are_a_grid(digits):
    assert rivals.rivals(digits)["CNN"].grid == (8, 8)


def test_cells_are_no_sequence():
    table = sources.read("sample:wine")
    assert list(rivals.rivals(prepare(table, infer.infer(table)))) == ["Transformer encoder"]
