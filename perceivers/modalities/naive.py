"""Simple answers to what a series or a text itself asks: what a model must beat to have learned anything.

Not concerned with other baselines (`baselines.py`).
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from perceivers.modalities.masked import HIDDEN
from perceivers.modalities.steps import filled, whole

MOST_ROWS, MOST_STEPS = 5_000, 512  # of the linear model
LEAST_CORRELATION, NEARLY = 0.3, 0.9  # of a season; of the highest: multiples of a season are as high
LEAST_SCALE = 0.05  # of all pasts' scale


def forecasts(
    train: Sequence[np.ndarray | None],
    goals: Float[np.ndarray, "n k"],
    test: Sequence[np.ndarray | None],
    horizon: int,
    read: int,
) -> dict[str, Float[np.ndarray, "m k"]]:
    """Answers for the pasts `test`, each (t, 1 + channels): time, then values; k = horizon · channels.

    The last value; the value one season before, where the train pasts have one; a ridge regression of each past's last
    `read` steps, in units of its own mean and scale. A past that is missing is a step at the mean of the train pasts.
    """
    there = np.concatenate([filled(past[:, 1:]) for past in train if past is not None])
    usual = there.mean(0, keepdims=True)
    before, asked = ([usual if past is None else filled(past[:, 1:]) for past in pasts] for pasts in (train, test))
    found = {"last value": np.stack([np.tile(past[-1], horizon) for past in asked])}
    if (period := season(before)) > 1:
        found["seasonal naive"] = np.stack([_repeated(past, horizon, period) for past in asked])
    there, values = whole(goals.reshape(len(goals), horizon, -1))
    if there.any():
        found["linear"] = _linear([before[row] for row in np.flatnonzero(there)], values[there], asked, read)
    return found


def season(pasts: Sequence[Float[np.ndarray, "t c"]]) -> int:
    """The first peak of the autocorrelation (the mean over pasts and channels) that is nearly as high as the highest;
    1 where there is none of 0.3 at least.
    """
    longest = max(len(past) for past in pasts)
    correlations = [_autocorrelation(past) for past in pasts if len(past) >= longest][:200]
    mean = np.mean(correlations, axis=0)[: longest // 2 + 1]
    inner = mean[1:-1]
    peaks = np.flatnonzero((inner > mean[:-2]) & (inner >= mean[2:]) & (inner > LEAST_CORRELATION)) + 1
    return int(peaks[mean[peaks] >= NEARLY * mean[peaks].max()][0]) if len(peaks) else 1


def _autocorrelation(past: Float[np.ndarray, "t c"]) -> Float[np.ndarray, " t"]:
    t = len(past)
    centred = past - past.mean(0)
    power = np.abs(np.fft.rfft(centred, 2 * t, axis=0)) ** 2
    products = np.fft.irfft(power, axis=0)[:t].sum(1) / np.arange(t, 0, -1)
    return products / products[0] if products[0] > 0 else np.zeros(t)


def _repeated(past: Float[np.ndarray, "t c"], horizon: int, period: int) -> Float[np.ndarray, " k"]:
    last = past[-period:]
    return np.tile(last, (-(-horizon // len(last)), 1))[:horizon].ravel()


def _linear(
    train: Sequence[np.ndarray], goals: Float[np.ndarray, "n h c"], test: Sequence[np.ndarray], read: int
) -> Float[np.ndarray, "m k"]:
    from sklearn.linear_model import RidgeCV

    count, horizon = min(read, MOST_STEPS), goals.shape[1]
    long = np.array([len(past) for past in train]) >= min(count, max(map(len, train))) / 2
    rows = np.random.default_rng(0).permutation(np.flatnonzero(long))[:MOST_ROWS]
    scale = np.concatenate(list(train)).std(0) * LEAST_SCALE + 1e-12
    x, mean, std = _standardised([train[i] for i in rows], count, scale)
    goal = (goals[rows].reshape(len(rows), -1) - np.tile(mean, horizon)) / np.tile(std, horizon)
    model = RidgeCV(np.logspace(-2, 4, 13)).fit(x, goal)
    x, mean, std = _standardised(test, count, scale)
    return model.predict(x).reshape(len(x), -1) * np.tile(std, horizon) + np.tile(mean, horizon)


def _standardised(
    pasts: Sequence[np.ndarray], count: int, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last `count` steps, 0 before the first, in units of each past's mean and scale; and these."""
    mean = np.stack([past.mean(0) for past in pasts])
    std = np.stack([np.maximum(past.std(0), scale) for past in pasts])
    x = np.zeros((len(pasts), count, pasts[0].shape[1]))
    for row, past, m, s in zip(x, pasts, mean, std, strict=True):
        last = past[-count:]
        row[count - len(last) :] = (last - m) / s
    return x.reshape(len(x), -1), mean, std


# Bytes ------------------------------------------------------------------------------------------------------------
def hidden_bytes(
    train: Sequence[Int[np.ndarray, " m"] | None], windows: Sequence[Sequence[Int[np.ndarray, " m"]]]
) -> dict[str, Float[np.ndarray, "n 2"]]:
    """[bits, bytes] that the hidden bytes of test windows (`HIDDEN` - byte) take by how often bytes come in train, and
    by how often they come after the byte before, where that one is shown; what never came is smoothed.
    """
    pairs = np.zeros((256, 256))
    for example in train:
        if example is not None:
            shown = (example[:-1] >= 0) & (example[1:] >= 0)
            np.add.at(pairs, (example[:-1][shown], example[1:][shown]), 1)
    alone = (pairs.sum(0) + 1 / 256) / (pairs.sum() + 1)
    after = (pairs + alone) / (pairs.sum(1, keepdims=True) + 1)
    return {
        "frequent bytes": np.array([_bits(row, lambda before, byte: alone[byte]) for row in windows]),
        "the byte before": np.array(
            [_bits(row, lambda before, byte: after[before, byte] if before >= 0 else alone[byte]) for row in windows]
        ),
    }


def _bits(windows: Sequence[np.ndarray], probability: Callable[[int, int], float]) -> tuple[float, float]:
    found = [
        -np.log2(probability(int(window[i - 1]) if i else -1, HIDDEN - int(window[i])))
        for window in windows
        for i in np.flatnonzero(window <= HIDDEN)
    ]
    return sum(found), float(len(found))
