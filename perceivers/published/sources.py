"""The two sources of the published models, the original JAX code and the port in `transformers`, as ready parts.

They are not the same model: besides the activation, the convolutional stem, the rule for a query that sees nothing,
the rounding of `linspace` and the preparation of text and pictures differ. Each is one part here.
Not concerned with sizes: the one that differs (a query residual) stands in `presets.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from perceivers.core.attention import DotProduct, tanh_gelu
from perceivers.published import pictures, text
from perceivers.published.resize import Pixels
from perceivers.published.stem import SamePad, Stem


@dataclass(frozen=True)
class Source:
    """The parts in which the sources differ."""

    name: str
    activation: Callable[[], nn.Module]
    pool: Callable[[], DotProduct]
    query_mask: Callable[[Bool[Tensor, "b m"], int], Bool[Tensor, "b length"] | None]
    linspace: Callable[[float, float, int], Float[Tensor, " size"]]
    stem: Callable[[int], Stem]
    ends: Callable[[Sequence[int]], list[int]]
    crop_and_resize: Callable[[Pixels, int], Pixels]


class UniformDotProduct(DotProduct):
    """The port's rule: a query whose keys are all masked pools the mean of all values."""

    def forward(
        self,
        q: Float[Tensor, "b h n k"],
        k: Float[Tensor, "b h m k"],
        v: Float[Tensor, "b h m v"],
        mask: Bool[Tensor, "b #n m"] | None,
    ) -> Float[Tensor, "b h n v"]:
        pooled = super().forward(q, k, v, mask)
        if mask is None:
            return pooled
        return torch.where(_blind(mask), v.mean(2, keepdim=True), pooled)

    def weights(
        self, q: Float[Tensor, "b h n k"], k: Float[Tensor, "b h m k"], mask: Bool[Tensor, "b #n m"] | None
    ) -> Float[Tensor, "b h n m"]:
        weights = super().weights(q, k, mask)
        return weights if mask is None else weights.masked_fill(_blind(mask), 1 / k.shape[2])


def _blind(mask: Bool[Tensor, "b n m"]) -> Bool[Tensor, "b 1 n 1"]:
    return ~mask.any(-1)[:, None, :, None]


def blind_without_text(mask: Bool[Tensor, "b m"], length: int) -> Bool[Tensor, "b length"]:
    """The original's rule for the queries of a text: where there is none, they see nothing."""
    return pad(mask, (0, length - mask.shape[1]), value=False)


def never_blind(mask: Bool[Tensor, "b m"], length: int) -> None:
    """The port's rule: every query sees all latents."""


def xla_linspace(start: float, stop: float, size: int) -> Float[Tensor, " size"]:
    """`jax.numpy.linspace` to the bits, as XLA compiles it for a CPU: the axes and frequencies of the original.

    start·(1 - i/n) + (stop/n)·i, where the last product and sum are rounded once; so are 1 and i/n in long ranges,
    which run in vectors of 32. In the highest bands of the autoencoder's sound one bit is 4e-3 of a feature.
    """
    if size == 1:
        return torch.tensor([start])
    i = torch.arange(size - 1, dtype=torch.float32)
    n = torch.tensor(size - 1.0)
    left = 1 - i * (1 / n)
    if size > 256:
        vectors = len(i) // 32 * 32
        left[:vectors] = (1 - i.double() * (1 / n).double()).float()[:vectors]  # float64 holds a product exactly
    sums = (start * left).double() + (stop * (1 / n)).double() * i.double()
    return torch.cat([sums.float(), torch.tensor([float(stop)])])


def original_stem(channels: int) -> Stem:
    """TensorFlow's SAME padding: 224 → 112 → 56."""
    return Stem(channels, pad=SamePad(7, 2, 0.0), pool=nn.Sequential(SamePad(3, 2, -torch.inf), nn.MaxPool2d(3, 2)))


def hub_stem(channels: int) -> Stem:
    """Three on every side, and a pool without padding: 224 → 112 → 55."""
    return Stem(channels, pad=nn.ZeroPad2d(3), pool=nn.MaxPool2d(3, 2))


ORIGINAL = Source(
    name="original",
    activation=tanh_gelu,
    pool=DotProduct,
    query_mask=blind_without_text,
    linspace=xla_linspace,
    stem=original_stem,
    ends=text.without_ends,
    crop_and_resize=pictures.crop_and_resize_cubic,
)
HUB = Source(
    name="hub",
    activation=nn.GELU,
    pool=UniformDotProduct,
    query_mask=never_blind,
    linspace=torch.linspace,
    stem=hub_stem,
    ends=text.between_ends,
    crop_and_resize=pictures.crop_and_resize_bicubic,
)
SOURCES = {source.name: source for source in (ORIGINAL, HUB)}
