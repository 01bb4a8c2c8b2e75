"""Everything that a user can set, in one tree: the flags, `config.yaml` and the docs come from it.

None means: chosen from the data by the rules of `recipe.py`. Not concerned with those rules.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from perceivers.errors import BadInput
from perceivers.files import read_yaml


@dataclass(frozen=True)
class Architecture:
    """The Perceiver IO in the middle (Perceiver IO, section 3): its size is chosen by `--size` unless set here."""

    num_latents: int | None = None
    """N: how many latents."""
    latent_channels: int | None = None
    """D: the width of a latent; inputs and queries are brought to it, too."""
    self_attends: int | None = None
    """L: how many self-attends."""
    self_heads: int | None = None
    """Heads of each self-attend."""
    cross_heads: int | None = None
    """Heads of the encoder's cross-attend."""
    widening_factor: int | None = None
    """Width of the MLPs' hidden layer, in multiples of D."""


@dataclass(frozen=True)
class Training:
    """How the weights are found."""

    lr: float | None = None
    """Of Muon, for the matrices inside the Perceiver and the filters of convolutions."""
    adamw_lr: float | None = None
    """Of AdamW, for all other weights."""
    weight_decay: float | None = None
    """Decoupled weight decay of all matrices."""
    batch_size: int | None = None
    """Rows a step."""
    warmup: float = 0.05
    """Share of the steps."""
    drop_path: float | None = None
    """Highest rate at which a residual branch is dropped for a row."""
    field_drop: float | None = None
    """Rate at which an input field is masked."""
    average: float | None = None
    """Decay of the moving average of the weights that is kept, less where steps are few; 0: none."""
    clip: float = 1.0
    """Global norm of the gradients."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of the products in training; auto: the faster one, as measured, or with `steps` as this machine's kind says."""
    kernels: Literal["auto", "plain"] = "auto"
    """How products and attentions are computed; auto: as a probe before the first step finds, or with `steps` by size
    alone; plain: as torch and the papers have it."""
    checkpointing: Literal["off", "light", "full"] | None = None
    """What a self-attend computes anew in the backward pass, in place of keeping it; off: nothing; light: all but its
    products, half of the memory for hardly more time; full: all, the least memory and a longer step. By default off;
    light where a published model learns (--from), and full where half of the memory does not hold its step so."""
    validations: int = 20
    """So many in a run; with minutes fewer, where few rows each would take more than a tenth of the steps' time."""
    validation_rows: int | None = None
    """Validation rows that each of them reads: the same ones, drawn once; by default all, or with minutes as many as
    keep validations to a tenth of the steps' time, 256 at least."""
    wide: bool = True
    """A linear model of numbers, categories, series and words answers beside the Perceiver, weighted by how much it
    helps; `--training.wide=false`: the Perceiver alone."""
    small: bool | None = None
    """Validation rows join training, and choose nothing (under 500 rows)."""
    layer_decay: float | None = None
    """With --from: the rate of a weight that was taken over, for each layer that it lies below the new ones; 1."""
    new_first: float | None = None
    """With --from: the share of the steps in which new weights alone learn; 0.1."""
    freeze: Literal["inputs", "encoder", "stack"] | None = None
    """With --from: what was taken over learns no more, from the data up to this stage; by default all of it learns."""
    seed: int = 0
    """Of initial weights, order, and all that is random about a row."""
    workers: int = 1
    """Threads that read ahead; 0: none. Changes the time, and nothing else."""
    threads: int | None = None
    """Of each product on the CPU; by default all, or one where that is measured to be faster."""


COMMAND_LINE = frozenset(
    {"data", "target", "from", "out", "group", "time", "series", "horizon", "schema", "config"}
)  # of `train`, not of a run
_ABOVE_ZERO = (lambda v: v > 0, "a number above 0")
_SHARE = (lambda v: 0 <= v < 1, "a number from 0 to below 1")
_NOT_NEGATIVE = (lambda v: v >= 0, "0 or above")
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(
        ("minutes", "steps", "batch_size", "threads", "validations", "validation_rows", "lr", "adamw_lr", "clip"),
        _ABOVE_ZERO,
    ),
    **dict.fromkeys(("num_latents", "latent_channels", "self_heads", "cross_heads", "widening_factor"), _ABOVE_ZERO),
    **dict.fromkeys(("warmup", "drop_path", "field_drop", "average", "new_first"), _SHARE),
    "layer_decay": (lambda v: 0 < v <= 1, "a number above 0, at most 1"),
    **dict.fromkeys(("self_attends", "weight_decay", "seed", "workers"), _NOT_NEGATIVE),
}


def _is(value: Any, hint: Any) -> bool:
    """Whether `value` is what the annotation of an option says."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_args(hint):  # a union
        return any(_is(value, part) for part in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _words(hint: Any) -> str:
    """The annotation in words for a person."""
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if get_args(hint):
        return " or ".join(_words(part) for part in get_args(hint) if part is not NoneType)
    return {int: "a whole number", float: "a number", bool: "true or false"}[hint]


def _check(options: Any, prefix: str) -> None:
    """Raises BadInput with the name of an option whose value is of another kind or out of range."""
    for name, hint in get_type_hints(type(options)).items():
        value = getattr(options, name)
        if name in ("architecture", "training"):
            _check(value, f"{name}.")
        elif not _is(value, hint):
            raise BadInput(f"{prefix}{name} = {value!r}: expected {_words(hint)}")
        elif value is not None and name in RANGES:
            fits, words = RANGES[name]
            if not fits(value):
                raise BadInput(f"{prefix}{name} = {value}: expected {words}")


@dataclass(frozen=True)
class Config:
    """One run. `minutes` is the wall time of the whole command; `steps`, where set, is exact instead."""

    size: Literal["tiny", "small", "base"] | None = None
    """The Perceiver's size; chosen from the data by default."""
    minutes: float | None = None
    """Wall time of the whole command, evaluation and report included; 10 by default."""
    steps: int | None = None
    """An exact number of steps instead of minutes."""
    architecture: Architecture = field(default_factory=Architecture)
    training: Training = field(default_factory=Training)

    def __post_init__(self):
        _check(self, "")

    def to_dict(self) -> dict[str, Any]:
        """As `config.yaml` holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Any, where: str) -> "Config":
        """The configuration that `to_dict` wrote, or a person. Raises BadInput with the place."""
        if not isinstance(content, dict):
            raise BadInput(f"{where}: expected options such as `size: tiny`, got {content!r}")
        parts = {"architecture": Architecture, "training": Training}
        values = {}
        for name, value in content.items():
            if name not in {f.name for f in fields(cls)}:
                hint = "; it is given on the command line" if name in COMMAND_LINE else ""
                known = ", ".join(f.name for f in fields(cls))
                raise BadInput(f"{where}: unknown option {name!r}{hint}; known: {known}")
            if name in parts:
                if not isinstance(value, dict | None):
                    raise BadInput(f"{where}: {name} holds options, got {value!r:.60}")
                known = {f.name for f in fields(parts[name])}
                if unknown := [option for option in value or {} if option not in known]:
                    raise BadInput(
                        f"{where}: unknown option {name}.{unknown[0]!s:.60}; known: {', '.join(sorted(known))}"
                    )
                value = parts[name](**{k: _number(v) for k, v in (value or {}).items()})
            values[name] = _number(value)
        try:
            return cls(**values)
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from error


def _number(value: Any) -> Any:
    """YAML 1.1 takes 1e-3 for a word."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def overlay(base: Config, over: Config) -> Config:
    """`base` with everything that differs from the default in `over`."""
    plain = Config()

    def merge(old: Any, new: Any, default: Any) -> Any:
        changed = {
            f.name: merge(getattr(old, f.name), getattr(new, f.name), getattr(default, f.name))
            if f.name in ("architecture", "training")
            else getattr(new, f.name)
            for f in fields(new)
            if getattr(new, f.name) != getattr(default, f.name)
        }
        return replace(old, **changed)

    return merge(base, over, plain)


def read_config(path: Path) -> Config:
    """A configuration that a person wrote. Raises BadInput with the file and the option."""
    return Config.from_dict(read_yaml(path), str(path))
