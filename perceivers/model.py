"""Schema + modalities + Perceiver = a model; save and load.

Not concerned with files of data, training or metrics: it maps a batch to predictions.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from perceivers.core.attention import tanh_gelu
from perceivers.core.perceiver import PerceiverIOConfig, build
from perceivers.core.rollout import rollout
from perceivers.data.schema import Field, Schema
from perceivers.errors import BadInput, Unreadable
from perceivers.files import write_atomic
from perceivers.modalities import modality
from perceivers.modalities.base import Batch, Inputs, Target, rows_of
from perceivers.modalities.large import Pieces, is_stacked
from perceivers.modalities.number import DAY
from perceivers.wide import Wide

FORMAT = 4  # since 4, targets with a linear part are named; since 3, the activation; since 2, dates are days
NAMES = ("format", "perceiver", "activation", "wide", "schema", "sha256")  # all that `config.json` holds
WEIGHTS, CONFIG = "model.safetensors", "config.json"
MOST_LAYERS = 1_000  # self-attends that an input passes, repeated ones too: a forged number costs time, not memory
GELU = "gelu"
ACTIVATIONS = {GELU: nn.GELU, "gelu_tanh": tanh_gelu}  # the papers' tanh form takes four times as long as the exact one
ANEW = "copy the folder anew, or train again"
TOO_LARGE = "an input that stays in a file is too large to show where the model looks: make it smaller"


class Model(nn.Module):
    """Inputs of all fields side by side → latents → one answer for each target field.

    activation: one of `ACTIVATIONS`; a model that starts from another has that one's
    wide: the linear part of a trained model, whose answers are averaged with the Perceiver's; None: it has none
    """

    def __init__(
        self, schema: Schema, config: PerceiverIOConfig, activation: str = GELU, wide: Mapping[str, int] | None = None
    ):
        super().__init__()
        self.schema, self.config, self.activation = schema, config, activation
        groups: dict[str, list[Field]] = {}
        for field in schema.inputs:
            groups.setdefault(modality(field).name, []).append(field)
        self.inputs = nn.ModuleDict(
            {name: modality(fields[0]).inputs(fields, config.input_channels) for name, fields in groups.items()}
        )
        self.perceiver = build(config, ACTIVATIONS[activation])
        self.taken: frozenset[str] = frozenset()  # names of the weights that another model gave
        self.begun = False  # whether something has a closed form, which `begin` has set
        self.targets = nn.ModuleList(modality(f).target(f, config.query_channels) for f in schema.targets)
        self.wide = Wide(schema.inputs, wide) if wide else None

    @property
    def asked(self) -> list[tuple[Field, Target]]:
        """The target fields, each with the module that asks for it."""
        return list(zip(self.schema.targets, cast(list[Target], list(self.targets)), strict=True))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """A batch → the raw prediction of each target, of the Perceiver alone."""
        return self.decode(self.encode(batch), batch)

    def encode(self, *pieces: Batch) -> Tensor:
        """All that is kept of a batch's inputs, latents (b n d): read once, they can be asked often. A batch may come
        in pieces, each padded for itself.
        """
        read = [self._read(piece) for piece in pieces]
        return self.perceiver.process(read[0] if len(read) == 1 else torch.cat(read))

    def _read(self, piece: Batch) -> Tensor:
        array, mask = (self.pieces(piece), None) if _is_large(piece) else self.read(piece)
        return self.perceiver.encode(array, mask)

    def decode(self, latents: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Latents (b n d) → the raw prediction of each target. Of the batch is read what says where they are asked."""
        queries = self.queries(batch)
        outputs = self.perceiver.decode(latents, torch.cat(queries, dim=1)).split([q.shape[1] for q in queries], dim=1)
        return {field.name: target(out, batch) for (field, target), out in zip(self.asked, outputs, strict=True)}

    def pieces(self, batch: Batch) -> Pieces:
        """The array of `read` in chunks that bring their masks: for fields that are too large for memory."""
        pieces = [piece for module in self.modules_of_inputs for piece in module.pieces(batch)]
        return Pieces(pieces, self.inputs, rows_of(batch), self.config.input_channels)

    @property
    def modules_of_inputs(self) -> Iterable[Inputs]:
        """A module for each kind of data that is read."""
        return cast(Iterable[Inputs], self.inputs.values())

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """All input fields side by side: an array (b m c) and its mask (b m). Raises Unreadable where one stays in a
        file: `pieces` reads it.
        """
        if _is_large(batch):
            raise Unreadable(TOO_LARGE)
        arrays, masks = zip(*(module(batch) for module in self.modules_of_inputs), strict=True)
        return torch.cat(arrays, dim=1), torch.cat(masks, dim=1)

    def queries(self, batch: Batch) -> list[Tensor]:
        """The queries (b o e) of each target."""
        return [target.ask(batch) for _, target in self.asked]

    def attention(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """{target: {input field: weights (b m)}} by `rollout`, the mean over the target's queries. Raises Unreadable
        as `read`.
        """
        array, mask = self.read(batch)
        queries = self.queries(batch)
        looked = rollout(self.perceiver, array, torch.cat(queries, dim=1), mask).split([q.shape[1] for q in queries], 1)
        lengths = {
            n: m for module in self.modules_of_inputs for n, m in zip(module.names, module.lengths(batch), strict=True)
        }
        return {
            field.name: dict(zip(lengths, weights.mean(1).split(list(lengths.values()), dim=1), strict=True))
            for (field, _), weights in zip(self.asked, looked, strict=True)
        }

    def begin(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Before the first step: what of the targets has a closed form is set from train rows (`begun`: any has)."""
        found = [target.begin((batch, batch[field.name]) for batch in batches()) for field, target in self.asked]
        self.begun = any(found)

    def losses(self, *pieces: Batch) -> dict[str, Tensor]:
        """The loss (b) of each target, over all rows of a batch that may come in pieces."""
        latents = self.encode(*pieces).split([rows_of(piece) for piece in pieces])
        found = [self._losses(part, piece) for part, piece in zip(latents, pieces, strict=True)]
        return {name: torch.cat([losses[name] for losses in found]) for name in found[0]}

    def _losses(self, latents: Tensor, batch: Batch) -> dict[str, Tensor]:
        predictions = self.decode(latents, batch)
        parts = {f.name: {**batch[f.name], **(batch[t.reads] if t.reads else {})} for f, t in self.asked}
        return {f.name: target.loss(predictions[f.name], parts[f.name]) for f, target in self.asked}

    def answers(self, batch: Batch) -> dict[str, Tensor]:
        """The answer (b k) to each target: probabilities, or values in the field's own units."""
        predictions = {name: prediction.float() for name, prediction in self(batch).items()}
        if self.wide is not None:
            predictions = self.wide.mixed(predictions, batch)
        return {field.name: target.answer(predictions[field.name], batch) for field, target in self.asked}


def _is_large(batch: Batch) -> bool:
    return any(is_stacked(part) for part in batch.values())


def save_model(model: Model, folder: Path) -> None:
    """Writes `model.safetensors`, and `config.json` with the checksums of both, each at once or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = save({k: v.contiguous() for k, v in model.state_dict().items()})
    config = {
        "format": FORMAT,
        "perceiver": asdict(model.config),
        "activation": model.activation,
        "wide": model.wide.outputs if model.wide is not None else {},
        "schema": model.schema.to_dict(),
    }
    checksums = {CONFIG: _checksum(config), WEIGHTS: hashlib.sha256(weights).hexdigest()}
    write_atomic(folder / WEIGHTS, weights)
    write_atomic(folder / CONFIG, json.dumps({**config, "sha256": checksums}, indent=1, ensure_ascii=False) + "\n")


def load_model(folder: Path) -> Model:
    """The model that `save_model` wrote. Raises BadInput where the folder is not one, is damaged or was changed."""
    config_file, weights = folder / CONFIG, folder / WEIGHTS
    for file in (config_file, weights):
        if not file.is_file():
            if (folder / "checkpoints").is_dir():
                raise BadInput(f"{folder}: its training has not finished: start the same train command again")
            raise BadInput(f"{folder}: no {file.name} in it: not a model, or its training has not finished")
    config = _read_config(config_file)
    try:
        with weights.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == config["sha256"][WEIGHTS]
        shapes = _shapes(weights)
    except OSError as error:
        raise BadInput(f"{weights}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise BadInput(f"{weights}: damaged or cut short: {error}") from error
    if not same:
        raise BadInput(f"{weights}: damaged, or not the file that {config_file} was written with: {ANEW}")
    with torch.device("meta"):  # a wrong size costs no memory
        expected = {name: tuple(tensor.shape) for name, tensor in _built(config, config_file).state_dict().items()}
    if wrong := sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name)):
        raise BadInput(f"{weights}: does not fit {config_file}: {len(wrong)} tensors differ, {wrong[0]} among them")
    model = _built(config, config_file)
    model.load_state_dict(load_file(weights))
    return model.eval()


def weights_checksum(folder: Path) -> str:
    """SHA-256 of the weights of a model that `load_model` accepts."""
    return _read_config(folder / CONFIG)["sha256"][WEIGHTS]


def _checksum(config: dict[str, Any]) -> str:
    """SHA-256 of a configuration, however its JSON is laid out."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _read_config(file: Path) -> dict[str, Any]:
    """What `config.json` holds. Raises BadInput where it is none, of a newer format, or not as it was written."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file}: damaged: not JSON: {error}: {ANEW}") from error
    version = config.get("format") if isinstance(config, dict) else None
    if not isinstance(version, int):
        raise BadInput(f"{file}: not a configuration that perceivers wrote: it names no `format`")
    if not 1 <= version <= FORMAT:
        raise BadInput(f"{file}: format {version}, but 1 to {FORMAT} are known here: update perceivers")
    checksums = config.get("sha256")
    rest = {name: value for name, value in config.items() if name != "sha256"}
    if not isinstance(checksums, dict) or not {CONFIG, WEIGHTS} <= checksums.keys():
        raise BadInput(f"{file}: damaged: it holds no checksums: {ANEW}")
    if checksums[CONFIG] != _checksum(rest):
        raise BadInput(f"{file}: was changed after it was written, or is damaged: {ANEW}")
    config = {"activation": GELU, **config} if version < 3 else config  # there was no other one
    config = {"wide": {}, **config} if version < 4 else config
    _check_names(config, file)
    return config


def _check_names(config: dict[str, Any], file: Path) -> None:
    """Raises BadInput where something is missing, or not known here: that could change every answer."""
    if missing := [name for name in NAMES if name not in config]:
        raise BadInput(f"{file}: damaged: it holds no `{missing[0]}`: {ANEW}")
    perceiver = config["perceiver"] if isinstance(config["perceiver"], dict) else {}
    numbers = {field.name for field in fields(PerceiverIOConfig)}
    if unknown := [*(config.keys() - set(NAMES)), *(perceiver.keys() - numbers)]:
        raise BadInput(f"{file}: {min(unknown)!r:.60} in it is not known here: update perceivers")
    if config["activation"] not in list(ACTIVATIONS):
        known = ", ".join(ACTIVATIONS)
        raise BadInput(f"{file}: the activation {config['activation']!r:.60} is none of {known}: update perceivers")


def _shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the header alone."""
    with safe_open(weights, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)


def _outputs(wide: Any, schema: Schema, file: Path) -> dict[str, int]:
    """The targets that have a linear part. Raises BadInput."""
    names = {field.name for field in schema.targets}
    if not isinstance(wide, dict) or not all(name in names and type(k) is int and k > 0 for name, k in wide.items()):
        raise BadInput(f"{file}: wide must be targets with their numbers of answers, got {wide!r:.60}: {ANEW}")
    return wide


def _in_days(field: Field) -> Field:
    """A field of format 1, the statistics of its dates in days: they were in seconds, and no weight depends on that."""
    if field.modality != "number" or not field.options["date"]:
        return field
    days = {name: (np.array(field.options[name]) / DAY).tolist() for name in ("mean", "std", "quantiles")}
    return field.with_options(**days)


def _built(config: dict[str, Any], file: Path) -> Model:
    """The model of a configuration, without its weights. Raises BadInput."""
    try:
        schema = Schema.from_dict(config["schema"], str(file))
        rows = []
        for field in (*schema.inputs, *schema.targets):
            # An option that came after the model was saved has its default.
            field = field.with_options(**{**modality(field).options, **field.options})
            if config["format"] == 1:
                field = _in_days(field)
            modality(field).check(field)
            rows.append(field)
        perceiver = PerceiverIOConfig(**config["perceiver"])
        if (layers := perceiver.num_blocks * perceiver.self_attends_per_block) > MOST_LAYERS:
            raise BadInput(f"{file}: it says {layers:,} self-attends, over {MOST_LAYERS:,}: {ANEW}")
        model = Model(schema.replace(*rows), perceiver, config["activation"], _outputs(config["wide"], schema, file))
        if any(config["wide"].get(field.name, target.foretold) != target.foretold for field, target in model.asked):
            raise BadInput(f"{file}: wide does not fit the targets of the schema: {ANEW}")
        return model
    except BadInput:
        raise
    except Exception as error:  # sizes that fit nothing can raise anything
        raise BadInput(f"{file}: no model can be built from it: {' '.join(str(error).split())}") from error
