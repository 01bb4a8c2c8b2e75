"""From a series to tokens: convolutions near in time, patches of steps, positions in time.

Not concerned with reading series, nor with what is asked of them.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from perceivers import recipe
from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.modalities.base import Part
from perceivers.modalities.convolutions import ConvBlock

NUM_BANDS, RESOLUTION = 16, 64
WIDTH, KERNEL = 64, 9
PLACES = 4  # a token is made of at most so many places of the convolutions


class SeriesInput(nn.Module):
    """Series (b t k) → a token for the whole and one for each patch of steps (b m channels).

    Residual convolutions over short groups of steps, then a linear layer a patch, and Fourier features of its time
    since the first step and until the last, in units of train's longest series. A value that is missing is 0, and a
    second channel says so; what lies beyond the end of a series changes nothing.
    """

    def __init__(self, k: int, patch: int, length: int, channels: int):
        super().__init__()
        self.group = max(1, patch // PLACES)
        self.places = patch // self.group
        self.length = length
        self.values = nn.Linear(2 * k * self.group, WIDTH)
        self.blocks = nn.ModuleList(ConvBlock(WIDTH, KERNEL) for _ in range(recipe.SERIES_BLOCKS))
        self.to_channels = linear(2 * WIDTH * self.places, channels)
        self.positions = linear(fourier_channels(2, NUM_BANDS), channels)
        self.whole = linear(2 * k + 1, channels)
        self.field = LearnedArray(2, channels)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        groups, near = _groups(part, self.group)
        x = self.values(groups) * near.unsqueeze(-1)
        first = x
        for block in self.blocks:
            x = block(x, near)
        both = pad(torch.cat([first, x], dim=-1), (0, 0, 0, -x.shape[1] % self.places))
        tokens = self.to_channels(rearrange(both, "b (m p) w -> b m (p w)", p=self.places))
        patch = self.group * self.places
        mask = torch.arange(0, tokens.shape[1] * patch, patch, device=tokens.device) < part["length"][:, None]
        times = self.times(part, tokens.shape[1], patch)
        tokens = tokens + self.positions(fourier_features(times, NUM_BANDS, (RESOLUTION, RESOLUTION)))
        whole, field = self.of_whole(part), self.field(len(tokens))
        tokens = torch.cat([whole.unsqueeze(1) + field[:, :1], tokens + field[:, 1:]], dim=1)
        return tokens, pad(mask, (1, 0), value=True)

    def times(self, part: Part, m: int, patch: int) -> Float[Tensor, "b m 2"]:
        """The times of the patches' middles since the first step and until the last, in [-1, 1]."""
        length = part["length"][:, None]
        last = (length - 1).clamp(min=0)
        start = torch.arange(m, device=length.device)[None] * patch
        ends = [part["times"].gather(1, torch.minimum(i, last)) for i in (start, start + patch - 1)]
        middle = (ends[0] + ends[1]) / 2
        until = part["times"].gather(1, last) - middle
        return 2 * torch.stack([middle, until], dim=-1) / self.length - 1

    def of_whole(self, part: Part) -> Float[Tensor, "b c"]:
        """What holds for all of it: its length, level and scale; 0 where it is missing."""
        share = part["length"][:, None] / self.length
        level = part["mean"] / (1 + (part["mean"] / 3) ** 2).sqrt()
        return self.whole(torch.cat([share, level, part["std"].clamp(min=1e-6).log() * (share > 0)], dim=1))


def _groups(part: Part, size: int) -> tuple[Float[Tensor, "b g f"], Bool[Tensor, "b g"]]:
    """Values and whether they are there, `size` steps side by side; and whether a group has a step."""
    values, there = part["values"], part["present"].to(part["values"].dtype)
    values = values / (1 + (values / 5) ** 2).sqrt()  # softly clipped
    steps = torch.cat([values, 1 - there], dim=-1)
    inside = torch.arange(steps.shape[1], device=steps.device) < part["length"][:, None]
    steps = pad(steps * inside.unsqueeze(-1), (0, 0, 0, -steps.shape[1] % size))
    near = torch.arange(0, steps.shape[1], size, device=steps.device) < part["length"][:, None]
    return rearrange(steps, "b (g s) f -> b g (s f)", s=size), near
