"""How often words and n-grams of characters come in a text, for the linear model beside the Perceiver.

Words and pairs of them, and 1 to 5 characters within what white space parts; in lower case; weighted by TF-IDF with
1 + log of the count and scaled to length 1, words and characters apart (Salton and Buckley 1988). They are known by
64-bit hashes, so that no vocabulary of strings is kept: of two among 65,536 to be one is a chance of 1 in 10^10.
Not concerned with the bytes that the Perceiver reads (`text.py`).
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from perceivers.hashing import mixed
from perceivers.modalities.base import Part
from perceivers.modalities.terms import Terms
from perceivers.modalities.text import decode

CHARACTERS = 5  # an n-gram has at most so many
KEPT = 2**15  # of words, and of n-grams of characters: those in most rows of train
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
INVERSE = np.uint64(pow(int(BASE), -1, 2**64))
NOTHING = np.iinfo(np.int64).max  # fills up the table
BLANK = ord(" ")


class TextTerms(Terms):
    """`codes` are the hashes of the terms, sorted; a word's is even, an n-gram's of characters odd."""

    counts = True

    def __init__(self):
        super().__init__(2 * KEPT)
        self.register_buffer("codes", torch.full((self.width,), NOTHING))
        self.register_buffer("idf", torch.zeros(self.width))

    def learn(self, parts: Iterable[Part]) -> None:
        found, frequency, rows = np.zeros(0, np.int64), np.zeros(0, np.int64), 0
        for part in parts:
            once = np.concatenate([np.unique(codes) for codes in _codes(part)])
            more, counts = np.unique(once, return_counts=True)
            found, place = np.unique(np.concatenate([found, more]), return_inverse=True)
            frequency = np.bincount(place, np.concatenate([frequency, counts])).astype(np.int64)
            rows += len(part["mask"])
        order = np.lexsort((found, -frequency))  # those in most rows first
        kept = np.sort(np.concatenate([order[found[order] % 2 == kind][:KEPT] for kind in (0, 1)]))
        idf = np.log((1 + rows) / (1 + frequency[kept])) + 1
        self.codes[: len(kept)] = torch.from_numpy(found[kept])
        self.idf[: len(kept)] = torch.from_numpy(idf).float()

    def forward(self, part: Part) -> tuple[Int[Tensor, "b t"], Float[Tensor, "b t"]]:
        known, idf = self.codes.cpu().numpy(), self.idf.cpu().numpy()
        rows = [_weighted(codes, known, idf) for codes in _codes(part)]
        shape = len(rows), max([1, *(len(terms) for terms, _ in rows)])
        terms, weights = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        for i, (row, weight) in enumerate(rows):
            terms[i, : len(row)], weights[i, : len(row)] = row, weight
        device = self.codes.device
        return torch.from_numpy(terms).to(device), torch.from_numpy(weights).to(device)


def _weighted(
    codes: Int[np.ndarray, " n"], known: Int[np.ndarray, " w"], idf: Float[np.ndarray, " w"]
) -> tuple[Int[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """The places of a row's terms in the table, and their weights."""
    own, counts = np.unique(codes, return_counts=True)
    place = np.searchsorted(known, own)
    there = known[place.clip(max=len(known) - 1)] == own
    place = place[there]
    weights = (1 + np.log(counts[there])) * idf[place]
    for kind in (0, 1):
        of_kind = own[there] % 2 == kind
        weights[of_kind] /= max(float(np.linalg.norm(weights[of_kind])), 1e-12)
    return place, weights


def _codes(part: Part) -> Iterator[Int[np.ndarray, " n"]]:
    """The hashes of all terms of each row, as often as they come."""
    bytes_, mask = part["bytes"].cpu().numpy(), part["mask"].cpu().numpy()
    for row, there in zip(bytes_, mask, strict=True):
        yield hashes(decode(row[there]))


@lru_cache(maxsize=64)  # explanations ask for the same texts many times
def hashes(text: str) -> Int[np.ndarray, " n"]:
    """The hashes of the words, of the pairs of neighbouring words, and of 1 to 5 characters within white space, where
    an n-gram may begin or end with one blank. Polynomials modulo 2^64, by differences of their running sums.
    """
    characters = np.frombuffer(f" {' '.join(text.lower().split())} ".encode("utf-32-le", "replace"), np.uint32)
    with np.errstate(over="ignore"):
        up = np.multiply.accumulate(np.full(len(characters), BASE))
        down = np.multiply.accumulate(np.full(len(characters), INVERSE))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(characters * up, dtype=np.uint64)])

        def between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
            return mixed((sums[end] - sums[start]) * down[start] + (end - start).astype(np.uint64))

        blank = characters == BLANK
        blanks = np.concatenate([[0], np.cumsum(blank)])
        found = []
        for n in range(1, min(CHARACTERS, len(characters)) + 1):
            start = np.arange(len(characters) - n + 1)
            inner = blanks[start + max(1, n - 1)] - blanks[start + min(1, n - 1)]  # blanks that are not at an end
            some = blanks[start + n] - blanks[start] < n
            start = start[(inner == 0) & some] if n > 1 else start[~blank]
            found.append(between(start, start + n) | np.uint64(1))
        words = between(*_words(characters, blank))
        pairs = mixed(words[:-1] * BASE + words[1:])
        found += [words & ~np.uint64(1), pairs & ~np.uint64(1)]
    return np.concatenate(found).view(np.int64)


def _words(characters: np.ndarray, blank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where words start and end: runs of letters and digits, and each other character by itself."""
    inside = np.char.isalnum(characters.view("<U1"))
    same = inside[1:] & inside[:-1]
    edges = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    start, end = edges[:-1], edges[1:]
    full = ~blank[start]
    return start[full], end[full]
