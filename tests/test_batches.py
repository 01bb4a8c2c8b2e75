"""What of a batch is padding, and that no row comes more often than others. See `test_training.py` for more."""

import numpy as np
import pytest

from perceivers.data import sources
from perceivers.data.batches import ALONE, TrainingBatches, evaluation_batches
from perceivers.data.loading import Rows
from perceivers.data.schema import Field
from perceivers.modalities import modality


class Uneven:
    """Rows that are nothing but their sizes."""

    def __init__(self, sizes):
        self.of = sizes

    def sizes(self, rows):
        return self.of[rows]


def recordings(random, rows):
    """Generated: steps of short recordings, as those of spoken vowels."""
    return random.integers(7, 30, rows)


def texts(random, rows):
    """Generated: bytes of reviews, as read: cut at the 99th percentile."""
    lengths = random.lognormal(5, 0.8, rows).astype(int)
    return np.minimum(lengths, int(np.quantile(lengths, 0.99)))


def uneven(lengths, rows, batch_size):
    """Sizes, and the stream of batches that is made of them."""
    sizes = lengths(np.random.default_rng(rows), rows)
    return sizes, TrainingBatches(Uneven(sizes), np.arange(rows), batch_size=batch_size, seed=0, field_drop=0.0)


@pytest.mark.parametrize(
    ("lengths", "rows", "batch_size"),
    [
        (recordings, 270, 32),
        (recordings, 5_000, 128),
        (texts, 700, 32),
        (texts, 2_100, 64),
        (texts, 3_400, 128),
        (texts, 50_000, 128),
    ],
)
def test_less_than_a_tenth_of_uneven_batches_is_padding(lengths, rows, batch_size):
    sizes, stream = uneven(lengths, rows, batch_size)
    pieces = [sizes[ids] for epoch in range(2) for batch in stream.order(epoch) for ids in batch]
    padded = sum(len(piece) * piece.max() for piece in pieces)
    assert 1 - sum(piece.sum() for piece in pieces) / padded < 0.1


def test_less_than_a_tenth_of_what_is_read_of_texts_in_several_scripts_is_padding():
    """A letter has one to three bytes."""
    random = np.random.default_rng(0)
    alphabets = ["abcdefgh ", "абвгдежз ", "あいうえおかき "]
    texts = ["".join(random.choice(list(alphabets[i % 3]), 1 + int(random.lognormal(3.5, 1)))) for i in range(901)]
    text = Field("text", "text", "input", ("text",), {"max_bytes": 8_192, "files": False})
    rows = Rows(sources.read({"text": texts}), [text], modality)
    stream = TrainingBatches(rows, np.arange(901), batch_size=32, seed=0, field_drop=0.0, workers=0)
    masks = [rows.batch(ids)["text"]["mask"] for batch in stream.order(0) for ids in batch]
    assert 1 - sum(mask.sum() for mask in masks) / sum(mask.numel() for mask in masks) < 0.1


@pytest.mark.parametrize(("rows", "pieces"), [(5_003, 1), (603, 4)])
def test_uneven_batches_are_whole_and_take_every_row_as_often(rows, pieces):
    sizes, stream = uneven(texts, rows, 67)
    assert stream.pieces == pieces
    epochs = [stream.order(epoch) for epoch in range(40)]
    assert {len(np.concatenate(batch)) for batches in epochs for batch in batches} == {67}
    for batches in epochs:
        found = np.concatenate([ids for batch in batches for ids in batch])
        assert len(np.unique(found)) == len(found) == stream.per_epoch * 67
    times = np.bincount(np.concatenate([ids for batches in epochs for batch in batches for ids in batch]))
    short = sizes < np.median(sizes)
    assert abs(times[short].mean() / times[~short].mean() - 1) < 0.01
    once, twice = ({tuple(sorted(ids)) for batch in epochs[e] for ids in batch} for e in (0, 1))
    assert len(once & twice) < 0.1 * len(once)


def test_a_batch_in_pieces_has_short_and_long_rows():
    sizes, stream = uneven(texts, 603, 67)
    means = np.array([[sizes[ids].mean() for ids in batch] for epoch in range(9) for batch in stream.order(epoch)])
    assert (np.diff(means, axis=1) > 0).all()
    assert means.mean(1).std() < 0.5 * sizes.std()  # in one piece, sorted, nearly all of it


def test_what_is_very_large_is_answered_alone_and_every_row_once():
    class Windowless(Uneven):
        def readable(self, ids):
            return ids

        def windowed(self, ids, most):
            assert len(ids) <= most
            yield ids, {}

    sizes = np.array([9, ALONE + 1, 2, ALONE, 7, 3 * ALONE, 5])
    found = [ids.tolist() for ids, _ in evaluation_batches(Windowless(sizes), np.arange(7), 3)]
    assert found == [[2, 6, 4], [0, 3], [1], [5]]
    everything = [ids.tolist() for ids, _ in evaluation_batches(Windowless(sizes[[1, 5]]), np.arange(2), 3)]
    assert everything == [[0], [1]]
