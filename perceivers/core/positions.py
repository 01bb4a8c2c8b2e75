"""Positions: Fourier features, grids and learned positions (Perceiver, section 3.2 and appendix D).

Not concerned with what stands at a position, nor with how the two are joined.
"""

import math
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


def grid(
    shape: Sequence[int],
    device: torch.device | None = None,
    linspace: Callable[[float, float, int], Tensor] = torch.linspace,
) -> Float[Tensor, "m d"]:
    """The positions of a grid's cells, each axis from -1 to 1 inclusive, the last axis fastest.

    An axis of one cell stands at -1, as `linspace` has it.
    """
    axes = [linspace(-1.0, 1.0, size).to(device) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))


def fourier_channels(axes: int, num_bands: int) -> int:
    """The width of `fourier_features`: d·(2·bands + 1)."""
    return axes * (2 * num_bands + 1)


def fourier_features(
    positions: Float[Tensor, "*rows d"], num_bands: int, resolution: Sequence[int | float]
) -> Float[Tensor, "*rows p"]:
    """[position, sin(π f x), cos(π f x)], p = d·(2·num_bands + 1), for positions in [-1, 1].

    The frequencies f of an axis run linearly from 1 to half its `resolution` (the Nyquist frequency of that many
    samples). Raises ValueError where `resolution` has not one number for each axis.
    """
    if len(resolution) != positions.shape[-1]:
        raise ValueError(
            f"resolution has {len(resolution)} axes but the positions have {positions.shape[-1]}: give one for each"
        )
    frequencies = torch.stack(
        [torch.linspace(1.0, size / 2, num_bands, device=positions.device) for size in resolution]
    )
    return sines(positions, frequencies.to(positions.dtype))


def sines(positions: Float[Tensor, "*rows d"], frequencies: Float[Tensor, "d f"]) -> Float[Tensor, "*rows p"]:
    """[position, sin(π f x), cos(π f x)]: sines, then cosines, each axis by axis.

    The order of operations is the original's, and matters: at high frequencies another one differs by 6e-3.
    """
    # MKL sets itself up at its first sine; where two threads race to be first, one of them is now and then given the
    # low accuracy (wrong by 1.5e-4, in one process of a hundred). A single element runs in one thread, and is first.
    torch.ones(1, device="cpu").sin()
    angles = rearrange(positions.unsqueeze(-1) * frequencies, "... d f -> ... (d f)") * math.pi
    return torch.cat([positions, angles.sin(), angles.cos()], dim=-1)


class LearnedArray(nn.Module):
    """A learned array (n d), the same for every row: initial latents, queries or positions.

    Truncated normal of standard deviation 0.02 at first, as in the papers.
    """

    def __init__(self, size: int, channels: int):
        super().__init__()
        self.array = nn.Parameter(torch.empty(size, channels))
        nn.init.trunc_normal_(self.array, std=0.02)

    def forward(self, batch: int) -> Float[Tensor, "b n d"]:
        return self.array.expand(batch, -1, -1)
