"""Arrays of any rank, with axes that have names: the general case, of which pictures are one.

Not concerned with the forms in which arrays come (`array_cells.py`), with the module (`array_input.py`), nor with
asking for arrays: they are an input.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers import recipe
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import array_cells
from perceivers.modalities.array_input import MOST_BLOCKS, ArrayInput, with_blocks
from perceivers.modalities.axes import CHANNELS, check_axes, named, patches, places, tokens
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
from perceivers.modalities.planes import Planes
from perceivers.modalities.shaded import Plain, Shaded, shades

SAMPLE, SAMPLE_ELEMENTS = 200, 2**26  # arrays of train that `fit` reads, and about how many elements in all
FARTHEST = 1e3  # standard deviations: what is farther away is taken to be there
MEND = "bring it into the shape of the others, or take its row out"


class Array(Modality):
    """Options: `axes` (their names in order; the one that is named `channels` holds what is told of one place; None: by
    the shapes of train), `key` (the array of npz files that have several), `files` (cells are names of files),
    `spacing` (axis: the distance between two elements. Along an axis that is named here, places are distances from the
    first element; along all others each array reaches from end to end), `extents` (axis: the distance that is as long
    as an axis gets; None: train's), `patch` (elements along each axis but `channels` that are one token; None: by
    train's sizes), `max_tokens` (of an array; larger ones are refused), `augment` (in training noise is added, and some
    tokens are hidden), `blocks` (residual blocks of convolutions by which a patch sees those around it, of one or two
    axes beside the channels; 0: it is read by itself; None: those of the start, or 2); and of train: `channels` (how
    many), `mean` and `std` (of each), `missing` (some elements are).

    An example is (*sizes, channels) in the type of its numbers, NaN where missing.
    """

    name = "array"
    options: ClassVar[Mapping[str, Any]] = {
        "axes": None,
        "key": None,
        "files": False,
        "spacing": {},
        "extents": None,
        "patch": None,
        "max_tokens": 16_384,
        "augment": True,
        "blocks": None,
        "channels": None,
        "mean": None,
        "std": None,
        "missing": None,
    }

    def check(self, field: Any) -> None:
        one_column(field)
        one_of(field, "key", str, None)
        one_of(field, "max_tokens", int)
        for option in ("files", "augment"):
            one_of(field, option, bool)
        one_of(field, "missing", bool, None)
        whole(field, "blocks", MOST_BLOCKS)
        for option in ("channels", "max_tokens"):
            positive(field, option)
        for option in ("mean", "std"):
            numbers(field, option, field.options["channels"])
        if field.options["std"] is not None and min(field.options["std"]) <= 0:
            raise BadInput(f"{field.name}: std must be positive, got {field.options['std']!r:.60}")
        check_axes(field)
        axes = field.options["axes"]
        if axes is not None and len(places(axes)) > recipe.ARRAY_MOST_AXES and field.options["blocks"]:
            raise BadInput(f"{field.name}: blocks are of one or two axes, not of {', '.join(places(axes))}: say 0")

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        arrays = _sampled(cells, field.options["key"])
        if not arrays:
            why = fault(partial(array_cells.read, key=field.options["key"]), cells)
            raise BadInput(f"{field.name}: no array of the train rows can be read: {why}")
        usual = Counter(array.ndim for array in arrays).most_common(1)[0][0]
        axes = field.options["axes"] or named([array.shape for array in arrays if array.ndim == usual])
        check_axes(field.with_options(axes=axes))
        arrays = [_channels_last(array, axes) for array in arrays if array.ndim == len(axes)]
        if not arrays:
            raise BadInput(f"{field.name}: no array of train has the axes {', '.join(axes)}; most have {usual}")
        channels = field.options["channels"] or Counter(a.shape[-1] for a in arrays).most_common(1)[0][0]
        arrays = [array for array in arrays if array.shape[-1] == channels]
        if not arrays:
            raise BadInput(f"{field.name}: no array of train has {channels} channels: leave `channels` out")
        sizes = np.array([array.shape[:-1] for array in arrays])
        most = dict(zip(places(axes), sizes.max(0).tolist(), strict=True))
        found = {
            "axes": axes,
            "channels": channels,
            "patch": patches(np.median(sizes, axis=0), sizes.max(0), field.options["max_tokens"]),
            "blocks": recipe.ARRAY_BLOCKS if len(places(axes)) <= recipe.ARRAY_MOST_AXES else 0,
            "extents": {axis: most[axis] * float(step) for axis, step in field.options["spacing"].items()},
            "missing": any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in arrays),
            **_statistics(arrays),
        }
        return {name: value for name, value in found.items() if field.options[name] is None}

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """An array, a nested list, JSON of one, or the Path of an npy or npz file, of the rank that `axes` has."""
        array = array_cells.read(cell, field.options["key"])
        if array is None:
            return None
        axes, channels = field.options["axes"], field.options["channels"]
        if array.ndim != len(axes):
            names = ", ".join(axes)
            raise Unreadable(f"an array of shape {array.shape} came, expected {len(axes)} axes, {names}: {MEND}")
        example = _channels_last(array, axes)
        if example.shape[-1] != channels:
            raise Unreadable(f"{example.shape[-1]} channels came, expected {channels} in {array.shape}: {MEND}")
        count, most = tokens(example.shape, field.options["patch"]), field.options["max_tokens"]
        if count > most:
            raise Unreadable(f"an array of shape {array.shape} takes {count:,} tokens, over max_tokens = {most:,}")
        return example

    def size(self, field: Any, cell: Any) -> int:
        axes = field.options["axes"]
        shape = array_cells.shape(cell, field.options["key"])
        sizes = [size for size, axis in zip(shape, axes, strict=False) if axis != CHANNELS]
        return max(1, tokens(sizes, field.options["patch"]))

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """For d axes and k channels: `values` (b *s k) float32, standardised, at most 1e3 away from 0, 0 where missing;
        `present` (b *s k), True where there is a number; `sizes` (b d) int64, those of each array, 0 where missing.
        The sizes *s ≥ 1 are the largest of the batch.
        """
        mean, std = np.array(field.options["mean"]), np.array(field.options["std"])
        d = len(field.options["patch"])
        sizes = torch.tensor([(0,) * d if example is None else example.shape[:-1] for example in examples])
        shape = (len(examples), *sizes.amax(0).clamp(min=1).tolist(), len(mean))
        values, present = np.zeros(shape, np.float32), np.zeros(shape, bool)
        for row, example in enumerate(examples):
            if example is not None:
                scaled = np.clip((example - mean) / std, -FARTHEST, FARTHEST)
                within = (row, *(slice(size) for size in example.shape[:-1]))
                values[within], present[within] = np.nan_to_num(scaled), ~np.isnan(scaled)
        return {"values": torch.from_numpy(values), "present": torch.from_numpy(present), "sizes": sizes}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Noise on every element, and some patches hidden: what leaves an array of any kind what it is."""
        if not field.options["augment"]:
            return part
        values, present = part["values"].clone(), part["present"]
        for row, seed in enumerate((uniform("noise", 1)[:, 0].double() * 2**53).long().tolist()):
            within = (row, *(slice(size) for size in part["sizes"][row].tolist()))
            random = torch.Generator().manual_seed(seed)
            values[within] += recipe.ARRAY_NOISE * torch.randn(values[within].shape, generator=random)
        patch, shape = field.options["patch"], values.shape[1:-1]
        grid = [-(-size // step) for size, step in zip(shape, patch, strict=True)]
        kept = uniform("patches", math.prod(grid)) >= recipe.ARRAY_DROP * uniform("hidden", 1)
        kept = _spread(kept.reshape(-1, *grid), patch, shape).unsqueeze(-1) & present
        kept = torch.where(kept.flatten(1).any(1).reshape(-1, *[1] * (kept.ndim - 1)), kept, present)
        return {**part, "values": values * kept, "present": kept}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {
            name: tensor.masked_fill(rows.reshape(-1, *[1] * (tensor.ndim - 1)), 0) for name, tensor in part.items()
        }

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField({field.name: _module(field, channels) for field in fields})

    def draw(self, field: Any, cell: Any) -> str:
        """Planes of it: as it is up to two axes, of more the largest values along the others."""
        example = self.read(field, cell)
        return "–" if example is None else Planes.of(example, None, places(field.options["axes"])).html()

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The planes of `draw`; an element has the shade of its patch; shades behind each other add up."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        patch, shape = field.options["patch"], example.shape[:-1]
        grid = [-(-size // step) for size, step in zip(shape, patch, strict=True)]
        by_patch = torch.from_numpy(shades(weights.mean(0))).reshape(1, *grid)
        return Planes.of(example, _spread(by_patch, patch, shape)[0].numpy(), places(field.options["axes"]))

    def like(self, field: Any, origin: Any) -> Any:
        return with_blocks(field, origin)

    def baseline(self, field: Any) -> Any:
        """Means over at most 1,024 blocks, and of each channel the mean and the standard deviation."""
        from perceivers.modalities import features

        return features.Blocks(field.options["channels"])


def _sampled(cells: Sequence[Any], key: str | None) -> list[np.ndarray]:
    """Arrays of a sample of the cells; those that cannot be read are left out."""
    arrays: list[np.ndarray] = []
    elements = 0
    for i in np.random.default_rng(0).permutation(len(cells)):
        with suppress(Unreadable):
            array = array_cells.read(cells[i], key)
            if array is not None:
                arrays.append(array)
                elements += array.size
        if len(arrays) == SAMPLE or elements > SAMPLE_ELEMENTS:
            break
    return arrays


def _channels_last(array: np.ndarray, axes: Sequence[str]) -> np.ndarray:
    return np.moveaxis(array, axes.index(CHANNELS), -1) if CHANNELS in axes else array[..., None]


def _statistics(arrays: Sequence[Float[np.ndarray, "*s k"]]) -> dict[str, list[float]]:
    """The mean and standard deviation of each channel; 0 and 1 where it has no value, 1 where it is constant."""
    flat = [array.reshape(-1, array.shape[-1]) for array in arrays]
    count = np.maximum(sum((~np.isnan(x)).sum(0) for x in flat), 1)
    mean = sum(np.nansum(x, axis=0, dtype=np.float64) for x in flat) / count
    std = np.sqrt(sum(np.nansum((x - mean) ** 2, axis=0) for x in flat) / count)
    std = np.where(std > 1e-9 * np.maximum(1e-300, np.abs(mean)), std, 1.0)
    return {"mean": mean.tolist(), "std": std.tolist()}


def _spread(by_patch: Tensor, patch: Sequence[int], shape: Sequence[int]) -> Tensor:
    """What is said of each patch (b *grid), for each of its elements (b *shape)."""
    for axis, (step, size) in enumerate(zip(patch, shape, strict=True), start=1):
        by_patch = by_patch.repeat_interleave(step, dim=axis).narrow(axis, 0, size)
    return by_patch


def _module(field: Any, channels: int) -> ArrayInput:
    options = field.options
    lengths = [
        options["extents"][axis] / options["spacing"][axis] if axis in options["spacing"] else None
        for axis in places(options["axes"])
    ]
    return ArrayInput(options["patch"], options["channels"], options["missing"], lengths, options["blocks"], channels)
