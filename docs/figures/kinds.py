"""Draws a sound, a cloud, an array, events and a clip as the report does: `python -m docs.figures.kinds` writes files.

All are generated, with a seed; the clip from a photograph. Not concerned with how they are drawn, which the modalities
do.
"""

import base64
from pathlib import Path
from typing import Any

import numpy as np

from perceivers.data.schema import Field
from perceivers.data.shapes import SURFACES
from perceivers.data.spikes import spikes
from perceivers.modalities import modality

FOLDER = Path(__file__).parent
RATE = 8_000


def chirps() -> np.ndarray:
    """Two tones that rise and one that falls, with a little noise: samples (n)."""
    random, time = np.random.default_rng(0), np.arange(RATE // 3) / RATE
    sounds = [np.sin(2 * np.pi * (start + slope * time) * time) for start, slope in ((400, 900), (2_800, -2_500))]
    shape = np.hanning(len(time))
    return np.concatenate([sounds[0] * shape, sounds[1] * shape, sounds[0] * shape]) + 0.02 * random.normal(size=7_998)


def ring() -> np.ndarray:
    """A ring that is tilted, in noise (z y x)."""
    z, y, x = np.meshgrid(*3 * [np.linspace(-1, 1, 24)], indexing="ij")
    near = (np.hypot(x, y) - 0.6) ** 2 + (z - 0.4 * x) ** 2
    return np.exp(-near / 0.03) + 0.1 * np.random.default_rng(0).normal(size=near.shape)


def panned() -> np.ndarray:
    """A window that moves over scikit-learn's photograph of a temple: frames (t h w 3)."""
    from sklearn.datasets import load_sample_images

    picture = load_sample_images().images[0]
    return np.stack([picture[120:312, x : x + 192] for x in range(40, 440, 16)])


def drawing(kind: str, cell: Any, **options: Any) -> str:
    """A cell as its modality draws it: HTML, with an SVG that can stand alone."""
    field = Field(kind, kind, "input", (kind,), options)
    field = field.with_options(**{**modality(field).options, **options})
    field = field.with_options(**modality(field).fit(field, [cell]))
    return modality(field).draw(field, cell).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1) + "\n"


if __name__ == "__main__":
    torus = SURFACES["torus"](2_048, np.random.default_rng(0))
    FOLDER.joinpath("sound.svg").write_text(drawing("audio", chirps(), rate=RATE))
    clip = drawing("video", panned(), rate=10.0, patch=16)
    FOLDER.joinpath("clip.png").write_bytes(base64.b64decode(clip.split("base64,")[1].split('"')[0]))
    FOLDER.joinpath("cloud.svg").write_text(drawing("points", torus))
    times, neurons, waves = spikes()
    i = waves.index("forward")
    trial = [list(event) for event in zip(times[i].tolist(), neurons[i], strict=True)]
    FOLDER.joinpath("raster.svg").write_text(drawing("events", trial, start=0))
    FOLDER.joinpath("array.svg").write_text(drawing("array", ring(), axes=["z", "y", "x"]))
