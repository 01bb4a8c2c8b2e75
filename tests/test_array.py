"""Arrays of any rank as an input: pictures are one case, patches and positions, what is missing, what is refused."""

import io
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceivers.data import infer, sources
from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities.array import Array
from perceivers.modalities.array_cells import shape
from perceivers.modalities.axes import tokens
from perceivers.modalities.image import Image

RNG = np.random.default_rng(0)
WIDTH = 13
ARRAY = Array()
PICTURES = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in ((11, 7), (5, 12), (29, 31))]
MIXED = [RNG.normal(3, 2, size) for size in ((5, 7, 3), (2, 11, 3), (1, 1, 3))]
MIXED[0][1:3, 2] = np.nan
MIXED[1][0, :, 1] = np.nan


def field_of(cells, **options):
    field = Field("a", "array", "input", ("a",), options)
    field = field.with_options(**{**ARRAY.options, **options})
    return field.with_options(**ARRAY.fit(field, cells))


def part_of(field, cells):
    return ARRAY.collate(field, [ARRAY.read(field, cell) for cell in cells])


def answer(field, cells):
    torch.manual_seed(0)
    return ARRAY.inputs([field], WIDTH).eval()({"a": part_of(field, cells)})


def uniform(purpose, count, rows=3):
    if purpose == "hidden":
        return torch.ones(rows, count)  # as many as can be
    return torch.rand(rows, count, generator=torch.Generator().manual_seed(len(purpose)))


@pytest.mark.parametrize(("patch", "blocks"), [(1, 0), (2, 1), (3, 2), (3, None)])
def test_a_picture_as_an_array_is_the_same_input(patch, blocks):
    picture = Field("a", "image", "input", ("a",), {**Image.options, "patch": patch, "blocks": blocks})
    picture = picture.with_options(**Image().fit(picture, PICTURES))
    array = field_of(PICTURES, axes=["y", "x", "channels"], patch=[patch, patch], blocks=blocks)
    np.testing.assert_allclose(array.options["mean"], 255 * np.array(picture.options["mean"]), rtol=1e-5)
    np.testing.assert_allclose(array.options["std"], 255 * np.array(picture.options["std"]), rtol=1e-5)
    torch.manual_seed(0)
    of_picture, of_array = Image().inputs([picture], WIDTH), ARRAY.inputs([array], WIDTH)
    of_array.load_state_dict(of_picture.state_dict())
    examples = [Image().read(picture, cell) for cell in PICTURES]
    expected, mask = of_picture({"a": Image().collate(picture, [*examples, None])})
    found, found_mask = of_array({"a": part_of(array, [*PICTURES, None])})
    assert torch.equal(found_mask, mask)
    assert mask.sum(1).tolist() == [
        math.ceil(h / patch) * math.ceil(w / patch) for h, w, _ in map(np.shape, PICTURES)
    ] + [0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", [8, 28, 64, 100])
def test_the_patch_that_is_proposed_for_squares_is_that_of_pictures(side):
    pictures = [RNG.integers(0, 256, (side, side, 1), np.uint8)]
    picture = Image().fit(Field("a", "image", "input", ("a",), Image.options), pictures)
    array = field_of(pictures, axes=["y", "x", "channels"])
    assert tokens([side, side], array.options["patch"]) <= 256
    assert max(array.options["patch"]) == picture["patch"]


def test_a_token_is_what_it_says():
    field = field_of(MIXED, axes=["y", "x", "channels"], patch=[2, 3], blocks=0)
    assert field.options["missing"] is True
    found, mask = answer(field, MIXED)
    torch.manual_seed(0)
    module = ARRAY.inputs([field], WIDTH).fields[0].tokens
    for row, array in enumerate(MIXED):
        h, w, _ = array.shape
        scaled = (array - field.options["mean"]) / field.options["std"]
        for token, (y, x) in enumerate(np.ndindex(3, 4)):
            piece = scaled[2 * y : 2 * y + 2, 3 * x : 3 * x + 3]
            assert mask[row, token] == (~np.isnan(piece)).any()
            if not mask[row, token]:
                continue
            patch = np.zeros((2, 3, 6))
            patch[: piece.shape[0], : piece.shape[1]] = np.concatenate([np.nan_to_num(piece), np.isnan(piece)], axis=-1)
            middle = [2 * (2 * y + piece.shape[0] / 2) / h - 1, 2 * (3 * x + piece.shape[1] / 2) / w - 1]
            angles = np.pi * np.outer(middle, np.linspace(1, 16, 16)).ravel()
            position = torch.tensor(np.concatenate([middle, np.sin(angles), np.cos(angles)])).float()
            expected = module.elements(torch.tensor(patch.ravel()).float()) + module.positions(position)
            torch.testing.assert_close(found[row, token], expected + module.field.array[0], atol=1e-5, rtol=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_neighbours_in_the_batch_change_nothing(seed, rank):
    rng = np.random.default_rng(seed)
    cells = [rng.normal(size=rng.integers(1, 5, rank)) for _ in range(3)]
    axes = [f"axis {i}" for i in range(rank)]
    field = field_of(cells, axes=axes, patch=rng.integers(1, 4, rank).tolist())
    together, mask = answer(field, [*cells, None])
    assert not mask[3].any()
    for row, cell in enumerate(cells):
        alone, whole = answer(field, [cell])
        assert whole.all()
        torch.testing.assert_close(together[row][mask[row]], alone[0], atol=1e-5, rtol=1e-4)


def test_where_the_channels_stand_does_not_matter():
    last = field_of(PICTURES, axes=["y", "x", "channels"])
    first = field_of([p.transpose(2, 0, 1) for p in PICTURES], axes=["channels", "y", "x"])
    for found, expected in zip(
        answer(first, [p.transpose(2, 0, 1) for p in PICTURES]), answer(last, PICTURES), strict=True
    ):
        assert torch.equal(found, expected)


def test_places_span_each_array_or_are_distances():
    cells = [np.arange(n, dtype=float) for n in (8, 4)]
    spanned = field_of(cells, axes=["t"], blocks=0)
    measured = field_of(cells, axes=["t"], spacing={"t": 0.5}, blocks=0)
    assert measured.options["extents"] == {"t": 4.0}
    same = [np.zeros(8), np.zeros(4)]
    (long, _), (short, _) = (answer(measured, [cell]) for cell in same)
    torch.testing.assert_close(long[0, :4], short[0], atol=1e-5, rtol=1e-4)  # the same places, in both
    (long, _), (short, _) = (answer(spanned, [cell]) for cell in same)
    assert (long[0, :4] - short[0]).abs().max() > 0.1
    # as if train had reached so far
    half = field_of(cells, axes=["t"], spacing={"t": 0.5}, extents={"t": 8.0}, blocks=0)
    torch.testing.assert_close(answer(half, [np.zeros(16)])[0], answer(spanned, [np.zeros(16)])[0])


def test_options_are_read_off_the_train_rows():
    options = field_of(MIXED).options
    assert options["axes"] == ["axis 1", "axis 2", "axis 3"]
    everything = np.concatenate([array.ravel() for array in MIXED])
    assert options["mean"] == pytest.approx([np.nanmean(everything)])
    assert options["std"] == pytest.approx([np.nanstd(everything)])
    options = field_of([np.full((3, 2), 7), np.full((5, 2), 7)], axes=["t", "channels"]).options
    assert (options["mean"], options["std"], options["missing"]) == ([7.0, 7.0], [1.0, 1.0], False)
    far = [1e9 + RNG.normal(size=(50, 1)) for _ in range(3)]
    part = part_of(field_of(far, axes=["t", "channels"]), far)
    assert part["values"].std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("cell", [np.ones((3, 4, 2)), np.ones((3, 4, 2), bool), np.ones((3, 4, 2), np.uint64)])
def test_forms_of_a_cell(tmp_path, cell):
    field = field_of([cell], axes=["y", "x", "channels"])
    np.save(tmp_path / "a.npy", cell)
    np.savez(tmp_path / "a.npz", only=cell)
    np.savez(tmp_path / "b.npz", one=cell, two=2 * cell.astype(float))
    for form in (cell, cell.tolist(), str(cell.tolist()).lower(), tmp_path / "a.npy", tmp_path / "a.npz"):
        np.testing.assert_array_equal(ARRAY.read(field, form), cell)
        assert ARRAY.size(field, form) == (12 if not isinstance(form, str) else 1)
    two = field.with_options(key="two")
    np.testing.assert_array_equal(ARRAY.read(two, tmp_path / "b.npz"), 2 * cell.astype(float))
    assert shape(tmp_path / "b.npz", "two") == (3, 4, 2)
    np.testing.assert_array_equal(ARRAY.read(two, tmp_path / "a.npy"), cell)
    for missing in (None, float("nan"), "", " "):
        assert ARRAY.read(field, missing) is None


def _npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (np.ones((3, 4)), r"an array of shape \(3, 4\) came, expected 3 axes, y, x, channels"),
        (np.ones((3, 4, 3)), r"3 channels came, expected 2 in \(3, 4, 3\)"),
        (np.ones((3, 0, 2)), "an axis of size 0 holds nothing"),
        ([[], []], "an axis of size 0 holds nothing"),
        (np.ones((3, 4, 2), complex), "complex128 came, expected real numbers: give the parts as two channels"),
        (np.array([[["a", "b"]]]), "an array of type <U1 came, expected numbers"),
        (np.full((3, 4, 2), np.inf), "infinity came"),
        (f"[[[1{'0' * 400}]]]", "what is no number"),
        (f"[[[1{'0' * 5000}]]]", "expected lists such as"),
        (np.array([[[1, "x"]]], object), "what is no number"),
        ([[[1, 2], [3]]], "lists of different lengths came"),
        ("[[[1, 2", "expected lists such as .* `files: true`"),
        ("a/b.npy", "expected lists such as .* `files: true`"),
        (3.5, "3.5 came, expected an array"),
        (np.ones((300, 300, 2)), "takes 90,000 tokens, over max_tokens = 16,384"),
    ],
)
def test_cells_that_are_refused(cell, message):
    field = field_of([np.ones((3, 4, 2))], axes=["y", "x", "channels"])
    with pytest.raises(Unreadable, match=message):
        ARRAY.read(field, cell)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("o.npy", _npy(np.array([[[None, 1]]], object), allow_pickle=True), "pickled objects"),
        ("l.npy", _npy(np.ones((3, 4, 2))).replace(b"2), }   ", b"2000), }"), "its header speaks of"),
        ("h.npy", _npy(np.ones((3, 4, 2)))[:-8], "24 elements, could only read 23"),
        ("e.npy", b"", "an empty file: save it anew, or take its row out"),
        ("e.npz", b"", "an empty file: save it anew, or take its row out"),
        ("c.npy", _npy(np.ones((3, 4, 2), complex)), "complex128 came"),
        ("t.npy", _npy(np.ones((3, 4, 2), "M8[s]")), "an array of type datetime64"),
        ("r.npy", _npy(np.ones((3, 4, 2), [("a", float)])), "an array of type .*'a'"),
        ("z.npz", b"PK\x03\x04 and no more", "damaged, or not npz"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, message):
    field = field_of([np.ones((3, 4, 2))], axes=["y", "x", "channels"])
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=message) as error:
        ARRAY.read(field, path)
    assert "\n" not in str(error.value)
    assert ARRAY.size(field, path) >= 1


def test_an_archive_of_several_arrays_names_the_option(tmp_path):
    np.savez(tmp_path / "several.npz", one=np.ones((3, 4, 2)), two=np.ones(2))
    field = field_of([np.ones((3, 4, 2))], axes=["y", "x", "channels"])
    with pytest.raises(Unreadable, match="2 arrays in it: name one as `key` in the schema: one, two"):
        ARRAY.read(field, tmp_path / "several.npz")
    with pytest.raises(Unreadable, match="no array 'three' in it"):
        ARRAY.read(field.with_options(key="three"), tmp_path / "several.npz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axes": "yx"}, "axes must be different names"),
        ({"axes": ["y", "y", "x"]}, "axes must be different names"),
        ({"axes": ["channels"]}, "axes must be different names"),
        ({"axes": ["a", "b"]}, "no array of train has the axes a, b; most have 3"),
        ({"axes": ["y", "x", "channels"], "patch": [2]}, "patch must have one number for each of y, x"),
        ({"patch": [2]}, "patch must have one number for each of axis 1, axis 2"),
        ({"patch": [0, 1, 1]}, "patch must be positive integers"),
        ({"spacing": {"z": 1.0}}, "spacing: no axis 'z'"),
        ({"spacing": {"axis 1": 0.0}}, "spacing must be lengths of axes"),
        ({"spacing": [1.0]}, "spacing must be lengths of axes"),
        ({"extents": {"axis 1": 4.0}}, "extents and spacing must name the same axes"),
        ({"axes": ["y", "x", "channels"], "channels": 5}, "no array of train has 5 channels"),
        ({"std": [0.0]}, "std must be positive"),
        ({"key": 3}, "key must be str"),
        ({"max_tokens": None}, "max_tokens must be int"),
        ({"augment": "no"}, "augment must be bool"),
        ({"blocks": -1}, "blocks must be a whole number from 0 to 8, got -1"),
        ({"axes": ["z", "y", "x"], "blocks": 1}, "blocks are of one or two axes, not of z, y, x: say 0"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(BadInput, match=re.escape(message) if "(" in message else message):
        field_of(MIXED, **options)


def test_nothing_to_read():
    with pytest.raises(BadInput, match="no array of the train rows can be read"):
        field_of([None, "x", np.ones(0)])


def test_changes_in_training_are_small_noise_and_hidden_patches():
    cells = [RNG.normal(size=(9, 12, 2)), RNG.normal(size=(4, 3, 2)), RNG.normal(size=(1, 1, 2))]
    field = field_of(cells, axes=["y", "x", "channels"], patch=[4, 3])
    part = part_of(field, cells)
    changed = ARRAY.augment(field, part, uniform)
    kept = changed["present"]
    assert not (kept & ~part["present"]).any()
    assert kept.flatten(1).any(1).all()
    noise = (changed["values"] - part["values"])[kept]
    assert 0.05 < noise.std() < 0.15
    assert changed["values"][~kept].abs().max() == 0
    hidden = (part["present"] & ~kept)[0]
    assert 0 < hidden.sum() < 0.5 * hidden.numel()
    for y, x in np.ndindex(3, 4):
        piece = hidden[4 * y : 4 * y + 4, 3 * x : 3 * x + 3]
        assert piece.all() or not piece.any()
    alone = {name: tensor[:1, :9, :12] if name != "sizes" else tensor[:1] for name, tensor in part.items()}
    again = ARRAY.augment(field, alone, lambda purpose, count: uniform(purpose, count)[:1])
    both = again["present"][0] & kept[0]
    assert torch.equal(again["values"][0][both], changed["values"][0][both])  # whatever else is in the batch
    still = field.with_options(augment=False)
    assert ARRAY.augment(still, part, uniform) is part


@pytest.mark.parametrize(
    ("cell", "axes", "titles"),
    [
        (RNG.normal(size=40), ["time"], ["time →"]),
        (RNG.normal(size=(40, 6)), ["time", "channels"], ["6 channels × time →"]),
        (RNG.normal(size=(4, 900)), ["y", "x"], ["y ↓ x →"]),
        (RNG.random((9, 8, 5)), ["y", "x", "channels"], [f"y ↓ x →|channel {i} of 5" for i in (1, 2, 3)]),
        (
            RNG.normal(size=(5, 6, 7)),
            ["z", "y", "x"],
            ["y ↓ x →|largest over z", "z ↓ x →|largest over y", "z ↓ y →|largest over x"],
        ),
        (
            RNG.normal(size=(2, 3, 5, 7)),
            ["t", "z", "y", "x"],
            ["y ↓ x →|largest over 2 others", "z ↓ x →|largest over 2 others", "z ↓ y →|largest over 2 others"],
        ),
    ],
)
def test_drawings_of_any_rank(cell, axes, titles):
    field = field_of([cell], axes=axes)
    drawn = ARRAY.draw(field, cell)
    assert re.match(r"<svg .*</svg>$", drawn, re.DOTALL)
    lines = [line for title in titles for line in title.split("|")]
    assert re.findall(r"<text[^>]*>([^<]*)</text>", drawn) == lines
    assert drawn.count("data:image/png") == len(titles)
    assert len(drawn) < 200_000
    assert ARRAY.draw(field, None) == "–"


def test_planes_show_the_largest_and_what_is_missing_is_white():
    cell = RNG.random((5, 6, 7))
    cell[:, 2, 3] = np.nan
    planes = ARRAY.shaded(field_of([cell], axes=["z", "y", "x"]), cell, np.zeros((1, 5 * 6 * 7))).planes
    grey = planes[0].pixels[..., 0].astype(int)
    assert grey[2, 3] == 255
    largest = np.nanmax(np.where(np.isnan(cell), -1, cell), axis=0)
    assert np.corrcoef(np.delete(grey.ravel(), 17), np.delete(largest.ravel(), 17))[0, 1] > 0.999
    assert grey[largest == largest.max()] == 225


def test_weights_are_drawn_where_the_patches_are():
    cell = RNG.random((6, 9))
    field = field_of([cell], axes=["y", "x"], patch=[2, 4])
    weights = np.zeros((2, 3, 3))
    weights[:, 1, 2] = [0.2, 0.4]
    (plane,) = ARRAY.shaded(field, cell, weights.reshape(2, 9)).planes
    expected = np.zeros((6, 9))
    expected[2:4, 8:] = 1
    np.testing.assert_array_equal(plane.weights, expected)


def test_weights_behind_each_other_add_up():
    cell = RNG.random((4, 3, 5))
    weights = RNG.random((4, 3, 5))
    planes = ARRAY.shaded(field_of([cell], axes=["z", "y", "x"]), cell, weights.reshape(1, -1)).planes
    for plane, axis in zip(planes, (0, 1, 2), strict=True):
        np.testing.assert_allclose(plane.weights, weights.sum(axis) / weights.sum(axis).max())


def test_features_of_baselines_are_means_of_blocks():
    cells = [RNG.normal(size=(64, 40, 2)), RNG.normal(size=(3, 80, 2))]
    cells[0][:, :, 1] = np.nan
    field = field_of(cells, axes=["y", "x", "channels"])
    found = ARRAY.baseline(field).fit_transform([*cells, None])
    assert found.shape == (3, (32 * 20 + 2) * 2)
    blocks = found[0, :-4].reshape(32, 20, 2)
    np.testing.assert_allclose(blocks[..., 0], cells[0][..., 0].reshape(32, 2, 20, 2).mean((1, 3)), atol=1e-12)
    assert np.isnan(blocks[..., 1]).all()
    np.testing.assert_allclose(found[1, -4:], [*cells[1].mean((0, 1)), *cells[1].std((0, 1))])
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize(
    ("size", "expected"), [((9,), "series"), ((9, 2), "series"), ((9, 2, 3), "array"), ((2, 2, 2, 2), "array")]
)
def test_folders_of_arrays_are_recognised(tmp_path, size, expected):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for i in range(3):
            np.save(tmp_path / kind / f"{i}.npy", RNG.normal(size=size))
    (tmp_path / "a" / "0.npy").write_bytes(b"")  # will be named when it is read
    field = infer.infer(sources.read(tmp_path))["path"]
    assert (field.modality, field.role, field.names_files) == (expected, "input", True)
    assert ("9 × 2 × 3" in field.reason) == (len(size) == 3)


def test_folders_of_archives_with_several_arrays_say_so(tmp_path):
    for kind in "ab":
        (tmp_path / kind).mkdir()
        for i in range(3):
            np.savez(tmp_path / kind / f"{i}.npz", one=np.ones((2, 2, 2)), two=np.ones(2))
    field = infer.infer(sources.read(tmp_path))["path"]
    assert (field.modality, field.reason.endswith("`key` in the schema says which of one, two")) == ("array", True)
