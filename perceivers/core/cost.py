"""What a Perceiver IO costs by its sizes alone: multiplications and additions of its matrix products, one each.

Of the plain model: work that a fast path saves is still counted, so that it shows as speed. Norms, activations and
softmaxes are linear in their arrays and left out, as `torch.utils.flop_counter` does. Not concerned with seconds.
"""

from perceivers.core.perceiver import PerceiverIOConfig


def encode_flops(config: PerceiverIOConfig, batch: int, inputs: int) -> int:
    """The latents read `inputs` elements: O(M·N). Their queries are the same for all rows of the batch."""
    qk = config.cross_qk_channels or config.latent_channels
    each = _attend(
        (config.num_latents, config.latent_channels),
        (inputs, config.input_channels),
        qk,
        config.cross_v_channels or qk,
        config.cross_widening,
    )
    return batch * each - (batch - 1) * 2 * config.num_latents * config.latent_channels * qk


def process_flops(config: PerceiverIOConfig, batch: int) -> int:
    """All self-attends: O(L·N²)."""
    latents = (config.num_latents, config.latent_channels)
    qk = config.self_qk_channels or config.latent_channels
    layers = config.num_blocks * config.self_attends_per_block
    return batch * layers * _attend(latents, latents, qk, config.self_v_channels or qk, config.self_widening)


def decode_flops(config: PerceiverIOConfig, batch: int, outputs: int) -> int:
    """`outputs` queries read the latents: O(O·N)."""
    qk = config.decoder_qk_channels or config.query_channels
    return batch * _attend(
        (outputs, config.query_channels),
        (config.num_latents, config.latent_channels),
        qk,
        config.decoder_v_channels or qk,
        config.decoder_widening,
    )


def _attend(queries: tuple[int, int], keys: tuple[int, int], qk: int, v: int, widening: int) -> int:
    """An attention and its MLP: four projections, two products of queries and keys, two layers."""
    (n, d), (m, c) = queries, keys
    projections = n * d * qk + m * c * (qk + v) + n * v * d
    return 2 * (projections + n * m * (qk + v) + 2 * n * d * widening * d)
