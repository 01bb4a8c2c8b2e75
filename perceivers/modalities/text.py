"""Text as UTF-8 bytes: no tokenizer, no vocabulary.

Not concerned with asking for text: here it is an input, `masked.py` asks for its bytes.
"""

import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, gelu, pad

from perceivers import recipe
from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.errors import Unreadable
from perceivers.modalities.base import (
    Inputs,
    Modality,
    Part,
    PerField,
    Uniform,
    is_missing,
    one_column,
    one_of,
    positive,
)
from perceivers.modalities.shaded import Passage, Plain, Shaded, busiest, shades
from perceivers.modalities.terms import Terms
from perceivers.modalities.windows import piece, remarks, shared, starts, windows

HASH_ROWS = 2**15
WIDTH = 64  # of byte and n-gram embeddings
CONTEXT = 7  # tokens that a token sees of its neighbourhood
NUM_BANDS = 32
DRAWN = 400


class Text(Modality):
    """Options: `max_bytes` (of one window; None: the 99th percentile of train), `files` (cells are paths of txt files).

    An example is the bytes of a text: uint8 (m).
    """

    name = "text"
    options: ClassVar[Mapping[str, Any]] = {"max_bytes": None, "files": False}

    def check(self, field: Any) -> None:
        one_column(field)
        positive(field, "max_bytes")
        one_of(field, "files", bool)

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        if field.options["max_bytes"] is not None:
            return {}
        lengths = [0]
        for cell in cells:
            with suppress(Unreadable):
                example = self.read(field, cell)
                lengths.append(0 if example is None else len(example))
        longest = int(np.ceil(np.percentile(lengths, 99)))
        return {"max_bytes": min(max(longest, recipe.TEXT_LEAST_BYTES), recipe.TEXT_MOST_BYTES)}

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """A str, a number, or the Path of a UTF-8 file → bytes, uint8 (m). An empty text is there, with no bytes."""
        if isinstance(cell, Path):
            return np.frombuffer(_read_file(cell), np.uint8)
        if is_missing(cell) and not isinstance(cell, str):
            return None
        if not isinstance(cell, str | int | float):
            raise Unreadable(f"a {type(cell).__name__} came, expected a text or the path of a txt file")
        try:
            return np.frombuffer(str(cell).encode("utf-8"), np.uint8)
        except UnicodeEncodeError as error:
            raise Unreadable(f"character {error.start} of a text is half of a surrogate pair: not Unicode") from error

    def windows(self, field: Any, example: np.ndarray | None) -> list[np.ndarray | None]:
        """Overlapping windows of `max_bytes`, the last one flush with the end."""
        return windows(example, field.options["max_bytes"])

    def remarks(self, field: Any, cell: Any, example: np.ndarray | None) -> Sequence[str]:
        return remarks(example, field.options["max_bytes"])

    def crop(self, field: Any, example: np.ndarray, uniform: float) -> np.ndarray:
        return piece(example, field.options["max_bytes"], uniform)

    def size(self, field: Any, cell: Any) -> int:
        if isinstance(cell, Path):
            length = cell.stat().st_size if cell.is_file() else 0
        else:
            length = len(cell.encode("utf-8", "replace")) if isinstance(cell, str) else 1
        return -(-min(length, field.options["max_bytes"]) // recipe.TEXT_PATCH)

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`bytes` (b m) uint8, 0 where there are none; `mask` (b m), True where there is one. m ≥ 1, ≤ max_bytes."""
        longest = max([1, *(len(example) for example in examples if example is not None)])
        array = np.zeros((len(examples), longest), np.uint8)
        mask = np.zeros((len(examples), longest), bool)
        for row, example in enumerate(examples):
            if example is not None:
                array[row, : len(example)] = example
                mask[row, : len(example)] = True
        return {"bytes": torch.from_numpy(array), "mask": torch.from_numpy(mask)}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Masks two fifths of the spans of eight bytes."""
        length = part["mask"].shape[1]
        kept = uniform("spans", -(-length // recipe.TEXT_SPAN)) >= recipe.TEXT_SPAN_DROP
        return {**part, "mask": part["mask"] & repeat(kept, "b s -> b (s span)", span=recipe.TEXT_SPAN)[:, :length]}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "mask": part["mask"] & ~rows[:, None]}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField({field.name: TextInput(field.options["max_bytes"], channels) for field in fields})

    def terms(self, field: Any) -> Terms:
        from perceivers.modalities.text_terms import TextTerms

        return TextTerms()

    def draw(self, field: Any, cell: Any) -> str:
        example = self.read(field, cell)
        if example is None:
            return "–"
        text = decode(example)
        return html.escape(text[:DRAWN] + ("…" if len(text) > DRAWN else ""))

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The stretch of 400 characters with the most weight. A character has the mean weight of its bytes."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        by_byte = np.repeat(weights / recipe.TEXT_PATCH, recipe.TEXT_PATCH, axis=1)  # a token's is shared by its bytes
        return passage(example, over_windows(by_byte, len(example), field.options["max_bytes"]))

    def baseline(self, field: Any) -> Any:
        """TF-IDF of words and of character 2- to 5-grams within words."""
        from perceivers.modalities import features

        return features.texts()


def decode(example: np.ndarray | None) -> str:
    """Bytes → text; a character that a window cut is replaced by �, and None is empty."""
    return "" if example is None else example.tobytes().decode("utf-8", errors="replace")


def over_windows(by_byte: Float[np.ndarray, "w m"], length: int, longest: int) -> Float[np.ndarray, " n"]:
    """The weights of the bytes of each window as weights of the bytes of the text: the mean where windows overlap."""
    total, count = np.zeros(length), np.zeros(length)
    for start, window in zip(shared(starts(length, longest), len(by_byte)), by_byte, strict=True):
        part = slice(start, start + longest)
        total[part] += window[: len(total[part])]
        count[part] += 1
    return total / np.maximum(count, 1)


def passage(example: np.ndarray, by_byte: Float[np.ndarray, " n"]) -> Passage:
    """The stretch of 400 characters with the most weight. A character has the mean weight of its bytes."""
    text, place = _characters(example)
    by_character = np.bincount(place, by_byte, len(text)) / np.maximum(np.bincount(place, minlength=len(text)), 1)
    start = busiest(by_character, DRAWN)
    drawn = slice(start, start + DRAWN)
    return Passage(text[drawn], shades(by_character)[drawn], start > 0, start + DRAWN < len(text))


def _characters(example: np.ndarray) -> tuple[str, Int[np.ndarray, " n"]]:
    """The text of UTF-8 bytes, and for each byte the character that it is part of."""
    first = (example & 0xC0) != 0x80  # all others continue a character
    return decode(example), first.cumsum() - 1


def _read_file(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}") from error
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"{path}: not UTF-8: byte {error.start} is 0x{content[error.start]:02x}; save it as UTF-8"
        ) from error
    return content.removeprefix(b"\xef\xbb\xbf")


class TextInput(nn.Module):
    """Bytes (b m) → tokens of four bytes each (b m/4 channels).

    A token is the sum of the embeddings of its bytes (each place in it has its own) and of the byte n-grams that
    begin in it, hashed (Clark et al. 2022, "CANINE", section 3.1; Bojanowski et al. 2017), a look at its neighbours,
    and its position. An n-gram with a masked byte is left out, so masked bytes change nothing.
    """

    def __init__(self, max_bytes: int, channels: int):
        super().__init__()
        self.max_tokens = -(-max_bytes // recipe.TEXT_PATCH)
        bytes_ = torch.empty(1 + 256 * recipe.TEXT_PATCH, WIDTH).normal_(std=WIDTH**-0.5)
        ngrams = torch.empty(HASH_ROWS, WIDTH).normal_(std=0.01)  # small: one that train lacks says next to nothing
        self.embeddings = nn.Parameter(torch.cat([bytes_, ngrams]))
        self.neighbours = nn.Conv1d(WIDTH, WIDTH, CONTEXT, padding=CONTEXT // 2)
        self.to_channels = linear(WIDTH, channels)
        self.positions = linear(fourier_channels(1, NUM_BANDS), channels)
        self.field = LearnedArray(1, channels)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        there = part["mask"]
        there = pad(there, (0, -there.shape[1] % recipe.TEXT_PATCH))
        bytes_ = pad(part["bytes"], (0, there.shape[1] - part["bytes"].shape[1])).long()
        mask = rearrange(there, "b (m p) -> b m p", p=recipe.TEXT_PATCH).any(-1)
        x = self.embed(token_rows(bytes_, there)) * mask.unsqueeze(-1)
        near = rearrange(self.neighbours(rearrange(x, "b m w -> b w m")), "b w m -> b m w")
        place = torch.arange(mask.shape[1], device=mask.device)[:, None] * (2 / self.max_tokens) - 1
        positions = self.positions(fourier_features(place, NUM_BANDS, [self.max_tokens]))
        return self.to_channels(x + gelu(near)) + positions + self.field(1), mask

    def embed(self, rows: Int[Tensor, "b m k"]) -> Float[Tensor, "b m w"]:
        """The sum of the embeddings of each token; row 0 is none."""
        summed = embedding_bag(rearrange(rows, "b m k -> (b m) k"), self.embeddings, mode="sum", padding_idx=0)
        return rearrange(summed, "(b m) w -> b m w", b=len(rows))


def token_rows(bytes_: Int[Tensor, "b m"], mask: Bool[Tensor, "b m"]) -> Int[Tensor, "b t k"]:
    """For each token the rows of its bytes and n-grams in the table of embeddings; 0 where masked."""
    place = torch.arange(bytes_.shape[1], device=bytes_.device) % recipe.TEXT_PATCH
    rows = [torch.where(mask, 1 + 256 * place + bytes_, 0)]
    for n in recipe.TEXT_NGRAMS:
        code, there = torch.full_like(bytes_, n), mask
        for step in range(n):
            code = code * 257 + _ahead(bytes_, step)
            there = there & _ahead(mask, step)
        hashed = ((code * 0x9E3779B1 & 0xFFFFFFFF) >> 17) % HASH_ROWS  # multiplicative hashing: Knuth, vol. 3, 6.4
        rows.append(torch.where(there, 1 + 256 * recipe.TEXT_PATCH + hashed, 0))
    return rearrange(torch.stack(rows), "k b (m p) -> b m (k p)", p=recipe.TEXT_PATCH)


def _ahead(x: Tensor, steps: int) -> Tensor:
    """Each place gets what stands `steps` after it, and 0 at the end."""
    return pad(x[:, steps:], (0, steps))
