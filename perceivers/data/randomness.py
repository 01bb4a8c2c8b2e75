"""Random numbers as pure functions of what they are for: never of worker, rank, order or process state.

Not concerned with what is done with them.
"""

import zlib

import numpy as np
from jaxtyping import Float64, Int

from perceivers.hashing import mixed

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def chain(key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """A hash of a hash and a value, uint64 all."""
    with np.errstate(over="ignore"):
        return mixed(key * np.uint64(3) + (value + np.uint64(1)) * _GOLDEN)


def uniform(
    seed: int, epoch: int, rows: Int[np.ndarray, " n"], purpose: str, count: int
) -> Float64[np.ndarray, "n count"]:
    """`count` numbers in [0, 1) for each row: a pure function of (seed, epoch, row id, purpose)."""
    key = np.zeros((), np.uint64)
    for part in (seed, epoch, zlib.crc32(purpose.encode())):
        key = chain(key, np.asarray(part).astype(np.uint64))
    by_row = chain(key, np.asarray(rows).astype(np.uint64))
    bits = chain(by_row[:, None], np.arange(count, dtype=np.uint64)[None])
    return (bits >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, epoch: int, rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(rows)


def step_seed(seed: int, step: int) -> int:
    """The seed of what is drawn once for a batch: a pure function of (seed, step)."""
    return int(uniform(seed, step, np.zeros(1, np.int64), "step", 1)[0, 0] * 2**53)
