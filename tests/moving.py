"""Small clips for tests: real photographs of scikit-learn, panned over, with a tone. Made here, and so labelled.

Not concerned with what is tested.
"""

from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_images

from perceivers import clips

SOUND_RATE = 8_000


@cache
def photographs() -> list[np.ndarray]:
    """Two photographs (214 320 3) uint8: a temple and a flower."""
    return [picture[::2, ::2].copy() for picture in load_sample_images().images]


def panned(direction: str, frames: int, side: int = 48, seed: int = 0, speed: int = 3) -> np.ndarray:
    """A window (frames side side 3) that moves over a photograph to the left, right, up or down."""
    random = np.random.default_rng(seed)
    picture = photographs()[random.integers(2)]
    path = speed * (frames - 1)
    across = direction in ("left", "right")
    h, w = picture.shape[0] - side - (not across) * path, picture.shape[1] - side - across * path
    top, left = int(random.integers(h)), int(random.integers(w))
    steps = np.arange(frames) * speed
    steps = path - steps if direction in ("left", "up") else steps
    return np.stack([picture[top + (not across) * s :, left + across * s :][:side, :side] for s in steps])


def tone(seconds: float, pitch: float = 440.0) -> np.ndarray:
    """(n 1), at SOUND_RATE."""
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE)[:, None]


def write(path: Path, pictures: np.ndarray, rate: int = 10, pitch: float = 440.0) -> Path:
    """A clip with a tone as long as its pictures."""
    clips.write(path, pictures, rate, tone(len(pictures) / rate, pitch), SOUND_RATE)
    return path


def write_pictures(
    path: Path, pictures: np.ndarray, times: list[int] | None = None, rate: int = 10, codec: str = "libx264"
) -> Path:
    """A clip without sound: `rate` frames a second, or frames at `times`, in steps of 1 / rate."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "bgr0" if codec == "ffv1" else "yuv420p"
        for time, picture in zip(times or range(len(pictures)), pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
