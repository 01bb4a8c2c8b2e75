"""Everything that a user can set, in one tree: the flags, `config.yaml` and the docs come from it.

None means: chosen from the data by the rules of `defaults.py`. Not concerned with those rules.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from perceivers.errors import BadInput


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
    """Of Muon, for the matrices inside the Perceiver."""
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
    """Decay of the moving average of the weights that is kept; 0: none."""
    clip: float = 1.0
    """Global norm of the gradients."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of the products in training; auto: the faster here."""
    validations: int = 20
    """So many in a run."""
    patience: int = 6
    """Validations without gain before an early stop."""
    small: bool | None = None
    """Validation rows join training, no early stop (under 500 rows)."""
    seed: int = 0
    """Of initial weights, order, and all that is random about a row."""


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
        for name, value in (("minutes", self.minutes), ("steps", self.steps), ("batch_size", self.training.batch_size)):
            if value is not None and not value > 0:
                raise BadInput(f"{name} = {value}: expected a number above 0")

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
                raise BadInput(f"{where}: unknown option {name!r}; known: {', '.join(f.name for f in fields(cls))}")
            if name in parts:
                known = {f.name for f in fields(parts[name])}
                if unknown := sorted((value or {}).keys() - known):
                    raise BadInput(f"{where}: unknown option {name}.{unknown[0]}; known: {', '.join(sorted(known))}")
                value = parts[name](**(value or {}))
            values[name] = value
        return cls(**values)


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
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    return Config.from_dict(content, str(path))
