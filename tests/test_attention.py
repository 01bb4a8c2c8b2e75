import naive
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceivers.core import kernels
from perceivers.core.attention import MLP, Attention, CrossAttend, Residual, SelfAttend, record_attention

B, N, M, D, C = 2, 5, 7, 11, 13


def perturbed(module):
    """No parameter is left at zero or one, where an error could hide."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(17)


def attention(**widths):
    return perturbed(Attention(D, C, **widths))


def example():
    return torch.randn(B, N, D), torch.randn(B, M, C)


@pytest.mark.parametrize(
    "widths",
    [
        {},
        {"num_heads": 3, "qk_channels": 6, "v_channels": 15},
        {"num_heads": 1, "qk_channels": 17, "v_channels": 19, "output_channels": 23},
        {"num_heads": 5, "qk_channels": 10},
    ],
)
def test_attention_is_the_naive_loop(widths):
    module, (q, kv) = attention(**widths), example()
    expected, _ = naive.attention(module, q.numpy(), kv.numpy())
    assert naive.relative(naive.array(module(q, kv)), expected) < 1e-5


@pytest.mark.parametrize("shape", [(B, M), (B, N, M)])
@pytest.mark.parametrize("limit", [0, 2**26], ids=["fused", "plain"])
def test_masks(shape, limit, monkeypatch):
    monkeypatch.setattr(kernels, "PLAIN_WEIGHTS", limit)
    module, (q, kv) = attention(num_heads=2, qk_channels=6, v_channels=10), example()
    mask = torch.rand(shape) < 0.5
    mask[0] = False  # nothing to see in the whole row
    full = np.broadcast_to(mask.numpy()[:, None] if mask.ndim == 2 else mask.numpy(), (B, N, M))
    expected, _ = naive.attention(module, q.numpy(), kv.numpy(), full)
    got = module(q, kv, mask)
    assert naive.relative(naive.array(got), expected) < 1e-5
    assert torch.equal(got[0], module.output.bias.expand(N, D))


def test_a_row_with_nothing_to_see_has_finite_gradients_in_both_kernels(monkeypatch):
    module, (q, kv) = attention(), example()
    mask = torch.zeros(B, M, dtype=torch.bool)
    for limit in (0, 2**26):
        monkeypatch.setattr(kernels, "PLAIN_WEIGHTS", limit)
        module.zero_grad()
        module(q, kv, mask).square().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("masked", [False, True])
def test_plain_and_fused_kernels_are_equal(masked, monkeypatch):
    q, k, v = torch.randn(B, 3, N, 7), torch.randn(B, 3, M, 7), torch.randn(B, 3, M, 5)
    mask = torch.rand(B, N, M) < 0.6 if masked else None
    plain = kernels.attend(q, k, v, mask)
    monkeypatch.setattr(kernels, "PLAIN_WEIGHTS", 0)
    assert naive.relative(kernels.attend(q, k, v, mask), plain) < 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 13), st.integers(0, 2**16))
def test_weights_sum_to_one_over_what_is_seen(n, m, seed):
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(B, 2, size, 3, generator=generator) for size in (n, m))
    mask = torch.rand(B, n, m, generator=generator) < 0.5
    weights = kernels.attention_weights(q, k, mask)
    assert weights[(~mask).unsqueeze(1).expand_as(weights)].eq(0).all()
    assert torch.allclose(weights.sum(-1), mask.any(-1).unsqueeze(1).expand(B, 2, n).float())


def test_record_attention_gives_the_weights_and_leaves_the_outputs():
    module, (q, kv) = attention(num_heads=2, qk_channels=6), example()
    mask = torch.rand(B, M) < 0.7
    without = module(q, kv, mask)
    with record_attention(module) as weights:
        within = module(q, kv, mask)
    expected = naive.attention(module, q.numpy(), kv.numpy(), np.broadcast_to(mask.numpy()[:, None], (B, N, M)))[1]
    assert torch.equal(within, without)
    assert list(weights) == [""]
    assert naive.relative(weights[""][0].detach(), expected) < 1e-5
    module(q, kv, mask)
    assert len(weights[""]) == 1, "the hooks must go with the context"


@pytest.mark.parametrize("query_residual", [True, False])
def test_cross_attend_is_the_naive_loop(query_residual):
    module = CrossAttend(D, C, Attention(D, C, qk_channels=C), MLP(D, 3), query_residual=query_residual)
    q, kv = example()
    expected = naive.cross_attend(perturbed(module), q.numpy(), kv.numpy())
    assert naive.relative(naive.array(module(q, kv)), expected) < 1e-5


def test_self_attend_is_the_naive_loop():
    module, x = perturbed(SelfAttend(D, Attention(D, qk_channels=6, v_channels=10, num_heads=2), MLP(D, 2))), None
    x = torch.randn(B, N, D)
    assert naive.relative(naive.array(module(x)), naive.self_attend(module, x.numpy())) < 1e-5


def test_a_residual_drops_whole_rows_of_its_branch_and_keeps_the_mean():
    x, branch = torch.zeros(4001, 2, 3), torch.ones(4001, 2, 3, dtype=torch.bfloat16)
    added = Residual(0.25)(x, branch)
    assert {0.0, float(torch.tensor(1 / 0.75))} == set(added.unique().tolist())
    assert torch.equal(added.amin((1, 2)), added.amax((1, 2)))
    assert abs(added.mean() - 1) < 0.05
    for whole in (Residual(0.25).eval()(x, branch), Residual(0.0)(x, branch)):
        assert torch.equal(whole, torch.ones_like(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_residual_changes_neither_of_its_arrays_and_learns(dtype):
    x, branch = torch.randn(B, N, D, requires_grad=True), torch.randn(B, N, D).to(dtype).requires_grad_()
    before = x.detach().clone(), branch.detach().clone()
    added = Residual(0.0)(x, branch)
    assert torch.equal(added, before[0] + before[1].float())
    assert torch.equal(x, before[0])
    assert torch.equal(branch, before[1])
    slope = torch.randn_like(added)
    found = torch.autograd.grad(added, (x, branch), slope)
    assert torch.equal(found[0], slope)
    assert torch.equal(found[1], slope.to(dtype))


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ValueError, match="qk_channels=11 cannot be divided among 2 heads"):
        Attention(D, num_heads=2)
