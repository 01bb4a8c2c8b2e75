"""From frames to tokens: patches of space and time.

Not concerned with where frames come from (`video.py`).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.attention import MLP
from perceivers.modalities.array_input import ArrayTokens, inside
from perceivers.modalities.base import Part

FRAMES = 2  # of a patch


class VideoInput(nn.Module):
    """Clips → a token for each patch of two frames (b m channels): a linear layer of its pixels and of its position,
    then a small network, for what moves shows in products of frames, which no linear layer has.

    The positions: y and x span each picture, from -1 to 1; time is in seconds, counted from the start of the window,
    which is [-1, 1]. What a patch has beyond its clip is 0, the mean of train.
    """

    def __init__(self, longest: int, patch: int, mean: Sequence[float], std: Sequence[float], channels: int):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.tokens = ArrayTokens((FRAMES, patch, patch), len(mean), channels, (longest, None, None))
        self.motion = MLP(channels, widening_factor=4)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        there = inside(part["sizes"], part["pixels"].shape[1:4])
        array = ((part["pixels"] - self.mean) / self.std) * there.unsqueeze(-1)
        tokens, mask = self.tokens(array, there, part["sizes"])
        return tokens + self.motion(tokens), mask
