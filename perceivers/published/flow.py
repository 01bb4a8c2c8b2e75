"""Frames of the flow model: 3×3 neighbourhoods, and tiles for pictures of any size.

A frame is (h w 3), uint8, RGB. Not concerned with the model inside a tile.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad, unfold

from perceivers.errors import Unreadable
from perceivers.published.resize import check_pixels

if TYPE_CHECKING:
    from perceivers.published.models import OpticalFlow

# The model's unit in pixels.
SCALE = 20.0
MIN_OVERLAP = 20

Frames = Float[Tensor, "b 2 3 h w"]
Flow = Float[Tensor, "b h w 2"]


def prepare(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 2 3 h w"]:
    """Two frames of one size, in [-1, 1]."""
    for name, frame in (("first", first), ("second", second)):
        check_pixels(frame, f"{name} frame")
    check_sizes(first, second)
    frames = torch.from_numpy(np.stack([first, second]))
    return rearrange(2 * (frames / 255) - 1, "t h w c -> 1 t c h w")


def check_sizes(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]) -> None:
    """Raises Unreadable where two frames differ in size."""
    if first.shape != second.shape:
        raise Unreadable(f"the frames differ in size, {first.shape[:2]} and {second.shape[:2]}: give two of one size")


def neighbourhoods(frames: Frames) -> Float[Tensor, "b 2 27 h w"]:
    """Each pixel with its eight neighbours, zeros beyond the edge, as channels (row, column, colour)."""
    patches = unfold(rearrange(frames, "b t c h w -> (b t) c h w"), 3, padding=1)
    return rearrange(patches, "(b t) (c k) (h w) -> b t (k c) h w", t=2, k=9, h=frames.shape[-2])


def origins(length: int, size: int, overlap: int) -> Counter[int]:
    """Where tiles of `size` start along an axis of `length` >= size, and how often each counts.

    They step by size - overlap, and the last ends with the picture. Where a step ends there too, the original lists
    that tile twice: it counts twice, and is evaluated once.
    """
    steps = range(0, length, size - overlap)[:-1]
    return Counter([start for start in steps if start <= length - size] + [length - size])


def tiles(shape: tuple[int, int], size: tuple[int, int], overlap: int) -> Iterator[tuple[int, int, int]]:
    """(y, x, how often it counts) of every tile of a picture."""
    ys, xs = (origins(length, tile, overlap) for length, tile in zip(shape, size, strict=True))
    for y, x in product(ys, xs):
        yield y, x, ys[y] * xs[x]


def edge_weights(size: tuple[int, int]) -> Float[Tensor, "h w"]:
    """How far each pixel of a tile is from the nearest edge, from 1: what it counts where tiles overlap."""
    y, x = (torch.minimum(torch.arange(1, n + 1), torch.arange(n, 0, -1)) for n in size)
    return torch.minimum(y[:, None], x[None, :]).float()


def merge(
    frames: Frames, estimate: Callable[[Frames], Flow], size: tuple[int, int], overlap: int | None = None
) -> Flow:
    """Flow of frames of any size, by an `estimate` that takes tiles of `size`.

    Overlapping tiles are averaged by `edge_weights`; frames smaller than a tile are continued by their edges, and
    their flow is cut again. So constant and linear fields come out as they are. `overlap`: at least so many pixels; 20
    by default, or half of a tile that is smaller than 40.
    """
    overlap = min(MIN_OVERLAP, min(size) // 2) if overlap is None else overlap
    if not 0 <= overlap < min(size):
        raise ValueError(f"an overlap of {overlap} came for tiles of {size[0]}×{size[1]}: give 0 to {min(size) - 1}")
    h, w = frames.shape[-2:]
    b = len(frames)
    missing = (0, max(size[1] - w, 0), 0, max(size[0] - h, 0))
    whole = rearrange(
        pad(rearrange(frames, "b t c h w -> (b t) c h w"), missing, mode="replicate"), "(b t) ... -> b t ...", b=b
    )
    shape = whole.shape[-2], whole.shape[-1]
    weights = rearrange(edge_weights(size).to(frames), "h w -> h w 1")
    total, weight = frames.new_zeros(b, *shape, 2), frames.new_zeros(1, *shape, 1)
    for y, x, times in tiles(shape, size, overlap):
        place = (slice(None), slice(y, y + size[0]), slice(x, x + size[1]))
        total[place] += times * weights * estimate(whole[:, :, :, place[1], place[2]])
        weight[place] += times * weights
    return (total / weight)[:, :h, :w]


@torch.no_grad()
def estimate(
    model: "OpticalFlow",
    first: UInt8[np.ndarray, "h w 3"],
    second: UInt8[np.ndarray, "h w 3"],
    overlap: int | None = None,
) -> Float[np.ndarray, "h w 2"]:
    """Where each pixel of `first` went in `second`: (x, y) in pixels, for frames of any size."""
    frames = prepare(first, second).to(model.flow.weight.device)
    flow = merge(frames, lambda tile: model(neighbourhoods(tile)), model.sizes.image_size, overlap)
    return (SCALE * flow[0]).cpu().numpy()
