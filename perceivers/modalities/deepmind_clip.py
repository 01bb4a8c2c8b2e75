"""Clips as DeepMind's autoencoder reads them: patches of frames and of sound, and a label that is always masked.

Not concerned with files of clips (`perceivers/clips.py`), nor with patches and positions (`published/inputs.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from perceivers import clips
from perceivers.core.inputs import join
from perceivers.modalities import frames, pixels, sounds
from perceivers.modalities.base import Part, one_column
from perceivers.modalities.deepmind import Deepmind, check_sizes, check_source, source
from perceivers.modalities.shaded import Picture, Plain, Shaded, img, shades
from perceivers.modalities.video import STRIP, Video, shown, strip
from perceivers.published import clips as published
from perceivers.published.inputs import ClipInputs
from perceivers.published.presets import AUTOENCODER, AutoencoderSizes

VIDEO = Video()
LIMITS = clips.Limits(10_000_000_000, 120)
NUMBERS = (
    "num_frames",
    "frame_size",
    "patch_size",
    "image_bands",
    "audio_samples",
    "samples_per_patch",
    "audio_bands",
    "num_classes",
)


@dataclass(frozen=True)
class Clip:
    """Square frames at the model's rate, as much sound at 48 kHz, and what had to be done to the file for that."""

    frames: UInt8[np.ndarray, "t y x 3"]
    sound: Float[np.ndarray, " s"]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)


class DeepmindClip(Deepmind):
    """Clips with their sound as the autoencoder reads them: the square in the middle of each frame at 25 frames a
    second, mono sound at 48 kHz; longer ones in windows side by side. Options: `source` (hub, original), and the
    model's sizes, of which `num_frames` is a window's and `width` that of an element.

    An example is a `Clip`.
    """

    name = "deepmind_clip"
    options: ClassVar[Mapping[str, Any]] = {
        "source": "hub",
        **{name: getattr(AUTOENCODER, name) for name in NUMBERS},
        "frame_size": list(AUTOENCODER.frame_size),
        "width": AUTOENCODER.perceiver.input_channels,
    }

    def check(self, field: Any) -> None:
        one_column(field)
        check_sizes(field, *NUMBERS, "width")
        check_source(field)

    def adapt(self, origin: Any, fields: Sequence[Any]) -> list[Any]:
        """A clip's sound is read with it, and no more as a field of its own."""
        columns = {field.columns for field in fields if field.modality == VIDEO.name}
        return [
            replace(field, modality=self.name, options=origin.options) if field.modality == VIDEO.name else field
            for field in fields
            if not (field.modality == "audio" and field.columns in columns)
        ]

    def fit(self, field: Any, cells: Sequence[Any]) -> dict[str, Any]:
        self.check(field)
        return {}

    def read(self, field: Any, cell: Any) -> Clip | None:
        """The Path of a clip of at most two minutes, or an array (t h w) or (t h w c), which is silent."""
        return read_clip(cell, sizes_of(field.options))

    def remarks(self, field: Any, cell: Any, example: Clip) -> Sequence[str]:
        return example.notes

    def windows(self, field: Any, example: Clip | None) -> list[Clip | None]:
        """Windows of `num_frames` side by side, the last one flush with the end; a shorter clip goes on with its last
        frame and silence.
        """
        if example is None:
            return [None]
        found = published.windows(sizes_of(field.options), example.frames, example.sound)
        return [Clip(window.frames, window.audio) for window in found]

    def crop(self, field: Any, example: Clip, uniform: float) -> Clip:
        """A window from any frame on."""
        sizes = sizes_of(field.options)
        start = int(uniform * max(1, len(example) - sizes.num_frames + 1))
        stop, samples = start + sizes.num_frames, published.frame_samples(sizes)
        frames_, sound = example.frames[start:stop], example.sound[start * samples : stop * samples]
        (window,) = published.windows(sizes, frames_, sound)
        return Clip(window.frames, window.audio)

    def elements(self, field: Any) -> int:
        sizes = sizes_of(field.options)
        return sizes.audio_patches + int(np.prod(sizes.grid))

    def collate(self, field: Any, examples: Sequence[Clip | None] | np.ndarray) -> Part:
        """`pixels` (b t y x 3) uint8, `sound` (b s) float32, 0 beyond each; `there` (b), False where missing."""
        sizes = sizes_of(field.options)
        array = np.zeros((len(examples), sizes.num_frames, *sizes.frame_size, 3), np.uint8)
        sound = np.zeros((len(examples), sizes.audio_samples), np.float32)
        for row, example in enumerate(examples):
            if example is not None:
                array[row, : len(example)], sound[row, : len(example.sound)] = example.frames, example.sound
        there = torch.tensor([example is not None for example in examples])
        return {"pixels": torch.from_numpy(array), "sound": torch.from_numpy(sound), "there": there}

    def drop(self, field: Any, part: Part, rows: Bool[Tensor, " b"]) -> Part:
        return {**part, "there": part["there"] & ~rows}

    def module(self, field: Any) -> nn.Module:
        return FramesAndSoundInput(field)

    def draw(self, field: Any, cell: Any) -> str:
        """A few of its frames side by side."""
        example = self.read(field, cell)
        if example is None:
            return "–"
        drawn = strip(example.frames, shown(len(example)))
        return img(pixels.as_picture(drawn), STRIP, f"{len(example)} frames")

    def shaded(self, field: Any, cell: Any, weights: Float[np.ndarray, "w m"]) -> Shaded:
        """A few frames side by side; a pixel has the shade of its patch. What lies on the sound is not drawn."""
        example = self.read(field, cell)
        return Plain("–") if example is None else on_frames(example, weights, sizes_of(field.options))

    def baseline(self, field: Any) -> Any:
        """Pixels at 4 × 8 × 8, and how much each place changes from frame to frame."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer

        motion = VIDEO.baseline(field.with_options(channels=3))  # learns nothing, so it cannot be the last step
        return make_pipeline(FunctionTransformer(_frames), motion, FunctionTransformer())


def _frames(examples: Sequence[Clip | None]) -> list[np.ndarray | None]:
    return [None if example is None else example.frames for example in examples]


def sizes_of(options: Mapping[str, Any]) -> AutoencoderSizes:
    """The published model's sizes, as far as its inputs have any."""
    numbers = {name: options[name] for name in NUMBERS} | {"frame_size": tuple(options["frame_size"])}
    return replace(AUTOENCODER, perceiver=replace(AUTOENCODER.perceiver, input_channels=options["width"]), **numbers)


def read_clip(cell: Any, sizes: AutoencoderSizes) -> Clip | None:
    """A Path or an array → frames and sound as the model reads them, None where missing. Raises Unreadable."""
    rate, notes = published.frame_rate(sizes), []

    def keep(frame: np.ndarray) -> np.ndarray:
        rgb = np.round(255 * pixels.as_float(pixels.fit(frame, 3, None))).astype(np.uint8)
        return published.square(rgb, sizes.frame_size)

    found = frames.read(cell, rate, LIMITS, keep)
    if found is None:
        return None
    is_file = isinstance(cell, Path) and frames.is_file(cell)
    if is_file and abs((native := clips.header(cell).rate) - rate) > 0.01 * rate:
        notes.append(f"{native:.4g} frames a second, read at {rate:g}")
    heard = clips.sound(cell, LIMITS.seconds) if is_file else None
    sound = np.zeros(len(found) * published.frame_samples(sizes), np.float32)
    if heard is None:
        notes.append("no sound: read as silence")
    else:
        samples = sounds.resample(*heard, published.SOUND_RATE).mean(1)[: len(sound)]
        sound[: len(samples)] = samples
    if len(found) < sizes.num_frames:
        notes.append(f"{len(found)} frames, fewer than {sizes.num_frames}: the last one was repeated to read them")
    return Clip(found, sound, tuple(notes))


def on_frames(clip: Clip, weights: Float[np.ndarray, "w m"], sizes: AutoencoderSizes) -> Picture:
    """A few frames of a clip with the weights of the patches of each of its windows."""
    count = len(clip)
    t, h, w = sizes.grid
    of_frames = weights[:, sizes.audio_patches : sizes.audio_patches + t * h * w]
    by_frame = np.zeros((max(count, t), h, w))
    pieces = list(published.windows(sizes, clip.frames, clip.sound))
    for window, row in zip(pieces, of_frames[: len(pieces)], strict=True):
        by_frame[window.start : window.start + t] = rearrange(row, "(t h w) -> t h w", t=t, h=h)
    p, chosen = sizes.patch_size, shown(count)
    by_pixel = shades(by_frame[:count]).repeat(p, axis=1).repeat(p, axis=2)[..., None]
    return Picture(strip(clip.frames, chosen), strip(by_pixel, chosen)[..., 0], STRIP)


class FramesAndSoundInput(nn.Module):
    """Frames and sound → an element for each patch of sound, then of frames, and one for the label (b m channels)."""

    def __init__(self, field: Any):
        super().__init__()
        self.published = ClipInputs(sizes_of(field.options), source(field).linspace)
        self.channels = self.published.channels
        for idle in (self.published.padded["label"], *map(self.published.mask_tokens.__getitem__, ("audio", "image"))):
            idle.requires_grad_(False)  # published, and never read

    def forward(self, part: Part) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        video = rearrange(part["pixels"] / 255, "b t h w c -> b t c h w")
        array = join(self.published(video, part["sound"]))
        return array, repeat(part["there"], "b -> b m", m=array.shape[1])
