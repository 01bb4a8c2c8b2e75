"""Schema + modalities + Perceiver = a model; save and load.

Not concerned with files of data, training or metrics: it maps a batch to predictions.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.core.rollout import rollout
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput
from perceivers.files import write_atomic
from perceivers.modalities import modality
from perceivers.modalities.base import Batch, Inputs, Target

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Model(nn.Module):
    """Inputs of all fields side by side → latents → one answer for each target field."""

    def __init__(self, schema: Schema, config: PerceiverIOConfig):
        super().__init__()
        self.schema, self.config = schema, config
        groups: dict[str, list[Field]] = {}
        for field in schema.inputs:
            groups.setdefault(modality(field).name, []).append(field)
        self.inputs = nn.ModuleDict(
            {name: modality(fields[0]).inputs(fields, config.input_channels) for name, fields in groups.items()}
        )
        self.perceiver = build(config, nn.GELU)  # the exact form: the papers' tanh form takes four times as long
        self.targets = nn.ModuleList(modality(f).target(f, config.query_channels) for f in schema.targets)

    @property
    def asked(self) -> list[tuple[Field, Target]]:
        """The target fields, each with the module that asks for it."""
        return list(zip(self.schema.targets, cast(list[Target], list(self.targets)), strict=True))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """A batch → the raw prediction of each target."""
        array, mask = self.read(batch)
        outputs = self.perceiver(array, self.queries(len(array)), mask)
        return {field.name: target(outputs[:, place]) for (field, target), place in self.places()}

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """All input fields side by side: an array (b m c) and its mask (b m)."""
        arrays, masks = zip(*(module(batch) for module in self.inputs.values()), strict=True)
        return torch.cat(arrays, dim=1), torch.cat(masks, dim=1)

    def queries(self, batch_size: int) -> Tensor:
        """The queries (b o e) of all targets side by side."""
        return torch.cat([target.queries(batch_size) for _, target in self.asked], dim=1)

    def places(self) -> Iterator[tuple[tuple[Field, Target], slice]]:
        """Where along o each target's queries and outputs stand."""
        start = 0
        for field, target in self.asked:
            stop = start + len(target.queries.array)
            yield (field, target), slice(start, stop)
            start = stop

    def attention(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """{target: {input field: weights (b m)}} by `rollout`, the mean over the target's queries."""
        array, mask = self.read(batch)
        weights = rollout(self.perceiver, array, self.queries(len(array)), mask)
        modules = cast(Iterable[Inputs], self.inputs.values())
        lengths = {n: m for module in modules for n, m in zip(module.names, module.lengths(batch), strict=True)}
        return {
            field.name: dict(zip(lengths, weights[:, place].mean(1).split(list(lengths.values()), dim=1), strict=True))
            for (field, _), place in self.places()
        }

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss (b) of each target."""
        predictions = self(batch)
        return {field.name: target.loss(predictions[field.name], batch[field.name]) for field, target in self.asked}

    def answers(self, batch: Batch) -> dict[str, Tensor]:
        """The answer (b k) to each target: probabilities, or values in the field's own units."""
        predictions = self(batch)
        return {field.name: target.answer(predictions[field.name].float()) for field, target in self.asked}


def save_model(model: Model, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors`, each at once or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"format": FORMAT, "perceiver": asdict(model.config), "schema": model.schema.to_dict()}
    write_atomic(folder / CONFIG, json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    write_atomic(folder / WEIGHTS, save({k: v.contiguous() for k, v in model.state_dict().items()}))


def load_model(folder: Path) -> Model:
    """The model that `save_model` wrote. Raises BadInput where the folder is not one, or is damaged."""
    config_file, weights = folder / CONFIG, folder / WEIGHTS
    for file in (config_file, weights):
        if not file.is_file():
            raise BadInput(f"{folder}: no {file.name} in it: not a model, or its training has not finished")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        version = config["format"]
        if version != FORMAT:
            raise BadInput(f"{config_file}: format {version}, but {FORMAT} is known here: update perceivers")
        model = Model(Schema.from_dict(config["schema"], str(config_file)), PerceiverIOConfig(**config["perceiver"]))
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{config_file}: not a model's configuration: {error!r}") from error
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise BadInput(f"{weights}: damaged or cut short: {error}") from error
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys())
    wrong += [name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape]
    if wrong:
        raise BadInput(f"{weights}: does not fit {config_file}: {len(wrong)} tensors differ, {wrong[0]} among them")
    model.load_state_dict(tensors)
    return model.eval()
