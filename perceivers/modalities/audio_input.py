"""From samples to tokens: what is heard, how loud and when.

Not concerned with where sounds come from (`audio.py`), nor with filters (`filterbank.py`).
"""

from collections.abc import Sequence

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import batch_norm, gelu, pad

from perceivers import recipe
from perceivers.core.attention import linear
from perceivers.core.positions import LearnedArray, fourier_channels, fourier_features
from perceivers.modalities.base import Part
from perceivers.modalities.filterbank import BANDS, Frames, Frontend, higher

WIDTH = 128
CONTEXT = 5  # frames that a token is made of
REACH = 7  # tokens that a filter of a residual block spans
STEADY = 0.5  # the share taken away of what is the same in a band throughout a sound: a voice, a room, a microphone
NUM_BANDS, RESOLUTION = 16, 64  # of the positions: frequencies up to 32 half-waves over a window
SPREAD = 3.0  # standard deviation of log-energies within a sound, about
COLOURS = 4  # cosines over the bands, of which a microphone's response is made
QUIET = 1e-6  # of the largest sample that a file can hold: below it is silence


def token_samples(rate: int) -> int:
    """Samples of a token: 20 ms."""
    return recipe.AUDIO_FRAMES * Frames(rate).frame


def inside(lengths: Int[Tensor, " b"], size: int, step: int = 1) -> Bool[Tensor, "b n"]:
    """Where sample step·i is one of the sound."""
    return torch.arange(size, device=lengths.device) * step < lengths[:, None]


class AudioInput(nn.Module):
    """Sounds → a token for each 20 ms (b m channels): what the frontend hears around it, how loud the sound is, and
    when, in seconds, counted from the start of the window.

    Each sound is brought to power 1 first, so that a soft one is heard like a loud one; its level is told to every
    token. What is masked changes nothing.
    """

    def __init__(self, frontend: Frontend, longest: int, level: Sequence[float], sound_channels: int, channels: int):
        super().__init__()
        self.frontend, self.longest = frontend, longest
        self.token = recipe.AUDIO_FRAMES * frontend.frames.frame
        self.mean, self.std = level
        self.frames = nn.Conv1d(
            BANDS * sound_channels, WIDTH, CONTEXT, stride=recipe.AUDIO_FRAMES, padding=CONTEXT // 2
        )
        self.blocks = nn.ModuleList(Block(WIDTH) for _ in range(recipe.AUDIO_BLOCKS))
        self.to_channels = linear(WIDTH, channels)
        self.level = linear(1, channels)
        self.positions = linear(fourier_channels(1, NUM_BANDS), channels)
        self.field = LearnedArray(1, channels)

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        lengths = part["lengths"]
        samples = pad(part["samples"], (0, -part["samples"].shape[-1] % self.token))
        samples, level = _even(samples, lengths)
        mask = inside(lengths, samples.shape[-1] // self.token, self.token)
        x = gelu(self.frames(self.heard(samples, part))) * mask[:, None]
        for block in self.blocks:
            x = block(x, mask)
        x = rearrange(x, "b w m -> b m w")
        place = (torch.arange(mask.shape[1], device=mask.device)[:, None] + 0.5) * (2 * self.token / self.longest) - 1
        positions = self.positions(fourier_features(place, NUM_BANDS, [RESOLUTION]))
        loudness = self.level((level[:, None, None] - self.mean) / self.std)
        return self.to_channels(x) + positions + loudness + self.field(1), mask

    def heard(self, samples: Float[Tensor, "b c n"], part: Part) -> Float[Tensor, "b f t"]:
        """Log-energies of mean 0 over each sound, less a share of each band's own mean (all of it: Atal 1974);
        0, too, where hidden and beyond the end.
        """
        b, lengths = len(samples), part["lengths"]
        found = self.frontend(rearrange(samples, "b c n -> (b c) n"))
        found = rearrange(found, "(b c) t f -> (b c) f t", b=b)
        sounds = len(found) // b
        found = higher(found, part["warp"].repeat_interleave(sounds), self.frontend.frames.rate)
        found = rearrange(found, "(b c) f t -> b (c f) t", b=b) + _colour(part["colour"]).repeat(1, sounds, 1)
        frame = self.token // recipe.AUDIO_FRAMES
        within = inside(lengths, found.shape[-1], frame)
        means = (found * within[:, None]).sum(-1, keepdim=True) / within.sum(1).clamp(min=1)[:, None, None]
        mean = means.mean(1, keepdim=True)
        time = torch.arange(found.shape[-1], device=found.device) * frame / lengths.clamp(min=1)[:, None]
        bands = (torch.arange(BANDS, device=found.device) / BANDS).expand(b, -1)
        shown = within & _shown(part["hidden_times"], time)
        heard = _shown(part["hidden_bands"], bands).repeat(1, found.shape[1] // BANDS)
        return (found - mean - STEADY * (means - mean)) / SPREAD * shown[:, None] * heard[..., None]


class Block(nn.Module):
    """A residual block (He et al. 2016) of two convolutions over time. Tokens (b w m); where masked, 0."""

    def __init__(self, width: int):
        super().__init__()
        self.filters = nn.ModuleList(nn.Conv1d(width, width, REACH, padding=REACH // 2, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(TokenNorm(width) for _ in range(2))

    def forward(self, x: Float[Tensor, "b w m"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b w m"]:
        y = x
        for filters, norm in zip(self.filters, self.norms, strict=True):
            y = gelu(norm(filters(y), mask))
        return x + y


class TokenNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) over the tokens that are there; where masked, 0.

    Of fewer than two tokens nothing can be estimated: they are normalised as after training.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Float[Tensor, "b w m"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b w m"]:
        tokens, norm = rearrange(x, "b w m -> b m w"), self.norm
        there = tokens[mask]
        if len(there) > 1:
            normed = norm(there)
        else:
            normed = batch_norm(there, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return rearrange(torch.zeros_like(tokens).masked_scatter(mask[..., None], normed), "b m w -> b w m")


def _even(samples: Float[Tensor, "b c n"], lengths: Tensor) -> tuple[Float[Tensor, "b c n"], Float[Tensor, " b"]]:
    """Each sound without its mean, at power 1; and the log of what its root mean square was."""
    within = inside(lengths, samples.shape[-1])[:, None]
    count = lengths.clamp(min=1)[:, None, None]
    samples = (samples - samples.sum(-1, keepdim=True) / count) * within
    power = samples.square().sum((1, 2)) / (count[:, 0, 0] * samples.shape[1])
    level = power.sqrt().clamp(min=QUIET)
    return samples / level[:, None, None], level.log()


def _colour(weights: Float[Tensor, "b k"]) -> Float[Tensor, "b f 1"]:
    """The sum of the k slowest cosines over the bands, but for the constant."""
    place = (torch.arange(BANDS, device=weights.device) + 0.5) * (torch.pi / BANDS)
    waves = torch.cos(place[:, None] * torch.arange(1, weights.shape[1] + 1, device=weights.device))
    return einsum(weights, waves, "b k, f k -> b f")[..., None]


def _shown(hidden: Float[Tensor, "b k 2"], place: Float[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Whether each place, as a share, lies in no hidden stretch."""
    within = (place[:, None] >= hidden[..., :1]) & (place[:, None] < hidden[..., 1:])
    return ~within.any(1)
