"""The networks that people take for one kind of data: M5 on raw waveforms, PointNet on coordinates.

Each maps the part of a batch to tokens and their mask, in the place of ours (`rivals.py` trains them).
Not concerned with training, nor with what the parts hold (`perceivers.modalities`).
"""

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.modalities.audio_input import inside
from perceivers.modalities.base import Part

FILTER = 0.01  # seconds: of M5's first filters
STRIDE, POOL = 4, 4  # of the first filters; after each convolution
WIDTHS = (128, 128, 256, 512)
POINT_WIDTHS, WHOLE_WIDTHS = (64, 64, 64, 128, 1024), (512, 256)
DROPOUT = 0.3


class M5(nn.Module):
    """Four convolutions on the waveform, the first as long as 10 ms, each followed by a maximum over four (Dai et al.
    2017, "Very deep convolutional neural networks for raw waveforms", table 1). Each sound is brought to power 1.
    """

    modality = "audio"

    def __init__(self, rate: int, sound_channels: int, channels: int):
        super().__init__()
        before = (sound_channels, *WIDTHS[:-1])
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(i, o, width, stride, width // 2, bias=False), nn.BatchNorm1d(o), nn.ReLU(), nn.MaxPool1d(POOL)
            )
            for i, o, width, stride in zip(
                before, WIDTHS, (round(rate * FILTER), 3, 3, 3), (STRIDE, 1, 1, 1), strict=True
            )
        )
        self.to_channels = nn.Linear(WIDTHS[-1], channels)
        self.token = STRIDE * POOL ** len(WIDTHS)  # samples

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        samples, lengths = part["samples"], part["lengths"]
        count = (lengths.clamp(min=1) * samples.shape[1])[:, None, None]
        power = samples.square().sum((1, 2), keepdim=True) / count
        x = samples / power.clamp(min=1e-12).sqrt()
        x = nn.functional.pad(x, (0, self.token - x.shape[-1] % self.token))
        for layer in self.layers:
            x = layer(x)
        return self.to_channels(rearrange(x, "b w m -> b m w")), inside(lengths, x.shape[-1], self.token)


class PointNet(nn.Module):
    """The same small network for each point, then the maximum over all of them (Qi et al. 2017, "PointNet", figure 2,
    without the transforms): one token for each cloud.
    """

    modality = "points"

    def __init__(self, features: int, channels: int):
        super().__init__()
        self.point = _layers(3 + features, *POINT_WIDTHS)
        self.whole = nn.Sequential(_layers(POINT_WIDTHS[-1], *WHOLE_WIDTHS), nn.Dropout(DROPOUT))
        self.to_channels = nn.Linear(WHOLE_WIDTHS[-1], channels)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b 1 c"], Bool[Tensor, "b 1"]]:
        mask = part["mask"]
        seen = mask | ~mask.any(1, keepdim=True)  # of a missing cloud, its empty points
        each = self.point(torch.cat([part["points"], part["features"]], dim=-1)[seen])
        x = each.new_full((*mask.shape, each.shape[-1]), -torch.inf)
        x[seen] = each
        return self.to_channels(self.whole(x.amax(1)))[:, None], mask.any(1, keepdim=True)


def _layers(*widths: int) -> nn.Sequential:
    pairs = pairwise(widths)
    return nn.Sequential(*(nn.Sequential(nn.Linear(i, o), nn.BatchNorm1d(o), nn.ReLU()) for i, o in pairs))
