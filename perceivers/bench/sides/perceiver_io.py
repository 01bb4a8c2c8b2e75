"""The side of Martin Krasser's `perceiver-io`.

Not concerned with our side (`ours.py`).
"""

from importlib.metadata import version

import torch
from perceiver.model.core.modules import (  # pyrefly: ignore[missing-import]  it has an environment of its own
    InputAdapter,
    OutputAdapter,
    PerceiverDecoder,
    PerceiverEncoder,
    PerceiverIO,
)
from torch import Tensor

from .step import about, array
from .worker import Built, Spec


class Inputs(InputAdapter):
    """Arrays as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Outputs(OutputAdapter):
    """Learned queries, and outputs as they are."""

    def __init__(self, size: int, channels: int):
        super().__init__(output_query=torch.empty(size, channels), init_scale=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x


def build(spec: Spec, device: torch.device) -> Built:
    """A whole pass."""
    shape, width = spec["shape"], spec["shape"]["cross_channels"]
    encoder = PerceiverEncoder(
        Inputs(shape["channels"]),
        num_latents=shape["latents"],
        num_latent_channels=shape["latent_channels"],
        num_cross_attention_heads=1,
        num_cross_attention_qk_channels=width,
        num_cross_attention_v_channels=width,
        num_self_attention_heads=shape["heads"],
        num_self_attention_layers_per_block=shape["layers"],
        num_self_attention_blocks=shape["blocks"],
        cross_attention_widening_factor=spec["widening"],
        self_attention_widening_factor=spec["widening"],
    )
    decoder = PerceiverDecoder(
        Outputs(shape["queries"], shape["query_channels"]),
        num_latent_channels=shape["latent_channels"],
        num_cross_attention_heads=1,
        num_cross_attention_qk_channels=width,
        num_cross_attention_v_channels=width,
        cross_attention_widening_factor=spec["widening"],
        cross_attention_residual=False,
    )
    model = PerceiverIO(encoder, decoder).to(device).eval()
    inputs = array(shape["inputs"], shape["channels"], device)

    def run() -> dict[str, Tensor]:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=spec["precision"] == "fast"):
            return {"output": model(inputs)}

    return Built(run, about(model, version("perceiver-io")))
