"""Pictures as one of DeepMind's three ImageNet models reads them: an element for each pixel, or place of a stem.

Not concerned with how files become pixels (`pixels.py`), nor with crops (`published/pictures.py`).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import interpolate

from perceivers.core.inputs import join
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import pixels
from perceivers.modalities.base import Part, Uniform, fault, one_column, one_of, positive
from perceivers.modalities.deepmind import Deepmind, asked_side, check_sizes, check_source, source
from perceivers.modalities.image import Image, lit, moved
from perceivers.modalities.shaded import SIDE, Picture, Plain, Shaded, img, shades
from perceivers.published import pictures
from perceivers.published.inputs import FourierPositions, LearnedInputs, PixelInputs, StemInputs
from perceivers.stored import bands

IMAGE = Image()
SAMPLE = 200  # pictures of train that `fit` reads
DRAWN = 512  # pixels of the longest side of a drawing
KINDS = ("fourier", "learned", "conv")


class DeepmindImage(Deepmind):
    """Pictures as an ImageNet model reads them: the square in the middle, resized. Options: `side` of that square in
    pixels, `channels` (None: those of train; 1 to 4 are read as RGB), `max_pixels`, `flip` (as of `image`), `source`
    (hub, original), `kind` (fourier, learned, conv), and the model's sizes: `resolution` and `num_bands` of Fourier
    positions, `width` of learned features.

    An example is (side side c), uint8.
    """

    name = "deepmind_image"
    options: ClassVar[Mapping[str, Any]] = {
        "side": 224,
        "channels": None,
        "max_pixels": 500_000_000,
        "flip": False,
        "source": "hub",
        "kind": "fourier",
        "resolution": [224, 224],
        "num_bands": 64,
        "width": 256,
    }

    def check(self, field: Any) -> None:
        one_column(field)
        positive(field, "channels")
        check_sizes(field, "side", "max_pixels", "resolution", "num_bands", "width")
        one_of(field, "flip", bool)
        one_of(field, "kind", *KINDS)
        check_source(field)

    def adapt(self, origin: Any, fields: Sequence[Any]) -> list[Any]:
        """An image's `resize` is the new side, where a person asked for one."""

        def adapted(field: Any) -> Any:
            own = {name: field.options[name] for name in ("max_pixels", "flip") if name in field.options}
            own |= {"channels": field.options.get("channels")}
            own |= {"side": side} if (side := asked_side(field)) else {}
            return replace(field, modality=self.name, options={**origin.options, **own})

        return [adapted(field) if field.modality == IMAGE.name else field for field in fields]

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        if field.options["channels"] is not None:
            return {}
        found: list[int] = []
        for i in np.random.default_rng(0).permutation(len(cells)):
            with suppress(Unreadable):
                picture = pixels.read(cells[i], field.options["max_pixels"])
                found += [] if picture is None else [picture.shape[2]]
            if len(found) == SAMPLE:
                break
        if not found:
            why = fault(partial(pixels.read, max_pixels=field.options["max_pixels"]), cells)
            raise BadInput(f"{field.name}: no picture of the train rows can be read: {why}")
        return {"channels": 3 if max(found) <= 4 else max(found)}

    def read(self, field: Any, cell: Any) -> UInt8[np.ndarray, "s s c"] | None:
        """As `Image.read`: a Path, an array or a nested list → the square in the middle, resized, of 8 bits."""
        picture = pixels.read(cell, field.options["max_pixels"])
        if picture is None:
            return None
        picture = pixels.fit(picture, channels_read(field), None)
        eight = np.concatenate([np.round(255 * pixels.as_float(band)).astype(np.uint8) for band in bands(picture)])
        crop_and_resize, side = source(field).crop_and_resize, field.options["side"]
        if eight.shape[2] == 3:
            return crop_and_resize(eight, side)
        planes = [crop_and_resize(repeat(plane, "h w -> h w 3"), side) for plane in rearrange(eight, "h w c -> c h w")]
        return np.stack([plane[..., 0] for plane in planes], axis=-1)

    def elements(self, field: Any) -> int:
        return (field.options["side"] // (4 if field.options["kind"] == "conv" else 1)) ** 2

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`pixels` (b side side c) float32 in [0, 1]; `there` (b), False where missing."""
        side = field.options["side"]
        array = np.zeros((len(examples), side, side, channels_read(field)), np.float32)
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                row[:] = pixels.as_float(example)
        there = torch.tensor([example is not None for example in examples])
        return {"pixels": torch.from_numpy(array), "there": there}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Shifts, scales and turns each picture a little, and changes contrast and brightness."""
        sizes = torch.full((len(part["pixels"]), 2), field.options["side"])
        changed = moved(part["pixels"], sizes, uniform, field.options["flip"])
        mean = (pictures.MEAN / 255).tolist() if changed.shape[3] == 3 else changed.shape[3] * [0.5]
        return {**part, "pixels": lit(changed, mean, uniform)}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "there": part["there"] & ~rows}

    def module(self, field: Any) -> nn.Module:
        return SquareInput(field)

    def draw(self, field: Any, cell: Any) -> str:
        example = self.read(field, cell)
        if example is None:
            return "–"
        return img(pixels.as_picture(example), SIDE, f"{example.shape[1]} × {example.shape[0]} pixels")

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The whole picture; what is cropped off has no weight."""
        picture = pixels.read(cell, field.options["max_pixels"])
        if picture is None:
            return Plain("–")
        shown = np.asarray(pixels.fit(picture, channels_read(field), DRAWN))
        shown = np.asarray(pixels.as_picture(shown).convert("RGB"))
        return on_picture(shown, weights.mean(0))

    def fitted(self, name: str, weight: Tensor, old: Any, new: Any) -> Tensor | None:
        """Learned positions of squares of another side: between those that were learned."""
        if name != "published.positions.array":
            return None
        was, side = old.options["side"], new.options["side"]
        plane = rearrange(weight, "(y x) c -> 1 c y x", y=was)
        resized = interpolate(plane, (side, side), mode="bilinear", antialias=side < was)
        return rearrange(resized, "1 c y x -> (y x) c")

    def refitted(self, old: Any, new: Any) -> list[str]:
        was, side = old.options["side"], new.options["side"]
        found = [] if side == was else [f"squares of {side} × {side} pixels in place of {was} × {was}"]
        return found if channels_read(new) == 3 else [*found, f"{channels_read(new)} channels in place of 3"]

    def baseline(self, field: Any) -> Any:
        """Pixels at 16 × 16."""
        return IMAGE.baseline(field.with_options(channels=channels_read(field)))


def channels_read(field: Any) -> int:
    """Of an example: grey and alpha become RGB, as the models read them."""
    return 3 if field.options["channels"] <= 4 else field.options["channels"]


def on_picture(picture: UInt8[np.ndarray, "h w 3"], weights: Float[np.ndarray, " m"]) -> Picture:
    """A picture with the weights of the elements of the square that a model reads of it."""
    side, grid = pictures.cropped(picture), round(len(weights) ** 0.5)
    inside = torch.from_numpy(rearrange(weights, "(y x) -> 1 1 y x", y=grid))
    spread = interpolate(inside, (side, side), mode="bilinear", antialias=side < grid)
    whole = np.zeros(picture.shape[:2])
    pictures.centre_crop(whole, side)[:] = spread[0, 0].numpy()
    return Picture(picture, shades(whole))


def reader(options: Mapping[str, Any], parts: Any) -> PixelInputs | LearnedInputs | StemInputs:
    """The published module of these sizes."""
    side, width = options["side"], options["width"]
    if options["kind"] == "learned":
        return LearnedInputs((side, side), width)
    positions = FourierPositions(options["num_bands"], options["resolution"], parts.linspace)
    return StemInputs(parts.stem(width), positions) if options["kind"] == "conv" else PixelInputs(positions)


class SquareInput(nn.Module):
    """Pixels (b side side c) → normalised as ImageNet's, then an element for each place (b m channels).

    Other channels than three come to each colour by learned shares, at first equal ones. A stem's batch norm keeps
    the statistics that it was published with: those of small batches are worse.
    """

    def __init__(self, field: Any):
        super().__init__()
        c = channels_read(field)
        self.colours = nn.Identity() if c == 3 else _mean_of(c)
        self.published = reader(field.options, source(field))
        self.channels = self.published.channels
        self.register_buffer("mean", torch.from_numpy(pictures.MEAN), persistent=False)
        self.register_buffer("std", torch.from_numpy(pictures.STD), persistent=False)

    def train(self, mode: bool = True) -> "SquareInput":
        super().train(mode)
        for part in self.published.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        images = (255 * self.colours(part["pixels"]).double() - self.mean) / self.std
        array = join(self.published(rearrange(images.float(), "b h w c -> b c h w")))
        return array, repeat(part["there"], "b -> b m", m=array.shape[1])


def _mean_of(channels: int) -> nn.Linear:
    """C channels → three colours, each their mean at first."""
    layer = nn.Linear(channels, 3, bias=False)
    nn.init.constant_(layer.weight, 1 / channels)
    return layer
