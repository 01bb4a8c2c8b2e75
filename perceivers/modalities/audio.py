"""Sound of any length, rate and number of channels: raw samples through learned filters, or log-mel, as tokens.

Not concerned with how files become samples (`sounds.py`), with the module (`audio_input.py`), nor with asking for
sound: it is an input.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from perceivers import recipe
from perceivers.errors import BadInput, Unreadable
from perceivers.modalities import sounds
from perceivers.modalities.audio_input import COLOURS, QUIET, AudioInput, inside, token_samples
from perceivers.modalities.base import Inputs, Modality, Part, PerField, Uniform, fault, numbers, one_column, positive
from perceivers.modalities.filterbank import FRONTENDS
from perceivers.modalities.shaded import Plain, Shaded, shades
from perceivers.modalities.waveform import Waveform
from perceivers.modalities.windows import MOST, piece, remarks, shared, starts, windows
from perceivers.stored import Rows, bands

HEADERS, SAMPLE = 1_000, 200  # sounds of train of which `fit` reads the header, and the samples
NOISE = 2**17
DRAWN = 160  # columns of a picture
HEARD = 28_800  # seconds of a sound, eight hours, that are heard whole however short a window is


class Audio(Modality):
    """Options: `rate` in Hz (None: the most frequent of train, at most 16,000; arrays carry none, so there it must be
    given), `channels` (None: the most frequent of train; 1: the mean of all), `seconds` of a window (None: the 99th
    percentile of train, at most 10), `frontend` (raw: filters that are learned on the waveform; log-mel), `pitch` (in
    training, sounds are higher or lower and faster or slower by so much at most; 0 where the pitch itself is asked
    for), `max_seconds` (longer files are refused from their header), `level` (mean and standard deviation of the log
    of train's root mean squares).

    An example is (n c) float32 at `rate`, n ≥ 1.
    """

    name = "audio"
    options: ClassVar[Mapping[str, Any]] = {
        "rate": None,
        "channels": None,
        "seconds": None,
        "frontend": "raw",
        "pitch": recipe.AUDIO_PITCH,
        "max_seconds": 86_400,
        "level": None,
    }

    def check(self, field: Any) -> None:
        one_column(field)
        options = field.options
        for option in ("rate", "channels"):
            positive(field, option)
        if options["rate"] is not None and options["rate"] < recipe.AUDIO_LOWEST_RATE:
            raise BadInput(
                f"{field.name}: rate {options['rate']} Hz is below {recipe.AUDIO_LOWEST_RATE:,}: read it as "
                "`modality: series`"
            )
        for option in ("seconds", "max_seconds"):
            value = options[option]
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
                raise BadInput(f"{field.name}: {option} must be a number above 0, got {value!r}")
        pitch = options["pitch"]
        if isinstance(pitch, bool) or not isinstance(pitch, int | float) or not 0 <= pitch < 1:
            raise BadInput(f"{field.name}: pitch must be a number from 0 to below 1, got {pitch!r}")
        if options["frontend"] not in FRONTENDS:
            raise BadInput(f"{field.name}: frontend {options['frontend']!r} is none of {', '.join(FRONTENDS)}")
        numbers(field, "level", 2)

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        order = np.random.default_rng(0).permutation(len(cells))
        headers = []
        for i in order[:HEADERS]:
            with suppress(Unreadable):
                found = sounds.header(cells[i])
                headers += [] if found is None else [found]
        if not headers:
            raise BadInput(f"{field.name}: no sound of the train rows can be read: {fault(sounds.header, cells)}")
        fitted = field.with_options(**{**self._shape(field, headers), **_known(field)})
        self.check(fitted)
        options = {**fitted.options, "level": self._level(fitted, [cells[i] for i in order])}
        return {name: options[name] for name in self.options if field.options[name] is None}

    def _shape(self, field: Any, headers: Sequence[sounds.Header]) -> dict[str, Any]:
        rates = Counter(header.rate for header in headers if header.rate)
        if not rates and not field.options["rate"]:
            raise BadInput(f"{field.name}: arrays of samples carry no rate: say `rate: 16000`, in Hz, in the schema")
        rate = field.options["rate"] or min(rates.most_common(1)[0][0], recipe.AUDIO_HIGHEST_RATE)
        seconds = float(np.percentile([header.seconds or header.frames / rate for header in headers], 99))
        return {
            "rate": rate,
            "channels": Counter(header.channels for header in headers).most_common(1)[0][0],
            "seconds": round(min(max(seconds, recipe.AUDIO_LEAST_SECONDS), recipe.AUDIO_MOST_SECONDS), 3),
        }

    def _level(self, field: Any, cells: Sequence[Any]) -> list[float]:
        levels = []
        for cell in cells:
            with suppress(Unreadable):
                example = self.read(field, cell)
                if example is not None:
                    power = [len(band) * np.mean((band - band.mean(0)) ** 2) for band in bands(example)]
                    levels.append(float(np.log(np.sqrt(np.sum(power) / len(example)) + QUIET)))
            if len(levels) == SAMPLE:
                break
        if not levels:
            why = fault(partial(self.read, field), cells)
            raise BadInput(f"{field.name}: none of the sounds that were tried can be read: {why}")
        return [float(np.mean(levels)), float(max(np.std(levels), 0.1))]

    def read(self, field: Any, cell: Any) -> Rows | None:
        """The Path of a wav, flac, ogg, mp3 or aiff file, or of an npy file; or an array or list of samples (n) or
        (n c), at `rate` → (n c).
        """
        samples = sounds.read(cell, field.options["rate"], field.options["max_seconds"])
        return None if samples is None else sounds.as_channels(samples, field.options["channels"])

    def windows(self, field: Any, example: Rows | None) -> list[Rows | None]:
        """Overlapping windows of `seconds`, the last one flush with the end; at most as many as make eight hours."""
        return windows(example, _longest(field), _most(field))

    def remarks(self, field: Any, cell: Any, example: Rows | None) -> Sequence[str]:
        return remarks(example, _longest(field), _most(field))

    def crop(self, field: Any, example: Rows, uniform: float) -> Rows:
        return piece(example, _longest(field), uniform)

    def size(self, field: Any, cell: Any) -> int:
        found = sounds.header(cell)
        if found is None:
            return 1
        seconds = min(found.seconds or found.frames / field.options["rate"], field.options["seconds"])
        return max(1, round(seconds * field.options["rate"] / token_samples(field.options["rate"])))

    def collate(self, field: Any, examples: Sequence[Any] | np.ndarray) -> Part:
        """`samples` (b c n) float32, full scale ±1, 0 beyond each sound; `lengths` (b) int64, 0 where missing;
        `hidden_times` (b 2 2) and `hidden_bands` (b 1 2) float32: from where to where, as shares of the sound and of
        the bands, it is hidden, in training; else nowhere; `warp` (b) float32: the log of how much higher the bands
        are heard; `colour` (b 4) float32: of the four slowest cosines over the bands, added to the log-energies. n ≥ 1.
        """
        lengths = torch.tensor([0 if example is None else len(example) for example in examples])
        array = np.zeros((len(examples), field.options["channels"], max(1, int(lengths.max()))), np.float32)
        for row, example in zip(array, examples, strict=True):
            if example is not None:
                row[:, : len(example)] = np.asarray(example).T
        return {
            "samples": torch.from_numpy(array),
            "lengths": lengths,
            "hidden_times": torch.zeros(len(examples), recipe.AUDIO_TIMES, 2),
            "hidden_bands": torch.zeros(len(examples), 1, 2),
            "warp": torch.zeros(len(examples)),
            "colour": torch.zeros(len(examples), COLOURS),
        }

    def augment(self, field: Any, part: Part, uniform: Uniform) -> Part:
        """Plays each sound faster or slower (Ko et al. 2015, "Audio augmentation for speech recognition"), shifts it in
        time, makes it louder or softer, adds white noise, hides stretches of time and a band (Park et al. 2019,
        "SpecAugment"), moves the bands as another length of the vocal tract would (Jaitly and Hinton 2013), and colours
        them as another microphone would.
        """
        speed, warp = (field.options["pitch"] * (2 * uniform("pitch", 2) - 1)).unbind(1)
        samples, lengths = _played(part["samples"], part["lengths"], speed.exp(), _longest(field))
        moved = _shifted(samples, lengths, uniform("shift", 1)[:, 0])
        light = uniform("sound", 3)
        power = reduce(samples.square(), "b c n -> b", "sum") / (lengths.clamp(min=1) * samples.shape[1])
        below = recipe.AUDIO_NOISY + (recipe.AUDIO_CLEAN - recipe.AUDIO_NOISY) * light[:, 0]
        noise = _noise(light[:, 1], samples.shape) * (power.sqrt() * 10 ** (-below / 20))[:, None, None]
        gain = 10 ** (recipe.AUDIO_GAIN * (2 * light[:, 2] - 1) / 20)
        within = inside(lengths, samples.shape[-1])[:, None]
        times, bands = uniform("times", 2 * recipe.AUDIO_TIMES), uniform("bands", 2)
        return {
            "samples": (moved + noise) * within * gain[:, None, None],
            "lengths": lengths,
            "hidden_times": _hidden(rearrange(times, "b (k pair) -> b k pair", pair=2), recipe.AUDIO_TIME),
            "hidden_bands": _hidden(rearrange(bands, "b pair -> b 1 pair"), recipe.AUDIO_BAND),
            "warp": warp,
            "colour": recipe.AUDIO_COLOUR * (2 * uniform("colour", COLOURS) - 1),
        }

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        kept = ~rows
        return {**part, "samples": part["samples"] * kept[:, None, None], "lengths": part["lengths"] * kept}

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        return PerField({field.name: self._input(field, channels) for field in fields})

    def _input(self, field: Any, channels: int) -> "AudioInput":
        frontend = FRONTENDS[field.options["frontend"]](field.options["rate"])
        return AudioInput(frontend, _longest(field), field.options["level"], field.options["channels"], channels)

    def draw(self, field: Any, cell: Any) -> str:
        example = self.read(field, cell)
        return "–" if example is None else Waveform.of(np.asarray(example), field.options["rate"], DRAWN, None).html()

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """The waveform and its spectrogram over time, each moment with the mean weight of the tokens there."""
        example = self.read(field, cell)
        if example is None:
            return Plain("–")
        longest = _longest(field)
        begins = shared(starts(len(example), longest, _most(field)), len(weights))
        by_token = _on_time(weights, begins, len(example), longest, token_samples(field.options["rate"]))
        return Waveform.of(np.asarray(example), field.options["rate"], DRAWN, shades(by_token))

    def baseline(self, field: Any) -> Any:
        """Means and standard deviations of the log-mel spectrogram in all of a sound, and means in its quarters."""
        from perceivers.modalities import features

        return features.Spectra(field.options["rate"])


def _known(field: Any) -> dict[str, Any]:
    return {name: value for name, value in field.options.items() if value is not None}


def _longest(field: Any) -> int:
    """Samples of a window."""
    return max(1, round(field.options["seconds"] * field.options["rate"]))


def _most(field: Any) -> int:
    """Windows of a sound, at most."""
    return max(MOST, math.ceil(HEARD / field.options["seconds"]))


def _on_time(
    weights: Float[np.ndarray, "w m"], begins: Sequence[int], length: int, longest: int, token: int
) -> Float[np.ndarray, " n"]:
    """The weights of tokens, for each window, at each twentieth of a token of the whole sound; windows are averaged."""
    steps = max(1, token // 20)
    total, count = np.zeros(-(-length // steps)), np.zeros(-(-length // steps))
    for start, window in zip(begins, weights, strict=True):
        at = np.arange(start // steps, -(-min(start + longest, length) // steps))
        total[at] += window[np.clip((at * steps - start) // token, 0, len(window) - 1)]
        count[at] += 1
    return total / np.maximum(count, 1)


def _played(
    samples: Float[Tensor, "b c n"], lengths: Tensor, speed: Float[Tensor, " b"], longest: int
) -> tuple[Float[Tensor, "b c k"], Tensor]:
    """Each sound so much faster and as much higher, by straight lines between samples, but at most `longest` long."""
    longer = torch.minimum((lengths / speed).ceil().long(), lengths.clamp(min=longest))
    source = torch.arange(max(1, int(longer.max()))) * speed[:, None]
    source = torch.minimum(source, (lengths - 1).clamp(min=0)[:, None].float())
    before = source.long()
    after = torch.minimum(before + 1, (lengths - 1).clamp(min=0)[:, None])
    near, next_ = (samples.gather(-1, i[:, None].expand(-1, samples.shape[1], -1)) for i in (before, after))
    return torch.lerp(near, next_, (source - before)[:, None]), longer


def _shifted(samples: Float[Tensor, "b c n"], lengths: Tensor, draw: Float[Tensor, " b"]) -> Float[Tensor, "b c n"]:
    """Later or earlier by at most a tenth of the sound, silence in place of what is not known."""
    shift = (recipe.AUDIO_SHIFT * (2 * draw - 1) * lengths).long()
    source = torch.arange(samples.shape[-1]) - shift[:, None]
    known = (source >= 0) & (source < lengths[:, None])
    index = source.clamp(0, samples.shape[-1] - 1)[:, None].expand_as(samples)
    return samples.gather(-1, index) * known[:, None]


def _noise(draw: Float[Tensor, " b"], shape: Sequence[int]) -> Float[Tensor, "b c n"]:
    """White noise of power 1: for each row a stretch, chosen by `draw`, of the same long one."""
    _, c, n = shape
    fixed = torch.from_numpy(np.random.default_rng(0).standard_normal(NOISE, np.float32))
    index = (draw * NOISE).long()[:, None] + torch.arange(c * n)
    return rearrange(fixed[index % NOISE], "b (c n) -> b c n", c=c)


def _hidden(draws: Float[Tensor, "b k 2"], most: float) -> Float[Tensor, "b k 2"]:
    """From where to where, of [0, 1]: at most `most` long."""
    length = most * draws[..., 0]
    start = (1 - length) * draws[..., 1]
    return torch.stack([start, start + length], dim=-1)
