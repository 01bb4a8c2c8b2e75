"""FLOPs by sizes, against torch's own counter over the model itself."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from perceivers.core.cost import decode_flops, encode_flops, process_flops
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.plan.costs import Stages
from perceivers.published import PRESETS
from perceivers.published.models import make
from perceivers.published.sources import HUB
from perceivers.published.untrained import example

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
    assert encode_flops(CONFIG, B, M) == counted(lambda: model.encode(inputs))
    assert process_flops(CONFIG, B) == counted(lambda: model.process(latents))
    assert decode_flops(CONFIG, B, O) == counted(lambda: model.decode(latents, queries))


def test_cost_is_linear_in_inputs_and_outputs():
    assert encode_flops(CONFIG, 1, 300) - encode_flops(CONFIG, 1, 200) == encode_flops(CONFIG, 1, 200) - encode_flops(
        CONFIG, 1, 100
    )
    assert decode_flops(CONFIG, 3, 40) == 2 * decode_flops(CONFIG, 3, 20) - decode_flops(CONFIG, 3, 0)


@pytest.mark.parametrize("name", PRESETS)
def test_each_stage_of_a_published_model_costs_what_torch_counts(name):
    """At full size, for the inputs and queries of one example."""
    preset = PRESETS[name]
    with torch.device("meta"):
        model = make(preset.sizes("hub"), HUB)
        given = example(model.sizes)
    config, stages = model.sizes.perceiver, Stages(model.sizes.perceiver)
    with stages.watching(model.perceiver), torch.no_grad():
        model(*given)
    with torch.device("meta"):
        latents = torch.empty(1, config.num_latents, config.latent_channels)
        arrays = [
            torch.empty(1, size, channels)
            for size, channels in ((stages.inputs, config.input_channels), (O, config.query_channels))
        ]
    assert stages.flop["encode"] == counted(lambda: model.perceiver.encode(arrays[0]))
    assert stages.flop["process"] == counted(lambda: model.perceiver.process(latents))
    assert decode_flops(config, 1, O) == counted(lambda: model.perceiver.decode(latents, arrays[1]))
