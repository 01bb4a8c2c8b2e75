"""From arrays of any rank to tokens: patches of elements and where they lie on the axes. Pictures are one case.

Not concerned with what the elements are, nor with reading and scaling them (`array.py`, `image.py`).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.modalities.base import Part
from perceivers.modalities.convolutions import ConvBlock

NUM_BANDS, RESOLUTION = 16, 32  # frequencies up to 16 half-waves over an axis
WIDTH, KERNEL = 64, 3  # of the convolutions: channels, and patches that one of them spans
MOST_BLOCKS = 8  # of convolutions


class ArrayTokens(nn.Module):
    """Arrays → a token for each patch (b m channels): a linear layer of its elements and of its position.

    patch: elements along each of d axes; features: numbers of an element
    lengths: of each axis so many elements from the first one on are [-1, 1]; None: the axis spans each array
    blocks: of convolutions, by which a token sees the patches around its own; d is 1 or 2 then. None: of a model that
        was saved before there were any
    """

    def __init__(
        self,
        patch: Sequence[int],
        features: int,
        channels: int,
        lengths: Sequence[float | None],
        blocks: int | None = None,
    ):
        super().__init__()
        blocks = blocks or 0
        self.patch, self.lengths = tuple(patch), tuple(lengths)
        elements, axes = math.prod(patch) * features, len(patch)
        if blocks:
            self.neighbours = Neighbours(elements, blocks, axes, channels)
        else:
            self.elements = linear(elements, channels)
        self.blocks = blocks
        self.positions = linear(fourier_channels(axes, NUM_BANDS), channels)
        self.field = LearnedArray(1, channels)

    @property
    def distance(self) -> int:
        """So many patches away along each axis are the farthest that a token sees."""
        return self.blocks * 2 * (KERNEL // 2)

    def forward(
        self, values: Float[Tensor, "b *s f"], there: Bool[Tensor, "b *s"], sizes: Int[Tensor, "b d"], start: int = 0
    ) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        """`values` are 0 where there is nothing; a token is masked where nothing of its patch is there. They are those
        of the whole arrays, which have these `sizes`, or a band of rows from `start` on, a multiple of the patch.
        """
        content, mask = self.content(values, there)
        tokens, mask = self.tokens(content, mask, sizes, start)
        return tokens.flatten(1, -2), mask.flatten(1)

    def content(
        self, values: Float[Tensor, "b *s f"], there: Bool[Tensor, "b *s"]
    ) -> tuple[Float[Tensor, "b *g w"], Bool[Tensor, "b *g"]]:
        """What the elements of each patch say, on the grid of patches."""
        beyond = [(0, -size % step) for size, step in zip(there.shape[1:], self.patch, strict=True)]
        padding = [side for pair in reversed(beyond) for side in pair]
        values, there = pad(values, (0, 0, *padding)), pad(there, padding)
        read = self.neighbours.elements if self.blocks else self.elements
        return read(self._patches(values)), self._patches(there.unsqueeze(-1)).any(-1)

    def tokens(
        self, content: Float[Tensor, "b *g w"], mask: Bool[Tensor, "b *g"], sizes: Int[Tensor, "b d"], start: int = 0
    ) -> tuple[Float[Tensor, "b *g c"], Bool[Tensor, "b *g"]]:
        """The tokens on the grid, of whole arrays or of the band of rows from `start` on."""
        grid = mask.shape[1:]
        different, which = sizes.unique(dim=0, return_inverse=True)  # most arrays of a batch have the same size
        place = centres(different, grid, self.patch, self.lengths, start)
        positions = self.positions(fourier_features(place, NUM_BANDS, len(grid) * [RESOLUTION])).unflatten(1, grid)
        content = self.neighbours(content, mask) if self.blocks else content
        return content + positions[which] + self.field(1).view(-1), mask

    def _patches(self, array: Tensor) -> Tensor:
        """(b *s f) → (b *g p), the elements of a patch in the order of the axes."""
        names = range(len(self.patch))
        axes, cells, inside = (" ".join(form.format(i) for i in names) for form in ("(s{0} p{0})", "s{0}", "p{0}"))
        steps = {f"p{i}": step for i, step in enumerate(self.patch)}
        return rearrange(array, f"b {axes} f -> b {cells} ({inside} f)", **steps)


class Neighbours(nn.Module):
    """What each patch of a grid says, together with those around it: a linear layer of its `elements` numbers, which is
    asked for by itself; residual convolutions over the grid; a linear layer.
    """

    def __init__(self, elements: int, blocks: int, axes: int, channels: int):
        super().__init__()
        self.elements = linear(elements, WIDTH)
        self.blocks = nn.ModuleList(ConvBlock(WIDTH, KERNEL, axes) for _ in range(blocks))
        self.to_channels = linear(WIDTH, channels)

    def forward(self, content: Float[Tensor, "b *g w"], mask: Bool[Tensor, "b *g"]) -> Float[Tensor, "b *g c"]:
        x = content * mask.unsqueeze(-1)
        for block in self.blocks:
            x = block(x, mask)
        return self.to_channels(x)


class ArrayInput(nn.Module):
    """Standardised arrays of k channels → tokens. With `missing`, a second set of channels says what is not there."""

    def __init__(
        self,
        patch: Sequence[int],
        k: int,
        missing: bool,
        lengths: Sequence[float | None],
        blocks: int | None,
        channels: int,
    ):
        super().__init__()
        self.missing = missing
        self.tokens = ArrayTokens(patch, k * (1 + missing), channels, lengths, blocks)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        values, present = part["values"], part["present"]
        if self.missing:
            absent = inside(part["sizes"], present.shape[1:-1]).unsqueeze(-1) & ~present
            values = torch.cat([values, absent.to(values.dtype)], dim=-1)
        return self.tokens(values, present.any(-1), part["sizes"])


def with_blocks(field: Any, origin: Any) -> Any:
    """An input field with as many blocks as `origin` of a start, unless it says how many."""
    return field if "blocks" in field.options else field.with_options(blocks=origin.options["blocks"] or 0)


def inside(sizes: Int[Tensor, "b d"], shape: Sequence[int], start: int = 0) -> Bool[Tensor, "b *s"]:
    """Which elements of a grid of that shape, a band of rows from `start` on, lie within each array."""
    sizes = torch.cat([sizes[:, :1] - start, sizes[:, 1:]], dim=1)
    each = [torch.arange(count, device=sizes.device) < sizes[:, axis : axis + 1] for axis, count in enumerate(shape)]
    return torch.stack([_along(one, axis, shape) for axis, one in enumerate(each)]).all(0)


def centres(
    sizes: Int[Tensor, "b d"],
    grid: Sequence[int],
    patch: Sequence[int],
    lengths: Sequence[float | None],
    start: int = 0,
) -> Float[Tensor, "b m d"]:
    """The centre of what each patch of the grid, a band of rows from `start` on, shows of its array, in [-1, 1] from
    end to end; m is the grid's.
    """
    found = []
    for axis, (count, step, length) in enumerate(zip(grid, patch, lengths, strict=True)):
        side = sizes[:, axis : axis + 1].clamp(min=1)
        first = torch.arange(count, device=sizes.device) * step + (0 if axis else start)
        ends = torch.minimum(first, side) + torch.minimum(first + step, side)
        found.append(_along(ends / (side if length is None else length) - 1, axis, grid))
    return torch.stack(found, dim=-1).flatten(1, -2)


def _along(values: Tensor, axis: int, shape: Sequence[int]) -> Tensor:
    """Values (b n) of one axis, on a whole grid (b *shape)."""
    place = [1] * len(shape)
    place[axis] = values.shape[1]
    return values.reshape(len(values), *place).expand(-1, *shape)
