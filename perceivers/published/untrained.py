"""Small models with random weights, one of the kind of each published one: for examples and trials without a download;
and an example of what each kind reads.

Not concerned with the published sizes (`presets.py`).
"""

import torch
from torch import Tensor

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.errors import BadInput
from perceivers.published.models import Published, make
from perceivers.published.presets import (
    PRESETS,
    AutoencoderSizes,
    ConvSizes,
    FlowSizes,
    FourierSizes,
    LanguageSizes,
    LearnedSizes,
    Sizes,
)
from perceivers.published.sources import HUB


def _small(input_channels: int, query_channels: int = 64, heads: int = 1) -> PerceiverIOConfig:
    return PerceiverIOConfig(
        input_channels=input_channels,
        query_channels=query_channels,
        num_latents=32,
        latent_channels=64,
        self_attends_per_block=2,
        cross_heads=heads,
        self_heads=4,
        decoder_heads=heads,
        decoder_query_residual=False,
    )


SMALL: dict[str, Sizes] = {
    "deepmind/language-perceiver": LanguageSizes(_small(64, 64, 4), vocabulary=262, length=512),
    "deepmind/vision-perceiver-fourier": FourierSizes(_small(37), resolution=(64, 64), num_bands=8, num_classes=1000),
    "deepmind/vision-perceiver-learned": LearnedSizes(_small(32), image_size=(64, 64), channels=16, num_classes=1000),
    "deepmind/vision-perceiver-conv": ConvSizes(
        _small(98), stem_channels=64, resolution=(16, 16), num_bands=8, num_classes=1000
    ),
    "deepmind/optical-flow-perceiver": FlowSizes(
        _small(50, 50), image_size=(64, 96), patch_channels=27, channels=16, num_bands=8, rescale=100.0
    ),
    "deepmind/multimodal-perceiver": AutoencoderSizes(
        _small(80, 64),
        num_frames=16,
        frame_size=(32, 32),
        patch_size=4,
        image_bands=4,
        audio_samples=30_720,
        samples_per_patch=16,
        audio_bands=16,
        num_classes=60,  # the label is as wide as an element of the input at most
        label_query_channels=48,
        output_channels=32,
    ),
}


def untrained(name: str, seed: int = 0) -> Published:
    """A small model of the kind that is published as `name`, with the initial weights that `seed` gives.

    Its answers mean nothing. Raises BadInput where no such model is published.
    """
    if name not in SMALL:
        raise BadInput(f"{name}: no published model: those are {', '.join(PRESETS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(SMALL[name], HUB)


def example(sizes: Sizes) -> tuple[Tensor, ...]:
    """One random example of what `forward` takes, for a model of these sizes."""
    match sizes:
        case LanguageSizes():
            length = sizes.length
            return torch.randint(sizes.vocabulary, (1, length)), torch.arange(length)[None] < length * 3 // 4
        case FlowSizes():
            return (torch.rand(1, 2, sizes.patch_channels, *sizes.image_size) * 2 - 1,)
        case AutoencoderSizes():
            video = torch.rand(1, sizes.num_frames, 3, *sizes.frame_size)
            return video, torch.rand(1, sizes.audio_samples) * 2 - 1
        case FourierSizes() | LearnedSizes() | ConvSizes():
            return (torch.randn(1, 3, sizes.side, sizes.side),)
