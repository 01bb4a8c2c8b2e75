"""Texts with masked bytes, and what stood there, by the language model.

Not concerned with ids and windows (`published/text.py`).
"""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from perceivers.core.rollout import rollout
from perceivers.data.schema import Field
from perceivers.data.sources import Table
from perceivers.errors import Unreadable
from perceivers.jobs.base import Job
from perceivers.modalities.shaded import Passage, busiest, shades
from perceivers.published import text
from perceivers.published.models import MaskedLanguage
from perceivers.published.text import MASK, MASK_TEXT, Window

BEST = 5
DRAWN = 400  # characters


@dataclass(frozen=True)
class Masked:
    """A text with masks, its ids, and the windows that they are read in."""

    text: str
    ids: list[int]
    windows: list[Window]


class FillMasks(Job[Masked]):
    """Answers `filled`, its probability, the five best `fills` of each stretch of masks, and how many `windows` of a
    long text were read.

    Each `<mask>` in a text stands for one byte. The bytes of a stretch are independent of each other given the rest:
    the probability of a fill is the product of theirs.
    """

    field = Field("text", "text", "input", ("text",))
    target = Field("filled", "text", "target", ("filled",))
    wants = f"texts with {MASK_TEXT} for each byte that is to be filled"

    def __init__(self, model: MaskedLanguage, name: str):
        super().__init__(model, name)
        self.model = model

    def suits(self, cells: list[Any]) -> bool:
        return any(isinstance(cell, str) and MASK_TEXT in cell for cell in cells) or _are_files(cells)

    def column(self, table: Table) -> Field:
        field = super().column(table)
        return field.with_options(files=_are_files(table.frame[field.columns[0]].drop_nulls().to_list()))

    def read(self, cell: Any) -> Masked:
        words = _read_file(cell) if isinstance(cell, Path) else cell
        if not isinstance(words, str):
            raise Unreadable(f"{str(words)[:60]!r} came, expected a text")
        ids = text.encode(words)
        if MASK not in ids:
            raise Unreadable(f"nothing to fill in {words[:60]!r}: write {MASK_TEXT} for each byte to be filled")
        return Masked(words, ids, text.windows(ids, text.room(self.model)))

    def remarks(self, example: Masked) -> list[str]:
        if len(example.ids) <= (room := text.room(self.model)):
            return []
        return [f"over {room:,} bytes: read in windows of so many, which share a quarter with the next"]

    def answer(self, example: Masked, proba: bool) -> dict[str, Any]:
        found = text.probabilities(self.model, example.ids)
        fills, done = [], 0
        for length in stretches(example.ids):
            fills.append(best_fills(found[done : done + length].double().numpy()))
            done += length
        return {
            "filled": text.decode(text.filled(example.ids, found)),
            "filled_probability": float(found.double().max(-1).values.prod()),
            "fills": fills,
            "windows": len(example.windows),
        }

    def numbers(self, example: Masked) -> Float[Tensor, "k 256"]:
        window = example.windows[0]
        return text.probabilities(self.model, example.ids[window.start : window.stop])

    @torch.inference_mode()
    def attention(self, example: Masked) -> Float[np.ndarray, "w m"]:
        rows = []
        for window in example.windows:
            ids, mask, places = text.as_read(self.model, example.ids, window)
            queries = self.model.queries(1)[:, places]
            looked = rollout(self.model.perceiver, self.model.inputs(ids), queries, mask).mean(1)[0]
            before = places[0] - (window.masks[0] - window.start)
            rows.append(looked[before : before + window.stop - window.start].double().cpu().numpy())
        return np.stack(rows)

    def shaded(self, example: Masked, weights: Float[np.ndarray, "w m"]) -> Passage:
        """The stretch of 400 characters with the most weight; windows count by their masks."""
        by_id = np.zeros(len(example.ids))
        for window, row in zip(example.windows, weights, strict=True):
            by_id[window.start : window.stop] += row * len(window.masks)
        by_character = _on_characters(example.text, by_id)
        start = busiest(by_character, DRAWN)
        drawn = slice(start, start + DRAWN)
        after = start + DRAWN < len(example.text)
        return Passage(example.text[drawn], shades(by_character)[drawn], start > 0, after)


def stretches(ids: list[int]) -> list[int]:
    """The lengths of the stretches of masks beside each other, in order."""
    return [len(list(group)) for is_mask, group in groupby(ids, lambda one: one == MASK) if is_mask]


def best_fills(found: Float[np.ndarray, "k 256"]) -> list[dict[str, Any]]:
    r"""The five likeliest fills of one stretch, the likeliest first: `fill` and its `probability`.

    A byte that is no UTF-8 where it stands is written as such: `\xc3`.
    """
    best: list[tuple[float, bytes]] = [(1.0, b"")]
    for row in found:
        likeliest = np.argsort(-row, kind="stable")[:BEST].tolist()
        longer = [(p * float(row[byte]), fill + bytes([byte])) for p, fill in best for byte in likeliest]
        best = sorted(longer, key=lambda pair: -pair[0])[:BEST]
    return [{"fill": fill.decode("utf-8", errors="backslashreplace"), "probability": p} for p, fill in best]


def _are_files(cells: list[Any]) -> bool:
    """Whether cells are names of text files rather than texts."""
    return bool(cells) and all(
        isinstance(cell, str) and cell.lower().endswith(".txt") and MASK_TEXT not in cell for cell in cells
    )


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error
    except OSError as error:
        raise Unreadable(f"{path}: cannot be read: {error.strerror}") from error


def _on_characters(words: str, by_id: Float[np.ndarray, " n"]) -> Float[np.ndarray, " c"]:
    """Weights of ids as weights of characters: the mean of its bytes; all six of `<mask>` have that of their id."""
    sizes = []  # (ids, characters) of each sign
    for i, part in enumerate(words.split(MASK_TEXT)):
        sizes += [(1, len(MASK_TEXT))] if i else []
        sizes += [(len(character.encode()), 1) for character in part]
    ids, characters = np.array(sizes).T
    first = np.concatenate([[0], ids.cumsum()[:-1]])
    return np.repeat(np.add.reduceat(by_id, first) / ids, characters)
