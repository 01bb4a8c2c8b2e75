import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attention import perturbed
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from perceivers.core import chain, kernels, reader
from perceivers.core.attention import MLP, Attention, CrossAttend, record_attention
from perceivers.core.inputs import join
from perceivers.core.perceiver import PerceiverIOConfig, build

B, N, D, A, F, E, V, R = 2, 7, 11, 101, 5, 23, 13, 3


def decoder(d=D, e=E, k=17, v=V, widening=1):
    attention = Attention(e, d, qk_channels=k, v_channels=v)
    return perturbed(CrossAttend(e, d, attention, MLP(e, widening), query_residual=False))


def example(sizes=(A, F, E)):
    o, f, e = sizes
    return torch.randn(B, o, f), torch.randn(1, e - f)


def plainly(cross, latents, queries, layers):
    x = cross(join(queries), latents)
    for layer in layers:
        x = kernels.linear(x, layer)
    return x


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(23)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=6, max_size=6),
    st.integers(1, 40),
    st.integers(1, 3),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from(["plain", "inputs", "queries"]),
)
@torch.no_grad()
def test_a_reader_is_the_decoder_and_the_layers_behind_it(sizes, o, widening, widths, order):
    torch.manual_seed(sum(sizes))
    n, d, k, v, f, p = sizes
    cross = decoder(d, f + p, k, v, widening).double()
    layers = [nn.Linear(c, width).double() for c, width in zip([f + p, *widths], widths, strict=False)]
    latents, queries = torch.randn(B, n, d).double(), tuple(x.double() for x in example((o, f, f + p)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "cheapest", lambda costs: order)
        found = reader.Reader(cross, latents, o, queries[1][0], layers)(queries[0])
    with kernels.plain():
        torch.testing.assert_close(found, plainly(cross, latents, queries, layers), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_reader_in_bfloat16_is_as_near_as_the_decoder():
    cross, layers, latents, queries = decoder(v=V), [nn.Linear(E, R)], torch.randn(B, N, D), example()
    exact = plainly(cross, latents, queries, layers)
    for module in (cross.attention, cross.mlp):
        module.bfloat16()
    errors = [
        (found - exact).abs().max() / exact.abs().max()
        for found in (
            reader.Reader(cross, latents, A, queries[1][0], layers)(queries[0]),
            plainly(cross, latents, queries, layers),
        )
    ]
    assert errors[0] < max(2 * errors[1], 2e-2)


CONFIG = PerceiverIOConfig(
    input_channels=D,
    query_channels=E,
    num_latents=N,
    latent_channels=D,
    self_attends_per_block=1,
    self_heads=1,
    decoder_qk_channels=V,
    decoder_v_channels=V,
    decoder_query_residual=False,
)


class Pieces:
    """Queries with the channels that they share, by the chunk."""

    def __init__(self, queries, size):
        features, self.same = queries
        self.pieces, self.shape = features.split(size, dim=1), (*features.shape[:2], E)

    def __len__(self):
        return len(self.pieces)

    def chunk(self, index):
        return (self.pieces[index], self.same), None


@pytest.mark.parametrize("chunked", [False, True])
@torch.no_grad()
def test_a_model_reads_so_with_fewer_multiply_adds_and_shows_its_attention(chunked):
    model, layers, latents, queries = perturbed(build(CONFIG)), [nn.Linear(E, R)], torch.randn(B, N, D), example()
    given = Pieces(queries, 10) if chunked else queries
    with FlopCounterMode(display=False) as few, record_attention(model) as weights:
        found = model.decode(latents, given, layers=layers)
    with kernels.plain(), FlopCounterMode(display=False) as many, record_attention(model) as expected:
        plain = model.decode(latents, given, layers=layers)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-5)
    assert few.get_total_flops() < 0.6 * many.get_total_flops()
    if chunked:  # one of them with other channels behind it, which is no question for a reader
        given.chunk = lambda index: ((given.pieces[index], given.same if index else given.same.clone()), None)
        torch.testing.assert_close(model.decode(latents, given, layers=layers), plain, rtol=0, atol=1e-5)
    weights, expected = (torch.cat(one["decoder.attention"], dim=2) for one in (weights, expected))
    torch.testing.assert_close(weights, expected)


@pytest.mark.parametrize(
    "reason", ["gradients", "autocast", "plain", "mask", "few", "array", "positions", "no layers", "wide values"]
)
def test_where_nothing_can_be_saved_the_decoder_itself_is_asked(reason, monkeypatch):
    monkeypatch.setattr(reader, "Reader", lambda *_: pytest.fail("a reader was made"))
    model = build(CONFIG if reason != "wide values" else PerceiverIOConfig(**{**vars(CONFIG), "decoder_v_channels": E}))
    queries = example((A if reason != "few" else V, F, E))
    mask = torch.ones(B, A, dtype=torch.bool) if reason == "mask" else None
    if reason == "array":
        queries = join(queries)
    if reason == "positions":
        queries = queries[0], queries[1].expand(A, -1)
    with (
        torch.set_grad_enabled(reason == "gradients"),
        torch.autocast("cpu", torch.bfloat16, enabled=reason == "autocast"),
    ):
        layers = [] if reason == "no layers" else [nn.Linear(E, R)]
        if reason == "plain":
            with kernels.plain():
                model.decode(torch.randn(B, N, D), queries, mask, layers)
        else:
            model.decode(torch.randn(B, N, D), queries, mask, layers)
