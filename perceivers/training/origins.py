"""Where a start comes from: a run folder, or one of the published models in either of its formats.

Not concerned with what is made of it (`start.py`).
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from perceivers import published
from perceivers.core.checkpointing import Checkpointing
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.schema import Field
from perceivers.errors import BadInput, nearest
from perceivers.modalities import modality
from perceivers.modalities.deepmind import Deepmind
from perceivers.modalities.deepmind_clip import NUMBERS
from perceivers.model import GELU, load_model, weights_checksum
from perceivers.published.models import Published
from perceivers.published.presets import (
    PRESETS,
    AutoencoderSizes,
    ConvSizes,
    FlowSizes,
    LanguageSizes,
    LearnedSizes,
    Sizes,
)
from perceivers.published.sources import ORIGINAL, SOURCES
from perceivers.training.config import Training
from perceivers.training.start import Start, weights_of

# Training options where none are given. Large models want layers that were taken to learn slower the deeper they lie.
OF_RUN: dict[str, Any] = {"layer_decay": 1.0, "new_first": 0.1}
OF_PUBLISHED: dict[str, Any] = {"layer_decay": 0.9, "new_first": 0.1, "lr": 5e-4, "adamw_lr": 5e-4}
ROWS = 16  # a step, at most
ROW_BYTES = 52  # that a step keeps for each number of a row's inputs, as measured
LATENT_BYTES = {"off": 52, "light": 28, "full": 4}  # and of its latents, at every layer
WEIGHT_BYTES = 30  # a weight, its gradient, the optimiser, the average, the source, what is written; as measured
SHARE = 0.5  # of the memory


def read(place: str | Path) -> Start:
    """The start at `place`: a run folder; or a published name, Hub folder or original file. Raises BadInput."""
    path = Path(place)
    if path.is_dir() and not published.is_hub_folder(path):
        return _of_run(path)
    if path.exists() or str(place) in PRESETS:
        return of_published(published.load(place), str(place))
    raise BadInput(
        f"--from {place}: no such folder or file: give a run folder, or a published model: its name, folder or file"
        f"{nearest(str(place), PRESETS)}"
    )


def _of_run(folder: Path) -> Start:
    model = load_model(folder)
    return Start(
        name=str(folder),
        checksum=weights_checksum(folder),
        perceiver=model.perceiver,
        numbers=model.config,
        activation=model.activation,
        fields={field.name: field for field in model.schema.inputs},
        weights=weights_of(model),
        chosen=partial(_chosen, model, model.config, model.schema.inputs),
    )


def of_published(model: Published, name: str) -> Start:
    """A published model as a start; queries are as wide as latents, and the decoder has the papers' widths."""
    field = published_field(model.sizes, model.source.name)
    kind = cast(Deepmind, modality(field))
    sizes = model.sizes.perceiver
    return Start(
        name=name,
        checksum=_checksum(model),
        perceiver=model.perceiver,
        numbers=replace(
            sizes,
            query_channels=sizes.latent_channels,
            decoder_heads=1,
            decoder_qk_channels=None,
            decoder_v_channels=None,
            decoder_query_residual=True,
        ),
        activation="gelu_tanh" if model.source is ORIGINAL else GELU,
        fields={field.name: field},
        weights={field.name: kind.published_weights(field, model.inputs)},
        chosen=partial(_chosen, model, sizes, [field]),
    )


def _chosen(
    model: nn.Module, numbers: PerceiverIOConfig, fields: Iterable[Field], training: Training
) -> dict[str, Any]:
    """The training options for a model that reads `fields`, `training` being those that are given: of a published one,
    or one that started from it, so many rows a step as half of the memory holds, and full checkpointing where it does
    not hold the rows that are asked for, or one, with the light one.
    """
    elements = sum(kind.elements(field) for field in fields if isinstance(kind := modality(field), Deepmind))
    if not elements:
        return OF_RUN
    layers = numbers.num_blocks * numbers.self_attends_per_block
    latents = numbers.num_latents * numbers.latent_channels
    inputs = elements * numbers.input_channels
    room = SHARE * _memory() - WEIGHT_BYTES * sum(weight.numel() for weight in model.parameters())

    def row(kind: Checkpointing) -> int:
        """Bytes; while one layer is computed anew, it takes what it does without."""
        kept = ROW_BYTES * inputs + LATENT_BYTES[kind] * layers * latents
        return kept if kind == "off" else kept + LATENT_BYTES["off"] * latents

    fits = row("light") * (training.batch_size or 1) <= room
    checkpointing = training.checkpointing or ("light" if fits else "full")
    rows = int(room / row(checkpointing))
    return {**OF_PUBLISHED, "batch_size": min(ROWS, max(1, rows)), "checkpointing": checkpointing}


def _memory() -> int:
    """Bytes that the machine that trains has."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def published_field(sizes: Sizes, source: str) -> Field:
    """The field that a published model of these sizes reads."""
    if isinstance(sizes, LanguageSizes):
        options = {"length": sizes.length, "vocabulary": sizes.vocabulary, "width": sizes.perceiver.input_channels}
        room = sizes.length - len(SOURCES[source].ends([]))
        return _made("text", "deepmind_text", source, options | {"max_bytes": room})
    if isinstance(sizes, FlowSizes):
        of_pair = {"size": list(sizes.image_size), "resolution": list(sizes.image_size)}
        return _made("pair", "deepmind_pair", source, of_pair | {"width": sizes.channels, "num_bands": sizes.num_bands})
    if isinstance(sizes, AutoencoderSizes):
        numbers = {name: getattr(sizes, name) for name in NUMBERS} | {"frame_size": list(sizes.frame_size)}
        return _made("clip", "deepmind_clip", source, numbers | {"width": sizes.perceiver.input_channels})
    shared = {"side": sizes.side, "channels": 3}
    if isinstance(sizes, LearnedSizes):
        return _made("image", "deepmind_image", source, shared | {"kind": "learned", "width": sizes.channels})
    of_positions = {"resolution": list(sizes.resolution), "num_bands": sizes.num_bands}
    if isinstance(sizes, ConvSizes):
        of_positions |= {"kind": "conv", "width": sizes.stem_channels}
    return _made("image", "deepmind_image", source, shared | of_positions)


def _made(name: str, kind: str, source: str, options: dict[str, Any]) -> Field:
    columns = ("first", "second") if kind == "deepmind_pair" else (name,)
    field = Field(name, kind, "input", columns)
    return field.with_options(**{**modality(field).options, "source": source, **options})


def _checksum(model: Published) -> str:
    """SHA-256 of all weights."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.contiguous().numpy())
    return found.hexdigest()
