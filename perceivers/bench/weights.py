"""`python -m perceivers.bench.weights NAME FOLDER`: random weights of a published model, and an example.

A process of its own, so that its memory is nobody's. Not concerned with the published weights: speed does not depend
on them.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from perceivers.bench.works import CHUNKS
from perceivers.published import PRESETS, export_hub
from perceivers.published.models import make
from perceivers.published.presets import AutoencoderSizes, Sizes
from perceivers.published.sources import HUB
from perceivers.published.untrained import example

MODEL, EXAMPLE = "model", "example.pt"


def write(name: str, folder: Path) -> None:
    """`folder/model` in the Hub's format, and `folder/example.pt`: what `forward` takes, and points to decode."""
    sizes = PRESETS[name].sizes("hub")
    torch.manual_seed(31)
    model = make(sizes, HUB)
    randomise(model)
    export_hub(model, folder / MODEL)
    torch.save(given(sizes), folder / EXAMPLE)


def randomise(model: nn.Module) -> None:
    """No tensor stays zero or one, which could hide an error; activations stay at about 1."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                tensor.fill_(1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif not (tensor.ndim > 1 and name.endswith("weight")):
                tensor.add_(0.1 * torch.randn_like(tensor))


def given(sizes: Sizes) -> tuple[Tensor, ...]:
    """A random example; of a clip the points of one chunk with it."""
    if not isinstance(sizes, AutoencoderSizes):
        return example(sizes)
    pixels = sizes.num_frames * sizes.frame_size[0] * sizes.frame_size[1]
    points = (torch.arange(size).tensor_split(CHUNKS)[0] for size in (sizes.audio_patches, pixels))
    return (*example(sizes), *points)


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
