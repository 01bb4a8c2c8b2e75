"""From clouds of points to tokens: patches of neighbours about centres that lie far apart.

Not concerned with where clouds come from (`points.py`).
"""

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, max_pool2d, relu

from perceivers import recipe
from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.modalities.base import Part

HIDDEN, WIDTH = 64, 96
SURFACE = 8  # numbers that `surface` says of a point
REACH = 3.0  # positions: so many root mean squares are 1, and nothing is farther than twice that
NUM_BANDS, RESOLUTION = 8, 16


class PointsInput(nn.Module):
    """Clouds → a token for each patch of 24 neighbours (b m channels), m ≤ 64.

    The centres of patches are points as far from each other as can be (Qi et al. 2017, "PointNet++", section 3.2). A
    token is the maximum over its points of what a small network makes of each (Qi et al. 2017, "PointNet"): of its
    features, of where it lies about the centre, and of the patch as a piece of surface, much of which no turn of the
    cloud changes (Deng et al. 2018, "PPFNet"). The centre's coordinates and their Fourier features are added.
    """

    def __init__(self, features: int, channels: int):
        super().__init__()
        self.point = linear(6 + SURFACE + features, HIDDEN)
        self.pooled = linear(HIDDEN, WIDTH)
        self.to_channels = linear(WIDTH, channels)
        self.size = linear(1, channels)
        self.positions = linear(fourier_channels(3, NUM_BANDS), channels)
        self.field = LearnedArray(1, channels)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        points, there = part["points"], part["mask"]
        with torch.autocast(points.device.type, enabled=False):  # neighbours differ by less than bf16 can tell
            chosen = farthest(points, there, min(recipe.POINTS_CENTRES, points.shape[1]))
            centres = at(points, chosen)
            near, known = nearest(centres, points, there, recipe.POINTS_NEIGHBOURS)
            near = torch.where(known, near, chosen.unsqueeze(-1))  # where there are too few, the centre once more
            places = at(points, near)
            mask = torch.arange(centres.shape[1], device=points.device) < there.sum(1, keepdim=True)
            known = known & mask.unsqueeze(-1)
            about = places - rearrange(centres, "b m i -> b m 1 i")
            about = about / _reach(about, known)
            found = [about, places / REACH, surface(about, known, centres), at(part["features"], near)]
        x = relu(self.point(torch.cat(found, dim=-1)))
        x = gelu(_greatest(self.pooled(x)))
        place = (centres / REACH).clamp(-2, 2)
        positions = self.positions(fourier_features(place, NUM_BANDS, 3 * [RESOLUTION]))
        return self.to_channels(x) + positions + self.size(part["size"][:, None, None]) + self.field(1), mask


@torch.no_grad()
def farthest(points: Float[Tensor, "b n 3"], mask: Bool[Tensor, "b n"], count: int) -> Int[Tensor, "b m"]:
    """Farthest point sampling: the point farthest from the middle, then again and again the one farthest from all
    that were taken (Eldar et al. 1997). Where fewer are there, some come again at the end.
    """
    middle = (points * mask.unsqueeze(-1)).sum(1, keepdim=True) / mask.sum(1).clamp(min=1)[:, None, None]
    axes = rearrange(points - middle, "b n i -> i b n").contiguous()  # sums over the last of three are slow
    absent = torch.where(mask, torch.inf, -1.0)
    taken = [torch.minimum(axes.square().sum(0), absent).argmax(1, keepdim=True)]
    distance = absent
    while len(taken) < count:
        x, y, z = (axis - axis.gather(1, taken[-1]) for axis in axes)
        distance = torch.minimum(distance, x.square_().addcmul_(y, y).addcmul_(z, z))
        taken.append(distance.argmax(1, keepdim=True))
    return torch.cat(taken, dim=1)


@torch.no_grad()
def nearest(
    centres: Float[Tensor, "b m 3"],
    points: Float[Tensor, "b n 3"],
    mask: Bool[Tensor, "b n"],
    count: int,
    in_order: bool = False,
) -> tuple[Int[Tensor, "b m k"], Bool[Tensor, "b m k"]]:
    """The nearest points of each centre, if need be the nearest first, and which of them are there; k ≤ `count`."""
    squares = points.square().sum(-1).masked_fill(~mask, torch.inf)
    distance = torch.baddbmm(squares.unsqueeze(1), centres, points.mT, alpha=-2)  # but for the centre's own square
    found = distance.topk(min(count, points.shape[1]), largest=False, sorted=in_order)
    return found.indices, found.values.isfinite()


@torch.no_grad()
def surface(
    about: Float[Tensor, "b m k 3"], known: Bool[Tensor, "b m k"], centres: Float[Tensor, "b m 3"]
) -> Float[Tensor, "b m k 8"]:
    """Patches as pieces of a surface, whose normal is the direction in which the points differ least, outwards.

    For each point its height along the normal and its distance from it; for each patch how far its centre lies from the
    middle of the cloud, how much of that along the normal, how thick it is, and the normal.
    """
    weighted = about * known.unsqueeze(-1)
    covariance = einsum(weighted, about, "b m k i, b m k j -> b m i j") / known.sum(-1).clamp(min=1)[..., None, None]
    spread, axes = torch.linalg.eigh(covariance)
    normal = axes[..., 0]
    outwards = (centres * normal).sum(-1, keepdim=True)
    normal = torch.where(outwards < 0, -normal, normal)
    height = einsum(about, normal, "b m k i, b m i -> b m k")
    aside = (about.square().sum(-1) - height.square()).clamp(min=0).sqrt()
    far, thick = centres.norm(dim=-1, keepdim=True), spread[..., :1].clamp(min=0).sqrt()
    of_patch = repeat(torch.cat([far, outwards.abs(), thick, normal], dim=-1), "b m i -> b m k i", k=about.shape[2])
    return torch.cat([torch.stack([height, aside], dim=-1), of_patch], dim=-1)


def at(values: Float[Tensor, "b n c"], index: Int[Tensor, "b *m"]) -> Float[Tensor, "b *m c"]:
    """The values at each index of its row."""
    flat = index.flatten(1)
    found = values.gather(1, repeat(flat, "b m -> b m c", c=values.shape[-1]))
    return found.unflatten(1, index.shape[1:])


def _greatest(x: Float[Tensor, "b m k c"]) -> Float[Tensor, "b m c"]:
    """The maximum over the points of each patch, as pooling of pictures, which knows how to do it fast."""
    pooled = max_pool2d(rearrange(x, "b m k c -> (b m) c k 1"), (x.shape[2], 1))
    return rearrange(pooled, "(b m) c 1 1 -> b m c", b=len(x))


def _reach(about: Float[Tensor, "b m k 3"], known: Bool[Tensor, "b m k"]) -> Float[Tensor, "b 1 1 1"]:
    """The root mean square distance of neighbours in each cloud: it depends on how dense the points are."""
    squares = (about.square().sum(-1) * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return squares.sqrt().clamp(min=1e-6)[:, None, None, None]
