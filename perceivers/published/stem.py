"""The convolutional stem of the third ImageNet model, and TensorFlow's SAME padding.

Not concerned with which padding belongs to which source (`sources.py`).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad


class Stem(nn.Module):
    """Images (b 3 h w) → (b c h' w'): 7×7 convolution of stride 2, batch norm, ReLU, 3×3 max pool of stride 2."""

    def __init__(self, channels: int, pad: nn.Module, pool: nn.Module):
        super().__init__()
        self.pad = pad
        self.conv = nn.Conv2d(3, channels, 7, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c y x"]:
        return self.pool(torch.relu(self.norm(self.conv(self.pad(images)))))


class SamePad(nn.Module):
    """Padding for a kernel and stride so that size → ceil(size / stride), the odd one behind."""

    def __init__(self, kernel: int, stride: int, value: float):
        super().__init__()
        self.kernel, self.stride, self.value = kernel, stride, value

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c y x"]:
        (top, bottom), (left, right) = (self.around(size) for size in x.shape[-2:])
        return pad(x, (left, right, top, bottom), value=self.value)

    def around(self, size: int) -> tuple[int, int]:
        """How much before and how much behind."""
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2
