"""Files of weights into models, strictly: every tensor used once, every shape checked.

Reads safetensors (whole or in shards), `pytorch_model.bin` (weights only) and Haiku's pickles (`unpickle.py`).
Not concerned with configurations (`config.py`).
"""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from perceivers.errors import BadInput
from perceivers.published.models import Published, make
from perceivers.published.names import LEFT_OUT, names
from perceivers.published.presets import Sizes
from perceivers.published.sources import Source

SAFETENSORS, INDEX, BIN = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"


def read_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a Hub folder, from the first kind of file that is there."""
    if (folder / SAFETENSORS).is_file():
        return read_safetensors(folder / SAFETENSORS)
    if (folder / INDEX).is_file():
        return read_shards(folder / INDEX)
    if (folder / BIN).is_file():
        return read_bin(folder / BIN)
    raise BadInput(f"{folder}: no weights there: expected {SAFETENSORS}, {INDEX} with its shards, or {BIN}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, mapped rather than copied. Raises BadInput for a cut, tampered or doubled one."""
    try:
        _refuse_doubles(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError, RecursionError, struct.error) as error:
        raise BadInput(
            f"{path}: not a whole safetensors file: {' '.join(str(error).split())}: fetch it again"
        ) from error


def _refuse_doubles(path: Path) -> None:
    """A name that stands twice in the header: which tensor is meant would be the reader's choice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1)
            raise ValueError(f"{twice} stands twice in its header")
        return found

    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        json.loads(file.read(length), object_pairs_hook=once)


def read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all shards that an index names. Raises BadInput where index and shards disagree."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(f"{index}: not an index of shards: expected a `weight_map`: fetch it again") from error
    found: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard:
            raise BadInput(f"{index}: names {shard!r}, which is not a file beside it")
        tensors = read_safetensors(index.parent / shard)
        if wrong := sorted(name for name in tensors if places.get(name) != shard):
            raise BadInput(f"{index.parent / shard}: holds {_some(wrong)}, which the index does not place there")
        found |= tensors
    if missing := sorted(places.keys() - found.keys()):
        raise BadInput(f"{index}: names {_some(missing)}, which no shard holds: fetch the shards again")
    return found


def read_bin(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file. Raises BadInput for one that holds anything else, code above all."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a broken pickle can raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path}: refused as a file of weights: {reason}") from error
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise BadInput(f"{path}: holds a {type(content).__name__} that is not tensors by name")
    return dict(content)


def from_hub(sizes: Sizes, source: Source, tensors: Mapping[str, Tensor], where: str) -> Published:
    """A model with the port's tensors. Raises BadInput that lists what is missing, unexpected and misshapen."""
    return _filled(sizes, source, {name.ours: name.hub for name in names(sizes)}, tensors, where)


def from_original(sizes: Sizes, source: Source, arrays: Mapping[str, np.ndarray], where: str) -> Published:
    """A model with the original's parameters and state. Raises BadInput as `from_hub` does."""
    layouts = {name.original: name.layout for name in names(sizes)}
    tensors = {
        name: torch.from_numpy(np.asarray(layouts.get(name, np.asarray)(array)).copy())
        for name, array in arrays.items()
        if name not in LEFT_OUT
    }
    return _filled(sizes, source, {name.ours: name.original for name in names(sizes)}, tensors, where)


def to_hub(model: Published) -> dict[str, Tensor]:
    """A model's tensors under the port's names."""
    state = model.state_dict()
    return {name.hub: state[name.ours].contiguous() for name in names(model.sizes)}


def _filled(
    sizes: Sizes, source: Source, theirs: Mapping[str, str], tensors: Mapping[str, Tensor], where: str
) -> Published:
    try:
        with torch.device("meta"):
            model = make(sizes, source)
    except (ValueError, TypeError, RuntimeError) as error:  # sizes come from a file that anyone can write
        raise BadInput(f"{where}: no model can be made of its sizes: {' '.join(str(error).split())}") from error
    expected = {theirs[ours]: tensor for ours, tensor in model.state_dict().items()}
    _check(expected, tensors, where)
    state = {ours: tensors[their].to(expected[their].dtype) for ours, their in theirs.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.requires_grad_()


def _check(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    both = sorted(expected.keys() & found.keys())
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "misshapen": [
            f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in both
            if found[name].shape != expected[name].shape
        ],
        "of another kind": [
            f"{name} {found[name].dtype} instead of {expected[name].dtype}"
            for name in both
            if found[name].dtype.is_floating_point != expected[name].dtype.is_floating_point
        ],
    }
    if wrong := "; ".join(f"{len(rows)} {kind}: {_some(rows)}" for kind, rows in kinds.items() if rows):
        raise BadInput(f"{where}: the weights do not fit the model: {wrong}")


def _some(rows: list[str], most: int = 8) -> str:
    return ", ".join(rows[:most]) + (f" and {len(rows) - most} more" if len(rows) > most else "")
