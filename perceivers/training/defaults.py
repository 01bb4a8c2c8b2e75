"""From what was asked and the rules of `perceivers.recipe` to the numbers of a run.

Not concerned with the rules, nor with what the numbers do.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perceivers import recipe
from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.schema import Schema
from perceivers.errors import BadInput
from perceivers.training.config import Architecture, Config

SIZES = {name: Architecture(**numbers) for name, numbers in recipe.SIZES.items()}


def _sized(config: Config, size: str) -> Architecture:
    """The architecture of a size, with what was given in its place."""
    return replace(SIZES[size], **{k: v for k, v in vars(config.architecture).items() if v is not None})


def _misfit(a: Architecture) -> str | None:
    """What is wrong with an architecture: heads share out the channels of a latent."""
    for name, heads in (("self_heads", a.self_heads), ("cross_heads", a.cross_heads)):
        if a.latent_channels % heads:
            return (
                f"architecture.{name} = {heads}: latent_channels = {a.latent_channels} cannot be divided by it: "
                "change one of them"
            )
    return None


def check(config: Config) -> None:
    """Raises BadInput where the architecture cannot be built at any size that the data may choose."""
    misfits = [_misfit(_sized(config, size)) for size in ([config.size] if config.size else recipe.CHOSEN)]
    if all(misfits):
        raise BadInput(misfits[0] or "")


def resolve(
    config: Config, schema: Schema, train_rows: int, validation_rows: int, of_start: Mapping[str, Any] | None = None
) -> Config:
    """The configuration with nothing left to choose, but for the number of steps. `of_start`: what a start chooses."""
    rows, inputs = train_rows + validation_rows, {f.modality for f in schema.inputs}
    learned = rows if recipe.is_small(rows) else train_rows
    size = config.size or recipe.size(rows, inputs)
    chosen = {**recipe.training(rows, learned, inputs, len(schema.inputs)), **(of_start or {})}
    training = replace(config.training, **{k: v for k, v in chosen.items() if getattr(config.training, k) is None})
    resolved = replace(config, size=size, architecture=_sized(config, size), training=training)
    check(resolved)
    return resolved


def perceiver(config: Config) -> PerceiverIOConfig:
    """The numbers of the Perceiver IO of a resolved configuration."""
    a = config.architecture
    return PerceiverIOConfig(
        input_channels=a.latent_channels,
        query_channels=a.latent_channels,
        num_latents=a.num_latents,
        latent_channels=a.latent_channels,
        self_attends_per_block=a.self_attends,
        cross_heads=a.cross_heads,
        self_heads=a.self_heads,
        cross_widening=a.widening_factor,
        self_widening=a.widening_factor,
        decoder_widening=a.widening_factor,
        drop_path=config.training.drop_path,
    )


def architecture(numbers: PerceiverIOConfig) -> Architecture:
    """The other way round: the options that give these numbers."""
    return Architecture(
        num_latents=numbers.num_latents,
        latent_channels=numbers.latent_channels,
        self_attends=numbers.self_attends_per_block,
        self_heads=numbers.self_heads,
        cross_heads=numbers.cross_heads,
        widening_factor=numbers.self_widening,
    )


def max_steps(config: Config, rows: int, schema: Schema) -> int:
    """More steps than this teach nothing more: see `recipe.max_steps`."""
    kinds, asked = ({f.modality for f in fields} for fields in (schema.inputs, schema.targets))
    return recipe.max_steps(rows, config.training.batch_size, config.training.small, kinds, asked)
