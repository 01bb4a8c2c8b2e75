"""One model for any data: Perceiver and Perceiver IO, from a table or a folder to a trained, tested model.

>>> import perceivers as pv
>>> model = pv.fit("sample:wine", minutes=0.2)         # doctest: +SKIP
>>> model.evaluate("sample:wine")                      # doctest: +SKIP

Importing is cheap: torch loads when a model is made.
Not concerned with what the names do: each has its home.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perceivers.api import TrainedModel, fit, inspect, load
    from perceivers.errors import BadInput, Stopped, Unreadable

__version__ = "0.1.0"
__all__ = ["BadInput", "Stopped", "TrainedModel", "Unreadable", "fit", "inspect", "load"]

_HOMES = {
    "fit": "perceivers.api",
    "load": "perceivers.api",
    "inspect": "perceivers.api",
    "TrainedModel": "perceivers.api",
    "BadInput": "perceivers.errors",
    "Stopped": "perceivers.errors",
    "Unreadable": "perceivers.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perceivers' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
