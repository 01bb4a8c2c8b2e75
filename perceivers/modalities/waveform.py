"""A sound for a person: its waveform above its spectrogram, with a weight for each moment.

Not concerned with what the weights mean, nor with reading sounds.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from perceivers.modalities.filterbank import edges, triangles
from perceivers.modalities.shaded import COLOUR, STRENGTH, Shaded, plain_axes

WIDTH, HEIGHT, SPECTROGRAM = 300, 60, 48  # of an SVG; the lower part is the spectrogram, which nothing covers
MARKS, LEFT = 13, 52  # below it, for the seconds; on its left, for frequencies
MARKED = (300, 1_000, 3_000, 10_000)  # Hz: about equally far apart by ear
BANDS, RANGE = 40, 60.0  # of the spectrogram; it shows so many dB
SECONDS = 0.032
FRAMES = 2**13  # of a spectrogram that are computed at once, so that memory does not grow with the sound


@dataclass(frozen=True)
class Waveform(Shaded):
    """The least and the greatest sample of each of w columns of time, in [-1, 1], a spectrogram (f w), low bands
    first, and a weight for each column; `seconds` is the length of the sound. `marks`: where frequencies lie, in parts
    of the spectrogram's height from below, with what is written there.
    """

    lows: Float[np.ndarray, " w"]
    highs: Float[np.ndarray, " w"]
    spectrogram: UInt8[np.ndarray, "f w"]
    weights: Float[np.ndarray, " w"]
    seconds: float
    marks: tuple[tuple[float, str], ...]

    @classmethod
    def of(
        cls, samples: Float[np.ndarray, "n c"], rate: int, columns: int, weights: Float[np.ndarray, " k"] | None
    ) -> "Waveform":
        """`weights` are of equal stretches of the sound; None: there are none."""
        mono = samples.mean(1)
        scaled = mono / max(np.abs(mono).max(), 1e-9)
        w = min(columns, len(scaled))
        lows, highs = (reduce.reduceat(scaled, _begins(len(scaled), w)) for reduce in (np.minimum, np.maximum))
        shaded = np.zeros(w) if weights is None else _resized(weights, w)
        return cls(lows, highs, _spectrogram(mono, rate, w), shaded, len(mono) / rate, _marks(rate))

    def html(self) -> str:
        w = len(self.lows)
        x = (np.arange(w) + 0.5) * WIDTH / w
        lines = "".join(
            f"M{a:.1f} {(1 - high) * HEIGHT / 2:.1f}V{(1 - low) * HEIGHT / 2 + 0.5:.1f}"
            for a, low, high in zip(x, self.lows, self.highs, strict=True)
        )
        columns = "".join(
            f'<rect x="{i * WIDTH / w:.1f}" width="{WIDTH / w:.1f}" height="{HEIGHT}" '
            f'fill="rgb{COLOUR}" opacity="{STRENGTH * weight:.2f}"/>'
            for i, weight in enumerate(self.weights)
            if weight > 0.01
        )
        y = HEIGHT + SPECTROGRAM + MARKS - 3
        frequencies = "".join(
            f'<text x="-3" y="{HEIGHT + (1 - place) * SPECTROGRAM + 3.5:.1f}" text-anchor="end">{text}</text>'
            for place, text in self.marks
        )
        return (
            f'<svg viewBox="{-LEFT} 0 {LEFT + WIDTH} {HEIGHT + SPECTROGRAM + MARKS}" width="{LEFT + WIDTH}" role="img" '
            f'aria-label="sound of {self.seconds:.2f} s"><title>{self.seconds:.2f} s</title>'
            f'<image y="{HEIGHT}" width="{WIDTH}" height="{SPECTROGRAM}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{self._png()}"/>'
            f'<g shape-rendering="crispEdges">{columns}</g>'
            f'<path d="{lines}" stroke="currentColor" stroke-width="{WIDTH / w:.1f}"/>'
            f'<g font-size="10" fill="currentColor"><text y="{y}">0 s</text>'
            f'<text x="{WIDTH}" y="{y}" text-anchor="end">{self.seconds:.2f} s</text>{frequencies}</g>'
            "</svg>"
        )

    def draw(self, axes: Any) -> None:
        w = len(self.lows)
        step = self.seconds / w
        extent = (0, self.seconds, -3, -1)
        axes.imshow(self.spectrogram, origin="lower", cmap="gray_r", vmin=0, vmax=255, aspect="auto", extent=extent)
        for i, weight in enumerate(self.weights):
            colour, cover = np.array(COLOUR) / 255, STRENGTH * float(weight)
            axes.axvspan(i * step, (i + 1) * step, 0.5, 1.0, color=colour, alpha=cover, linewidth=0)
        axes.fill_between((np.arange(w) + 0.5) * step, self.lows, self.highs, color="#444", linewidth=0.5)
        plain_axes(axes, "seconds")
        axes.set(xlim=(0, self.seconds), ylim=(-3, 1))
        axes.set_yticks([2 * place - 3 for place, _ in self.marks], [text for _, text in self.marks])

    def _png(self) -> str:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(255 - self.spectrogram[::-1]).save(buffer, "PNG", optimize=True)
        return base64.b64encode(buffer.getvalue()).decode("ascii")


def log_mel(samples: Float[np.ndarray, " n"], rate: int, bands: int, step: int) -> Float[np.ndarray, "t f"]:
    """The log of the Hann-windowed power spectrum in mel bands, a frame of 32 ms every `step` samples."""
    window = max(8, round(rate * SECONDS) // 2 * 2)
    padded = np.pad(samples, (window // 2, window // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::step]
    found = np.empty((len(frames), bands))
    for start in range(0, len(frames), FRAMES):
        power = np.abs(np.fft.rfft(frames[start : start + FRAMES] * np.hanning(window))) ** 2 / window
        found[start : start + FRAMES] = np.log(power @ triangles(rate, window, bands).T + 1e-10)
    return found


def _spectrogram(samples: Float[np.ndarray, " n"], rate: int, columns: int) -> UInt8[np.ndarray, "f w"]:
    """255 where it is loudest, 0 from 60 dB below."""
    found = log_mel(samples, rate, BANDS, max(1, len(samples) // columns))
    decibels = 10 * _resized(found, columns) / np.log(10)
    return np.round(255 * np.clip((decibels - decibels.max()) / RANGE + 1, 0, 1)).astype(np.uint8).T


def _marks(rate: int) -> tuple[tuple[float, str], ...]:
    """Where the spectrogram shows those frequencies of `MARKED` that it has."""
    centres = edges(rate, BANDS)[1:-1]
    found = [hertz for hertz in MARKED if centres[0] <= hertz <= centres[-1]]
    places = np.interp(found, centres, (np.arange(BANDS) + 0.5) / BANDS)
    return tuple((float(place), f"{hertz:,} Hz") for place, hertz in zip(places, found, strict=True))


def _resized(values: Float[np.ndarray, "n *rest"], size: int) -> Float[np.ndarray, "k *rest"]:
    """The value at each of `size` equal stretches: the mean of those in it, or the one that covers it."""
    begins = _begins(len(values), size)
    if len(values) <= size:
        return values[begins]
    counts = np.diff(begins, append=len(values))
    return np.add.reduceat(values, begins) / counts.reshape(-1, *[1] * (values.ndim - 1))


def _begins(length: int, parts: int) -> Int[np.ndarray, " k"]:
    """Where each of so many stretches as equal as can be begins."""
    return np.arange(parts) * length // parts
