"""What `encode` and `decode` accept: an array, (features, positions) apart, several of them, or chunks.

Not concerned with what the arrays mean, nor with how chunks are read (`streaming.py`).
"""

import mmap
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.grids import OnGrid

Features = Float[Tensor, "b m f"]
Positions = Float[Tensor, "#m p"] | Float[Tensor, "b m p"] | OnGrid
Whole = Float[Tensor, "b m c"] | tuple[Features, Positions]
OwnSize = Tensor | tuple[Tensor, Tensor | OnGrid]  # as `Whole`, beside others of another m
Mask = Bool[Tensor, "b m"] | None


@dataclass(frozen=True)
class Parts:
    """Arrays of one width, one behind the other along m."""

    arrays: Sequence[OwnSize]

    @property
    def shape(self) -> tuple[int, ...]:
        shapes = [shape_of(array) for array in self.arrays]
        return shapes[0][0], sum(shape[1] for shape in shapes), shapes[0][2]


Array = Whole | Parts


@runtime_checkable
class Chunks(Protocol):
    """An array (b m c) that comes in `len(chunks)` pieces along m, the same at every call.

    `chunk(i)` gives a piece, an array (b m c) or (features, positions), and its mask (b m) or None.
    """

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def chunk(self, index: int) -> tuple[Array, Mask]: ...


@runtime_checkable
class Learned(Chunks, Protocol):
    """Chunks that a module, the `adapter`, makes: its weights get gradients."""

    adapter: nn.Module


class Sliced:
    """An array (b m c) in pieces of `size` along m: a tensor, or a memory map of numpy that is read piece by piece."""

    def __init__(self, array: Tensor | np.ndarray, size: int):
        if array.ndim != 3 or size < 1:
            raise ValueError(f"an array (b m c) and a size of at least 1 are needed, got {tuple(array.shape)}, {size}")
        self.array, self.size = array, size
        self.shape = (array.shape[0], array.shape[1], array.shape[2])

    def __len__(self) -> int:
        return max(1, -(-self.shape[1] // self.size))

    def chunk(self, index: int) -> tuple[Float[Tensor, "b s c"], None]:
        part = self.array[:, index * self.size : (index + 1) * self.size]
        if isinstance(part, Tensor):
            return part, None
        copied = torch.from_numpy(np.array(part))
        _let_go(part)
        return copied, None


def _let_go(array: np.ndarray) -> None:
    """Tells the system that the pages of a memory map that were read are not needed in memory any longer."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode == "c":  # what was written to it is nowhere else
            return
        base = base.base
    if isinstance(base, mmap.mmap) and sys.platform == "linux":
        base.madvise(mmap.MADV_DONTNEED)


class Adapted:
    """Chunks that go through a module piece by piece, from whatever they hold to (b m `channels`).

    The module's weights get gradients; a row of its output may depend on the same row of its input alone.
    """

    def __init__(self, chunks: Chunks, adapter: nn.Module, channels: int):
        self.chunks, self.adapter = chunks, adapter
        self.shape = (*chunks.shape[:2], channels)

    def __len__(self) -> int:
        return len(self.chunks)

    def chunk(self, index: int) -> tuple[Array, Mask]:
        array, mask = self.chunks.chunk(index)
        return self.adapter(array), mask


def shape_of(array: OwnSize | Parts) -> tuple[int, ...]:
    """(b, m, c) of what is joined."""
    if isinstance(array, Parts):
        return array.shape
    features, *positions = (array,) if isinstance(array, Tensor) else array
    *sizes, f = features.shape
    return *sizes, f + sum(p.shape[-1] for p in positions)


def join(array: Array) -> Float[Tensor, "b m c"]:
    """Features and positions as one array, in this order along c, and parts as one. Positions (m p) hold for every row,
    and those of one element (1 p) for every element.
    """
    if isinstance(array, Tensor):
        return array
    if isinstance(array, Parts):
        return torch.cat([join(part) for part in array.arrays], dim=1)
    features, positions = array
    if isinstance(positions, OnGrid):
        positions = positions.whole()
    if positions.ndim == 2:
        positions = positions.expand(*features.shape[:2], -1)
    return torch.cat([features, positions.to(features.dtype)], dim=-1)


def cut(array: Array, mask: Mask, size: int) -> Iterator[tuple[OwnSize, Mask]]:
    """An array and its mask in pieces of about `size` along m, those of a grid in whole rows."""
    start = 0
    for part in array.arrays if isinstance(array, Parts) else [array]:
        m = shape_of(part)[1]
        grid = part[1] if isinstance(part, tuple) and isinstance(part[1], OnGrid) else None
        row = len(grid.columns) if grid else 1
        step = row * max(1, size // row)
        for i in range(0, max(m, 1), step):
            piece = slice(i, min(i + step, m))
            seen = None if mask is None else mask[:, start + piece.start : start + piece.stop]
            yield _cut(part, piece, row), seen
        start += m


def _cut(array: Whole, piece: slice, row: int) -> OwnSize:
    if isinstance(array, Tensor):
        return array[:, piece]
    features, positions = array
    if isinstance(positions, OnGrid):
        return features[:, piece], positions.of_rows(slice(piece.start // row, piece.stop // row))
    if positions.shape[-2] > 1:
        positions = positions[..., piece, :]
    return features[:, piece], positions


class Listed:
    """Chunks that lie in a list, an array and a mask each."""

    def __init__(self, chunks: Sequence[tuple[Array, Mask]]):
        self.chunks = [_pair(i, chunk) for i, chunk in enumerate(chunks)]
        shapes = [shape_of(array) for array, _ in self.chunks] or [(0, 0, 0)]
        self.shape = (shapes[0][0], sum(shape[1] for shape in shapes), shapes[0][-1])

    def __len__(self) -> int:
        return len(self.chunks)

    def chunk(self, index: int) -> tuple[Array, Mask]:
        return self.chunks[index]


def check_types(what: str, array: Array, mask: Mask, kind: torch.dtype) -> None:
    """Raises ValueError where weights of this type do not take an array, or attention not its mask."""
    taken = (kind, torch.bfloat16, torch.float16) if kind == torch.float32 else (kind,)
    for part in array.arrays if isinstance(array, Parts) else [array]:
        if (found := _first(part).dtype) not in taken:
            raise ValueError(f"{what} is {found}, and the weights that read it are {kind}: give {kind}")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"the mask of {what} is {mask.dtype}: give torch.bool, True where there is something to read")


def _pair(i: int, chunk: Any) -> tuple[OwnSize | Parts, Tensor | None]:
    """A chunk of an iterable. Raises ValueError where it is no array beside its mask."""
    pair = isinstance(chunk, tuple | list) and len(chunk) == 2
    if not (pair and isinstance(chunk[0], Tensor | tuple | Parts)):
        found = f"({', '.join(type(one).__name__ for one in chunk)})" if pair else type(chunk).__name__
        raise ValueError(f"chunk {i} is {found}: give (tensor, mask), where a mask of None lets all be read")
    return chunk[0], chunk[1]


def once(chunks: Iterable[tuple[Array, Mask]]) -> Iterator[tuple[Array, Mask]]:
    """Each of the chunks, as it came, read a single time, with its mask. Raises ValueError where they do not fit."""
    sizes, kind = None, None
    for i, chunk in enumerate(chunks):
        raw, mask = _pair(i, chunk)
        shape = shape_of(raw)
        sizes = sizes or (shape[0], shape[-1])
        kind = _check(i, raw, mask, sizes, "those before are", kind)
        yield raw, mask
    if sizes is None:
        raise ValueError("the inputs have no chunks: give at least one")


def pieces(chunks: Chunks) -> Iterator[tuple[Array, Mask]]:
    """Each piece, as it came, with its mask. Raises ValueError where they do not fit each other or `shape`."""
    if not len(chunks):
        raise ValueError("the inputs have no chunks: give at least one")
    b, m, c = chunks.shape
    found, kind = 0, None
    for i in range(len(chunks)):
        raw, mask = chunks.chunk(i)
        kind = _check(i, raw, mask, (b, c), "`shape` says", kind)
        if _learns(raw) and not isinstance(chunks, Learned):
            raise ValueError(f"chunk {i} asks for gradients, which chunks do not pass on: wrap its module in `Adapted`")
        found += shape_of(raw)[1]
        yield raw, mask
    if found != m:
        raise ValueError(f"the chunks make {(b, found, c)}, but `shape` says {(b, m, c)}")


def _check(
    i: int,
    raw: OwnSize | Parts,
    mask: Tensor | None,
    sizes: tuple[int, int],
    said: str,
    kind: torch.dtype | None,
) -> torch.dtype:
    """The type of a chunk. Raises ValueError where it does not fit those that it goes with."""
    b, c = sizes
    shape, first = shape_of(raw), _first(raw)
    if len(shape) != 3 or (shape[0], shape[2]) != (b, c):
        raise ValueError(f"chunk {i} is {shape}, but {said} ({b}, …, {c})")
    if kind not in (None, first.dtype):
        raise ValueError(f"chunk {i} is {first.dtype}, but those before are {kind}: give one type")
    if mask is not None and mask.shape != shape[:2]:
        raise ValueError(f"the mask of chunk {i} is {tuple(mask.shape)}, but the chunk is {shape}")
    return first.dtype


def _first(array: OwnSize | Parts) -> Tensor:
    """The features that an array begins with."""
    whole = array.arrays[0] if isinstance(array, Parts) else array
    return whole if isinstance(whole, Tensor) else whole[0]


def _learns(array: OwnSize | Parts) -> bool:
    """Whether anything that it is made of asks for gradients."""
    if isinstance(array, Parts):
        return any(map(_learns, array.arrays))
    return any(part.requires_grad for part in ((array,) if isinstance(array, Tensor) else array))
