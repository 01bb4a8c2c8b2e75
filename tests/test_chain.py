import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from perceivers.core import chain, kernels
from perceivers.core.attention import Attention, record_attention

ORDERS = ("plain", "inputs", "queries")


@pytest.fixture
def nothing_small(monkeypatch):
    monkeypatch.setattr(chain, "WORTH", 1)


def one_headed(sizes):
    torch.manual_seed(sum(sizes))
    s = chain.Sizes(2, 2, *sizes)
    module = Attention(s.d, s.c, qk_channels=s.k, v_channels=s.v, output_channels=s.e).double()
    for layer in (module.to_q, module.to_k, module.to_v, module.output):
        nn.init.normal_(layer.bias)  # a bias of zero would hide an error
    return module, torch.randn(2, s.n, s.d).double(), torch.randn(2, s.m, s.c).double()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=7, max_size=7))
@torch.no_grad()
def test_every_order_is_the_same_function(sizes):
    module, q, kv = one_headed(sizes)
    with kernels.plain():
        expected = module(q, kv)
    for logits, pooled in itertools.product(ORDERS, ORDERS):
        queries = chain.queries(logits, q, module.to_q, module.to_k)
        keys = chain.keys(logits, kv, module.to_q, module.to_k)
        weights = kernels.attention_weights(queries[:, None], keys[:, None])[:, 0]
        found = weights @ chain.values(pooled, kv, module.to_v, module.output)
        found = chain.finish(pooled, found, module.to_v, module.output)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=7, max_size=7), st.booleans(), st.booleans(), st.data())
def test_every_order_learns_the_same_with_masks_and_with_queries_for_all_rows(sizes, masked, shared, data):
    module, q, kv = one_headed(sizes)
    q = (q[:1] if shared else q).requires_grad_()
    kv.requires_grad_()
    mask = torch.rand(2, kv.shape[1]) < 0.5 if masked else None
    if masked:
        mask[1] = False  # a row with nothing to read
    orders = data.draw(st.tuples(st.sampled_from(ORDERS), st.sampled_from(ORDERS)))
    slope = torch.randn(2, q.shape[1], len(module.output.weight)).double()

    def learned():
        found = module(q, kv, mask)
        wanted = [q, kv, *(p for name, p in module.named_parameters() if name != "to_k.bias")]
        return found, *torch.autograd.grad(found, wanted, slope)

    with kernels.plain():
        expected = learned()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "orders", lambda *_: orders)
        found = learned()
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "logits", "pooled"),
    [
        ((3, 20, 997, 13, 17, 19, 20), "inputs", "inputs"),
        ((997, 13, 3, 20, 17, 19, 13), "queries", "queries"),
        ((31, 7, 29, 97, 5, 5, 101), "plain", "plain"),
    ],
)
@torch.no_grad()
def test_the_order_of_the_fewest_multiply_adds_is_taken(sizes, logits, pooled, nothing_small):
    module, q, kv = one_headed(sizes)
    s = chain.Sizes(2, 2, *sizes)
    costs = chain.logits_costs(s), chain.pooled_costs(s)
    assert (chain.cheapest(costs[0]), chain.cheapest(costs[1])) == (logits, pooled)
    with FlopCounterMode(display=False) as counter:
        module(q, kv)
    assert counter.get_total_flops() == 2 * (costs[0][logits] + costs[1][pooled])


@torch.no_grad()
def test_the_recorded_weights_are_those_of_the_papers_order(nothing_small):
    module, q, kv = one_headed((3, 20, 997, 13, 17, 19, 20))
    with record_attention(module) as found:
        module(q, kv)
    with kernels.plain(), record_attention(module) as expected:
        module(q, kv)
    torch.testing.assert_close(found[""][0], expected[""][0])
