from collections import Counter
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from test_attention import perturbed
from test_perceiver import split
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from perceivers.core import folded, kernels
from perceivers.core.cost import encode_flops
from perceivers.core.inputs import Adapted, Sliced
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.plan.trace import Trace

B, M, C, N, D, A, E = 2, 37, 6, 5, 8, 9, 7
CONFIG = PerceiverIOConfig(
    input_channels=C,
    query_channels=E,
    num_latents=N,
    latent_channels=D,
    self_attends_per_block=1,
    cross_heads=2,
    self_heads=2,
    cross_v_channels=10,
)


@pytest.fixture
def model():
    torch.manual_seed(5)
    return perturbed(build(CONFIG)).double()


@pytest.fixture
def arrays():
    torch.manual_seed(7)
    return torch.randn(B, M, C).double(), torch.randn(B, A, E).double(), torch.rand(B, M) < 0.6


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)


@pytest.mark.parametrize("sizes", [[M], [1] * M, [30, 7], [0, 20, 0, 17], [M, 0]], ids=str)
@pytest.mark.parametrize("dark", [False, True], ids=["", "a dark row"])
def test_chunks_give_the_outputs_and_gradients_of_the_whole(sizes, dark, model, arrays):
    inputs, queries, mask = arrays
    mask[0, :30] = False  # whole chunks that a row does not see, and in the end a row that sees nothing
    if dark:
        mask[1] = False
    whole = model(inputs, queries, mask)
    got = model(split(inputs, *sizes, mask=mask), Sliced(queries, 4))
    assert torch.allclose(got, whole, rtol=0, atol=1e-12)
    weights = torch.randn_like(whole)
    for found, expected in zip(
        gradients(model, (got * weights).sum()), gradients(model, (whole * weights).sum()), strict=True
    ):
        assert torch.allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("frozen", [("to_k", "kv_norm"), ("to_v", "kv_norm"), ("to_k",), ("to_k", "to_v", "kv_norm")])
def test_weights_that_are_frozen_leave_the_others_gradients(frozen, model, arrays):
    inputs, queries, mask = arrays
    for name in frozen:
        (getattr(model.encoder, name, None) or getattr(model.encoder.attention, name)).requires_grad_(False)
    learning = [p for p in model.parameters() if p.requires_grad]
    sizes = 21, 8, 8  # of which the first takes keys and values as one product, as its rows are many
    whole, got = model(inputs, queries, mask), model(split(inputs, *sizes, mask=mask), queries)
    expected = torch.autograd.grad(whole.square().sum(), learning, allow_unused=True)
    for a, b in zip(torch.autograd.grad(got.square().sum(), learning, allow_unused=True), expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


def test_an_adapter_is_applied_and_learns_by_the_chunk(model, arrays):
    torch.manual_seed(1)
    inputs, queries, _ = arrays
    adapter = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, C)).double()
    raw = inputs[..., :3]
    both = nn.ModuleList([model, adapter])
    seen = []
    adapter.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0].shape[1]))
    whole = model(adapter(raw), queries)
    expected = gradients(both, whole.square().sum())
    seen.clear()
    got = model(Adapted(Sliced(raw, 10), adapter, C), queries)
    assert seen == [10, 10, 10, 7]
    found = gradients(both, got.square().sum())
    assert seen == [10, 10, 10, 7] * 2  # a backward pass reads once more
    assert torch.allclose(got, whole, rtol=0, atol=1e-12)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


def test_weights_swapped_before_the_backward_pass_are_refused(model, arrays):
    latents = model.encode(Sliced(arrays[0], 10))
    model.encoder.attention.to_k.weight = nn.Parameter(model.encoder.attention.to_k.weight.detach().clone())
    with pytest.raises(RuntimeError, match="other weights"):
        latents.sum().backward()


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, torch.Tensor) and tensor._base is None:
                self.elements = max(self.elements, tensor.numel())
        return found


def test_nothing_grows_with_the_number_of_inputs(model):
    class Drawn:
        def __init__(self, m):
            self.shape = (1, m, C)

        def __len__(self):
            return self.shape[1] // 50

        def chunk(self, index):
            return torch.randn(1, 50, C, generator=torch.Generator().manual_seed(index)).double(), None

    sizes = []
    for m in (200, 2000):
        with Largest() as largest:
            model.encode(Drawn(m)).sum().backward()
        sizes.append(largest.elements)
    assert sizes[0] == sizes[1] < 200 * C


def test_large_logits_do_not_overflow(model, arrays):
    inputs, queries, _ = arrays
    with torch.no_grad():
        model.encoder.attention.to_q.weight.mul_(3000)
    assert torch.allclose(model(Sliced(inputs, 5), queries), model(inputs, queries), rtol=0, atol=1e-10)


def test_bfloat16_autocast_is_kept_in_both_passes(model, arrays, monkeypatch):
    model, (inputs, queries) = model.float(), (array.float() for array in arrays[:2])
    kinds, project = [], kernels.project

    def recorded(*arguments):
        found = project(*arguments)
        kinds.append(found[0].dtype)
        return found

    def flat(output):
        return output.detach().flatten(), torch.cat([g.flatten() for g in gradients(model, output.sum())])

    exact = flat(model(inputs, queries))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(inputs, queries)
        monkeypatch.setattr(kernels, "project", recorded)
        streamed = model.decode(model.process(model.encode(Sliced(inputs, 8))), queries)
    for found, rough, expected in zip(flat(streamed), flat(plain), exact, strict=True):
        assert (found - expected).norm() < 2 * (rough - expected).norm() < 0.2 * expected.norm()
    assert set(kinds) == {torch.bfloat16}
    assert len(kinds) == 5 + 2 + 5  # five chunks, the latents twice; five chunks again


def test_inputs_that_can_be_read_once(model, arrays):
    inputs, queries, mask = arrays
    with torch.no_grad():
        got = model((part for part in split(inputs, 20, 17, mask=mask).pieces), queries)
        assert torch.allclose(got, model(inputs, queries, mask), rtol=0, atol=1e-12)
        with pytest.raises(ValueError, match="no chunks"):
            model.encode(iter([]))
    with pytest.raises(ValueError, match="can be read once: give `Chunks` or a list"):
        model.encode(iter([(inputs, None)]))


def test_a_list_of_chunks_gives_gradients(model, arrays):
    inputs, queries, mask = arrays
    whole, got = model(inputs, queries, mask), model(split(inputs, 20, 17, mask=mask).pieces, queries)
    for a, b in zip(gradients(model, got.square().sum()), gradients(model, whole.square().sum()), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match="no chunks"):
        model.encode([])


@pytest.fixture
def unchecked(monkeypatch):
    """As users call it: the types in signatures are checked in tests alone."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("many", [1, 2**62], ids=["in pieces", "whole"])
@pytest.mark.parametrize("kind", [torch.float64, torch.uint8, torch.int64])
def test_types_that_are_not_read_are_refused(kind, many, monkeypatch, unchecked):
    monkeypatch.setattr(folded, "MANY", many)
    model = build(replace(CONFIG, cross_heads=1))
    inputs, queries = torch.ones(B, M, C, dtype=kind), torch.ones(B, A, E)
    said = f"{kind}, and the weights that read it are torch.float32: give torch.float32"
    with torch.no_grad():
        for given, what in (
            (inputs, "the array"),
            ((inputs[..., :4], inputs[..., 4:]), "the array"),
            (Sliced(inputs.numpy(), 10), "chunk 0"),
            (iter([(inputs, None)]), "chunk 0"),
        ):
            with pytest.raises(ValueError, match=f"{what} is {said}"):
                model.encode(given)
        with pytest.raises(ValueError, match=f"the array is {said}"):
            model(inputs.float(), queries.to(kind))
        for given in ((inputs.float(), torch.ones(B, M)), ([(inputs.float(), torch.ones(B, M))],)):
            with pytest.raises(ValueError, match=r"the mask of .* is torch.float32: give torch.bool"):
                model.encode(*given)
        assert model.encode(inputs.bfloat16()).dtype == torch.float32


@torch.no_grad()
def test_what_is_no_chunk_is_said(model, arrays, unchecked):
    inputs, *_ = arrays
    with pytest.raises(ValueError, match=r"chunk 0 is Tensor: give \(tensor, mask\)"):
        model.encode(part for part in inputs.split(10, dim=1))
    with pytest.raises(ValueError, match=r"chunk 0 is \(ndarray, NoneType\): give \(tensor, mask\)"):
        model.encode([(inputs.numpy(), None)])
    with pytest.raises(ValueError, match=r"a numpy array came: give torch.from_numpy"):
        model.encode(inputs.numpy())


def test_a_memory_map_is_read_by_the_chunk(model, arrays, tmp_path):
    inputs, queries, _ = arrays
    np.save(tmp_path / "x.npy", inputs.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert torch.allclose(model(Sliced(mapped, 7), queries), model(inputs, queries), rtol=0, atol=1e-12)


class Failing(Sliced):
    def chunk(self, index):
        if index == 2:
            raise OSError("the disk is gone")
        return super().chunk(index)


class Shrinking(Sliced):
    """Another length the second time."""

    reads = 0

    def chunk(self, index):
        self.reads += 1
        array, mask = super().chunk(index)
        return (array[:, :-1] if self.reads > len(self) else array), mask


class Counted(Sliced):
    """How often each piece was read."""

    def __init__(self, array, size):
        super().__init__(array, size)
        self.reads = Counter()

    def chunk(self, index):
        self.reads[index] += 1
        return super().chunk(index)


def test_a_forward_pass_reads_each_chunk_once_and_a_backward_pass_once_more(model, arrays):
    inputs, queries, _ = arrays
    counted = Counted(inputs, 10)
    with torch.no_grad():
        model(counted, queries)
    assert counted.reads == dict.fromkeys(range(4), 1)
    model(counted, queries).sum().backward()
    assert counted.reads == dict.fromkeys(range(4), 3)


def test_bytes_held_are_those_of_a_chunk_however_many_there_are(model):
    peaks = []
    with torch.no_grad():
        for m in (200, 3000):
            given = Sliced(torch.randn(1, 1, C).double().expand(1, m, C), 50)
            with Trace() as traced:
                traced.ignore(list(model.parameters()))
                model.encode(given)
            peaks.append(traced.peak)
    assert peaks[0] == peaks[1] < 8 * 3000 * C / 4


def test_what_can_be_read_once_and_does_not_fit_is_refused(model, arrays):
    inputs, _, mask = arrays

    def failing():
        yield inputs, None
        raise OSError("the line is dead")

    with torch.no_grad():
        with pytest.raises(OSError, match="line is dead"):
            model.encode(failing())
        with pytest.raises(ValueError, match=r"chunk 1 is torch.float32, but those before are torch.float64"):
            model.encode(iter([(inputs, None), (inputs.float(), None)]))
        with pytest.raises(ValueError, match=r"chunk 1 is \(1, 37, 6\), but those before are \(2, …, 6\)"):
            model.encode(iter([(inputs, None), (inputs[:1], None)]))
        with pytest.raises(ValueError, match=r"the mask of chunk 0 is \(2, 36\), but the chunk is \(2, 37, 6\)"):
            model.encode(iter([(inputs, mask[:, 1:])]))


def test_more_than_two_billion_elements_have_their_chunks_and_costs():
    many = 2**31 + 5
    given = Sliced(torch.zeros(1, 1, 2).expand(1, many, 2), 2**20)
    assert given.shape == (1, many, 2)
    assert len(given) == 2**11 + 1
    assert given.chunk(2**11)[0].shape == (1, 5, 2)
    with torch.device("meta"):
        encoder = build(CONFIG).encoder
        found = encoder(torch.empty(1, N, D), torch.empty(1, many, C))
    assert found.shape == (1, N, D)
    assert encode_flops(CONFIG, 1, many) > 2 * many * C * D


def test_what_does_not_fit_is_refused(model, arrays):
    inputs, _, mask = arrays
    with pytest.raises(OSError, match="disk is gone"):
        model.encode(Failing(inputs, 10))
    with pytest.raises(ValueError, match=r"the chunks make \(2, 33, 6\), but `shape` says \(2, 37, 6\)"):
        model.encode(Shrinking(inputs, 10)).sum().backward()
    mixed = split(inputs, 20, 17, mask=mask)
    mixed.pieces[1] = (mixed.pieces[1][0].float(), None)
    with pytest.raises(ValueError, match=r"chunk 1 is torch.float32, but those before are torch.float64"):
        model.encode(mixed)
    mixed.pieces[1] = (inputs[:, 20:], mask)
    with pytest.raises(ValueError, match=r"the mask of chunk 1 is \(2, 37\), but the chunk is \(2, 17, 6\)"):
        model.encode(mixed)
    mixed.pieces[0] = (inputs[..., :4], None)
    with pytest.raises(ValueError, match=r"chunk 0 is \(2, 37, 4\), but `shape` says \(2, …, 6\)"):
        model.encode(mixed)
    with pytest.raises(ValueError, match="wrap its module in `Adapted`"):
        model.encode(Sliced(inputs.clone().requires_grad_(), 10)).sum().backward()
    with pytest.raises(ValueError, match="bring their own masks"):
        model.encode(Sliced(inputs, 10), mask)
    with pytest.raises(ValueError, match="at least 1"):
        Sliced(inputs, 0)
