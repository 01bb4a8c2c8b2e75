"""From samples to energies in bands: filters that are learned on the raw waveform, or the fixed log-mel spectrogram.

Both give frames of the same rate and width, so that one can stand for the other.
Not concerned with tokens or positions (`audio_input.py`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear, pad

BANDS = 64
LOWEST = 50.0  # Hz: where the bands begin
WINDOW, STEP, FRAME = 0.032, 0.005, 0.010  # seconds: of a filter, between its outputs, between frames
FLOOR = 1e-5  # of the energy of a sound of power 1: 50 dB below it
LEARNED = 0.1  # the learned part of a filter moves so much slower than other weights


class Frames:
    """At a `rate` in Hz, how many samples a filter has and how many lie between outputs: whole numbers."""

    def __init__(self, rate: int):
        self.rate = rate
        self.step = max(1, round(rate * STEP))
        self.frame = self.step * round(FRAME / STEP)
        self.window = max(2 * self.frame, round(rate * WINDOW) // 2 * 2)


def mel(hertz: Float[np.ndarray, "*n"] | float) -> np.ndarray:
    """The mel scale (O'Shaughnessy 1987): equal steps sound equally far apart."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def hertz(mels: Float[np.ndarray, "*n"]) -> np.ndarray:
    """The frequencies, in Hz, that lie there on the mel scale."""
    return 700 * (10 ** (mels / 2595) - 1)


def edges(rate: int, bands: int = BANDS) -> Float[np.ndarray, " e"]:
    """In Hz, band i begins at the i-th, is highest at the next and ends at the one after: e = bands + 2."""
    return hertz(np.linspace(mel(min(LOWEST, rate / 8)), mel(rate / 2), bands + 2))


def triangles(rate: int, window: int, bands: int = BANDS) -> Float[np.ndarray, "f k"]:
    """Each band's weight for the k = window/2 + 1 frequencies of a Fourier transform; each sums to 1."""
    low, centre, high = edges(rate, bands)[:-2, None], edges(rate, bands)[1:-1, None], edges(rate, bands)[2:, None]
    frequencies, resolution = np.fft.rfftfreq(window, 1 / rate), rate / window
    rising = (frequencies - low) / np.maximum(centre - low, resolution)  # no band is narrower than the transform sees
    falling = (high - frequencies) / np.maximum(high - centre, resolution)
    nearest = np.abs(frequencies - centre) <= resolution / 2
    weights = np.maximum(np.clip(np.minimum(rising, falling), 0, None), 1e-3 * nearest)
    return weights / weights.sum(1, keepdims=True)


def gabor(rate: int, window: int, bands: int = BANDS) -> Float[np.ndarray, "2 f w"]:
    """Cosine and sine filters with a Gaussian envelope whose band is as wide as the mel band (Zeghidour et al. 2018,
    "Learning filterbanks from raw speech", section 2); each pair has energy 1.
    """
    low, centre, high = edges(rate, bands)[:-2, None], edges(rate, bands)[1:-1, None], edges(rate, bands)[2:, None]
    time = (np.arange(window) - (window - 1) / 2) / rate
    half_width = (high - low) / 4  # a triangle is half as high there
    spread = np.minimum(math.sqrt(2 * math.log(2)) / (2 * math.pi * half_width), window / rate / 5)
    envelope = np.exp(-0.5 * (time / spread) ** 2)
    pair = np.stack([np.cos(2 * np.pi * centre * time), np.sin(2 * np.pi * centre * time)]) * envelope
    return pair / np.sqrt((pair**2).sum((0, 2), keepdims=True)).clip(1e-9)


class Frontend(nn.Module, ABC):
    """Samples (b n), n a multiple of a frame → log-energies (b t f), t frames of `frames.frame` samples each."""

    frames: Frames

    @abstractmethod
    def forward(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b t f"]: ...


class LearnedFilterbank(Frontend):
    """Filters of 32 ms on the raw waveform, squared magnitude, low-pass, log
    (Zeghidour et al. 2018). The filters are Gabor filters on the mel scale plus a learned part, which begins at 0.
    """

    def __init__(self, rate: int):
        super().__init__()
        self.frames = Frames(rate)
        filters = torch.from_numpy(gabor(rate, self.frames.window)).float()
        self.register_buffer("gabor", rearrange(filters, "pair f w -> (pair f) w"), persistent=False)
        self.learned = nn.Parameter(torch.zeros(2 * BANDS, self.frames.window))
        self.stride = self.frames.frame // self.frames.step
        smooth = torch.hann_window(2 * self.stride + 3, periodic=False)[1:-1]  # without its zeros
        self.register_buffer("smooth", (smooth / smooth.sum()).repeat(BANDS, 1, 1), persistent=False)

    def forward(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b t f"]:
        with torch.autocast(samples.device.type, enabled=False):  # weak bands would drown in bf16
            longer = pad(samples.float(), (0, self.frames.frame))  # what the last frame's low-pass reads of the next
            spans = _spans(longer, self.frames.window, self.frames.step)
            x = linear(spans.contiguous(), self.gabor + LEARNED * self.learned)
            energy = rearrange(x.square(), "b t (pair f) -> pair b f t", pair=2).sum(0)
            energy = conv1d(energy, self.smooth, stride=self.stride, padding=self.stride, groups=BANDS)
            return rearrange(torch.log(energy[..., :-1] + FLOOR), "b f t -> b t f")


class LogMel(Frontend):
    """The Hann-windowed power spectrum in mel bands. Nothing is learned."""

    def __init__(self, rate: int):
        super().__init__()
        self.frames = Frames(rate)
        window = torch.hann_window(self.frames.window)
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        bands = torch.from_numpy(triangles(rate, self.frames.window)).float()
        self.register_buffer("bands", bands, persistent=False)

    def forward(self, samples: Float[Tensor, "b n"]) -> Float[Tensor, "b t f"]:
        with torch.autocast(samples.device.type, enabled=False):
            x = _spans(samples.float(), self.frames.window, self.frames.frame) * self.window
            power = torch.fft.rfft(x).abs().square()
            return torch.log(einsum(power, self.bands, "b t k, f k -> b t f") + FLOOR)


FRONTENDS: dict[str, Callable[[int], Frontend]] = {"raw": LearnedFilterbank, "log-mel": LogMel}


def higher(energies: Float[Tensor, "b f t"], warp: Float[Tensor, " b"], rate: int) -> Float[Tensor, "b f t"]:
    """The energies in bands as if all frequencies were exp(`warp`) times as high; beyond the last band its own."""
    ends = torch.from_numpy(edges(rate)).to(energies.device, torch.float32)
    step = (_mel(ends[-1]) - _mel(ends[0])) / (BANDS + 1)
    lower = ends[1:-1] * (-warp[:, None]).exp()
    place = torch.arange(BANDS, device=energies.device) + (_mel(lower) - _mel(ends[1:-1])) / step
    place = place.clamp(0, BANDS - 1)
    below = place.long()
    near, next_ = (
        energies.gather(1, i[..., None].expand(-1, -1, energies.shape[-1]))
        for i in (below, (below + 1).clamp(max=BANDS - 1))
    )
    return torch.lerp(near, next_, (place - below)[..., None])


def _mel(hertz: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    return 2595 * torch.log10(1 + hertz / 700)


def _spans(samples: Float[Tensor, "b n"], window: int, step: int) -> Float[Tensor, "b t w"]:
    """Overlapping stretches of `window` samples, each about the middle of its `step`; t = n/step, n a multiple."""
    before = (window - step) // 2
    return pad(samples, (before, window - step - before)).unfold(-1, window, step)
