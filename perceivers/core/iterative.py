"""The Perceiver of 2021 (Jaegle et al., arXiv 2103.03206): latents that read the inputs again and again.

Not concerned with queries: this model has one answer a row, by the mean of its latents. What came after it is in
`perceiver.py`.
"""

from collections.abc import Iterator, Sequence
from typing import cast

from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core.attention import CrossAttend, SelfAttend, linear
from perceivers.core.inputs import Array, Chunks, join
from perceivers.core.positions import LearnedArray
from perceivers.core.streaming import read

# One (cross-attend, stack) for each time that the inputs are read: which of each, counted from 0.
Order = Sequence[tuple[int, int]]


class Perceiver(nn.Module):
    """Inputs (b m c) → logits (b k): cross-attends and stacks of self-attends by turns (figure 1 of the paper).

    `order` says which comes when, and so which weights are shared: `paper_order`, `shared_order`, `unshared_order`.
    Raises ValueError where it leaves a cross-attend or a stack out, or names one that is not there.
    """

    def __init__(
        self,
        latents: LearnedArray,
        cross_attends: Sequence[CrossAttend],
        stacks: Sequence[Sequence[SelfAttend]],
        order: Order,
        num_classes: int,
    ):
        super().__init__()
        for kind, parts, used in (
            ("cross-attends", cross_attends, {cross for cross, _ in order}),
            ("stacks", stacks, {stack for _, stack in order}),
        ):
            if used != set(range(len(parts))):
                raise ValueError(
                    f"order {list(order)} must name each of the {len(parts)} {kind}, from 0, at least once"
                )
        self.latents = latents
        self.cross_attends = nn.ModuleList(cross_attends)
        self.stacks = nn.ModuleList(nn.Sequential(*stack) for stack in stacks)
        self.order = tuple(order)
        self.logits = linear(latents.array.shape[1], num_classes)

    def encode(self, inputs: Array | Chunks, mask: Bool[Tensor, "b m"] | None = None) -> Float[Tensor, "b n d"]:
        """The latents read the inputs, think, and read again. `mask` (b m) is True where there is something to read."""
        if isinstance(inputs, Tensor | tuple):
            inputs = join(inputs)
        if isinstance(inputs, Iterator) and len(self.order) > 1:
            raise ValueError(f"the inputs are read {len(self.order)} times, and these once: give `Chunks` or a list")
        latents = self.latents(1)
        for cross, stack in self.order:
            latents = self.stacks[stack](read(cast(CrossAttend, self.cross_attends[cross]), latents, inputs, mask))
        return latents

    def forward(self, inputs: Array | Chunks, mask: Bool[Tensor, "b m"] | None = None) -> Float[Tensor, "b k"]:
        return self.logits(reduce(self.encode(inputs, mask), "b n d -> b d", "mean"))


def paper_order(times: int) -> Order:
    """The ImageNet model of 44.9 M parameters: the first cross-attend has its own weights, all else is shared."""
    return ((0, 0),) + ((1, 0),) * (times - 1)


def shared_order(times: int) -> Order:
    """The first cross-attend and its stack have their own weights, the rest share theirs."""
    return ((0, 0),) + ((1, 1),) * (times - 1)


def unshared_order(times: int) -> Order:
    """Nothing is shared."""
    return tuple((i, i) for i in range(times))
