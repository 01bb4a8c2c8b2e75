"""Images of any size, grey, RGB, with alpha, 16 bit or of n channels: patches of pixels and their positions.

Not concerned with how files and arrays become pixels (`pixels.py`), nor with asking for an image: it is an input.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate
from torch.utils.checkpoint import checkpoint

from perceivers import recipe
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import pixels
from perceivers.modalities.array_input import MOST_BLOCKS, WIDTH, ArrayTokens, inside, with_blocks
from perceivers.modalities.base import (
    Inputs,
    Modality,
    Part,
    PerField,
    Uniform,
    fault,
    numbers,
    one_column,
    one_of,
    positive,
    whole,
)
from perceivers.modalities.large import Piece, Stacked, any_stored, bands, is_stacked
from perceivers.modalities.shaded import SIDE, Picture, Plain, Shaded, img, shades
from perceivers.stored import BLOCK, Rows, some

SAMPLE = 200  # pictures of train that `fit` reads


class Image(Modality):
    """Options: `channels` (None: 1, 3, or what arrays have, by a sample of train), `resize` (the longest side is scaled
    down to at most this; None: never), `patch` (its side in pixels; None: by train's sizes), `max_pixels` (larger
    files are refused from their header), `mean` and `std` (of each channel, in [0, 1], of train), `flip` (left and
    right are changed at random in training), `blocks` (residual blocks of convolutions by which a patch sees those
    around it; 0: it is read by itself; None: those of the start, or 2).

    An example is (h w c), uint8, or float32 in [0, 1] where 8 bits do not hold it.
    """

    name = "image"
    options: ClassVar[Mapping[str, Any]] = {
        "channels": None,
        "resize": None,
        "patch": None,
        "max_pixels": 500_000_000,
        "mean": None,
        "std": None,
        "flip": False,
        "blocks": None,
    }

    def check(self, field: Any) -> None:
        one_column(field)
        for option in ("channels", "resize", "patch", "max_pixels"):
            positive(field, option)
        one_of(field, "max_pixels", int)
        one_of(field, "flip", bool)
        whole(field, "blocks", MOST_BLOCKS)
        for option in ("mean", "std"):
            numbers(field, option, field.options["channels"])

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        order = np.random.default_rng(0).permutation(len(cells))
        pictures = []
        for i in order:
            with suppress(Unreadable):
                picture = pixels.read(cells[i], field.options["max_pixels"])
                pictures += [] if picture is None else [picture]
            if len(pictures) == SAMPLE:
                break
        if not pictures:
            why = fault(partial(pixels.read, max_pixels=field.options["max_pixels"]), cells)
            raise BadInput(f"{field.name}: no picture of the train rows can be read: {why}")
        return self._found(field, pictures)

    def _found(self, field: Any, pictures: list[Rows]) -> dict[str, Any]:
        channels = field.options["channels"] or max(pixels.colours(picture.shape[2]) for picture in pictures)
        fitted = []
        for picture in pictures:
            with suppress(Unreadable):
                fitted.append(pixels.fit(picture, channels, field.options["resize"]))
        if not fitted:
            raise BadInput(f"{field.name}: no picture has {channels} channels: leave `channels` out")
        area = np.median([picture.shape[0] * picture.shape[1] for picture in fitted])
        values = np.concatenate([pixels.as_float(some(picture, BLOCK)).reshape(-1, channels) for picture in fitted])
        options = {
            "channels": channels,
            "patch": next(
                (patch for patch in recipe.IMAGE_PATCHES if area / patch**2 <= recipe.IMAGE_TOKENS),
                recipe.IMAGE_PATCHES[-1],
            ),
            "mean": values.mean(0, dtype=np.float64).tolist(),
            "std": np.maximum(values.std(0, dtype=np.float64), 1 / 255).tolist(),
            "blocks": recipe.ARRAY_BLOCKS,
        }
        return {name: value for name, value in options.items() if field.options[name] is None}

    def read(self, field: Any, cell: Any) -> Rows | None:
        """The Path of a png, jpg, webp, tiff, ppm, bmp, npy or gif (its first frame), or an array or nested list (h w)
        or (h w c), uint8, uint16, bool, int in 0 … 255 or float in [0, 1] → (h w c).
        """
        picture = pixels.read(cell, field.options["max_pixels"])
        return None if picture is None else pixels.fit(picture, field.options["channels"], field.options["resize"])

    def size(self, field: Any, cell: Any) -> int:
        h, w = pixels.size(cell, field.options["max_pixels"])
        shrunk = min(1.0, field.options["resize"] / max(h, w, 1)) if field.options["resize"] else 1.0
        return max(1, round(h * w * shrunk**2 / field.options["patch"] ** 2))

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`pixels` (b H W c) float32 in [0, 1], 0 beyond each picture; `sizes` (b 2) int64, its height and width, or 0
        where missing. H, W ≥ 1 are the largest of the batch. Where one is in a file, `pixels` is a `Stacked` of them.
        """
        sizes = torch.tensor([(0, 0) if example is None else example.shape[:2] for example in examples])
        if any_stored(examples):
            return {"pixels": Stacked(examples, pixels.as_float, field.options["channels"]), "sizes": sizes}
        h, w = sizes.amax(0).clamp(min=1).tolist()
        array = np.zeros((len(examples), h, w, field.options["channels"]), np.float32)
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                row[: example.shape[0], : example.shape[1]] = pixels.as_float(example)
        return {"pixels": torch.from_numpy(array), "sizes": sizes}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Shifts, scales and turns each picture a little, about its own centre, and changes contrast and brightness.
        Pictures that stay in files are left as they are.
        """
        if is_stacked(part):
            return part
        changed = moved(part["pixels"], part["sizes"], uniform, field.options["flip"])
        changed = lit(changed, field.options["mean"], uniform)
        return {**part, "pixels": changed * inside(part["sizes"], changed.shape[1:3]).unsqueeze(-1)}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "sizes": part["sizes"] * ~rows[:, None]}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        names = ("patch", "mean", "std", "blocks")
        return PerField({f.name: ImageInput(**{n: f.options[n] for n in names}, channels=channels) for f in fields})

    def draw(self, field: Any, cell: Any) -> str:
        example = self.read(field, cell)
        if example is None:
            return "–"
        h, w, c = example.shape
        shown = example if isinstance(example, np.ndarray) else pixels.fit(example, c, SIDE)
        return img(pixels.as_picture(np.asarray(shown)), SIDE, f"{w} × {h} pixels")

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The picture at the size that the model sees; a pixel has the shade of its patch."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        h, w, p = *example.shape[:2], field.options["patch"]
        grid = rearrange(weights.mean(0), "(y x) -> y x", y=-(-h // p))
        by_pixel = shades(grid).repeat(p, axis=0).repeat(p, axis=1)[:h, :w]
        return Picture(np.asarray(pixels.as_picture(np.asarray(example)).convert("RGB")), by_pixel)

    def fitted(self, name: str, weight: Tensor, old: Any, new: Any) -> Tensor | None:
        """Patches of other channels or another size: the colours' mean for each, resampled."""
        if name not in ("tokens.elements.weight", "tokens.neighbours.elements.weight"):
            return None
        was, p, c = old.options["patch"], new.options["patch"], len(new.options["mean"])
        patches = rearrange(weight, "d (y x c) -> d c y x", y=was, x=was)
        if patches.shape[1] != c:
            patches = repeat(patches.sum(1, keepdim=True) / c, "d 1 y x -> d c y x", c=c)
        if p != was:
            patches = interpolate(patches, (p, p), mode="bilinear", antialias=True) * (was / p) ** 2
        return rearrange(patches, "d c y x -> d (y x c)")

    def like(self, field: Any, origin: Any) -> Any:
        return with_blocks(field, origin)

    def baseline(self, field: Any) -> Any:
        """Pixels at 16 × 16, or at their own size where it is one for all and at most 32."""
        from perceivers.modalities import features

        return features.Thumbnails(field.options["channels"])


def moved(
    array: Float[Tensor, "b h w c"], sizes: Int[Tensor, "b 2"], uniform: Uniform, flip: bool
) -> Float[Tensor, "b h w c"]:
    """Each picture shifted, scaled and turned a little, about its own centre; with `flip` half of them are mirrored."""
    return _sample(array, sizes, _affine(uniform("affine", 5) * 2 - 1, flip))


def lit(array: Float[Tensor, "b *any c"], mean: Sequence[float], uniform: Uniform) -> Float[Tensor, "b *any c"]:
    """Each with another contrast about `mean` and another brightness, one for all of it; alpha stays."""
    colours = 3 if len(mean) == 4 else len(mean)
    contrast, brightness = (light.view(-1, *[1] * (array.ndim - 1)) for light in (uniform("light", 2) * 2 - 1).T)
    centre = array.new_tensor(mean)[:colours]
    changed = (
        (array[..., :colours] - centre) * (1 + recipe.IMAGE_CONTRAST * contrast)
        + centre
        + recipe.IMAGE_BRIGHTNESS * brightness
    )
    return torch.cat([changed.clamp(0, 1), array[..., colours:]], dim=-1)


def _affine(draws: Float[Tensor, "b 5"], flip: bool) -> Float[Tensor, "b 2 3"]:
    """From numbers in [-1, 1): where each point of the new picture, (x, y) in half sides, lies in the old one."""
    angle, scale = torch.deg2rad(recipe.IMAGE_ROTATION * draws[:, 0]), 1 + recipe.IMAGE_SCALE * draws[:, 1]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    mirror = torch.where(draws[:, 4] < 0, -1.0, 1.0) if flip else torch.ones_like(cos)
    shift = 2 * recipe.IMAGE_SHIFT * draws[:, 2:4]
    rows = [mirror * cos, -mirror * sin, shift[:, 0], sin, cos, shift[:, 1]]
    return rearrange(torch.stack(rows, dim=1), "b (i j) -> b i j", i=2)


def _sample(
    array: Float[Tensor, "b h w c"], sizes: Int[Tensor, "b 2"], matrix: Float[Tensor, "b 2 3"]
) -> Float[Tensor, "b h w c"]:
    """The pictures seen through `matrix`, bilinear, each within its own size; what lies beyond repeats its edge."""
    h, w = array.shape[1:3]
    xy = sizes.flip(1)
    half = rearrange((xy - 1).clamp(min=0) / 2, "b i -> b 1 1 i")
    side = rearrange(xy.amax(1).clamp(min=2) / 2, "b -> b 1 1 1")  # one for both axes, so that turning keeps shapes
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    points = (torch.stack([x, y], dim=-1) - half) / side
    moved = einsum(matrix[:, :, :2], points, "b i j, b h w j -> b h w i") + matrix[:, None, None, :, 2]
    source = torch.minimum((moved * side + half).clamp(min=0), 2 * half)
    unit = torch.tensor([max(w - 1, 1), max(h - 1, 1)]) / 2
    found = grid_sample(rearrange(array, "b h w c -> b c h w"), source / unit - 1, align_corners=True)
    return rearrange(found, "b c h w -> b h w c")


class ImageInput(nn.Module):
    """Pictures → a token for each patch (b m channels): a linear layer of its pixels, residual convolutions over the
    patches around it (`blocks`), and a linear layer of its position.

    The positions span each picture, from -1 to 1. What a patch has beyond its picture is 0, the mean of train.
    """

    def __init__(self, patch: int, mean: Sequence[float], std: Sequence[float], blocks: int | None, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.tokens = ArrayTokens((patch, patch), len(mean), channels, (None, None), blocks)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        content, mask = self._content(part["pixels"], part["sizes"], 0)
        tokens, mask = self.tokens.tokens(content, mask, part["sizes"])
        return tokens.flatten(1, 2), mask.flatten(1)

    def pieces(self, part: Part) -> list[Piece]:
        """The same tokens by bands of rows, of pixels that stay in files.

        Where a token sees its neighbours, the rows around a band are read, too. Bands have as many tokens as may be
        then, so that these are few, and their pixels are read by thinner ones, again in the backward pass.
        """
        stacked, sizes, patch = part["pixels"], part["sizes"], self.tokens.patch
        b, h, w, c = stacked.shape
        around = self.tokens.distance * patch[0]

        def content(start: int, stop: int) -> tuple[Tensor, Tensor]:
            return self._content(stacked.rows(start, stop).to(sizes.device), sizes, start)

        def make(start: int, stop: int) -> tuple[Tensor, Tensor]:
            first, last = max(0, start - around), min(h, stop + around)
            thin = bands((b, last - first, w, c), patch)
            read = [checkpoint(content, first + low, first + high, use_reentrant=False) for low, high, _ in thin]
            whole, mask = (torch.cat(parts, dim=1) for parts in zip(*read, strict=True))
            tokens, mask = self.tokens.tokens(whole, mask, sizes, first)
            rows = slice((start - first) // patch[0], -(-(stop - first) // patch[0]))
            return tokens[:, rows].flatten(1, 2), mask[:, rows].flatten(1)

        if not around:
            return [Piece(tokens, partial(make, start, stop)) for start, stop, tokens in bands(stacked.shape, patch)]
        thick = bands((b, -(-h // patch[0]), -(-w // patch[1]), WIDTH), (1, 1))
        return [
            Piece(tokens, partial(make, start * patch[0], min(stop * patch[0], h))) for start, stop, tokens in thick
        ]

    def _content(self, array: Float[Tensor, "b h w c"], sizes: Int[Tensor, "b 2"], start: int) -> tuple[Tensor, Tensor]:
        there = inside(sizes, array.shape[1:3], start)
        array = ((array - self.mean) / self.std) * there.unsqueeze(-1)
        return self.tokens.content(array, there)
