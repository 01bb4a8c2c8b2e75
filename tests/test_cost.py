"""FLOPs by sizes, against torch's own counter over the model itself."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from perceivers.core.cost import decode_flops, encode_flops, process_flops
from perceivers.core.perceiver import PerceiverIOConfig, build

B, M, O = 2, 29, 13  # noqa: E741
CONFIG = PerceiverIOConfig(
    input_channels=11,
    query_channels=17,
    num_latents=7,
    latent_channels=20,
    self_attends_per_block=3,
    num_blocks=2,
    self_heads=5,
    cross_qk_channels=19,
    cross_v_channels=23,
    self_qk_channels=10,
    decoder_v_channels=31,
    cross_widening=2,
    self_widening=3,
    decoder_widening=5,
)


def counted(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def test_each_stage_costs_what_torch_counts():
    with torch.device("meta"):
        model = build(CONFIG)
        inputs, queries = torch.empty(B, M, 11), torch.empty(B, O, 17)
        latents = torch.empty(B, 7, 20)
    # The plain model projects the same initial latents for each row of the batch.
    assert encode_flops(CONFIG, B, M) == counted(lambda: model.encode(inputs))
    assert process_flops(CONFIG, B) == counted(lambda: model.process(latents))
    assert decode_flops(CONFIG, B, O) == counted(lambda: model.decode(latents, queries))


def test_cost_is_linear_in_inputs_and_outputs():
    assert encode_flops(CONFIG, 1, 300) - encode_flops(CONFIG, 1, 200) == encode_flops(CONFIG, 1, 200) - encode_flops(
        CONFIG, 1, 100
    )
    assert decode_flops(CONFIG, 3, 40) == 2 * decode_flops(CONFIG, 3, 20) - decode_flops(CONFIG, 3, 0)
