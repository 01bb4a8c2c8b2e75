"""One set of rules from (modality, rows, length) to the numbers of a run.

Not concerned with what the numbers do.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perceivers.core.perceiver import PerceiverIOConfig
from perceivers.data.schema import Schema
from perceivers.errors import BadInput
from perceivers.training.config import Architecture, Config

SMALL_ROWS = 500  # of train and validation together: below it, validation rows join training
SIZES = {
    "tiny": Architecture(
        num_latents=16, latent_channels=64, self_attends=2, self_heads=4, cross_heads=1, widening_factor=4
    ),
    "small": Architecture(
        num_latents=32, latent_channels=128, self_attends=4, self_heads=4, cross_heads=1, widening_factor=4
    ),
    "base": Architecture(
        num_latents=64, latent_channels=256, self_attends=6, self_heads=8, cross_heads=1, widening_factor=4
    ),
}
CHOSEN = ("tiny", "small")  # by the data; base only when asked for
TABLE = {"number", "category"}
TEXT_EPOCHS = 8


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
    misfits = [_misfit(_sized(config, size)) for size in ([config.size] if config.size else CHOSEN)]
    if all(misfits):
        raise BadInput(misfits[0] or "")


def resolve(
    config: Config, schema: Schema, train_rows: int, validation_rows: int, of_start: Mapping[str, Any] | None = None
) -> Config:
    """The configuration with nothing left to choose, but for the number of steps. `of_start`: what a start chooses."""
    small = train_rows + validation_rows < SMALL_ROWS
    rows = train_rows + (validation_rows if small else 0)
    small_table = small and all(f.modality in TABLE for f in schema.inputs)
    size = config.size or ("tiny" if small_table else "small")
    chosen = {
        "lr": 1e-3 if small_table else 2e-3,
        "adamw_lr": 1e-3,
        "weight_decay": 0.05,
        "batch_size": 32 if rows < 1_000 else 64 if rows < 3_000 else 128,
        "drop_path": 0.2 if rows < 1_000 else 0.1,
        "field_drop": 0.0 if len(schema.inputs) == 1 else 0.3 if small_table else 0.1,
        "average": 0.99,
        "checkpointing": False,
        "small": small,
        **(of_start or {}),
    }
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
    """More steps than this teach nothing more, or, where rows are few, only noise: numbers sooner than classes, and
    texts, whose n-grams are soon known by heart, sooner than all others.
    """
    kinds = {f.modality for f in schema.inputs}
    if config.training.small and kinds <= TABLE:
        return 300 if any(f.modality == "number" for f in schema.targets) else 400
    if "text" in kinds and kinds <= TABLE | {"text"}:
        return max(200, TEXT_EPOCHS * rows // config.training.batch_size)
    return max(2_000, 300 * rows // config.training.batch_size)
