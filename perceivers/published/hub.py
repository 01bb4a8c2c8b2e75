"""The port's folders: read whole, and written whole.

Not concerned with what a `config.json` says (`config.py`) nor with the tensors (`weights.py`).
"""

import json
from pathlib import Path

from safetensors.torch import save

from perceivers.errors import BadInput
from perceivers.files import write_atomic
from perceivers.published import weights
from perceivers.published.config import configured, understood
from perceivers.published.models import Autoencoder, ImageClassifier, Published


def read(folder: Path) -> Published:
    """The model of a folder with `config.json` and weights. Raises BadInput where either cannot be used."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as a configuration: {' '.join(str(error).split())}") from error
    sizes, source = understood(config, str(path))
    model = weights.from_hub(sizes, source, weights.read_folder(folder), str(folder))
    if isinstance(model, ImageClassifier | Autoencoder):
        names = config.get("id2label") or {}
        model.labels = tuple(str(names[str(i)]) for i in range(len(names)))
    return model


def export(model: Published, folder: Path) -> Path:
    """Writes a folder that `transformers` loads with equal outputs. Raises BadInput with the reason if none can be."""
    if not isinstance(model, Published):
        raise BadInput(f"a {type(model).__name__} has no counterpart in transformers: only the published models do")
    config = configured(model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is there already: choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / weights.SAFETENSORS, save(weights.to_hub(model), metadata={"format": "pt"}))
    write_atomic(folder / "config.json", json.dumps(config, indent=2) + "\n")
    return folder
