"""Positions on a grid, and products with a layer-normed array on it that is never made.

A Fourier feature of a cell hangs on one axis, so that the positions of h × w cells are h + w vectors: what a row has,
plus what a column has. Products of positions with vectors are then such sums themselves, and so are sums of positions
with weights. What a layer norm does to a cell, a mean and a scale, is known from both. The same function as of the
whole array, in fewer multiply-adds. Not concerned with softmaxes (`streaming.py`, `reader.py`).
"""

from functools import cached_property
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm

# Products of narrower features are as fast in float32: in another type their many weights would be written once more.
WIDE = 128


class OnGrid:
    """Positions (h·w p) of a grid's cells, columns fastest: that of cell (i, j) is `rows[i] + columns[j]`."""

    def __init__(
        self,
        rows: Float[Tensor, "h p"],
        columns: Float[Tensor, "w p"],
        part_of: "tuple[OnGrid, slice] | None" = None,
    ):
        self.rows, self.columns, self.part_of = rows, columns, part_of
        self.shape = len(rows) * len(columns), rows.shape[1]

    @property
    def requires_grad(self) -> bool:
        return self.rows.requires_grad or self.columns.requires_grad

    def whole(self) -> Float[Tensor, "m p"]:
        """The array itself; where no weight is in it, kept for the next time."""
        return self._made() if self.requires_grad else self._kept

    def behind(self, array: Float[Tensor, "1 q"]) -> "OnGrid":
        """These with the same further channels behind all of them."""
        rows, none = array.expand(len(self.rows), -1), array.new_zeros(len(self.columns), array.shape[1])
        return OnGrid(torch.cat([self.rows, rows], dim=1), torch.cat([self.columns, none], dim=1))

    def of_rows(self, place: slice) -> "OnGrid":
        """Some of the rows, all of the columns."""
        return OnGrid(self.rows[place], self.columns, (self, place))

    @cached_property
    def moments(self) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
        """Of each cell's position the mean over channels, and the sum of the squared differences from it."""
        if self.part_of is not None:
            whole, place = self.part_of
            mean, square = whole.moments
            return mean[place], square[place]
        rows, columns = (array.detach().double() for array in (self.rows, self.columns))
        mean = rows.mean(1)[:, None] + columns.mean(1)
        rows, columns = (array - array.mean(1, keepdim=True) for array in (rows, columns))
        square = rows.square().sum(1)[:, None] + columns.square().sum(1) + 2 * rows @ columns.T
        return mean, square.clamp(min=0)

    @cached_property
    def _kept(self) -> Float[Tensor, "m p"]:
        return self._made()

    def _made(self) -> Float[Tensor, "m p"]:
        return rearrange(self.rows.unsqueeze(1) + self.columns, "h w p -> (h w) p")


class Normed(NamedTuple):
    """An array (b s c) behind a layer norm's mean and scale, before its weights. On a `grid` it is [`features`, `scale`
    times positions], but for the mean, which `Products` and `Sums` take off. Without one the features are all of it.
    """

    features: Float[Tensor, "b s f"]
    scale: Float[Tensor, "b s 1"] | None = None
    grid: OnGrid | None = None


def normed(array: Float[Tensor, "b s f"], grid: OnGrid | None, eps: float, kind: torch.dtype) -> Normed:
    """The layer norm of [array, positions on the grid], or of an array alone, which comes in a type of its own."""
    array = wide(array)
    if grid is None:
        found = layer_norm(array, array.shape[-1:], eps=eps)
        return Normed(found.to(kind) if found.shape[-1] >= WIDE else found)
    (f, p), (mean_p, square_p) = (array.shape[-1], grid.shape[1]), (m.flatten().to(array) for m in grid.moments)
    mean = array.mean(-1, keepdim=True)
    square = (array - mean).square().sum(-1) + square_p + f * p / (f + p) * (mean.squeeze(-1) - mean_p).square()
    scale = (square / (f + p) + eps).rsqrt().unsqueeze(-1)
    return Normed(array * scale, scale, grid)


class Products:
    """Vectors (#b n c), to be multiplied with the elements of normed arrays, those on a grid by whole rows."""

    def __init__(self, vectors: Float[Tensor, "#b n c"]):
        self.vectors = vectors - vectors.mean(-1, keepdim=True)  # an element's mean is not seen by these
        self._grid: OnGrid | None = None

    def __call__(self, x: Normed) -> Float[Tensor, "b s n"]:
        if x.grid is None or x.scale is None:
            return wide(x.features @ self.vectors.to(x.features.dtype).mT)
        f = x.features.shape[-1]
        rows, columns = self._of_positions(x.grid, f)
        both = torch.cat([self.vectors[..., :f].mT, rows], dim=-2)
        found = (_by_rows(x.scale, x.grid) * columns.unsqueeze(1)).flatten(1, 2)
        return found.baddbmm_(_inner(x), both.expand(len(found), -1, -1))

    def _of_positions(self, grid: OnGrid, f: int) -> tuple[Float[Tensor, "#b h n"], Float[Tensor, "#b w n"]]:
        """The products with a grid's rows and columns, once for all of its pieces."""
        whole, place = grid.part_of or (grid, slice(None))
        if self._grid is not whole:
            positions = self.vectors[..., f:].mT
            self._grid = whole
            self._rows, self._columns = (side.to(positions.dtype) @ positions for side in (whole.rows, whole.columns))
        return self._rows[..., place, :], self._columns


class Sums:
    """Sums of the elements of normed arrays with weights (b s n), array after array, as float32 or wider: (b n c)."""

    def __init__(self, like: Float[Tensor, "b n c"]):
        self.sums = torch.zeros_like(like)
        self._columns: tuple[Tensor, Tensor] | None = None  # of a grid, and the sum of scaled weights over its rows

    def add(self, x: Normed, weights: Float[Tensor, "b s n"], faded: Float[Tensor, "b 1 n"]) -> None:
        """What was summed before counts `faded` times as much."""
        self.sums *= faded.mT
        if self._columns is not None:
            self._columns[1].mul_(faded)
        if x.grid is None or x.scale is None:
            self.sums += (x.features.mT @ weights.to(x.features.dtype)).mT
            return
        f, grid = x.features.shape[-1], x.grid
        found = (_inner(x).mT @ weights).mT  # in this order the larger array is read as it lies
        self.sums[..., :f] += found[..., :f]
        self.sums[..., f:].baddbmm_(found[..., f:], grid.rows.to(found.dtype).expand(len(found), -1, -1))
        if self._columns is None or self._columns[0] is not grid.columns:
            self._finish_grid()
            self._columns = grid.columns, weights.new_zeros(len(weights), len(grid.columns), weights.shape[2])
        for scale, row in zip(_by_rows(x.scale, grid).unbind(1), _by_rows(weights, grid).unbind(1), strict=True):
            self._columns[1].addcmul_(row, scale)

    def finish(self) -> Float[Tensor, "b n c"]:
        """All sums, each element less its mean over channels."""
        self._finish_grid()
        return self.sums - self.sums.mean(-1, keepdim=True)

    def _finish_grid(self) -> None:
        if self._columns is not None:
            columns, weights = self._columns
            self.sums[..., -columns.shape[1] :] += weights.mT @ columns.to(weights.dtype)
            self._columns = None


def _inner(x: Normed) -> Float[Tensor, "b s k"]:
    """The features, and behind them the scales, those of each row in a channel of its own."""
    assert x.grid is not None
    assert x.scale is not None
    rows = len(x.grid.rows)
    which = torch.eye(rows, dtype=x.scale.dtype, device=x.scale.device).repeat_interleave(len(x.grid.columns), dim=0)
    return torch.cat([x.features, x.scale * which], dim=-1)


def _by_rows(array: Float[Tensor, "b s n"], grid: OnGrid) -> Float[Tensor, "b h w n"]:
    return array.unflatten(1, (len(grid.rows), len(grid.columns)))


def wide(array: Tensor) -> Tensor:
    """At least float32: sums are kept so, and layers are multiplied with each other before they are rounded."""
    return array.to(torch.promote_types(array.dtype, torch.float32))
