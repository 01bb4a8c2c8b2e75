"""What the kinds of data share that are read as one of DeepMind's published models reads them.

A model that starts from a published one has such a field: then its encoder sees what it saw when it was trained.
Not concerned with what becomes of a start's weights (`perceivers/training/start.py`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from perceivers.errors import BadInput
from perceivers.modalities.base import Inputs, Modality, PerField, Weights, one_of
from perceivers.published.sources import SOURCES, Source


class Deepmind(Modality):
    """A kind of data whose module is a published model's own. Options: `source` (hub, original), and its sizes."""

    @abstractmethod
    def adapt(self, origin: Any, fields: Sequence[Any]) -> list[Any]:
        """The input fields `fields` of a new model, those that fit read as `origin`, the field of a published one."""

    @abstractmethod
    def elements(self, field: Any) -> int:
        """How many elements a row has, at most."""

    def size(self, field: Any, cell: Any) -> int:
        return self.elements(field)

    def published_weights(self, field: Any, inputs: nn.Module) -> Weights:
        """The weights of a published model's `inputs`, as those of `field`."""
        found = {f"published.{name}": tensor for name, tensor in inputs.state_dict(keep_vars=True).items()}
        with torch.device("meta"):
            return type(self.module(field)).__name__, found

    @abstractmethod
    def module(self, field: Any) -> nn.Module:
        """The module of one field, whose `published` is the published model's, and `channels` its width."""

    def inputs(self, fields: Sequence[Any], channels: int) -> Inputs:
        modules = {field.name: self.module(field) for field in fields}
        for name, module in modules.items():
            if module.channels != channels:
                raise BadInput(
                    f"{name}: {self.name} gives {module.channels} channels, and the model reads {channels}: "
                    "start from the published model that reads so (--from deepmind/…), or change the modality"
                )
        return PerField(modules)


def asked_side(field: Any) -> int | None:
    """The `resize` of an image field, where a person asked for one: what was inferred is for models made new."""
    return None if field.reason else field.options.get("resize")


def source(field: Any) -> Source:
    """The parts of a field's source."""
    return SOURCES[field.options["source"]]


def check_source(field: Any) -> None:
    """Raises BadInput where there is no such source."""
    one_of(field, "source", *SOURCES)


def check_sizes(field: Any, *options: str) -> None:
    """Raises BadInput where an option is not a positive integer, or a list of those."""
    for option in options:
        value = field.options[option]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool) or not isinstance(one, int) or one < 1:
                raise BadInput(f"{field.name}: {option} must be positive integers, got {value!r:.60}")
