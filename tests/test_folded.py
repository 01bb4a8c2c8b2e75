import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attention import perturbed
from test_perceiver import Pieces
from test_streaming import Largest
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from perceivers.core import folded, kernels, products, trials
from perceivers.core.attention import Attention, record_attention
from perceivers.core.grids import OnGrid
from perceivers.core.inputs import Parts, cut, join, shape_of
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.core.precision import lower

F, P, E = 3, 8, 9
CONFIG = PerceiverIOConfig(
    input_channels=F + P, query_channels=E, num_latents=4, latent_channels=10, self_attends_per_block=1, self_heads=2
)


@pytest.fixture
def many():
    """Whatever there is, is much; a piece holds few elements; latents go to the inputs' channels."""
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        yield


@pytest.fixture(params=folded.POOLINGS)
def way(request, monkeypatch):
    """Either way, in any type: the trial is for bfloat16 alone."""
    monkeypatch.setattr(folded, "way", lambda *_: request.param)


def small_pieces(patch):
    patch.setattr(folded, "MANY", 1)
    patch.setattr(folded, "WEIGHTS", 60)
    patch.setattr(folded, "NUMBERS", 200)
    patch.setattr(Attention, "orders", lambda self, *_: ("inputs", "inputs"))


def model_of(config=CONFIG):
    torch.manual_seed(3)
    return perturbed(build(config)).double()


def array_on_grid(b, h, w, f=F, p=P):
    grid = OnGrid(2 + torch.randn(h, p).double(), torch.randn(w, p).double())
    return 3 * torch.randn(b, h * w, f).double() + 1, grid


def plainly(call):
    with kernels.plain(), torch.no_grad():
        return call()


@torch.no_grad()
def folding(call):
    """What comes out, and whether anything was folded."""
    with kernels.decisions() as decisions:
        found = call()
    return found, any(decision.why in ("many inputs", "many queries on a grid") for decision in decisions)


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=30, deadline=None)
@given(SIZES, st.booleans(), st.booleans(), st.sampled_from(list(folded.POOLINGS)))
def test_latents_read_a_grid_as_if_it_were_made(sizes, masked, dark, way):
    b, h, w = sizes
    model = model_of()
    array = array_on_grid(b, h, w)
    mask = torch.rand(b, h * w) < 0.5 if masked else None
    if masked and dark:
        mask[0] = False
    expected = plainly(lambda: model.encode(join(array), mask))
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        patch.setattr(folded, "way", lambda *_: way)
        got, was_folded = folding(lambda: model.encode(array, mask))
    assert was_folded
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_grids_and_other_arrays_stand_one_behind_the_other(many, way):
    model = model_of()
    parts = Parts((array_on_grid(2, 4, 5), torch.randn(2, 7, F + P).double(), array_on_grid(2, 3, 6)))
    features = torch.randn(2, 5, F).double()
    parts = Parts((*parts.arrays, (features, torch.randn(5, P).double()), (features, torch.randn(1, P).double())))
    mask = torch.rand(2, shape_of(parts)[1]) < 0.6
    assert shape_of(parts) == tuple(join(parts).shape)
    expected = plainly(lambda: model.encode(join(parts), mask))
    got, was_folded = folding(lambda: model.encode(parts, mask))
    assert was_folded
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


def test_chunks_and_what_can_be_read_once_are_folded(many, way):
    model = model_of()
    arrays = [array_on_grid(2, 4, 5), torch.randn(2, 0, F + P).double(), array_on_grid(2, 3, 6)]
    masks = [torch.rand(2, 20) < 0.6, None, None]
    whole, mask = join(Parts(arrays)), torch.cat([masks[0], torch.ones(2, 18, dtype=torch.bool)], dim=1)
    expected = plainly(lambda: model.encode(whole, mask))
    pieces = list(zip(arrays, masks, strict=True))
    chunks, was_folded = folding(lambda: model.encode(Pieces(pieces, (2, 38, F + P))))
    assert was_folded
    torch.testing.assert_close(chunks, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(folding(lambda: model.encode(iter(pieces)))[0], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("order", ["plain", "queries"])
def test_queries_on_a_grid_ask_as_if_they_were_made(residual, order, many, way, monkeypatch):
    monkeypatch.setattr("perceivers.core.chain.cheapest", lambda costs: order)
    config = PerceiverIOConfig(**{**vars(CONFIG), "query_channels": F + P, "decoder_query_residual": residual})
    model, queries = model_of(config), array_on_grid(2, 5, 7)
    latents, layers = torch.randn(2, 4, 10).double(), [nn.Linear(F + P, 6).double(), nn.Linear(6, 2).double()]
    expected = plainly(lambda: model.decode(latents, join(queries), layers=layers))
    asked = []
    answer = folded.GridReader.__call__
    monkeypatch.setattr(
        folded.GridReader, "__call__", lambda self, array: asked.append(shape_of(array)[1]) or answer(self, array)
    )
    got, _ = folding(lambda: model.decode(latents, queries, layers=layers))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    assert asked == [7] * 5, "a row at a time"


def test_queries_with_a_mask_see_what_it_says(many, way):
    config = PerceiverIOConfig(**{**vars(CONFIG), "query_channels": F + P})
    model, queries, mask = model_of(config), array_on_grid(2, 5, 7), torch.rand(2, 35) < 0.5
    latents = torch.randn(2, 4, 10).double()
    expected = plainly(lambda: model.decode(latents, join(queries), mask))
    got, _ = folding(lambda: model.decode(latents, queries, mask))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("whole", [True, False], ids=["one piece", "rows"])
@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_agrees_with_float32_either_way(many, way, whole, masked, monkeypatch):
    if torch.bfloat16 not in products.onednn_types():
        pytest.skip("this CPU has no bfloat16, and is never asked for it")
    if whole:
        monkeypatch.setattr(folded, "WEIGHTS", 2**20)
        monkeypatch.setattr(folded, "NUMBERS", 2**19)
    config = PerceiverIOConfig(**{**vars(CONFIG), "query_channels": F + P})
    model, (features, grid) = model_of(config).float(), array_on_grid(2, 9, 8)
    array, mask = (features.float(), OnGrid(grid.rows.float(), grid.columns.float())), None
    if masked:
        mask = torch.rand(2, 72) < 0.5
        mask[1, :40] = False
    expected = plainly(lambda: model.encode(join(array), mask))
    answers = plainly(lambda: model.decode(expected, join(array)))
    lower(model, "bf16")
    latents, was_read = folding(lambda: model.encode(array, mask))
    got, was_asked = folding(lambda: model.decode(expected, array))
    assert was_read
    assert was_asked
    assert (latents - expected).abs().max() < 2e-2 * expected.abs().max()
    assert (got - answers).abs().max() < 2e-2 * answers.abs().max()


@torch.no_grad()
def test_queries_come_in_pieces_of_their_way_and_may_be_none(many, way, monkeypatch):
    config = PerceiverIOConfig(**{**vars(CONFIG), "query_channels": F + P})
    model, latents, grid = model_of(config), torch.randn(2, 4, 10).double(), array_on_grid(2, 9, 2)
    arrays = [grid, torch.randn(2, 0, F + P).double(), torch.randn(2, 3, F + P).double()]
    expected = plainly(lambda: model.decode(latents, join(Parts(arrays))))
    asked, answer = [], folded.GridReader.__call__
    monkeypatch.setattr(folded.GridReader, "__call__", lambda s, a: asked.append(shape_of(a)[1]) or answer(s, a))
    chunks = Pieces([(array, None) for array in arrays], (2, 21, F + P))
    for queries in (chunks, Parts(arrays)):
        got, was_asked = folding(lambda queries=queries: model.decode(latents, queries))
        assert was_asked
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    folded_way = folded.way() == "folded"
    assert asked == 2 * ([6, 6, 6, 0, 3] if folded_way else [8, 8, 2, 0, 3])


def test_the_faster_way_is_tried_once_for_a_shape(monkeypatch):
    monkeypatch.setattr(trials, "_chosen", {})
    latents, array = torch.randn(1, 4, 10), array_on_grid(1, 3, 5)
    assert folded.way(latents, array, torch.float32) == "folded"
    assert trials.record() == {}, "float32 is never rounded: nothing is tried"
    monkeypatch.setattr(folded, "WEIGHTS", 60)
    monkeypatch.setattr(trials, "_seconds", lambda kernel, arguments: kernel(*arguments) or next(times))
    times = iter([2.0, 1.0] * (1 + trials.TRIALS))
    assert folded.way(latents, array, torch.bfloat16) == "fused"
    assert folded.way(latents, Parts((array,)), torch.bfloat16) == "fused"
    kernels.check(trials.record())
    with pytest.raises(ValueError, match="no run takes it"):
        kernels.check(trials.record(), learning=True)


@torch.no_grad()
def test_a_piece_is_tried_with_values_whatever_looks_on(monkeypatch):
    if torch.bfloat16 not in products.onednn_types():
        pytest.skip("this CPU has no bfloat16, and is never asked for it")
    monkeypatch.setattr(trials, "_chosen", {})
    found, seconds = [], trials._seconds
    monkeypatch.setattr(trials, "_seconds", lambda kernel, given: found.append(given[1]) or seconds(kernel, given))
    with FakeTensorMode():
        folded.way(torch.randn(1, 2**19, 10), torch.randn(1, 9, F), torch.bfloat16)
    assert {type(piece) for piece in found} == {torch.Tensor}


def test_float32_stays_exact_where_features_lie_far_from_zero(many):
    model, (features, grid) = model_of(), array_on_grid(1, 9, 9)
    array = 100 + features, grid
    expected = plainly(lambda: model.encode(join(array)))
    single = array[0].float(), OnGrid(grid.rows.float(), grid.columns.float())
    got, was_folded = folding(lambda: model.float().encode(single))
    assert was_folded
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


def test_only_what_stands_on_a_grid_is_multiplied_cell_by_cell(many):
    h, w, n = 30, 40, CONFIG.num_latents
    model, array = model_of().requires_grad_(False), array_on_grid(1, h, w, 1, 10)
    array[1].moments  # noqa: B018  the same for every array on this grid
    with torch.no_grad(), FlopCounterMode(display=False) as few:
        folding(lambda: model.encode(array))
    with torch.no_grad(), FlopCounterMode(display=False) as plain_products:
        plainly(lambda: model.encode(join(array)))
    cells, sides = 2 * h * w * n, (h + w) * 10 * n
    # two products of features and rows' channels with weights, of rows' and columns' positions with vectors and sums
    assert few.get_total_flops() < 2 * cells * (1 + 1) + 2 * 2 * sides + 60_000
    assert plain_products.get_total_flops() > 2 * cells * 11


def test_the_array_is_never_made(many):
    model, array = model_of(), array_on_grid(1, 50, 60)
    array[1].moments  # noqa: B018
    with Largest() as largest:
        folding(lambda: model.encode(array))
        folding(lambda: model.encode(join(array)[:, :100]))
    m, c = 3000, F + P
    assert largest.elements <= m * c  # the one that this test joins
    with Largest() as largest:
        folding(lambda: model.encode(array))
    assert largest.elements <= m * F


def test_who_watches_the_attention_sees_all_of_it(many):
    model, array = model_of(), array_on_grid(1, 6, 7)
    with torch.no_grad(), record_attention(model) as weights:
        model.encode(array)
    assert weights["encoder.attention"][0].shape == (1, 1, CONFIG.num_latents, 42)


def test_gradients_take_the_ordinary_way(many):
    model, array = model_of(), array_on_grid(1, 6, 7)
    with kernels.decisions() as decisions:
        model.encode(array).sum().backward()
    assert all(decision.kernel != "folded" for decision in decisions)
    assert model.encoder.attention.to_k.weight.grad.abs().sum() > 0


def test_a_cut_array_is_the_array():
    array = array_on_grid(2, 5, 7)
    parts = Parts((array, torch.randn(2, 4, F + P).double(), torch.randn(2, 0, F + P).double()))
    mask = torch.rand(2, 39) < 0.5
    found = list(cut(parts, mask, 15))
    torch.testing.assert_close(torch.cat([join(piece) for piece, _ in found], dim=1), join(parts))
    torch.testing.assert_close(torch.cat([seen for _, seen in found], dim=1), mask)
    assert [shape_of(piece)[1] for piece, _ in found] == [14, 14, 7, 4, 0]
    means = torch.cat([piece[1].moments[0].flatten() for piece, _ in found[:3]])
    torch.testing.assert_close(means, array[1].whole().mean(1))


def test_learned_positions_get_gradients_and_channels_behind_them():
    rows, columns, behind = (torch.randn(s, requires_grad=True) for s in ((2, 3), (4, 3), (1, 2)))
    grid = OnGrid(rows, columns).behind(behind)
    expected = torch.cat([(rows[:, None] + columns).flatten(0, 1), behind.expand(8, -1)], dim=1)
    torch.testing.assert_close(grid.whole(), expected)
    (slope,) = torch.autograd.grad(grid.whole().sum(), behind)
    assert slope.tolist() == [[8.0, 8.0]]
    assert OnGrid(rows.detach(), columns.detach()).behind(behind.detach()).whole().requires_grad is False
