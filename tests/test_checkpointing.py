import platform
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from perceivers.core import checkpointing, kernels
from perceivers.core.checkpointing import CHECKPOINTING, Checkpoints
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.plan.costs import held
from perceivers.plan.trace import Trace

B, N, D, HEADS, LAYERS = 11, 13, 24, 3, 6
CONFIG = PerceiverIOConfig(7, 5, N, D, self_attends_per_block=3, num_blocks=2, self_heads=HEADS)


@pytest.fixture
def model():
    torch.manual_seed(5)
    return build(replace(CONFIG, drop_path=0.3)).train()


@pytest.fixture
def latents():
    return torch.randn(B, N, D, generator=torch.Generator().manual_seed(7)).requires_grad_()


def learned(model, latents):
    """The gradients of `process`, with dropped branches."""
    model.zero_grad()
    latents.grad = None
    torch.manual_seed(23)
    found = model.process(latents)
    found.square().sum().backward()
    return {"latents": latents.grad} | {name: p.grad for name, p in model.block.named_parameters()}


@pytest.mark.parametrize("kind", ["light", "full"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("small", [False, True])
def test_it_learns_the_same(model, latents, kind, precision, small, monkeypatch):
    if not small:  # products of a kernel of their own
        monkeypatch.setattr(kernels, "SMALL_PRODUCT", 1)
    with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16), kernels.recorded({}):
        expected = learned(model, latents)
        model.checkpointing = kind
        found = learned(model, latents)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name


@pytest.mark.parametrize("kind", ["light", "full"])
def test_kernels_can_be_tried_within_what_is_computed_anew(model, latents, kind, monkeypatch):
    monkeypatch.setattr(kernels, "SMALL_PRODUCT", 1)
    monkeypatch.setattr(kernels, "SMALL_ATTENTION", 1)
    model.checkpointing = kind
    with kernels.probing() as choices:
        found = learned(model, latents)
    assert choices
    model.checkpointing = "off"
    with kernels.recorded(choices):
        expected = learned(model, latents)
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name


def kept(model, latents):
    """The bytes that a forward pass leaves for the backward pass, but for its answer."""
    with Trace() as traced:
        traced.ignore([list(model.parameters()), latents])
        found = model.process(latents)
    return traced.held - found.nbytes


def test_light_keeps_products_and_full_what_goes_from_one_self_attend_to_the_next(model, latents):
    whole = kept(model, latents)
    one, between = latents.nbytes, (LAYERS - 1) * latents.nbytes
    model.checkpointing = "full"
    drawn = kept(model, latents) - between
    assert 0 <= drawn < LAYERS * 2**14  # states of the random numbers
    model.checkpointing = "light"
    # queries, keys, values, what is pooled of them, the attention's output and what the MLP is inside
    assert kept(model, latents) - drawn == between + LAYERS * 6 * one
    assert between + LAYERS * 6 * one < 0.6 * whole


def flops(model, latents):
    with FlopCounterMode(display=False) as counter:
        learned(model, latents)
    return counter.get_total_flops()


def test_light_computes_the_logits_anew_and_no_other_product(latents):
    model = build(CONFIG).train()
    found = {}
    for model.checkpointing in CHECKPOINTING:
        found[model.checkpointing] = flops(model, latents)
    logits = 2 * B * N * N * D
    projections, mlp = 4 * 2 * B * N * D * D, 2 * 2 * B * N * D * D
    assert found["light"] - found["off"] == LAYERS * logits
    last = 2 * B * N * D * D  # of the MLP: nothing hangs on it
    assert found["full"] - found["off"] == LAYERS * (2 * logits + projections + mlp - last)


def test_a_weight_is_cast_once(latents):
    model = build(CONFIG).train()
    model.checkpointing = "light"
    with Trace() as traced, torch.autocast("cpu", torch.bfloat16):
        learned(model, latents[:2].detach().requires_grad_())  # too few rows to join weights for
    shapes = {tuple(p.shape) for name, p in model.block.named_parameters() if "norm" not in name}
    casts = [
        (operation, times)
        for operation, times in traced.operations.items()
        if operation.function is torch.ops.aten._to_copy.default
        and dict(operation.named)["dtype"] == torch.bfloat16
        and tuple(operation.arguments[0].shape) in shapes
    ]
    linear = 6 * CONFIG.self_attends_per_block  # a weight and a bias each
    assert sum(times for _, times in casts) == 2 * linear


@pytest.mark.parametrize(("limit", "expected"), [(1, (5 + 4) * LAYERS), (2**27, 0)])
def test_free_pages_are_given_back_after_so_many_bytes(latents, limit, expected, monkeypatch):
    model, trims = build(CONFIG).train(), []
    model.checkpointing = "light"
    monkeypatch.setattr(checkpointing, "TRIMMED", limit)
    monkeypatch.setattr(checkpointing, "_trim", lambda: trims.append(1))
    learned(model, latents)
    assert len(trims) == expected  # queries, keys and values are one product; the last of a function is not given back


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_what_is_given_back_is_the_processs_no_more():
    arrays = [b"1" * 2**17 for _ in range(2_000)]  # 250 MB
    del arrays[::2]
    checkpointing._trim()
    before = held()
    more = [b"1" * 2**17 for _ in range(800)]
    between = held()
    del more
    checkpointing._trim()
    assert held() - before < (between - before) / 10 < 2**25
    assert between - before > 2**26
    assert arrays


def test_a_kind_that_is_none_is_refused():
    with pytest.raises(ValueError, match="'lite' is none of off, light, full"):
        Checkpoints("lite")
