"""Honest features of examples for simple baselines: scikit-learn transformers from a list of examples.

Not concerned with the baselines themselves. Imported only where a baseline is wanted: it loads scikit-learn.
"""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from torch.nn.functional import adaptive_avg_pool3d

from perceivers.modalities import pixels
from perceivers.modalities.recordings import Recording
from perceivers.modalities.text import decode
from perceivers.modalities.waveform import log_mel

MOST_TERMS = 20_000
READ_BYTES = 2**17  # of a text: its n-grams take 300 times its bytes
OWN_SIDE, SIDE = 32, 16
CLIP = (4, 8, 8)
STEPS = 64
MEL_BANDS, STRETCHES = 40, 4
DISTANCE_BINS, PAIRS = 32, 4_096
MOST_UNITS = 50
MOST_BLOCKS = 1_024


def texts() -> Pipeline:
    """Bytes → TF-IDF of words and of character 2- to 5-grams within words, of the first 131,072 bytes."""
    words = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", max_features=MOST_TERMS, sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), max_features=MOST_TERMS, sublinear_tf=True)
    return make_pipeline(FunctionTransformer(_decode_all), make_union(words, characters))


def masked() -> Pipeline:
    """int16 of `Masked` → the same; what is asked is left out."""
    return make_pipeline(FunctionTransformer(_shown), texts())


def _shown(examples: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    return [None if example is None else example[example >= 0].astype(np.uint8) for example in examples]


def _decode_all(examples: Sequence[np.ndarray | None]) -> list[str]:
    return [decode(None if example is None else example[:READ_BYTES]) for example in examples]


def numbers(columns: int) -> FunctionTransformer:
    """(k) → the same; NaN where missing."""
    return FunctionTransformer(_as_numbers, kw_args={"columns": columns})


def _as_numbers(examples: Sequence[np.ndarray | None], columns: int) -> np.ndarray:
    return np.stack([np.full(columns, np.nan) if example is None else example for example in examples])


def categories() -> Pipeline:
    """An index → one column a category; missing (None or -1) is one, too."""
    return make_pipeline(FunctionTransformer(_as_column), OneHotEncoder(handle_unknown="ignore"))


def _as_column(examples: Sequence[Any]) -> np.ndarray:
    return np.array([[-1 if example is None else int(example)] for example in examples])


def labels(width: int) -> FunctionTransformer:
    """0/1 (k) → the same; none where missing."""
    return FunctionTransformer(_as_rows, kw_args={"width": width})


def _as_rows(examples: Sequence[np.ndarray | None], width: int) -> csr_matrix:
    return csr_matrix(np.array([np.zeros(width) if example is None else example for example in examples]))


class Thumbnails(TransformerMixin, BaseEstimator):
    """Pictures (h w c), uint8 or in [0, 1] → flat pixels in [0, 1]: at their own size where it is one and small."""

    def __init__(self, channels: int):
        self.channels = channels

    def fit(self, examples: Sequence[np.ndarray | None], y: Any = None) -> "Thumbnails":
        sizes = {example.shape[:2] for example in examples if example is not None}
        one_small = len(sizes) == 1 and max(next(iter(sizes))) <= OWN_SIDE
        self.size_ = next(iter(sizes)) if one_small else (SIDE, SIDE)
        return self

    def transform(self, examples: Sequence[np.ndarray | None]) -> np.ndarray:
        return np.stack([self._flat(example) for example in examples])

    def _flat(self, example: np.ndarray | None) -> np.ndarray:
        if example is None:
            return np.zeros(self.size_[0] * self.size_[1] * self.channels, np.float32)
        if example.shape[:2] == self.size_:
            return pixels.as_float(np.asarray(example)).ravel()
        return pixels.resized(example, self.size_).ravel()


class Motion(TransformerMixin, BaseEstimator):
    """Clips (t h w c), uint8 or in [0, 1] → means of 4 × 8 × 8 blocks of time and space, and at 8 × 8 places the mean
    change from frame to frame; 0 where missing.
    """

    def __init__(self, channels: int):
        self.channels = channels

    def fit(self, examples: Sequence[np.ndarray | None], y: Any = None) -> "Motion":
        return self

    def transform(self, examples: Sequence[np.ndarray | None]) -> np.ndarray:
        return np.stack([self._flat(example) for example in examples])

    def _flat(self, example: np.ndarray | None) -> np.ndarray:
        t, h, w = CLIP
        if example is None:
            return np.zeros((t + 1) * h * w * self.channels, np.float32)
        clip = torch.from_numpy(example / np.float32(255) if example.dtype == np.uint8 else example).permute(3, 0, 1, 2)
        means = adaptive_avg_pool3d(clip, CLIP)
        changes = clip.diff(dim=1).abs() if clip.shape[1] > 1 else torch.zeros_like(clip)
        return torch.cat([means, adaptive_avg_pool3d(changes, (1, h, w))], dim=1).numpy().ravel()


def ends() -> FunctionTransformer:
    """(n) → how many, the first and the last; NaN where missing."""
    return FunctionTransformer(_as_ends)


def _as_ends(examples: Sequence[np.ndarray | None]) -> np.ndarray:
    return np.array([(np.nan,) * 3 if e is None else (len(e), e[0], e[-1]) for e in examples])


class Resampled(TransformerMixin, BaseEstimator):
    """Series (t, 1 + k) → each of k channels at equal steps: its own where all are of one length, at most 64; and the
    length. NaN where missing.
    """

    def __init__(self, channels: int):
        self.channels = channels

    def fit(self, examples: Sequence[np.ndarray | None], y: Any = None) -> "Resampled":
        self.count_ = min(STEPS, max([1, *(len(example) for example in examples if example is not None)]))
        return self

    def transform(self, examples: Sequence[np.ndarray | None]) -> np.ndarray:
        return np.stack([self._flat(example) for example in examples])

    def _flat(self, example: np.ndarray | None) -> np.ndarray:
        if example is None:
            return np.full(self.count_ * self.channels + 1, np.nan)
        places = np.linspace(0, len(example) - 1, self.count_)
        there = ~np.isnan(example[:, 1:])
        columns = [
            np.interp(places, np.flatnonzero(known), channel[known]) if known.any() else np.full(self.count_, np.nan)
            for channel, known in zip(example[:, 1:].T, there.T, strict=True)
        ]
        return np.concatenate([*columns, [len(example)]])


class Spectra(TransformerMixin, BaseEstimator):
    """Sounds (n c) → of 40 log-mel bands the mean, the standard deviation and the mean in each quarter of the sound,
    and the length in seconds; NaN where missing.
    """

    def __init__(self, rate: int):
        self.rate = rate

    def fit(self, examples: Sequence[np.ndarray | None], y: Any = None) -> "Spectra":
        return self

    def transform(self, examples: Sequence[np.ndarray | None]) -> np.ndarray:
        return np.stack([self._flat(example) for example in examples])

    def _flat(self, example: np.ndarray | None) -> np.ndarray:
        if example is None:
            return np.full(MEL_BANDS * (2 + STRETCHES) + 1, np.nan)
        frames = log_mel(np.asarray(example).mean(1), self.rate, MEL_BANDS, max(1, self.rate // 100))
        places = np.linspace(0, len(frames), STRETCHES + 1).astype(int)
        quarters = [frames[a : max(b, a + 1)].mean(0) for a, b in pairwise(places)]
        return np.concatenate([frames.mean(0), frames.std(0), *quarters, [len(example) / self.rate]])


def read_clouds(features: int) -> Pipeline:
    """`Asked` of `Given` → the same; which points are asked is left out."""
    return make_pipeline(FunctionTransformer(_as_clouds), Distances(features))


def _as_clouds(examples: Sequence[Any]) -> list[np.ndarray | None]:
    return [None if example is None else example.cloud for example in examples]


class Distances(TransformerMixin, BaseEstimator):
    """Clouds (n, 3 + k) → the log of the size, the spread along the three main axes, histograms of the distances from
    the centre and between pairs of points (Osada et al. 2002, "Shape distributions"), and each feature's mean and
    standard deviation; NaN where missing.
    """

    def __init__(self, features: int):
        self.features = features

    def fit(self, examples: Sequence[np.ndarray | None], y: Any = None) -> "Distances":
        return self

    def transform(self, examples: Sequence[np.ndarray | None]) -> np.ndarray:
        return np.stack([self._flat(example) for example in examples])

    def _flat(self, example: np.ndarray | None) -> np.ndarray:
        if example is None:
            return np.full(4 + 2 * DISTANCE_BINS + 2 * self.features, np.nan)
        points = example[:, :3].astype(np.float64)
        points -= points.mean(0)
        size = max(float(np.sqrt((points**2).sum(1).mean())), 1e-12)
        points /= size
        first, second = np.random.default_rng(0).integers(len(points), size=(2, PAIRS))
        found = [np.linalg.norm(points, axis=1), np.linalg.norm(points[first] - points[second], axis=1)]
        histograms = [np.histogram(np.minimum(d, 3.99), DISTANCE_BINS, (0, 4))[0] / len(d) for d in found]
        spread = np.linalg.eigvalsh(points.T @ points / len(points))
        return np.concatenate([[np.log(size)], spread, *histograms, example[:, 3:].mean(0), example[:, 3:].std(0)])


class Rates(TransformerMixin, BaseEstimator):
    """Recordings → how many events there are, how long they take, and how many a time; and of each of the 50 most
    frequent units their number, the median and the spread of the gaps between them, and each value's mean and standard
    deviation; NaN where there is none.
    """

    def __init__(self, units: int, values: int):
        self.units, self.values = units, values

    def fit(self, examples: Sequence[Recording | None], y: Any = None) -> "Rates":
        total = sum((e.counts for e in examples if e is not None), start=np.zeros(self.units + 1, int))
        self.chosen_ = np.sort(np.argsort(-total, kind="stable")[:MOST_UNITS])
        return self

    def transform(self, examples: Sequence[Recording | None]) -> np.ndarray:
        return np.stack([self._flat(example) for example in examples])

    def _flat(self, example: Recording | None) -> np.ndarray:
        if example is None:
            return np.full(3 + len(self.chosen_) * (3 + 2 * self.values), np.nan)
        found = [len(example), example.length, len(example) / example.length if example.length else np.nan]
        for unit in self.chosen_:
            own = example.units == unit
            gaps, values = np.diff(example.times[own]), example.values[own]
            found += [own.sum(), np.median(gaps) if len(gaps) else np.nan, gaps.std() if len(gaps) else np.nan]
            for column in values.T:
                there = column[~np.isnan(column)]
                found += [there.mean(), there.std()] if len(there) else [np.nan, np.nan]
        return np.array(found, dtype=np.float64)


class Blocks(TransformerMixin, BaseEstimator):
    """Arrays (*s, k) → the mean of each of k channels in at most 1,024 blocks along the axes, each element where there
    are no more; and each channel's mean and standard deviation. NaN where missing.
    """

    def __init__(self, channels: int):
        self.channels = channels

    def fit(self, examples: Sequence[np.ndarray | None], y: Any = None) -> "Blocks":
        sizes = [example.shape[:-1] for example in examples if example is not None]
        counts = np.max(sizes, axis=0) if sizes else np.ones(1, int)
        while counts.prod() > MOST_BLOCKS:
            counts[counts.argmax()] = -(-counts.max() // 2)
        self.counts_ = tuple(counts.tolist())
        return self

    def transform(self, examples: Sequence[np.ndarray | None]) -> np.ndarray:
        return np.stack([self._flat(example) for example in examples])

    def _flat(self, example: np.ndarray | None) -> np.ndarray:
        if example is None:
            return np.full((int(np.prod(self.counts_)) + 2) * self.channels, np.nan)
        with warnings.catch_warnings(action="ignore"):  # of blocks where everything is missing: they are NaN
            array, places = example.astype(np.float64), tuple(range(example.ndim - 1))
            of_channels = [np.nanmean(array, axis=places), np.nanstd(array, axis=places)]
            for axis, count in enumerate(self.counts_):
                edges = np.linspace(0, array.shape[axis], count + 1).astype(int)
                blocks = [array.take(range(a, max(b, a + 1)), axis) for a, b in pairwise(edges)]
                array = np.stack([np.nanmean(block, axis=axis) for block in blocks], axis=axis)
        return np.concatenate([array.ravel(), *of_channels])
