"""The port's folders: read whole, and written whole.

Not concerned with what a `config.json` says (`config.py`) nor with the tensors (`weights.py`).
"""

import json
import shutil
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from perceivers.errors import BadInput
from perceivers.published import weights
from perceivers.published.config import configured, labels, understood
from perceivers.published.models import Autoencoder, ImageClassifier, Published


def is_hub_folder(folder: Path) -> bool:
    """Whether a folder is written in the Hub's format: its `config.json` names a type of model."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "model_type" in config


def read(folder: Path) -> Published:
    """The model of a folder with `config.json` and weights. Raises BadInput where either cannot be used."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: cannot be read as a configuration: {' '.join(str(error).split())}") from error
    if isinstance(config, dict) and "schema" in config:
        raise BadInput(
            f"{folder}: a model trained here, which `perceivers.load` reads: transformers has no counterpart of its"
            " fields, so that it cannot be written for the Hub either"
        )
    sizes, source = understood(config, str(path))
    model = weights.from_hub(sizes, source, weights.read_folder(folder), str(folder))
    if isinstance(model, ImageClassifier | Autoencoder):
        model.labels = labels(config, str(path))
    return model


def export(model: Published, folder: Path) -> Path:
    """Writes a folder that `transformers` loads with equal outputs, whole or not at all.

    Raises BadInput with the reason where there can be none, and where `folder` holds something already.
    """
    if not isinstance(model, Published):
        raise BadInput(f"a {type(model).__name__} has no counterpart in transformers: only the published models do")
    config = configured(model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is there already: choose a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
            whole = Path(temporary) / "whole"
            whole.mkdir()
            save_file(weights.to_hub(model), whole / weights.SAFETENSORS, metadata={"format": "pt"})
            (whole / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            shutil.copymode(whole / "config.json", whole / weights.SAFETENSORS)  # which was written for its owner alone
            whole.replace(folder)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder
