"""Which rows make a batch, and in which order batches come: shuffled, and of like size where sizes differ.

Not concerned with how rows are read (`loading.py`).
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import torch

from perceivers.data.loading import Batch, Rows
from perceivers.data.randomness import permutation
from perceivers.errors import BadInput

BUCKET_BATCHES = 32  # where sizes differ, so many batches are drawn together and sorted by size,
SIZE_NOISE = 0.05  # taken to be up to so much larger than it is
PADDED, MOST_PIECES = 0.09, 8  # where more than this is padding, a batch comes in pieces
ALONE = 2**16  # input elements of a row above which no other is padded to its size
READ_AHEAD = 2  # batches a worker


class TrainingBatches:
    """The endless stream of training batches: the batch of step s is a pure function of (seed, s).

    An epoch is a seeded permutation of the rows. Where sizes differ, neighbouring batches of it are sorted by size
    together, so that little is padded. Where that is not enough, as rows are few, a batch comes in `pieces`, each
    padded for itself, the first one of short rows and the last of long ones: as few as will do, since a step takes
    longer by each. `workers` threads read ahead, which changes no batch; 0: none.
    """

    def __init__(
        self,
        rows: Rows,
        ids: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        field_drop: float,
        start: int = 0,
        workers: int = 1,
    ):
        self.rows, self.ids, self.seed, self.field_drop = rows, ids, seed, field_drop
        self.start, self.workers = start, workers
        self.batch_size = min(batch_size, len(ids))
        self.per_epoch = len(ids) // self.batch_size
        self.orders: dict[int, list[Sequence[np.ndarray]]] = {}  # of the current epoch
        sizes = rows.sizes(ids)
        self.sizes = dict(zip(ids.tolist(), sizes.tolist(), strict=True)) if sizes.min() != sizes.max() else None
        self.pieces = 1
        if self.sizes is not None:
            self.orders = {0: self.order(0)}
            while 2 * self.pieces <= min(MOST_PIECES, self.batch_size) and self._padding(self.sizes) > PADDED:
                self.pieces *= 2
                self.orders = {0: self.order(0)}

    def _padding(self, of: Mapping[int, int]) -> float:
        """The share of the first epoch that is padding, by the sizes of rows."""
        pieces = [np.array([of[int(row)] for row in piece]) for batch in self.orders[0] for piece in batch]
        return 1 - sum(piece.sum() for piece in pieces) / max(1, sum(len(piece) * piece.max() for piece in pieces))

    def order(self, epoch: int) -> list[Sequence[np.ndarray]]:
        """The batches of an epoch, each the row ids of its pieces. Rows that do not fill a last batch wait for another
        epoch's order.
        """
        order = permutation(self.seed, epoch, self.ids)[: self.per_epoch * self.batch_size]
        drawn = order.reshape(self.per_epoch, self.batch_size)
        if self.sizes is None:
            return [[batch] for batch in drawn]
        random = np.random.default_rng([self.seed + 1, epoch])
        batches: list[Sequence[np.ndarray]] = []
        for bucket in np.array_split(drawn, max(1, round(self.per_epoch / BUCKET_BATCHES))):
            ranges = np.array_split(self._by_size(bucket, random), self.pieces)  # from short to long
            batches += zip(*(random.permutation(part.reshape(len(bucket), -1)) for part in ranges), strict=True)
        return [batches[i] for i in random.permutation(self.per_epoch)]

    def _by_size(self, bucket: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The rows of batches (k b) as (b k), sorted by about their size: neighbours change from epoch to epoch."""
        assert self.sizes is not None
        sizes = np.array([self.sizes[int(row)] for row in bucket.flat])
        about = sizes * random.uniform(1, 1 + SIZE_NOISE, len(sizes))
        return bucket.ravel()[np.argsort(about)].reshape(self.batch_size, -1)

    def row_ids(self, step: int) -> np.ndarray:
        """The readable rows of a step. Where none can be read, those of the next batch of the epoch that has some."""
        return np.concatenate([rows for rows, _ in self._read(step)])

    def _read(self, step: int) -> list[tuple[np.ndarray, dict[str, list[Any]]]]:
        epoch, index = divmod(step, self.per_epoch)
        orders = self.orders  # a worker that enters another epoch puts a new dict in its place
        if epoch not in orders:
            self.orders = orders = {epoch: self.order(epoch)}
        for offset in range(self.per_epoch):
            pieces = [self.rows.examples(rows) for rows in orders[epoch][(index + offset) % self.per_epoch]]
            self.rows.check()
            if found := [(rows, read) for rows, read in pieces if len(rows)]:
                return found
        raise BadInput(f"no row can be read; the first: {next(iter(self.rows.failed.values()))}")

    def batch(self, step: int) -> list[Batch]:
        """The pieces of the batch of a step."""
        given = {"seed": self.seed, "epoch": step // self.per_epoch, "field_drop": self.field_drop}
        return [self.rows.training_batch(rows, read, **given) for rows, read in self._read(step)]

    def __iter__(self) -> Iterator[list[Batch]]:
        steps = count(self.start)
        if not self.workers:
            yield from map(self.batch, steps)
        torch.ones(1).sin()  # MKL sets itself up at its first sine: no thread here may race for it with the model
        with ThreadPoolExecutor(self.workers) as pool:
            ahead = deque(pool.submit(self.batch, next(steps)) for _ in range(READ_AHEAD * self.workers))
            while True:
                batch = ahead.popleft().result()
                ahead.append(pool.submit(self.batch, next(steps)))
                yield batch


def evaluation_batches(rows: Rows, ids: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Readable rows in batches, unchanged; long examples as windows. Yields (the row id of each element, batch)."""
    ids = rows.readable(ids)
    sizes = rows.sizes(ids)
    order = np.argsort(sizes, kind="stable")
    small, large = np.split(ids[order], [np.searchsorted(sizes[order], ALONE, side="right")])
    for batch_ids in [*np.array_split(small, max(1, -(-len(small) // batch_size))), *large[:, None]]:
        if len(batch_ids):
            yield from rows.windowed(batch_ids, batch_size)
