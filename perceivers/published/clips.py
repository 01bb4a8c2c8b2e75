"""Clips of the autoencoder: square crops of frames, sound, windows of both, and what the model makes of them.

Not concerned with decoding files, nor with the model inside.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from perceivers.published.pictures import centre_crop
from perceivers.published.presets import AutoencoderSizes
from perceivers.published.resize import Pixels, check_pixels, linear

if TYPE_CHECKING:
    from perceivers.published.models import Autoencoder

SOUND_RATE = 48_000  # Hz


class Window(NamedTuple):
    """What the model reads at once: frames from `start` on, and their sound (s)."""

    start: int
    frames: UInt8[np.ndarray, "t h w 3"]
    audio: Float[np.ndarray, " s"]


def frame_rate(sizes: AutoencoderSizes) -> float:
    """Frames a second: 25 of the published model."""
    return SOUND_RATE / frame_samples(sizes)


def frame_samples(sizes: AutoencoderSizes) -> int:
    """Samples of sound a frame: 1,920 of the published model."""
    return sizes.audio_samples // sizes.num_frames


def square(frame: Pixels, size: tuple[int, int]) -> Pixels:
    """The square in the middle of a frame, resized."""
    return linear(centre_crop(frame, min(frame.shape[:2])), size)


def prepare(frames: UInt8[np.ndarray, "t h w 3"], size: tuple[int, int]) -> Float[Tensor, "1 t 3 y x"]:
    """RGB frames of any size → the square in the middle of each, resized, in [0, 1]."""
    check_pixels(frames, "frames", "t, h, w, 3")
    resized = np.stack([square(frame, size) for frame in frames])
    return rearrange(torch.from_numpy(resized) / 255, "t h w c -> 1 t c h w")


def windows(
    sizes: AutoencoderSizes, frames: UInt8[np.ndarray, "t h w 3"], audio: Float[np.ndarray, " s"]
) -> Iterator[Window]:
    """A clip in windows of `num_frames`, side by side, the last one flush with the end. A shorter clip goes on with its
    last frame and silence. Raises ValueError where the sound is not as long as the frames.
    """
    check_pixels(frames, "frames", "t, h, w, 3")
    count, length, samples = len(frames), sizes.num_frames, frame_samples(sizes)
    if audio.shape != (count * samples,):
        raise ValueError(f"sound {audio.shape} came, expected ({count * samples},): {samples} samples a frame")
    frames = np.pad(frames, ((0, max(0, length - count)), *3 * [(0, 0)]), mode="edge")
    audio = np.pad(audio.astype(np.float32), (0, len(frames) * samples - len(audio)))
    for start in sorted({*range(0, len(frames) - length, length), len(frames) - length}):
        stop = start + length
        yield Window(start, frames[start:stop], audio[start * samples : stop * samples])


@torch.no_grad()
def label(
    model: "Autoencoder", frames: UInt8[np.ndarray, "t h w 3"], audio: Float[np.ndarray, " s"]
) -> Float[np.ndarray, " k"]:
    """The probability of each class, the mean over all windows, guessed from frames and sound; no more is asked."""
    nothing = {name: torch.zeros(0, dtype=torch.long) for name in ("audio", "image")}
    found = [
        model.decode(model.encode(*tensors(model, window)), nothing)["label"].softmax(-1)[0]
        for window in windows(model.sizes, frames, audio)
    ]
    return torch.stack(found).mean(0).cpu().numpy()


@torch.no_grad()
def reconstruct(
    model: "Autoencoder", frames: UInt8[np.ndarray, "t h w 3"], audio: Float[np.ndarray, " s"], chunks: int = 128
) -> dict[str, np.ndarray]:
    """`video` (t y x 3) in about [0, 1], `audio` (s), and `label`, the probability of each class, of `windows`.

    `frames` are at `frame_rate`; `audio` is mono, at 48 kHz, in [-1, 1], as long as the frames.
    """
    samples = frame_samples(model.sizes)
    video, sound, labels = np.empty((len(frames), *model.sizes.frame_size, 3), np.float32), np.empty_like(audio), []
    for window in windows(model.sizes, frames, audio):
        found = model(*tensors(model, window), chunks)
        place = slice(window.start, min(window.start + len(window.frames), len(frames)))
        kept = place.stop - place.start
        video[place] = rearrange(found["video"], "1 t c h w -> t h w c")[:kept].cpu().numpy()
        heard = found["audio"][0, : kept * samples]
        sound[place.start * samples : place.stop * samples] = heard.cpu().numpy()
        labels.append(found["label"][0].softmax(-1).cpu().numpy())
    return {"video": video, "audio": sound, "label": np.mean(labels, axis=0)}


def tensors(model: "Autoencoder", window: Window) -> tuple[Float[Tensor, "1 t 3 y x"], Float[Tensor, "1 s"]]:
    """A window as the model takes it."""
    device = model.output.weight.device
    video = prepare(window.frames, model.sizes.frame_size)
    return video.to(device), torch.from_numpy(window.audio)[None].to(device)
