"""Clips of any length, size and rate of frames: patches of space and time, and their positions.

Not concerned with how files and arrays become frames (`frames.py`), with a clip's sound (`audio.py` reads it), with the
module (`video_input.py`), nor with asking for frames: a clip is an input.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers import clips, recipe
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import frames, pixels
from perceivers.modalities.array_input import inside
from perceivers.modalities.base import (
    Inputs,
    Modality,
    Part,
    PerField,
    Uniform,
    numbers,
    one_column,
    one_of,
    positive,
)
from perceivers.modalities.image import lit, moved
from perceivers.modalities.shaded import Picture, Plain, Shaded, img, shades
from perceivers.modalities.video_input import FRAMES, VideoInput
from perceivers.modalities.windows import piece, remarks, shared, starts, windows

HEADERS, SAMPLE = 200, 50  # clips of train of which `fit` reads the header, and the frames
ARRAY_RATE = 1.0  # frames a second of arrays, which carry none
SHOWN, STRIP = 6, 480  # frames of a strip, and its width on a page


class Video(Modality):
    """Options: `rate`, frames a second that are read (None: such that a clip of train's median length has 16, but no
    more than the files have; 1 for arrays, which carry none and whose frames are taken as they come), `frames` of a
    window (None: the 99th percentile of train at that rate, at most 32), `channels` (None: 1 or 3, by a sample of
    train), `resize` (the longest side is scaled down to at most this; None: never), `patch` (its side in pixels; None:
    by train's sizes), `max_pixels` (of all frames that are read, at their size in the file) and `max_seconds` (larger
    and longer files are refused from their header), `mean` and `std` (of each channel, in [0, 1], of train), `flip`
    (left and right are changed at random in training).

    An example is (t h w c), uint8, or float32 in [0, 1] where 8 bits do not hold it, `rate` frames a second.
    """

    name = "video"
    options: ClassVar[Mapping[str, Any]] = {
        "rate": None,
        "frames": None,
        "channels": None,
        "resize": None,
        "patch": None,
        "max_pixels": 500_000_000,
        "max_seconds": 3_600,
        "mean": None,
        "std": None,
        "flip": False,
    }

    def check(self, field: Any) -> None:
        one_column(field)
        for option in ("frames", "channels", "resize", "patch", "max_pixels"):
            positive(field, option)
        for option in ("rate", "max_seconds"):
            value = field.options[option]
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
                raise BadInput(f"{field.name}: {option} must be a number above 0, got {value!r:.60}")
        for option in ("max_pixels", "max_seconds"):
            one_of(field, option, int, float)
        one_of(field, "flip", bool)
        for option in ("mean", "std"):
            numbers(field, option, field.options["channels"])

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        order = np.random.default_rng(0).permutation(len(cells))
        found, why = [], f"is {field.columns[0]!r} the column?"
        for i in order[:HEADERS]:
            try:
                shape = frames.shape(cells[i])
            except Unreadable as error:
                why = str(error)
            else:
                found += [] if shape is None else [shape]
        if not found:
            raise BadInput(f"{field.name}: no clip of the train rows can be read: {why}")
        fitted = field.with_options(**_rhythm(field, found))
        examples = self._sample(fitted, [cells[i] for i in order])
        options = {**fitted.options, **_look(fitted, examples)}
        return {name: options[name] for name in self.options if field.options[name] is None}

    def _sample(self, field: Any, cells: Sequence[Any]) -> list[np.ndarray]:
        """The first clips that can be read, with the channels that they have."""
        examples, why = [], "all are missing"
        for cell in cells:
            try:
                example = self._read(field, cell)
            except Unreadable as error:
                why = str(error)
            else:
                examples += [] if example is None else [example]
            if len(examples) == SAMPLE:
                break
        if not examples:
            raise BadInput(f"{field.name}: no clip of the train rows can be read: {why}")
        return examples

    def read(self, field: Any, cell: Any) -> np.ndarray | None:
        """The Path of an mp4, webm, avi, mkv, mov or gif, or of an npy or npz file; or an array or nested list (t h w)
        or (t h w c), uint8, uint16, bool, int in 0 … 255 or float in [0, 1] → (t h w c).
        """
        return self._read(field, cell)

    def _read(self, field: Any, cell: Any) -> np.ndarray | None:
        options = field.options

        def keep(picture: np.ndarray) -> np.ndarray:
            channels = options["channels"] or pixels.colours(picture.shape[2])
            return pixels.fit(picture, channels, options["resize"])

        limits = clips.Limits(options["max_pixels"], options["max_seconds"])
        return frames.read(cell, options["rate"], limits, keep)

    def windows(self, field: Any, example: np.ndarray | None) -> list[np.ndarray | None]:
        """Overlapping windows of `frames`, the last one flush with the end."""
        return windows(example, field.options["frames"])

    def remarks(self, field: Any, cell: Any, example: np.ndarray | None) -> Sequence[str]:
        return remarks(example, field.options["frames"])

    def crop(self, field: Any, example: np.ndarray, uniform: float) -> np.ndarray:
        return piece(example, field.options["frames"], uniform)

    def size(self, field: Any, cell: Any) -> int:
        shape = frames.shape(cell)
        if shape is None:
            return 1
        options = field.options
        scale = min(1.0, (options["resize"] or np.inf) / max(shape.height, shape.width))
        t = min(frames.count(shape, options["rate"]), options["frames"])
        h, w = (max(1, round(side * scale)) for side in (shape.height, shape.width))
        return -(-t // FRAMES) * -(-h // options["patch"]) * -(-w // options["patch"])

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`pixels` (b t h w c) float32 in [0, 1], 0 beyond each clip; `sizes` (b 3) int64, frames, height and width of
        each, 0 where missing. t, h, w ≥ 1.
        """
        sizes = torch.tensor([(0, 0, 0) if example is None else example.shape[:3] for example in examples])
        array = np.zeros((len(examples), *sizes.amax(0).clamp(min=1).tolist(), field.options["channels"]), np.float32)
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                t, h, w = example.shape[:3]
                row[:t, :h, :w] = pixels.as_float(example)
        return {"pixels": torch.from_numpy(array), "sizes": sizes}

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Shifts, scales and turns each clip a little and changes contrast and brightness, all of its frames alike, so
        that what moves in it moves as before. Time is never turned round.
        """
        array, sizes = part["pixels"], part["sizes"]
        t = array.shape[1]
        by_place = rearrange(array, "b t h w c -> b h w (t c)")
        changed = moved(by_place, sizes[:, 1:], uniform, field.options["flip"])
        changed = lit(rearrange(changed, "b h w (t c) -> b t h w c", t=t), field.options["mean"], uniform)
        return {"pixels": changed * inside(sizes, array.shape[1:4]).unsqueeze(-1), "sizes": sizes}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        kept = ~rows
        return {"pixels": part["pixels"] * kept[:, None, None, None, None], "sizes": part["sizes"] * kept[:, None]}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField({field.name: _input(field.options, channels) for field in fields})

    def draw(self, field: Any, cell: Any) -> str:
        """A few of its frames side by side."""
        example = self.read(field, cell)
        if example is None:
            return "–"
        t, h, w = example.shape[:3]
        name = f"{t} frames of {w} × {h} pixels, {t / field.options['rate']:.2f} s"
        return img(pixels.as_picture(strip(example, shown(t))), STRIP, name)

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """A few frames at the size that the model sees; a pixel has the shade of its patch."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        (t, h, w), p = example.shape[:3], field.options["patch"]
        grids = rearrange(weights, "w (t y x) -> w t y x", y=-(-h // p), x=-(-w // p))
        by_frame = shades(_on_time(grids, t, field.options["frames"]))
        by_pixel = by_frame.repeat(p, axis=1).repeat(p, axis=2)[:, :h, :w, None]
        chosen = shown(t)
        side_by_side = np.asarray(pixels.as_picture(strip(example, chosen)).convert("RGB"))
        return Picture(side_by_side, strip(by_pixel, chosen)[..., 0], STRIP)

    def baseline(self, field: Any) -> Any:
        """Pixels at 4 × 8 × 8, and how much each place changes from frame to frame."""
        from perceivers.modalities import features

        return features.Motion(field.options["channels"])


def _rhythm(field: Any, found: Sequence[frames.Shape]) -> dict[str, Any]:
    """`rate` and `frames`, where they are not given."""
    rate = field.options["rate"]
    timed = [(shape.frames / shape.rate, shape.rate) for shape in found if shape.rate and shape.frames]
    if rate is None and timed:
        seconds, native = np.median(timed, axis=0)
        rate = round(float(min(native, recipe.VIDEO_USUAL_FRAMES / seconds)), 3)
    rate = rate or ARRAY_RATE
    most = math.ceil(np.percentile([frames.count(shape, rate) for shape in found], 99))
    longest = field.options["frames"] or min(-(-most // FRAMES) * FRAMES, recipe.VIDEO_MOST_FRAMES)
    return {"rate": rate, "frames": longest}


def _look(field: Any, examples: Sequence[np.ndarray]) -> dict[str, Any]:
    """`channels`, `patch`, `mean` and `std`, where they are not given."""
    options = field.options
    channels = options["channels"] or max(example.shape[3] for example in examples)
    values = []
    for example in examples:
        with suppress(Unreadable):
            values += [
                pixels.as_float(pixels.fit(picture, channels, None)).reshape(-1, channels) for picture in example
            ]
    if not values:
        raise BadInput(f"{field.name}: no clip has {channels} channels: leave `channels` out")
    area = np.median([np.prod(example.shape[1:3]) for example in examples])
    tokens = np.median([min(len(example), options["frames"]) for example in examples]) / FRAMES * area
    pooled = np.concatenate(values)
    found = {
        "channels": channels,
        "patch": next(
            (patch for patch in recipe.VIDEO_PATCHES if tokens / patch**2 <= recipe.VIDEO_TOKENS),
            recipe.VIDEO_PATCHES[-1],
        ),
        "mean": pooled.mean(0, dtype=np.float64).tolist(),
        "std": np.maximum(pooled.std(0, dtype=np.float64), 1 / 255).tolist(),
    }
    return {name: value for name, value in found.items() if options[name] is None}


def _input(options: Mapping[str, Any], channels: int) -> VideoInput:
    return VideoInput(options["frames"], options["patch"], options["mean"], options["std"], channels)


def shown(t: int) -> np.ndarray:
    """Which frames of t are drawn."""
    return np.unique(np.linspace(0, t - 1, min(t, SHOWN)).round().astype(int))


def strip(clip: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Some of the frames (t h w c) side by side, with a narrow gap."""
    gap = max(1, clip.shape[2] // 32)
    edge = np.uint8(255) if clip.dtype == np.uint8 else 0.0
    padded = np.pad(clip[chosen], ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=edge)
    return rearrange(padded, "t h w c -> h (t w) c")[:, :-gap]


def _on_time(grids: Float[np.ndarray, "w t y x"], length: int, longest: int) -> Float[np.ndarray, "n y x"]:
    """The weights of patches, for each window, at each frame of the whole clip; windows are averaged."""
    total, count = np.zeros((length, *grids.shape[2:])), np.zeros(length)
    for start, grid in zip(shared(starts(length, longest), len(grids)), grids, strict=True):
        stop = min(start + longest, length)
        total[start:stop] += grid.repeat(FRAMES, axis=0)[: stop - start]
        count[start:stop] += 1
    return total / np.maximum(count, 1)[:, None, None]
