"""The side of `perceiver-pytorch`, whose feed-forwards are gated: ours are as wide as gives equal FLOPs.

Not concerned with our side (`ours.py`).
"""

from importlib.metadata import version

import torch
from perceiver_pytorch import PerceiverIO  # pyrefly: ignore[missing-import]  it has an environment of its own
from torch import Tensor

from .step import about, array
from .worker import Built, Spec


def build(spec: Spec, device: torch.device) -> Built:
    """A whole pass; all self-attends share their weights, as where blocks are repeated."""
    shape = spec["shape"]
    model = PerceiverIO(
        depth=shape["layers"] * shape["blocks"],
        dim=shape["channels"],
        queries_dim=shape["query_channels"],
        num_latents=shape["latents"],
        latent_dim=shape["latent_channels"],
        cross_heads=1,
        latent_heads=shape["heads"],
        cross_dim_head=shape["cross_channels"],
        latent_dim_head=shape["latent_channels"] // shape["heads"],
        weight_tie_layers=True,
        decoder_ff=True,
    ).to(device)
    inputs = array(shape["inputs"], shape["channels"], device)
    queries = array(shape["queries"], shape["query_channels"], device)

    def run() -> dict[str, Tensor]:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=spec["precision"] == "fast"):
            return {"output": model(inputs, queries=queries)}

    return Built(run, about(model.eval(), version("perceiver-pytorch")))
