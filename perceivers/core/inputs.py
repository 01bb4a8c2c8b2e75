"""What `encode` and `decode` accept: an array, (features, positions) apart, or re-iterable chunks of either.

Not concerned with what the arrays mean.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Features = Float[Tensor, "b m f"]
Positions = Float[Tensor, "m p"] | Float[Tensor, "b m p"]
Array = Float[Tensor, "b m c"] | tuple[Features, Positions]


@runtime_checkable
class Chunks(Protocol):
    """An array (b m c) that comes in `len(chunks)` pieces along m, the same at every call.

    `chunk(i)` gives a piece, an array (b m c) or (features, positions), and its mask (b m) or None.
    """

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def chunk(self, index: int) -> tuple[Array, Bool[Tensor, "b m"] | None]: ...


def join(array: Array) -> Float[Tensor, "b m c"]:
    """Features and positions as one array, in this order along c. Positions (m p) hold for every row."""
    if isinstance(array, Tensor):
        return array
    features, positions = array
    if positions.ndim == 2:
        positions = positions.expand(len(features), -1, -1)
    return torch.cat([features, positions.to(features.dtype)], dim=-1)


def gather(
    inputs: Array | Chunks, mask: Bool[Tensor, "b m"] | None
) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"] | None]:
    """The whole array and its mask. Chunks bring their own masks, so `mask` must be None with them."""
    if isinstance(inputs, Tensor | tuple):
        return join(inputs), mask
    if mask is not None:
        raise ValueError("chunks bring their own masks: leave `mask` out, or give an array")
    pieces = [inputs.chunk(i) for i in range(len(inputs))]
    if not pieces:
        raise ValueError("the inputs have no chunks: give at least one")
    arrays = [join(array) for array, _ in pieces]
    whole = torch.cat(arrays, dim=1)
    if tuple(whole.shape) != tuple(inputs.shape):
        raise ValueError(f"the chunks make {tuple(whole.shape)}, but `shape` says {tuple(inputs.shape)}")
    if all(piece is None for _, piece in pieces):
        return whole, None
    masks = [
        torch.ones(array.shape[:2], dtype=torch.bool, device=array.device) if piece is None else piece
        for array, (_, piece) in zip(arrays, pieces, strict=True)
    ]
    return whole, torch.cat(masks, dim=1)
