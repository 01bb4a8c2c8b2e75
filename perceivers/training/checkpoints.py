"""Checkpoints as safetensors + JSON with a checksum: no code in them, and never half of one.

Not concerned with what a checkpoint holds, nor with when one is written.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load, save

from perceivers.errors import BadInput
from perceivers.files import naming, write_atomic


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A nested value as JSON; tensors go into `tensors`, and stand as {"tensor": name}."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_pack(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in content}
    return {"list": list, "tuple": tuple}[kind](_unpack(v, tensors) for v in content)


def _checksum(rest: str, tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the JSON and of every tensor: name, type, shape and bytes."""
    digest = hashlib.sha256(rest.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """One file: safetensors whose metadata hold the rest as JSON, and the checksum. Raises OSError."""
    tensors: dict[str, torch.Tensor] = {}
    rest = json.dumps(_pack(content, tensors))
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, save(tensors, metadata={"checkpoint": rest, "sha256": _checksum(rest, tensors)}))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote. Raises BadInput where the file is damaged."""
    try:
        data = path.read_bytes()
        tensors = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        rest = metadata["checkpoint"]
        if _checksum(rest, tensors) != metadata["sha256"]:
            raise ValueError("its checksum is wrong")
        return _unpack(json.loads(rest), tensors)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BadInput(f"{path}: damaged or not a checkpoint: {error}") from error


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a run, the newest last."""
    return sorted(folder.glob("step-*.ckpt"))


def step_of(path: Path) -> int:
    """The number of steps that had been taken."""
    return int(path.stem.removeprefix("step-"))


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, None where none was written; and what is wrong with newer ones.

    Newer ones that are damaged are deleted, so that they do not count among the last two. Raises BadInput where all
    are damaged.
    """
    damaged: dict[Path, str] = {}
    for path in reversed(saved(folder)):
        try:
            read_checkpoint(path)
        except BadInput as error:
            damaged[path] = str(error)
            continue
        for file in damaged:
            file.unlink()
        return path, list(damaged.values())
    if damaged:
        raise BadInput(
            f"{folder}: no checkpoint is whole ({', '.join(path.name for path in damaged)}): delete this folder to "
            "train from the first step, or choose another --out"
        )
    return None, []


class SafeCheckpointIO(CheckpointIO):
    """Lightning's checkpoints by the two functions above."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
