"""DeepMind's six published models: listed, loaded from both public formats, and written for the Hub again.

Not concerned with models that are trained here.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perceivers.errors import BadInput, nearest
from perceivers.published import hub
from perceivers.published.fetch import fetch
from perceivers.published.hub import is_hub_folder
from perceivers.published.models import Published
from perceivers.published.names import names
from perceivers.published.presets import LICENCE, PRESETS, Sizes
from perceivers.published.sources import ORIGINAL
from perceivers.published.unpickle import read_haiku
from perceivers.published.untrained import untrained
from perceivers.published.weights import from_original

__all__ = ["PRESETS", "Published", "export_hub", "is_hub_folder", "load", "load_original", "models", "untrained"]

ORIGINAL_SUFFIXES = (".pickle", ".pystate", ".pkl")


def models() -> list[dict[str, Any]]:
    """One row for each model: name, parameters, inputs, outputs, licence, and the bytes of its float32 weights."""
    return [
        {
            "name": preset.name,
            "parameters": preset.parameters,
            "inputs": preset.inputs,
            "outputs": preset.outputs,
            "licence": LICENCE,
            "bytes": 4 * preset.parameters,
        }
        for preset in PRESETS.values()
    ]


def load(place: str | Path) -> Published:
    """A published model, in evaluation mode, on the CPU.

    `place` is a name (`deepmind/…`: in the Hub's cache, or fetched from the Hub), a folder in the Hub's format, or one
    of the original's files (`.pickle`, `.pystate`).

    Raises BadInput where it is none of them, or its weights do not fit.
    """
    path = Path(place)
    if path.is_dir():
        return hub.read(path)
    if path.is_file() and path.suffix in ORIGINAL_SUFFIXES:
        return load_original(path)
    if path.is_file():
        raise BadInput(
            f"{path}: not one of the original's files ({', '.join(ORIGINAL_SUFFIXES)}): give a Hub folder whole"
        )
    if str(place) in PRESETS:
        return hub.read(fetch(str(place)))
    raise BadInput(f"{place}: no such folder or file, and no published model{nearest(str(place), PRESETS)}")


def load_original(path: str | Path, sizes: Sizes | None = None) -> Published:
    """A model from a file of Haiku parameters: of the published sizes that fit its names best, or of others' `sizes`.

    Raises BadInput where it is no such file, or its parameters do not fit.
    """
    arrays = read_haiku(Path(path))
    if sizes is None:
        published = [preset.original for preset in PRESETS.values()]
        sizes = min(published, key=lambda one: len(_telling(name.original for name in names(one)) ^ _telling(arrays)))
    return from_original(sizes, ORIGINAL, arrays, f"{path}, in PyTorch's layout")


def _telling(original_names: Iterable[str]) -> set[str]:
    """The names that tell the models apart: all but those of the stack, which they share."""
    return {name for name in original_names if "/self_attention" not in name}


def export_hub(model: Published, folder: str | Path) -> Path:
    """Writes `config.json` and `model.safetensors` into a new `folder`, as `transformers` loads them.

    Raises BadInput with the reason where the port has no such model: the original's learned and conv models, and
    models that are trained here.
    """
    return hub.export(model, Path(folder))
