"""Clips of the autoencoder: square crops of frames, sound, and the reconstruction of both.

Not concerned with decoding files, nor with the model inside.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from perceivers.published.pictures import centre_crop
from perceivers.published.resize import check_pixels, linear

if TYPE_CHECKING:
    from perceivers.published.models import Autoencoder


def prepare(frames: UInt8[np.ndarray, "t h w 3"], size: tuple[int, int]) -> Float[Tensor, "1 t 3 y x"]:
    """RGB frames of any size → the square in the middle of each, resized, in [0, 1]."""
    check_pixels(frames, "frames", "t, h, w, 3")
    side = min(frames.shape[1:3])
    resized = np.stack([linear(centre_crop(frame, side), size) for frame in frames])
    return rearrange(torch.from_numpy(resized) / 255, "t h w c -> 1 t c h w")


@torch.no_grad()
def reconstruct(
    model: "Autoencoder", frames: UInt8[np.ndarray, "t h w 3"], audio: Float[np.ndarray, " s"], chunks: int = 128
) -> dict[str, np.ndarray]:
    """`video` (t h w 3) in about [0, 1], `audio` (s), and `label`, the probability of each class.

    `audio` is mono, at 48 kHz, in [-1, 1].
    """
    device = model.output.weight.device
    video = prepare(frames, model.sizes.frame_size).to(device)
    sound = torch.from_numpy(np.asarray(audio, dtype=np.float32))[None].to(device)
    found = model(video, sound, chunks)
    return {
        "video": rearrange(found["video"], "1 t c h w -> t h w c").cpu().numpy(),
        "audio": found["audio"][0].cpu().numpy(),
        "label": found["label"][0].softmax(-1).cpu().numpy(),
    }
