"""A run of a few seconds: 90 rows, 12 steps, a validation after every fourth.

Not concerned with what is tested.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from perceivers.training.config import Architecture, Config, Training
from perceivers.training.train import train

STEPS, EVERY, BATCH = 12, 4, 17
CONFIG = Config(
    steps=STEPS,
    architecture=Architecture(num_latents=3, latent_channels=10, self_attends=1, self_heads=2),
    training=Training(batch_size=BATCH, small=False, validations=STEPS // EVERY, precision="float32", threads=1),
)
random = np.random.default_rng(0)
FRAME = pl.DataFrame(
    {
        "number": random.normal(size=90),
        "kind": [f"kind {i}" for i in random.integers(0, 3, 90)],
        "answer": ["yes" if i % 3 else "no" for i in range(90)],
    }
)


def run(out: Path, **training: object) -> Path:
    """`train` on the rows above, some options of `Training` changed."""
    config = replace(CONFIG, training=replace(CONFIG.training, **training))
    return train(FRAME, out=out, targets=["answer"], config=config)


def result(folder: Path) -> tuple[bytes, str]:
    """What must be the same whatever happened on the way: the weights and the metrics of every step."""
    return (folder / "model.safetensors").read_bytes(), (folder / "metrics.csv").read_text()
