"""Attention rollout: how much of what an output reads came from each element of the input.

Not concerned with what the elements are, nor with whether a model needs them: attention is where it looks.
"""

import torch
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers.core.attention import record_attention
from perceivers.core.perceiver import PerceiverIO


def rollout(
    perceiver: PerceiverIO,
    inputs: Float[Tensor, "b m c"],
    queries: Float[Tensor, "b o e"],
    mask: Bool[Tensor, "b m"] | None = None,
) -> Float[Tensor, "b o m"]:
    """D · Πₗ (½ I + ½ Sₗ) · E, where D, Sₗ and E are the attention weights of decode, of each self-attend (the last
    one first) and of encode, each the mean over heads (Abnar and Zuidema 2020, section 3).

    The half of I is the residual of a self-attend. Encode and decode have none: latents and queries bring nothing
    of the input. A row sums to 1; to 0 where the whole input is masked.
    """
    with record_attention(perceiver, lambda weights: reduce(weights, "b h n m -> b n m", "mean")) as weights:
        perceiver(inputs, queries, mask)

    def of(name: str, call: int = 0) -> Float[Tensor, "b n m"]:
        return weights[f"{name}.attention"][call]

    flow = of("decoder")
    for call in reversed(range(perceiver.num_blocks)):
        for i in reversed(range(len(perceiver.block))):
            flow = (flow + flow @ of(f"block.{i}", call)) / 2
    return torch.matmul(flow, of("encoder"))
