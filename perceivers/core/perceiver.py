"""Perceiver IO (Jaegle et al. 2021, arXiv 2107.14795): encode, process, decode.

Not concerned with where inputs and queries come from, nor with what the outputs mean.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.core import streaming
from perceivers.core.attention import MLP, Attention, CrossAttend, DotProduct, SelfAttend, tanh_gelu
from perceivers.core.checkpointing import Checkpointing, Checkpoints
from perceivers.core.inputs import Array, Chunks, Mask, Parts
from perceivers.core.positions import LearnedArray


class PerceiverIO(nn.Module):
    """Inputs (b m c) → latents (b n d) → outputs (b o e), at a cost linear in m and in o (figure 2 of the paper).

    `block` is a stack of self-attends that is applied `num_blocks` times, with the same weights. `checkpointing` says
    how much of a self-attend is computed anew in the backward pass: see `checkpointing.py`.
    """

    def __init__(
        self,
        latents: LearnedArray,
        encoder: CrossAttend,
        block: Sequence[SelfAttend],
        decoder: CrossAttend,
        *,
        num_blocks: int = 1,
    ):
        super().__init__()
        self.latents = latents
        self.encoder = encoder
        self.block = nn.ModuleList(block)
        self.decoder = decoder
        self.num_blocks = num_blocks
        self.checkpointing: Checkpointing = "off"

    def encode(self, inputs: Array | Chunks | Iterable, mask: Mask = None) -> Float[Tensor, "b n d"]:
        """The latents read the inputs once. `mask` (b m) is True where there is something to read.

        Memory does not grow with m where the inputs are `Chunks`, or any iterable of (array, mask): see `streaming.py`.
        """
        return streaming.read(self.encoder, self.latents(1), inputs, mask)

    def process(self, latents: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """The latents think: the block of self-attends, `num_blocks` times."""
        call = Checkpoints(self.checkpointing)
        for _ in range(self.num_blocks):
            for self_attend in self.block:
                latents = call(self_attend, latents)
        return latents

    def decode(
        self,
        latents: Float[Tensor, "b n d"],
        queries: Array | Chunks,
        mask: Bool[Tensor, "b o"] | None = None,
        layers: Sequence[nn.Linear] = (),
    ) -> Float[Tensor, "b o e"]:
        """Each query reads the latents: one output for each. A query where `mask` is False sees none of them.

        Linear `layers` that outputs go through are best given here, where they may be taken together with the decoder.
        """

        def see(mask: Mask) -> Bool[Tensor, "b o n"] | None:
            return None if mask is None else repeat(mask, "b o -> b o n", n=latents.shape[1])

        if mask is not None and not isinstance(queries, Tensor | tuple | Parts):
            raise ValueError("chunks bring their own masks: leave `mask` out, or give an array")
        return streaming.ask(self.decoder, latents, queries, mask, see, layers)

    def forward(
        self, inputs: Array | Chunks | Iterable, queries: Array | Chunks, mask: Mask = None
    ) -> Float[Tensor, "b o e"]:
        return self.decode(self.process(self.encode(inputs, mask)), queries)


@dataclass(frozen=True)
class PerceiverIOConfig:
    """Every number of a Perceiver IO. Widths that are None are the papers' defaults (see `Attention`)."""

    input_channels: int
    query_channels: int
    num_latents: int
    latent_channels: int
    self_attends_per_block: int
    num_blocks: int = 1
    cross_heads: int = 1
    self_heads: int = 8
    decoder_heads: int = 1
    cross_widening: int = 1
    self_widening: int = 1
    decoder_widening: int = 1
    cross_qk_channels: int | None = None
    cross_v_channels: int | None = None
    self_qk_channels: int | None = None
    self_v_channels: int | None = None
    decoder_qk_channels: int | None = None
    decoder_v_channels: int | None = None
    decoder_query_residual: bool = True
    drop_path: float = 0.0


def build(
    config: PerceiverIOConfig,
    activation: Callable[[], nn.Module] = tanh_gelu,
    pool: Callable[[], DotProduct] = DotProduct,
) -> PerceiverIO:
    """The one place that turns a configuration into modules, with the parts that are not a number made on the spot."""
    c, d, e = config.input_channels, config.latent_channels, config.query_channels

    def attention(q: int, kv: int, num_heads: int, qk: int | None, v: int | None) -> Attention:
        return Attention(q, kv, num_heads=num_heads, qk_channels=qk, v_channels=v, pool=pool())

    def mlp(channels: int, widening_factor: int) -> MLP:
        return MLP(channels, widening_factor, activation())

    encoder = CrossAttend(
        d,
        c,
        attention(d, c, config.cross_heads, config.cross_qk_channels, config.cross_v_channels),
        mlp(d, config.cross_widening),
    )
    block = [
        SelfAttend(
            d,
            attention(d, d, config.self_heads, config.self_qk_channels, config.self_v_channels),
            mlp(d, config.self_widening),
            drop_path=config.drop_path,
        )
        for _ in range(config.self_attends_per_block)
    ]
    decoder = CrossAttend(
        e,
        d,
        attention(e, d, config.decoder_heads, config.decoder_qk_channels, config.decoder_v_channels),
        mlp(e, config.decoder_widening),
        query_residual=config.decoder_query_residual,
    )
    return PerceiverIO(LearnedArray(config.num_latents, d), encoder, block, decoder, num_blocks=config.num_blocks)
