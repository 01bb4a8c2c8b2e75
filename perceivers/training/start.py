"""A trained model as the start of another: what is taken over, fitted or made new, and how deep each weight lies.

Taken: latents, encoder and latent stack; of each input what fits. New: queries, decoder and heads, for another
question. Not concerned with how steps are taken (`module.py`, `optimisers.py`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from perceivers.core.perceiver import PerceiverIO, PerceiverIOConfig
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput
from perceivers.modalities import modality
from perceivers.modalities.base import Inputs, Weights
from perceivers.modalities.deepmind import Deepmind
from perceivers.model import Model
from perceivers.training.config import Architecture, Config, Training
from perceivers.training.defaults import architecture

STAGES = ("inputs", "encoder", "stack")  # from the data on; what follows is new


@dataclass(frozen=True)
class Start:
    """What another model starts from. `checksum` is that of its weights: a run goes on from the same alone.

    `fields` and `weights` are of its inputs, by name; `chosen` says, by the training options that are given, what
    stands where none is.
    """

    name: str
    checksum: str
    perceiver: PerceiverIO
    numbers: PerceiverIOConfig
    activation: str
    fields: Mapping[str, Field]
    weights: Mapping[str, Weights]
    chosen: Callable[[Training], Mapping[str, Any]]

    def sized(self, config: Config) -> Config:
        """The configuration with this model's numbers. Raises BadInput where it asks for others."""
        if config.size or config.architecture != Architecture():
            raise BadInput(f"--size and --architecture: the sizes are those of --from {self.name}: leave them out")
        return replace(config, architecture=architecture(self.numbers))

    def adapted(self, schema: Schema) -> Schema:
        """The schema with the inputs that fit read as this model's."""
        inputs = [self._like(field) for field in schema.inputs]
        for origin in self.fields.values():
            if isinstance(kind := modality(origin), Deepmind):
                inputs = kind.adapt(origin, inputs)
        return schema.with_inputs(inputs)

    def _like(self, field: Field) -> Field:
        """An input as the one of this model that its weights come from."""
        same = [name for name, origin in self.fields.items() if origin.modality == field.modality]
        if not same:
            return field
        origin = field.name if field.name in same else same[0]
        return modality(field).like(field, self.fields[origin])

    def new_model(self, schema: Schema, config: Config) -> Model:
        """A new model of this one's sizes."""
        return Model(schema, replace(self.numbers, drop_path=config.training.drop_path), self.activation)

    def take(self, model: Model) -> list[str]:
        """Copies what fits into `model`, notes in `model.taken` which weights, and says so, a line for each part."""
        ours, theirs = model.perceiver, self.perceiver
        for name in ("latents", "encoder", "block"):
            getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())
        taken = [*ours.latents.parameters(), *ours.encoder.parameters(), *ours.block.parameters()]
        n, d = ours.latents.array.shape
        stack = f"{len(ours.block)} self-attends" + (f" × {ours.num_blocks}" if ours.num_blocks > 1 else "")
        lines = [f"taken from {self.name}: {n} latents of {d} channels, encoder, {stack}"]
        fields = {field.name: field for field in model.schema.inputs}
        for name, (kind, weights) in weights_of(model).items():
            origin = name if self.weights.get(name, ("",))[0] == kind else _first_of(kind, self.weights)
            if origin is None:
                lines.append(f"made new: {name}: {self.name} has no such input")
                continue
            copied, line = _copy(weights, self.weights[origin][1], self.fields[origin], fields[name])
            taken += copied
            lines.append(f"{line}{'' if origin == name else f', from {origin}'}")
        lines.append(f"made new: queries, decoder and heads of {', '.join(f.name for f in model.schema.targets)}")
        places = {tensor.untyped_storage().data_ptr() for tensor in taken}
        model.taken = frozenset(
            name for name, p in model.named_parameters() if p.untyped_storage().data_ptr() in places
        )
        return lines


def check_options(start: Start | None, config: Config) -> None:
    """Raises BadInput where an option is set that says something of weights taken over, and there are none."""
    given = [name for name in ("layer_decay", "new_first", "freeze") if getattr(config.training, name) is not None]
    if given and start is None:
        raise BadInput(f"training.{given[0]} is about the weights of another model: give --from MODEL, or leave it out")


def freeze(model: Model, last: str) -> None:
    """Weights that were taken, from the data up to the stage `last`, learn no more."""
    frozen = STAGES[: STAGES.index(last) + 1]
    for name, parameter in model.named_parameters():
        if name in model.taken and stage(name) in frozen:
            parameter.requires_grad_(False)


def stage(name: str) -> str:
    """The stage that a weight of a model belongs to, by its name; "" for what answers."""
    if name.startswith("inputs."):
        return "inputs"
    if name.startswith(("perceiver.latents.", "perceiver.encoder.")):
        return "encoder"
    return "stack" if name.startswith("perceiver.block.") else ""


def rates(model: Model, decay: float) -> dict[str, float]:
    """The factor of each weight's learning rate: 1 for new ones, `decay` for each layer that a taken one lies deeper.

    As in ULMFiT (Howard and Ruder 2018, section 3.2) and BEiT.
    """
    depth = len(model.perceiver.block)

    def below(name: str) -> int:
        """How many layers stand between a weight and the answers."""
        if stage(name) == "stack":
            return depth - int(name.split(".")[2])
        return depth + 1 + (stage(name) == "inputs")

    return {name: decay ** below(name) if name in model.taken else 1.0 for name, _ in model.named_parameters()}


def weights_of(model: Model) -> dict[str, Weights]:
    """The weights of each input field of a model, by name."""
    fields = {field.name: field for field in model.schema.inputs}
    found: dict[str, Weights] = {}
    for inputs in cast(Iterable[Inputs], model.inputs.values()):
        found |= inputs.weights(fields)
    return found


def _first_of(kind: str, sources: Mapping[str, Weights]) -> str | None:
    return next((name for name, (other, _) in sources.items() if other == kind), None)


@torch.no_grad()
def _copy(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], old: Field, new: Field) -> tuple[list[Tensor], str]:
    """Copies the weights of one input; returns ours that changed, and what to say."""
    kind = modality(new)
    copied, fitted = [], kind.refitted(old, new)
    for name in ours.keys() & theirs.keys():
        weight = theirs[name]
        if weight.shape != ours[name].shape:
            weight = kind.fitted(name, weight, old, new)
            if weight is None:
                continue
            fitted.append(name)
        ours[name].copy_(weight)
        copied.append(ours[name])
    line = f"taken: {new.name}" if not fitted else f"fitted: {new.name}: {', '.join(sorted(fitted))}"
    if missing := len(ours) - len(copied):
        line += f" ({missing} of {len(ours)} weights made new)"
    return copied, line
