"""Two pictures as DeepMind's optical flow model reads two frames: each pixel with its neighbours in both.

Not concerned with how files become pixels (`pixels.py`), nor with neighbourhoods (`published/flow.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from perceivers.core.inputs import join
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import pixels
from perceivers.modalities.base import Part, is_missing
from perceivers.modalities.deepmind import Deepmind, asked_side, check_sizes, check_source, source
from perceivers.modalities.image import Image
from perceivers.modalities.shaded import SIDE, Picture, Plain, Shaded, img, shades
from perceivers.published import flow
from perceivers.published.inputs import FourierPositions, PairInputs
from perceivers.published.resize import linear
from perceivers.stored import bands

IMAGE = Image()


class DeepmindPair(Deepmind):
    """Two pictures of one size, the columns of one field, as the flow model reads two frames. Options: `size` (height
    and width at which they are read), `max_pixels`, `source` (hub, original), and the model's sizes: `width` of pixels,
    `resolution` and `num_bands` of Fourier positions.

    An example is (2 h w 3), uint8, RGB.
    """

    name = "deepmind_pair"
    options: ClassVar[Mapping[str, Any]] = {
        "size": [368, 496],
        "max_pixels": 500_000_000,
        "source": "hub",
        "width": 64,
        "resolution": [368, 496],
        "num_bands": 64,
    }

    def check(self, field: Any) -> None:
        if len(field.columns) != 2:
            raise BadInput(f"{field.name}: {self.name} reads two columns, the first picture and the second")
        if not isinstance(field.options["size"], list) or len(field.options["size"]) != 2:
            raise BadInput(f"{field.name}: size must be a height and a width, got {field.options['size']!r:.60}")
        check_sizes(field, "size", "max_pixels", "width", "resolution", "num_bands")
        check_source(field)

    def adapt(self, origin: Any, fields: Sequence[Any]) -> list[Any]:
        """Two image fields, where there are no more, become one; `resize` of the first is the longer side, if asked."""
        found = [field for field in fields if field.modality == IMAGE.name]
        if len(found) != 2:
            return list(fields)
        options, columns = dict(origin.options), tuple(column for field in found for column in field.columns)
        if longest := asked_side(found[0]):
            scale = longest / max(options["size"])
            options["size"] = [max(1, round(scale * side)) for side in options["size"]]
        pair = replace(found[0], name=" and ".join(columns), modality=self.name, columns=columns, options=options)
        return [pair if field is found[0] else field for field in fields if field is not found[1]]

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        return {}

    def read(self, field: Any, cell: Any) -> UInt8[np.ndarray, "2 h w 3"] | None:
        """Two paths, arrays or nested lists (h w) or (h w c) of one size → both at `size`, of 8 bits."""
        if any(is_missing(one) for one in cell):
            return None
        frames = [self._frame(field, one) for one in cell]
        flow.check_sizes(*frames)
        h, w = field.options["size"]
        return np.stack([linear(frame, (h, w)) for frame in frames])

    def _frame(self, field: Any, cell: Any) -> UInt8[np.ndarray, "h w 3"]:
        picture = pixels.read(cell, field.options["max_pixels"])
        if picture is None:
            raise Unreadable("no picture there: give the path of one, or an array")
        found = bands(pixels.fit(picture, 3, None))
        return np.concatenate([np.round(255 * pixels.as_float(band)).astype(np.uint8) for band in found])

    def elements(self, field: Any) -> int:
        h, w = field.options["size"]
        return h * w

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`pixels` (b 2 h w 3) uint8; `there` (b), False where missing."""
        array = np.zeros((len(examples), 2, *field.options["size"], 3), np.uint8)
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                row[:] = example
        there = torch.tensor([example is not None for example in examples])
        return {"pixels": torch.from_numpy(array), "there": there}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "there": part["there"] & ~rows}

    def module(self, field: Any) -> nn.Module:
        return NeighbourhoodInput(field)

    def draw(self, field: Any, cell: Any) -> str:
        example = self.read(field, cell)
        return "–" if example is None else img(pixels.as_picture(_beside(example)), 2 * SIDE, "two pictures")

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """Both pictures side by side: an element holds the same place of both."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        shade = shades(rearrange(weights.mean(0), "(h w) -> h w", h=example.shape[1]))
        return Picture(_beside(example), np.tile(shade, 2), 2 * SIDE)

    def refitted(self, old: Any, new: Any) -> list[str]:
        (was, before), (h, w) = old.options["size"], new.options["size"]
        return [] if (h, w) == (was, before) else [f"pictures of {h} × {w} pixels in place of {was} × {before}"]

    def baseline(self, field: Any) -> Any:
        """Pixels of both at 16 × 16."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer

        return make_pipeline(FunctionTransformer(_beside_all), IMAGE.baseline(field.with_options(channels=3)))


def _beside(pair: UInt8[np.ndarray, "2 h w 3"]) -> UInt8[np.ndarray, "h w2 3"]:
    return rearrange(pair, "t h w c -> h (t w) c")


def _beside_all(examples: Sequence[np.ndarray | None]) -> list[np.ndarray | None]:
    return [None if example is None else _beside(example) for example in examples]


class NeighbourhoodInput(nn.Module):
    """Two frames (b 2 h w 3) → an element for each place (b m channels)."""

    def __init__(self, field: Any):
        super().__init__()
        options = field.options
        positions = FourierPositions(options["num_bands"], options["resolution"], source(field).linspace)
        neighbourhood = 3 * 9
        self.published = PairInputs(tuple(options["size"]), neighbourhood, options["width"], positions)
        self.channels = self.published.channels

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        frames = rearrange(2 * (part["pixels"] / 255) - 1, "b t h w c -> b t c h w")
        array = join(self.published(flow.neighbourhoods(frames)))
        return array, repeat(part["there"], "b -> b m", m=array.shape[1])
