"""Haiku's parameters out of a pickle, without running anything that stands in it.

Not concerned with what the parameters are called.
"""

import io
import pickle
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric

from perceivers.errors import BadInput


def _latin1(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, by which pickles up to protocol 2 write bytes: in this one encoding."""
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("it encodes something else than bytes")
    return text.encode("latin1")


# All that a pickle of numpy arrays in dicts and tuples may name; numpy's modules moved between 1 and 2.
_ARRAYS = {
    ("multiarray", "_reconstruct"): multiarray._reconstruct,
    ("multiarray", "scalar"): multiarray.scalar,
    ("numeric", "_frombuffer"): getattr(numeric, "_frombuffer"),  # noqa: B009 (its stub leaves it out)
}
_ALLOWED = {
    **{
        (f"numpy.{core}.{module}", name): part for core in ("core", "_core") for (module, name), part in _ARRAYS.items()
    },
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("haiku._src.data_structures", "FlatMapping"): dict,
    ("haiku.data_structures", "FlatMapping"): dict,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            part = _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array of parameters") from None
        # A pickle can set the attributes of a function for as long as the process lives: it gets one of its own.
        return partial(part) if isinstance(part, FunctionType) else part


def read_haiku(path: Path) -> dict[str, np.ndarray]:
    """`module/name` → array, for a pickled {module: {name: array}} or {"params": …, "state": …} of those.

    Raises BadInput for anything else: code, other classes, a cut file, arrays of objects, a name that comes twice.
    """
    try:
        content = _Restricted(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # a broken pickle can raise anything
        raise BadInput(f"{path}: refused as a file of parameters: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path}: holds a {type(content).__name__}, expected a dict of Haiku's modules")
    parts = [content["params"], content.get("state") or {}] if "params" in content else [content]
    found: dict[str, np.ndarray] = {}
    for part in parts:
        for module, name, array in _leaves(part, path):
            if f"{module}/{name}" in found:
                raise BadInput(f"{path}: {module}/{name} stands there twice")
            found[f"{module}/{name}"] = array
    return found


def _leaves(part: Any, path: Path) -> list[tuple[str, str, np.ndarray]]:
    rows = []
    for module, parameters in _items(part, path):
        for name, value in _items(parameters, path):
            array = np.asarray(value)
            if array.dtype.kind not in "fiu":
                raise BadInput(f"{path}: {module}/{name} holds {array.dtype}, expected numbers")
            rows.append((module, name, array))
    return rows


def _items(mapping: Any, path: Path) -> Any:
    if not isinstance(mapping, dict):
        raise BadInput(f"{path}: holds a {type(mapping).__name__} where {{module: {{name: array}}}} was expected")
    return mapping.items()
