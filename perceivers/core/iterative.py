"""The Perceiver of 2021 (Jaegle et al., arXiv 2103.03206): latents that read the inputs again and again.

Not concerned with queries: this model has one answer a row, by the mean of its latents. What came after it is in
`perceiver.py`.
"""

from collections.abc import Sequence

from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.attention import CrossAttend, SelfAttend, linear
from perceivers.core.inputs import Array, Chunks, gather
from perceivers.core.positions import LearnedArray


class Stage(nn.Module):
    """A cross-attend to the inputs (b m c) and a stack of self-attends among the latents (b n d)."""

    def __init__(self, cross_attend: CrossAttend, self_attends: Sequence[SelfAttend]):
        super().__init__()
        self.cross_attend = cross_attend
        self.self_attends = nn.ModuleList(self_attends)

    def forward(
        self,
        latents: Float[Tensor, "b n d"],
        inputs: Float[Tensor, "b m c"],
        mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        latents = self.cross_attend(latents, inputs, mask)
        for self_attend in self.self_attends:
            latents = self_attend(latents)
        return latents


class Perceiver(nn.Module):
    """Inputs (b m c) → logits (b k): `order` says which stage comes when (figure 1 and section 3.1 of the paper).

    `shared_order(8)` is the paper's: the first stage has its own weights, the seven after it share theirs.
    `range(len(stages))` shares none.
    """

    def __init__(self, latents: LearnedArray, stages: Sequence[Stage], order: Sequence[int], num_classes: int):
        super().__init__()
        if sorted(set(order)) != list(range(len(stages))):
            raise ValueError(f"order {list(order)} must name each of the {len(stages)} stages, from 0, at least once")
        self.latents = latents
        self.stages = nn.ModuleList(stages)
        self.order = tuple(order)
        self.logits = linear(latents.array.shape[1], num_classes)

    def encode(self, inputs: Array | Chunks, mask: Bool[Tensor, "b m"] | None = None) -> Float[Tensor, "b n d"]:
        array, mask = gather(inputs, mask)
        latents = self.latents(len(array))
        for stage in self.order:
            latents = self.stages[stage](latents, array, mask)
        return latents

    def forward(self, inputs: Array | Chunks, mask: Bool[Tensor, "b m"] | None = None) -> Float[Tensor, "b k"]:
        return self.logits(reduce(self.encode(inputs, mask), "b n d -> b d", "mean"))


def shared_order(num_stages: int) -> tuple[int, ...]:
    """0, 1, 1, …: the first stage unshared, the rest shared, as for ImageNet in the paper (section 4.1)."""
    return (0,) + (1,) * (num_stages - 1)
