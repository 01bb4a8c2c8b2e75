"""Residual blocks of convolutions over neighbouring tokens: along a line, or on a grid.

Not concerned with what the tokens are, nor with where they lie.
"""

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}


class ConvBlock(nn.Module):
    """x + convolution ∘ gelu ∘ convolution ∘ norm (He et al. 2016, "Identity mappings"), each of `kernel` tokens
    along each of `axes` axes, 1 or 2. x is 0 outside of the mask and stays so there.
    """

    def __init__(self, width: int, kernel: int, axes: int = 1):
        super().__init__()
        convolution = CONVOLUTIONS[axes]
        self.norm = nn.LayerNorm(width)
        self.first = convolution(width, width, kernel, padding=kernel // 2)
        self.second = convolution(width, width, kernel, padding=kernel // 2)

    def forward(self, x: Float[Tensor, "b *s w"], mask: Bool[Tensor, "b *s"]) -> Float[Tensor, "b *s w"]:
        there = mask.unsqueeze(1)
        y = self.norm(x).movedim(-1, 1) * there
        y = self.second(gelu(self.first(y)) * there) * there
        return x + y.movedim(1, -1)
