import pytest
import torch
from torch.autograd import gradcheck

from perceivers.core import kernels

B, H, N, M, K, V = 2, 3, 5, 7, 4, 6


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(19)


def example(dtype=torch.float64):
    return [torch.randn(B, H, size, width, dtype=dtype, requires_grad=True) for size, width in ((N, K), (M, K), (M, V))]


@pytest.mark.parametrize("limit", [0, 2**26], ids=["fused", "plain"])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_attention(limit, masked, monkeypatch):
    monkeypatch.setattr(kernels, "PLAIN_WEIGHTS", limit)
    mask = torch.rand(B, N, M) < 0.6 if masked else None
    assert gradcheck(lambda q, k, v: kernels.attend(q, k, v, mask), example())


def test_products_together_are_the_layers_apart():
    layers = [torch.nn.Linear(K, width, dtype=torch.float64) for width in (3, 7, 2)]
    x = torch.randn(B, M, K, dtype=torch.float64)
    together = kernels.project(x, layers)
    apart = [layer(x) for layer in layers]
    for found, expected in zip(together, apart, strict=True):
        torch.testing.assert_close(found, expected)
    weights = [layer.weight for layer in layers]
    found = torch.autograd.grad(sum(piece.square().sum() for piece in together), weights)
    expected = torch.autograd.grad(sum(piece.square().sum() for piece in apart), weights)
    torch.testing.assert_close(found, expected)


def test_bfloat16_adds_up_in_float32():
    """Leaving autocast's detour through float32 out changes no bit: the kernel rounds once, at its end."""
    q, k, v = (x.detach() for x in example(torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        found = kernels.attend(q, k, v)
    logits = (q * K**-0.5) @ k.mT
    assert torch.equal(found, logits.float().softmax(-1).bfloat16() @ v)
