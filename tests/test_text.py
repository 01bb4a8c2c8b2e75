"""Text: bytes at the door, windows, n-grams, and that what is masked does not matter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceivers.data.schema import Field
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import modality
from perceivers.modalities.text import TextInput, decode, token_rows

CHANNELS = 13


def text_field(cells=(), **options):
    field = Field("t", "text", "input", ("t",), options)
    kind = modality(field)
    field = field.with_options(**{**kind.options, **options})
    return field.with_options(**kind.fit(field, cells))


TEXT = modality(text_field(max_bytes=31))


def encoded(*texts):
    return [None if text is None else np.frombuffer(text.encode(), np.uint8) for text in texts]


@given(st.text())
def test_every_text_comes_back(text):
    assert decode(TEXT.read(text_field(max_bytes=31), text)) == text


def test_what_is_there_and_what_is_missing():
    field = text_field(max_bytes=31)
    assert len(TEXT.read(field, "")) == 0
    assert decode(TEXT.read(field, 17)) == "17"
    assert TEXT.read(field, None) is None
    assert TEXT.read(field, float("nan")) is None
    for cell in (["a"], b"a", {"a": 1}):
        with pytest.raises(Unreadable, match="came, expected a text"):
            TEXT.read(field, cell)
    with pytest.raises(Unreadable, match="character 2 of a text"):
        TEXT.read(field, "ab\ud800")


def test_files_are_utf8(tmp_path: Path):
    field = text_field(max_bytes=31, files=True)
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes("\ufeffgrün".encode())
    bad.write_bytes("grün".encode("latin-1"))
    assert decode(TEXT.read(field, good)) == "grün"
    with pytest.raises(Unreadable, match=r"bad\.txt: not UTF-8: byte 2 is 0xfc; save it as UTF-8"):
        TEXT.read(field, bad)
    with pytest.raises(Unreadable, match="cannot be read"):
        TEXT.read(field, tmp_path / "none.txt")
    assert TEXT.size(field, good) == 2
    assert TEXT.size(field, tmp_path / "none.txt") == 0


def test_max_bytes_is_the_99th_percentile_of_train():
    lengths = np.random.default_rng(0).integers(20, 500, 1_000)
    cells = ["ü" * (n // 2) + "u" * (n % 2) for n in lengths]
    assert text_field([*cells, b"unreadable"]).options["max_bytes"] == pytest.approx(np.percentile(lengths, 99), abs=2)
    assert text_field(["a"]).options["max_bytes"] == 16
    assert text_field(["a" * 10**5]).options["max_bytes"] == 8_192
    assert text_field([None]).options["max_bytes"] == 16
    assert text_field(["a"], max_bytes=7).options["max_bytes"] == 7
    with pytest.raises(BadInput, match="max_bytes must be a positive integer, got 'all'"):
        text_field(["a"], max_bytes="all")


@given(st.integers(2, 40), st.integers(0, 300), st.floats(0, 1, exclude_max=True))
def test_windows_cover_a_text_and_overlap(max_bytes, length, uniform):
    field, example = text_field(max_bytes=max_bytes), np.arange(length) % 251
    windows = TEXT.windows(field, example)
    if length <= max_bytes:
        assert len(windows) == 1
        np.testing.assert_array_equal(windows[0], example)
    else:
        starts = [int((window.ctypes.data - example.ctypes.data) / example.itemsize) for window in windows]
        assert {len(window) for window in windows} == {max_bytes}
        assert starts[0] == 0
        assert starts[-1] == length - max_bytes
        assert (np.diff(starts) <= max_bytes - max_bytes // 8).all()
        assert (np.diff(starts) > 0).all()
    crop = TEXT.crop(field, example, uniform)
    assert len(crop) == min(length, max_bytes)
    assert crop.tobytes() in example.tobytes()


def test_of_a_very_long_text_so_many_windows_are_read_and_it_is_said():
    field, example = text_field(max_bytes=100), np.zeros(10**7, np.uint8)
    example[-1] = 1
    windows = TEXT.windows(field, example)
    assert len(windows) == 256
    assert {len(window) for window in windows} == {100}
    assert windows[-1][-1] == 1
    assert TEXT.remarks(field, None, example) == ("so long that 256 windows of it are read, evenly spread",)
    assert TEXT.remarks(field, None, example[:25_600]) == ()


def test_crops_reach_both_ends():
    field, example = text_field(max_bytes=7), np.arange(11)
    assert {tuple(TEXT.crop(field, example, u)) for u in np.linspace(0, 0.999, 50)} == {
        tuple(range(i, i + 7)) for i in range(5)
    }


def test_the_contract_of_the_part():
    part = TEXT.collate(text_field(max_bytes=31), encoded("abc", "", None, "héllo"))
    assert part["bytes"].dtype == torch.uint8
    assert part["bytes"].tolist() == [[97, 98, 99, 0, 0, 0], [0] * 6, [0] * 6, list("héllo".encode())]
    assert part["mask"].sum(1).tolist() == [3, 0, 0, 6]
    assert TEXT.collate(text_field(max_bytes=31), [None])["bytes"].shape == (1, 1)


def test_ngrams_are_looked_up_where_they_begin():
    text = b"abcabcab\x00z"
    rows = token_rows(torch.tensor([[*text, 0, 0]]), torch.tensor([[True] * 10 + [False] * 2]))[0]
    assert rows.shape == (3, 20)
    by_place = rows.reshape(3, 5, 4).permute(1, 0, 2).reshape(5, 12).numpy()  # (bytes, then n = 2 … 5) by place
    assert by_place[0].tolist() == [1 + 256 * (i % 4) + byte for i, byte in enumerate(text)] + [0, 0]
    for n in (2, 3, 4, 5):
        known = {}
        for place in range(12):
            gram = text[place : place + n]
            if len(gram) < n:
                assert by_place[n - 1, place] == 0
            else:
                assert by_place[n - 1, place] > 1_024
                assert known.setdefault(gram, by_place[n - 1, place]) == by_place[n - 1, place]
        assert len(set(known.values())) == len(known)


def test_hashes_spread():
    bytes_ = torch.from_numpy(np.random.default_rng(0).integers(97, 123, (1, 40_000)))
    rows = token_rows(bytes_, torch.ones_like(bytes_, dtype=torch.bool))
    fives = rows[0, :, 16:].flatten()[:-4]
    share = len(fives.unique()) / 2**15
    assert share == pytest.approx(1 - np.exp(-40_000 / 2**15), abs=0.01)  # as if thrown at random


def test_a_token_is_the_sum_of_its_embeddings_and_its_neighbours():
    torch.manual_seed(0)
    module = TextInput(31, CHANNELS)
    part = TEXT.collate(text_field(max_bytes=31), encoded("hello world", "ab"))
    padded = torch.nn.functional.pad(part["bytes"], (0, 1)).long(), torch.nn.functional.pad(part["mask"], (0, 1))
    rows = token_rows(*padded)
    weights = module.embeddings.detach().clone()
    weights[0] = 0
    expected = weights[rows].sum(2)
    torch.testing.assert_close(module.embed(rows), expected)
    near = torch.nn.functional.conv1d(expected.mT, module.neighbours.weight, module.neighbours.bias, padding=3).mT
    array, mask = module(part)
    assert mask.tolist() == [[True] * 3, [True, False, False]]
    content = module.to_channels(expected + torch.nn.functional.gelu(near))
    places = array - content - module.field.array
    torch.testing.assert_close(places[0, 0], places[1, 0])  # the position alone is left
    assert (places[0, 0] - places[0, 1]).abs().max() > 0.01


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_masked_bytes_and_padding_change_nothing(seed):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = TextInput(31, CHANNELS)
    bytes_ = torch.from_numpy(rng.integers(0, 256, (3, 29)).astype(np.uint8))
    mask = torch.from_numpy(rng.random((3, 29)) < rng.random((3, 1)))
    array, there = module({"bytes": bytes_, "mask": mask})
    other = torch.where(mask, bytes_, torch.from_numpy(rng.integers(0, 256, (3, 29)).astype(np.uint8)))
    more = torch.nn.functional.pad(other, (0, 2), value=7), torch.nn.functional.pad(mask, (0, 2))
    again, there_again = module({"bytes": more[0], "mask": more[1]})
    assert torch.equal(there, there_again)
    torch.testing.assert_close(array[there], again[there])


def test_gradients_reach_every_parameter_and_empty_texts_stay_finite():
    field = text_field(max_bytes=31)
    module = TEXT.inputs([field], CHANNELS)
    array, mask = module({"t": TEXT.collate(field, encoded("", None, "some words here"))})
    assert mask.sum(1).tolist() == [0, 0, 4]
    assert array.isfinite().all()
    array[mask].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    alone, nothing = module({"t": TEXT.collate(field, [None])})
    assert alone.isfinite().all()
    assert not nothing.any()


def test_augment_masks_spans_and_drop_masks_rows():
    field = text_field(max_bytes=31)
    part = TEXT.collate(field, encoded("a" * 20, "b" * 3))
    draws = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.9, 0.9]])
    changed = TEXT.augment(field, part, lambda purpose, count: draws[:, :count])
    assert changed["mask"][0].tolist() == [True] * 8 + [False] * 8 + [True] * 4
    assert not changed["mask"][1].any()
    assert torch.equal(changed["bytes"], part["bytes"])
    assert part["mask"].sum() == 23  # the part itself is as it was
    assert TEXT.drop(field, part, torch.tensor([False, True]))["mask"].sum(1).tolist() == [20, 0]


def test_drawn_escaped_and_short():
    field = text_field(max_bytes=31)
    assert TEXT.draw(field, "<b>&") == "&lt;b&gt;&amp;"
    assert TEXT.draw(field, "x" * 401) == "x" * 400 + "…"
    assert TEXT.draw(field, None) == "–"


def test_the_baseline_tells_texts_apart():
    field = text_field(max_bytes=31)
    maker = TEXT.baseline(field)
    rows = maker.fit_transform(encoded("red apples", "green pears", "", None, "!!"))
    assert rows.shape[0] == 5
    again = maker.transform(encoded("red apples", "red pears"))
    assert (rows[0] != again[0]).nnz == 0
    assert (again[1] @ rows[0].T).toarray() > 0.1


def test_one_column():
    field = Field("t", "text", "input", ("a", "b"), dict(TEXT.options))
    with pytest.raises(BadInput, match="t: text reads one column, not a, b"):
        TEXT.fit(field, [])
