import gc
import weakref

import pytest
import torch
from torch import nn
from torch.autograd.graph import increment_version

from perceivers.core import derived as module
from perceivers.core import kernels, products
from perceivers.core.derived import cast_once, derived
from perceivers.training.optimisers import Together


@pytest.fixture
def counted():
    """A weight, another one, and what makes their product and counts how often it did."""
    weights, made = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.full((2, 2), 3.0))], []

    def make():
        made.append(1)
        return weights[0] @ weights[1]

    return weights, made, make


@torch.no_grad()
def test_it_is_made_once(counted):
    weights, made, make = counted
    for _ in range(3):
        torch.testing.assert_close(derived(weights, make), weights[0] @ weights[1])
    assert len(made) == 1


CHANGES = {
    "a step": lambda weights: weights[1].mul_(2),
    "loaded weights": lambda weights: nn.ParameterList(weights).load_state_dict(
        {"0": torch.zeros(2, 2), "1": torch.ones(2, 2)}
    ),
    "other memory": lambda weights: setattr(weights[0], "data", torch.full((2, 2), 7.0)),
    "another type": lambda weights: nn.ParameterList(weights).to(torch.bfloat16),
    "another shape": lambda weights: setattr(weights[1], "data", torch.ones(2, 5)),
}


@torch.no_grad()
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_any_weight_makes_it_anew(change, counted):
    weights, made, make = counted
    derived(weights, make)
    change(weights)
    torch.testing.assert_close(derived(weights, make), weights[0] @ weights[1])
    assert len(made) == 2


@torch.no_grad()
def test_a_change_that_torch_does_not_count_can_be_said(counted):
    weights, made, make = counted
    derived(weights, make)
    weights[1].data.mul_(2)
    increment_version(weights[1])
    torch.testing.assert_close(derived(weights, make), weights[0] @ weights[1])
    assert len(made) == 2


def test_a_fused_step_of_ours_makes_it_anew(counted):
    weights, _, make = counted
    optimiser = Together([torch.optim.AdamW(weights, lr=0.5, fused=True)])
    for _ in range(2):
        make().sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(derived(weights, make), weights[0] @ weights[1])
        optimiser.step()
    with torch.no_grad():
        torch.testing.assert_close(derived(weights, make), weights[0] @ weights[1])


@torch.no_grad()
def test_memory_that_is_given_out_again_is_other_memory(counted):
    weights, made, make = counted
    for value in range(20):  # the allocator gives the same place again and again
        weights[0].data = torch.empty(0)
        weights[0].data = torch.full((2, 2), float(value))
        torch.testing.assert_close(derived(weights, make), weights[0] @ weights[1])
    assert len(made) == 20


def test_in_training_nothing_is_kept(counted):
    weights, made, make = counted
    for _ in range(2):
        assert derived(weights, make).requires_grad
    assert len(made) == 2


def test_weights_whose_changes_are_not_counted_are_not_trusted():
    with torch.inference_mode():
        weight = nn.Parameter(torch.ones(2), requires_grad=False)
        assert derived([weight], weight.sum) == 2
        weight.mul_(2)
        assert derived([weight], weight.sum) == 4


@torch.no_grad()
def test_it_goes_with_its_weight(counted):
    weights, _, make = counted
    before = len(module._kept)
    derived(weights, make)
    assert len(module._kept) == before + 1
    weights.clear()
    gc.collect()
    assert len(module._kept) == before


needs_bfloat16 = pytest.mark.skipif(torch.bfloat16 not in products.onednn_types(), reason="this CPU has no bfloat16")


@torch.no_grad()
@needs_bfloat16
def test_packed_weights_that_learn_are_packed_anew():
    layer, x = nn.Linear(64, 32).bfloat16(), torch.randn(8, 64).bfloat16()
    for _ in range(2):
        expected = products.onednn(x, layer.weight, layer.bias, None)
        assert torch.equal(products.packed(x, layer.weight, layer.bias, None), expected)
        layer.weight.add_(1)


@torch.no_grad()
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_packed_projections_that_learn_are_packed_anew(which, part):
    layers, x = [nn.Linear(64, width).bfloat16() for width in (32, 16, 32)], torch.randn(8, 64).bfloat16()
    for _ in range(2):
        expected = kernels.PROJECTIONS["joined"](x, layers)
        for got, wanted in zip(kernels.PROJECTIONS["packed"](x, layers), expected, strict=True):
            assert torch.equal(got, wanted)
        getattr(layers[which], part).add_(1)


def test_other_parts_of_one_array_are_other_weights():
    both = torch.randn(2, 3, 3)
    first = torch.randn(3)
    for part in both:
        torch.testing.assert_close(derived([first, part], lambda part=part: first @ part), first @ part)


def cast_twice(layer, x):
    """The bfloat16 weights that the backward pass of two products by one layer keeps, each as its place."""
    places = set()

    def keep(array):
        if array.shape == layer.weight.shape:
            places.add(array.data_ptr())
        return array

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda array: array),
        torch.autocast("cpu", torch.bfloat16),
    ):
        y = products.onednn(products.onednn(x, layer.weight, layer.bias, None), layer.weight, layer.bias, None)
    return y, places


@needs_bfloat16
def test_products_of_a_step_share_the_weights_that_they_keep_and_the_next_step_has_its_own():
    layer, x = nn.Linear(8, 8), torch.randn(16, 8)
    optimiser = Together([torch.optim.AdamW(layer.parameters(), lr=0.5, fused=True)])
    for _ in range(3):
        y, places = cast_twice(layer, x)
        assert len(places) == 1
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(y, layer(layer(x)))
        optimiser.zero_grad()
        y.float().square().mean().backward(retain_graph=True)  # what was kept is still there in the next step
        optimiser.step()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_weight_is_cast_anew(change):
    weights = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.full((2, 2), 3.0))]
    with torch.no_grad():
        casts = [cast_once(weight, torch.float64) for weight in weights]  # kept while the weights change
        change(weights)
        for weight in weights:
            assert torch.equal(cast_once(weight, torch.float64), weight.double())
    assert len(casts) == len(weights)


def test_a_cast_goes_with_the_last_who_keeps_it():
    weight = nn.Parameter(torch.ones(2))
    first = cast_once(weight, torch.float64)
    assert cast_once(weight, torch.float64) is first
    assert cast_once(weight, torch.bfloat16).dtype == torch.bfloat16
    gone = weakref.ref(first)
    del first
    assert gone() is None
