"""The command `export`. Not concerned with the formats: see `published/weights.py`."""

from pathlib import Path
from typing import Literal

from perceivers.terminal import say


def export(model: str, /, *, out: Path, format: Literal["hub"] = "hub") -> int:
    """Write a published MODEL as a folder that the library transformers loads.

    Parameters
    ----------
    model
        A published model: a Hub folder, an original .pickle or .pystate file, or a name (deepmind/…).
    out
        The folder to write.
    format
        hub: config.json and model.safetensors, as on the Hub.
    """
    from perceivers import published

    folder = published.export_hub(published.load(model), out)
    say(f"{format} folder: {folder}")
    return 0
