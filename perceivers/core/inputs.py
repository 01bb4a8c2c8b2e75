"""What `encode` and `decode` accept: an array, (features, positions) apart, or chunks of either.

Not concerned with what the arrays mean, nor with how chunks are read (`streaming.py`).
"""

import mmap
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Features = Float[Tensor, "b m f"]
Positions = Float[Tensor, "#m p"] | Float[Tensor, "b m p"]
Array = Float[Tensor, "b m c"] | tuple[Features, Positions]
Mask = Bool[Tensor, "b m"] | None


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


def join(array: Array) -> Float[Tensor, "b m c"]:
    """Features and positions as one array, in this order along c. Positions (m p) hold for every row, and those of
    one element (1 p) for every element.
    """
    if isinstance(array, Tensor):
        return array
    features, positions = array
    if positions.ndim == 2:
        positions = positions.expand(*features.shape[:2], -1)
    return torch.cat([features, positions.to(features.dtype)], dim=-1)


def once(chunks: Iterable[tuple[Array, Mask]]) -> Iterator[tuple[Float[Tensor, "b s c"], Mask]]:
    """Each of the chunks, read a single time, as one array with its mask. Raises ValueError where they do not fit."""
    first: Tensor | None = None
    for i, (raw, mask) in enumerate(chunks):
        array = join(raw)
        first = array if first is None else first
        _check(i, array, mask, (first.shape[0], first.shape[-1]), "those before are", first.dtype)
        yield array, mask
    if first is None:
        raise ValueError("the inputs have no chunks: give at least one")


def pieces(chunks: Chunks) -> Iterator[tuple[Array, Mask]]:
    """Each piece, as it came, with its mask. Raises ValueError where they do not fit each other or `shape`."""
    if not len(chunks):
        raise ValueError("the inputs have no chunks: give at least one")
    b, m, c = chunks.shape
    found, kind = 0, None
    for i in range(len(chunks)):
        raw, mask = chunks.chunk(i)
        array, *rest = (raw,) if isinstance(raw, Tensor) else raw
        _check(i, array, mask, (b, c), "`shape` says", kind or array.dtype, *rest)
        if any(part.requires_grad for part in (array, *rest)) and not isinstance(chunks, Learned):
            raise ValueError(f"chunk {i} asks for gradients, which chunks do not pass on: wrap its module in `Adapted`")
        found, kind = found + array.shape[1], array.dtype
        yield raw, mask
    if found != m:
        raise ValueError(f"the chunks make {(b, found, c)}, but `shape` says {(b, m, c)}")


def _check(
    i: int, array: Tensor, mask: Mask, sizes: tuple[int, int], said: str, kind: torch.dtype, *rest: Tensor
) -> None:
    """Raises ValueError where a chunk, with the `rest` of its channels, does not fit those that it goes with."""
    b, c = sizes
    shape = *array.shape[:-1], sum(part.shape[-1] for part in (array, *rest))
    if len(shape) != 3 or (shape[0], shape[2]) != (b, c):
        raise ValueError(f"chunk {i} is {shape}, but {said} ({b}, …, {c})")
    if array.dtype != kind:
        raise ValueError(f"chunk {i} is {array.dtype}, but those before are {kind}: give one type")
    if mask is not None and mask.shape != array.shape[:2]:
        raise ValueError(f"the mask of chunk {i} is {tuple(mask.shape)}, but the chunk is {tuple(array.shape)}")
