"""Text as DeepMind's language model reads it: an element for each byte.

Not concerned with how cells become bytes (`text.py`), nor with asking for bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from perceivers.modalities.base import Part, Uniform
from perceivers.modalities.deepmind import Deepmind, check_sizes, check_source, source
from perceivers.modalities.shaded import Plain, Shaded
from perceivers.modalities.text import Text, over_windows, passage
from perceivers.published.inputs import ByteInputs
from perceivers.published.text import CLS, PAD, SEP, SPECIAL

TEXT = Text()


class DeepmindText(Deepmind):
    """Text as the language model reads it. Options: `max_bytes` of one window (None: the 99th percentile of train, at
    most what the model reads), `files` (cells are paths of txt files), `source` (hub, original), `length` (positions),
    `vocabulary` and `width` of the model.

    An example is the bytes of a text: uint8 (m).
    """

    name = "deepmind_text"
    options: ClassVar[Mapping[str, Any]] = {
        "max_bytes": None,
        "files": False,
        "source": "hub",
        "length": 2_048,
        "vocabulary": 262,
        "width": 768,
    }

    def check(self, field: Any) -> None:
        TEXT.check(field)
        check_source(field)
        check_sizes(field, "length", "vocabulary", "width")

    def adapt(self, origin: Any, fields: Sequence[Any]) -> list[Any]:
        def adapted(field: Any) -> Any:
            own = {name: field.options[name] for name in ("max_bytes", "files") if name in field.options}
            return replace(field, modality=self.name, options={**origin.options, "max_bytes": None, **own})

        return [adapted(field) if field.modality == TEXT.name else field for field in fields]

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        found = TEXT.fit(field, cells)
        return {
            name: min(value, field.options["length"] - len(source(field).ends([]))) for name, value in found.items()
        }

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """As `Text.read`: a str, a number, or the Path of a UTF-8 file → bytes, uint8 (m)."""
        return TEXT.read(field, cell)

    def windows(self, field: Any, example: np.ndarray | None) -> list[np.ndarray | None]:
        """Overlapping windows of `max_bytes`, the last one flush with the end."""
        return TEXT.windows(field, example)

    def crop(self, field: Any, example: np.ndarray, uniform: float) -> np.ndarray:
        return TEXT.crop(field, example, uniform)

    def elements(self, field: Any) -> int:
        return field.options["max_bytes"] or field.options["length"]

    def size(self, field: Any, cell: Any) -> int:
        return TEXT.size(field, cell)

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`bytes` (b m) uint8, 0 where there are none; `mask` (b m), True where there is one. m ≥ 1, ≤ max_bytes."""
        return TEXT.collate(field, examples)

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Masks a fifth of the spans of eight bytes."""
        return TEXT.augment(field, part, uniform)

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return TEXT.drop(field, part, rows)

    def module(self, field: Any) -> nn.Module:
        return ByteIdsInput(field)

    def draw(self, field: Any, cell: Any) -> str:
        return TEXT.draw(field, cell)

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The stretch of 400 characters with the most weight. A character has the mean weight of its bytes."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        before = len(source(field).ends([])) // 2
        return passage(example, over_windows(weights[:, before:], len(example), field.options["max_bytes"]))

    def fitted(self, name: str, weight: Tensor, old: Any, new: Any) -> Tensor | None:
        """Positions of longer texts: between those that were learned."""
        if name != "published.positions.array":
            return None
        stretched = interpolate(rearrange(weight, "m c -> 1 c m"), positions(new), mode="linear", align_corners=True)
        return rearrange(stretched, "1 c m -> m c")

    def baseline(self, field: Any) -> Any:
        """TF-IDF of words and of character 2- to 5-grams within words."""
        return TEXT.baseline(field)


def positions(field: Any) -> int:
    """How many positions are learned: the model's, or more where longer windows are asked for."""
    return max(field.options["length"], field.options["max_bytes"] + len(source(field).ends([])))


class ByteIdsInput(nn.Module):
    """Bytes (b m) → an element for each, and for the ends of the text where the source has them (b m+2 channels)."""

    def __init__(self, field: Any):
        super().__init__()
        self.published = ByteInputs(field.options["vocabulary"], positions(field), field.options["width"])
        self.channels = field.options["width"]
        self.has_ends = len(source(field).ends([])) > 0

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        there = part["mask"]
        ids = torch.where(there, part["bytes"].long() + SPECIAL, PAD)
        if self.has_ends:
            ids, there = between_ends(ids, there)
        return self.published(ids), there


def between_ends(
    ids: Int[Tensor, "b m"], there: Bool[Tensor, "b m"]
) -> tuple[Int[Tensor, "b m+2"], Bool[Tensor, "b m+2"]]:
    """CLS before a text and SEP right behind it; nothing where there is no text at all."""
    last = (there * torch.arange(1, there.shape[1] + 1, device=there.device)).amax(1)  # counted from 1; 0: no text
    place = torch.arange(ids.shape[1] + 2, device=ids.device)
    padded = torch.nn.functional.pad(ids, (1, 1), value=PAD)
    padded[:, 0] = CLS
    padded = torch.where(place == last[:, None] + 1, SEP, padded)
    ends = ((place == 0) | (place == last[:, None] + 1)) & (last[:, None] > 0)
    return padded, torch.nn.functional.pad(there, (1, 1), value=False) | ends
