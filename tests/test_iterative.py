import jaxtyping
import naive
import pytest
import torch
from test_attention import perturbed
from test_perceiver import count, split

from perceivers.core.attention import MLP, Attention, CrossAttend, SelfAttend
from perceivers.core.iterative import Perceiver, paper_order, shared_order, unshared_order
from perceivers.core.positions import LearnedArray, fourier_channels

B, M, C, N, D, K = 2, 17, 11, 5, 12, 7


def perceiver(order, *, num_latents=N, d=D, c=C, self_attends=2, self_heads=4, num_classes=K):
    """The paper's attends: one cross-attend head as wide as the inputs, self-attends as wide as the latents."""
    num_cross, num_stacks = (max(numbers) + 1 for numbers in zip(*order, strict=True))
    cross_attends = [CrossAttend(d, c, Attention(d, c, qk_channels=c), MLP(d)) for _ in range(num_cross)]
    stacks = [
        [SelfAttend(d, Attention(d, num_heads=self_heads), MLP(d)) for _ in range(self_attends)]
        for _ in range(num_stacks)
    ]
    return Perceiver(LearnedArray(num_latents, d), cross_attends, stacks, order, num_classes)


ORDERS = {"paper": paper_order(4), "shared": shared_order(4), "unshared": unshared_order(3), "all one": ((0, 0),) * 3}


@pytest.fixture(params=ORDERS.values(), ids=ORDERS)
def model(request):
    torch.manual_seed(5)
    return perturbed(perceiver(request.param))


@pytest.fixture
def inputs():
    torch.manual_seed(7)
    return torch.randn(B, M, C)


def test_the_whole_model_is_the_naive_loop(model, inputs):
    assert naive.relative(naive.array(model(inputs)), naive.perceiver(model, inputs.numpy())) < 1e-5


def test_orders():
    assert paper_order(3) == ((0, 0), (1, 0), (1, 0))
    assert shared_order(3) == ((0, 0), (1, 1), (1, 1))
    assert unshared_order(3) == ((0, 0), (1, 1), (2, 2))
    assert paper_order(1) == shared_order(1) == unshared_order(1) == ((0, 0),)


def test_shared_weights_are_stored_once(model):
    tensors = model.state_dict().values()
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)


def test_chunks_masks_and_order(model, inputs):
    model, inputs = model.double(), inputs.double()  # in float32 the order of sums shows where answers are large
    whole = model(inputs)
    assert torch.allclose(model(split(inputs, 3, 14)), whole, rtol=1e-5, atol=1e-5)
    assert torch.allclose(model(inputs[:, torch.randperm(M)]), whole, atol=1e-5)
    mask = torch.arange(M).expand(B, -1) < 13
    assert torch.allclose(model(inputs, mask), model(inputs[:, :13]), atol=1e-5)


def test_gradients_reach_every_parameter(model, inputs):
    model(inputs).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7 or name.endswith("to_k.bias"), name


@pytest.mark.parametrize(
    ("order", "num_cross", "num_stacks", "millions"),
    [(paper_order(8), 2, 1, 44.9), (shared_order(8), 2, 2, 82.7), (unshared_order(8), 8, 8, 326.2)],
    ids=["paper", "shared", "unshared"],
)
def test_parameters_of_the_imagenet_model(order, num_cross, num_stacks, millions):
    """512 latents of 1,024; 8 cross-attends to inputs of 3 + 258, each with 6 self-attends of 8 heads (section 4.1).

    The paper gives 44.9 M: its own cross-attend for the first time, one for the other seven, one stack for all.
    """
    d, c = 1024, 3 + fourier_channels(2, 64)
    with torch.device("meta"):
        model = perceiver(order, num_latents=512, d=d, c=c, self_attends=6, self_heads=8, num_classes=1000)
    cross, stack = count(d, c, c, c, 1, (d, c, d)), 6 * count(d, d, d, d, 1, (d, d))
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == 512 * d + num_cross * cross + num_stacks * stack + (d + 1) * 1000
    assert round(parameters / 1e6, 1) == millions


@pytest.mark.parametrize("order", [((0, 0), (2, 1)), ((1, 1), (1, 1)), ((0, 0), (1, 0)), ()])
def test_an_order_that_leaves_a_part_out_is_refused(order):
    whole = perceiver(unshared_order(2))
    with pytest.raises(ValueError, match="must name each of the 2"):
        Perceiver(whole.latents, list(whole.cross_attends), [list(stack) for stack in whole.stacks], order, K)


@torch.no_grad()
def test_what_can_be_read_once_is_no_input_of_several_cross_attends(inputs, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users call it
    with pytest.raises(ValueError, match="read 4 times, and these once: give `Chunks` or a list"):
        perceiver(paper_order(4)).encode(iter([(inputs, None)]))
    model = perceiver(paper_order(1))
    torch.testing.assert_close(model.encode(iter([(inputs, None)])), model.encode(inputs))
