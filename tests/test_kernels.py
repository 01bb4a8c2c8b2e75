from contextlib import nullcontext
from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck
from torch.utils.flop_counter import FlopCounterMode

from perceivers.core import attentions, kernels, precision, products, trials


def asked_of(kernel, dtype):
    """Whether a kernel is ever asked for products of this type on this CPU."""
    return kernel not in ("onednn", "packed", "joined") or dtype in products.onednn_types()


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


@pytest.mark.parametrize("name", kernels.PROJECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_every_projection_is_the_layers_apart(name, dtype):
    if not asked_of(name, dtype):
        pytest.skip("this CPU has no bfloat16, and is never asked for it")
    layers = [nn.Linear(K, width).to(dtype) for width in (3, 7, 2)]
    x = torch.randn(B, M, K).to(dtype)
    for found, layer in zip(kernels.PROJECTIONS[name](x, layers), layers, strict=True):
        torch.testing.assert_close(found, layer(x), rtol=0, atol=1e-6 if dtype == torch.float32 else 2e-2)


def test_bfloat16_adds_up_in_float32():
    """Leaving autocast's detour through float32 out changes no bit: the kernel rounds once, at its end."""
    q, k, v = (x.detach() for x in example(torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        found = kernels.attend(q, k, v)
    logits = (q * K**-0.5) @ k.mT
    assert torch.equal(found, logits.float().softmax(-1).bfloat16() @ v)


@pytest.fixture
def fresh(monkeypatch):
    """No choice made yet, and sizes that are worth one."""
    monkeypatch.setattr(trials, "_chosen", {})
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", 1)
    monkeypatch.setattr(kernels, "SMALL_ATTENTION", 1)


def tries(monkeypatch):
    """The kernels that a probe ran, in order."""
    ran = []
    seconds = trials._seconds
    monkeypatch.setattr(trials, "_seconds", lambda kernel, arguments: ran.append(kernel) or seconds(kernel, arguments))
    return ran


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=3, max_size=4),
    st.sampled_from(list(kernels.PRODUCTS)),
    st.sampled_from([None, nn.GELU(), nn.GELU(approximate="tanh"), nn.ReLU()]),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
@torch.no_grad()
def test_every_product_is_the_layer(sizes, kernel, activation, dtype):
    assume(asked_of(kernel, dtype))
    torch.manual_seed(sum(sizes))
    *rows, c, d = sizes
    layer, x = nn.Linear(c, d).to(dtype), torch.randn(*rows, c).to(dtype)
    expected = layer.double()(x.double())
    expected = expected if activation is None else activation(expected)
    found = kernels.PRODUCTS[kernel](x, layer.weight.to(dtype), layer.bias.to(dtype), activation)
    assert (found.shape, found.dtype) == ((*rows, d), dtype)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 5e-2)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=6, max_size=6),
    st.sampled_from(list(kernels.ATTENTIONS)),
    st.booleans(),
    st.booleans(),
)
@torch.no_grad()
def test_every_attention_is_the_sum_over_its_weights(sizes, kernel, masked, small):
    torch.manual_seed(sum(sizes))
    b, h, n, m, k, v = sizes
    arrays = torch.randn(b, h, n, k), torch.randn(b, h, m, k), torch.randn(b, h, m, v)
    mask = torch.rand(b, n, m) < 0.5 if masked else None
    expected = kernels.attention_weights(arrays[0], arrays[1], mask) @ arrays[2]
    with pytest.MonkeyPatch.context() as patch:
        if small:  # several blocks, the last ones not whole
            patch.setattr(attentions, "BLOCK_QUERIES", 3)
            patch.setattr(attentions, "BLOCK_KEYS", 4)
        found = kernels.ATTENTIONS[kernel](*arrays, mask)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_shape_is_tried_once_and_its_kernel_recorded(fresh, monkeypatch):
    ran, layer, x = tries(monkeypatch), nn.Linear(K, V), torch.randn(M, K)
    kernels.linear(x, layer)
    assert len(ran) == len(kernels.LEARNING_PRODUCTS) * (trials.TRIALS + 1)  # packed weights are for bfloat16
    assert kernels.record().keys() == {f"product float32 {M}×{K}→{V}"}
    kernels.linear(x, layer)
    q, k, v = (torch.randn(B, H, size, width) for size, width in ((N, K), (M, K), (M, V)))
    kernels.attend(q, k, v)
    kernels.attend(q, k, v)
    assert len(ran) == (len(kernels.LEARNING_PRODUCTS) + len(kernels.ATTENTIONS)) * (trials.TRIALS + 1)
    assert len(kernels.record()) == 2
    for _ in range(2):
        kernels.project(x, [layer, nn.Linear(K, H)])
    assert f"projection float32 {M}×{K}→{V}+{H}" in kernels.record()
    assert len(kernels.record()) == 4  # and the second layer's own product


@torch.no_grad()
@pytest.mark.parametrize("name", kernels.PRODUCTS)
def test_a_record_decides_without_a_try(name, fresh, monkeypatch):
    ran, used = tries(monkeypatch), []
    kernel = kernels.PRODUCTS[name]
    monkeypatch.setitem(kernels.PRODUCTS, name, lambda *arguments: used.append(name) or kernel(*arguments))
    kernels.use({f"product float32 {M}×{K}→{V}": name})
    kernels.linear(torch.randn(M, K), nn.Linear(K, V))
    assert (ran, used) == ([], [name])


def test_an_unknown_kernel_in_a_record_is_refused(fresh):
    with pytest.raises(ValueError, match="kernel 'abacus' of 'product float32 1×2→3' is none of plain, onednn"):
        kernels.use({"product float32 1×2→3": "abacus"})


def random_gradients(function, arrays, seed=3):
    """What `function` gives, and the gradients of its arrays at a random slope."""
    found = function(*arrays)
    slope = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed)).to(found.dtype)
    return found, *torch.autograd.grad(found, [array for array in arrays if array.requires_grad], slope)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=3, max_size=4),
    st.sampled_from([torch.float32, torch.bfloat16]),
    st.sampled_from([None, nn.GELU()]),
    st.booleans(),
)
def test_products_learn_alike_by_every_kernel(sizes, kind, activation, autocast):
    """`kind` is the type of the product: of its arrays, or by autocast of arrays in float32."""
    torch.manual_seed(sum(sizes))
    *rows, c, d = sizes
    arrays = [torch.randn(shape).to(torch.float32 if autocast else kind) for shape in ((*rows, c), (d, c), (d,))]
    exact = [array.double().requires_grad_() for array in arrays]
    expected = random_gradients(lambda *a: kernels.PRODUCTS["plain"](*a, activation), exact)
    arrays = [array.requires_grad_() for array in arrays]
    for kernel in (kernels.PRODUCTS[name] for name in kernels.LEARNING_PRODUCTS if asked_of(name, kind)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast and kind == torch.bfloat16):
            found = random_gradients(lambda *a, kernel=kernel: kernel(*a, activation), arrays)
        assert [x.dtype for x in found[1:]] == [x.dtype for x in arrays]
        for a, b in zip(found, expected, strict=True):
            difference = (a.double() - b).abs().max() / b.abs().max().clamp(min=1)
            assert difference < (1e-5 if kind == torch.float32 else 3e-2)


def test_a_probe_tries_with_gradients_and_a_record_is_taken_without_a_try(fresh, monkeypatch):
    ran, layer, x = tries(monkeypatch), nn.Linear(K, V), torch.randn(M, K, requires_grad=True)
    q, k, v = (x.float() for x in example())
    with kernels.probing() as chosen:
        kernels.linear(x, layer).sum().backward()
        kernels.attend(q, k, v).sum().backward()
    assert len(ran) == (len(kernels.LEARNING_PRODUCTS) + len(kernels.LEARNING_ATTENTIONS)) * (trials.TRIALS + 1)
    assert chosen.keys() == {f"product float32 {M}×{K}→{V}", f"attention float32 {B}×{H}×{N}×{M}×{K}→{V}"}
    assert kernels.record() == {}, "what a run tries is no choice of its process"
    used, kernel = [], kernels.PRODUCTS["onednn"]
    monkeypatch.setitem(kernels.PRODUCTS, "onednn", lambda *arguments: used.append(1) or kernel(*arguments))
    ran.clear()
    with kernels.recorded({f"product float32 {M}×{K}→{V}": "onednn"}):
        kernels.linear(x, layer).sum().backward()
        kernels.linear(x.detach(), layer)
        kernels.linear(torch.randn(M + 1, K), layer)  # a shape that the record lacks
        kernels.attend(q, k, v)
    assert (ran, len(used)) == ([], 2)


def test_a_record_of_a_machine_with_other_kernels_is_refused(fresh, monkeypatch):
    choices = {f"product float32 {M}×{K}→{V}": "onednn"}
    kernels.check(choices)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with (
        pytest.raises(ValueError, match="is not to be had: this machine's torch lacks oneDNN"),
        kernels.recorded(choices),
    ):
        pass


def test_a_training_run_takes_no_kernel_without_gradients():
    choices = {f"product bfloat16 {M}×{K}→{V}": "packed"}
    kernels.check(choices)
    with pytest.raises(ValueError, match="has no gradients"):
        kernels.recorded(choices)


@pytest.mark.parametrize("reason", ["gradients", "plain", "autocast", "no oneDNN", "float64"])
def test_where_nothing_may_be_chosen_the_layer_itself_is_asked(reason, fresh, monkeypatch):
    ran, layer, x = tries(monkeypatch), nn.Linear(K, V), torch.randn(M, K)
    if reason == "no oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    if reason == "float64":
        layer, x = layer.double(), x.double()
    with (
        nullcontext() if reason == "gradients" else torch.no_grad(),
        kernels.plain() if reason == "plain" else nullcontext(),
        torch.autocast("cpu", torch.bfloat16, enabled=reason == "autocast"),
    ):
        assert torch.equal(kernels.linear(x, layer), layer(x))
    assert (ran, kernels.record()) == ([], {})


@torch.no_grad()
@pytest.mark.parametrize("mode", [FakeTensorMode, partial(FlopCounterMode, display=False)])
def test_kernels_are_tried_with_values_whatever_looks_on(mode, fresh, monkeypatch):
    given, seconds, tracing = [], trials._seconds, mode()
    monkeypatch.setattr(trials, "_seconds", lambda kernel, a: given.extend(a) or seconds(kernel, a))
    with tracing:
        layers, x = [nn.Linear(K, V), nn.Linear(K, H)], torch.randn(M, K)
        q, k, v = (torch.randn(B, H, size, width) for size, width in ((N, K), (M, K), (M, V)))
        kernels.linear(x, layers[0])
        kernels.project(x, layers)
        kernels.attend(q, k, v)
    found = [t for one in given for t in (one if isinstance(one, list) else [one])]
    tensors = [t for one in found for t in ([one.weight, one.bias] if isinstance(one, nn.Linear) else [one])]
    assert {type(t) for t in tensors if t is not None} == {torch.Tensor, nn.Parameter}
    assert {shape.split()[0] for shape in kernels.record()} == kernels.KERNELS.keys() - {"pieces"}  # see test_folded.py


@torch.no_grad()
def test_arrays_on_the_meta_device_are_not_tried(fresh, monkeypatch):
    ran = tries(monkeypatch)
    with torch.device("meta"):
        layer, x, q = nn.Linear(K, V), torch.empty(M, K), torch.empty(B, H, N, K)
    assert kernels.linear(x, layer).shape == (M, V)
    assert kernels.attend(q, q, q).shape == q.shape
    assert (ran, kernels.record()) == ([], {})


def test_a_kernel_that_the_machine_refuses_is_not_taken(fresh):
    def refused(x):
        raise RuntimeError("no such instruction")

    kernels_of = {"refused": refused, "plain": torch.square}
    assert trials.fastest("a shape", kernels_of, lambda: (torch.ones(3),)) == "plain"
    assert trials.tried()["a shape"].keys() == {"plain"}
    with pytest.raises(RuntimeError, match="no such instruction"):
        trials.fastest("another", {"refused": refused}, lambda: (torch.ones(3),))


@torch.no_grad()
def test_what_is_drawn_hangs_on_no_trial(fresh):
    layers, x = [nn.Linear(512, 512), nn.Linear(512, 512)], torch.rand(512, 512)
    drawn = []
    for _ in range(2):  # the first has trials
        torch.manual_seed(0)
        kernels.project(x, layers)
        kernels.linear(x, layers[0])
        kernels.attend(*torch.rand(3, 1, 2, 512, 8))
        precision.bf16_speed(torch.device("cpu"))
        drawn.append(torch.rand(1))
    assert kernels.record()
    assert drawn[0] == drawn[1]
