"""Fields and schemas: what is in a data set and how it is read. Shown, saved, edited and obeyed.

Not concerned with how a schema is inferred (`infer.py`) nor with what a modality does with its options.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from perceivers.errors import BadInput
from perceivers.files import DUMPER, read_yaml

FORMAT = 1
ROLES = ("input", "target", "ignore")
NAME = str | int | float  # what YAML may take a name for
FILE_MODALITIES = frozenset(  # a string in a cell is the name of a file
    {"image", "audio", "video", "points", "given", "deepmind_image", "deepmind_pair", "deepmind_clip"}
)


@dataclass(frozen=True)
class Field:
    """A name, a modality, a role, one or more columns, and what its modality must know (`options`).

    An option that is None is read off the train rows when a model is made. `reason` says why `inspect` reads it so;
    what a person said has none.
    """

    name: str
    modality: str | None  # None only where the role is `ignore`
    role: str
    columns: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    reason: str = field(default="", compare=False)

    @property
    def names_files(self) -> bool:
        """Whether strings in the cells are names of files."""
        return self.modality in FILE_MODALITIES or bool(self.options.get("files"))

    def with_options(self, **options: Any) -> "Field":
        return replace(self, options={**self.options, **options})


@dataclass(frozen=True)
class Split:
    """How rows become train, validation and test: by a column, else by fractions, drawn with `seed`.

    `unsaid`: a person who wrote the schema said nothing of a column: one named `split` decides, if there is one.
    """

    column: str | None = None
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    group: str | None = None
    time: str | None = None
    unsaid: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Long:
    """A long table, a row a step: which column has the times, and which tells series apart (None: there is one).

    With a `horizon` so many steps are forecast, from the `read` steps before them (None: by the lengths of train).
    """

    time: str
    series: str | None = None
    horizon: int | None = None
    read: int | None = None


@dataclass(frozen=True)
class Schema:
    """All fields in order, how rows are split, and, of a long table, what its axes are."""

    fields: tuple[Field, ...]
    split: Split = Split()
    long: Long | None = None

    @property
    def inputs(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.role == "input")

    @property
    def targets(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.role == "target")

    def __getitem__(self, name: str) -> Field:
        return next(f for f in self.fields if f.name == name)

    def date(self, column: str) -> bool | str:
        """How a column's dates are written, as one of the fields says it; else False."""
        return next((f.options["date"] for f in self.fields if column in f.columns and f.options.get("date")), False)

    def with_inputs(self, inputs: Sequence[Field]) -> "Schema":
        """The schema with other inputs, which come first."""
        return replace(self, fields=(*inputs, *(f for f in self.fields if f.role != "input")))

    def replace(self, *fields: Field) -> "Schema":
        """The schema with `fields` in place of those of the same name."""
        new = {f.name: f for f in fields}
        return replace(self, fields=tuple(new.get(f.name, f) for f in self.fields))

    def to_dict(self) -> dict[str, Any]:
        rows = [
            {"name": f.name, "modality": f.modality, "role": f.role, "columns": list(f.columns), **f.options}
            for f in self.fields
        ]
        s = self.split
        split = {
            "column": s.column,
            "fractions": list(s.fractions),
            "seed": s.seed,
            "group": s.group,
            "time": s.time,
        }
        long = {} if self.long is None else {"long": asdict(self.long)}
        return {"format": FORMAT, "fields": rows, "split": split, **long}

    def to_yaml(self) -> str:
        def row(value: Any) -> str:
            return yaml.dump(
                value, None, DUMPER, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
            )

        content = self.to_dict()
        lines = [f"format: {content['format']}", "fields:"]
        lines += [f"  - {row(f).strip()}" for f in content["fields"]]
        lines += [f"{key}: {row(content[key]).strip()}" for key in ("split", "long") if key in content]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_dict(cls, content: Any, where: str) -> "Schema":
        """The schema that `to_dict` wrote, or a person. Raises BadInput with the place `where` it stands."""
        if not isinstance(content, dict) or not isinstance(content.get("fields"), list):
            raise BadInput(f"{where}: not a schema: expected `format: {FORMAT}` and `fields` at the top")
        if "format" not in content:
            raise BadInput(f"{where}: it does not say its format: add the line `format: {FORMAT}` at the top")
        if content["format"] != FORMAT:
            raise BadInput(f"{where}: format {content['format']!r:.60} is not {FORMAT}, the one that is known here")
        fields = tuple(_field(row, f"{where}, field {i + 1}") for i, row in enumerate(content["fields"]))
        counts = Counter(f.name for f in fields)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise BadInput(f"{where}: two fields are named {twice[0]!r}: names must differ")
        return cls(fields, _split(content.get("split") or {}, where), _long(content.get("long"), where))

    @classmethod
    def read(cls, path: Path) -> "Schema":
        """The schema that a person or `inspect --save` wrote. Raises BadInput with the file and the field."""
        return cls.from_dict(read_yaml(path), str(path))


def free(name: str, fields: Iterable[Field]) -> str:
    """`name`, with a number where a field is named so."""
    taken = {f.name for f in fields}
    return next(n for n in (name, *(f"{name}.{i}" for i in range(2, len(taken) + 3))) if n not in taken)


def _field(row: Any, where: str) -> Field:
    if not isinstance(row, dict) or not {"name", "role"} <= row.keys() or not isinstance(row["name"], NAME):
        raise BadInput(f"{where}: expected {{name, modality, role, columns, …}}, got {row!r:.200}")
    row = dict(row)
    name, modality, role = str(row.pop("name")), row.pop("modality", None), row.pop("role")
    columns = row.pop("columns", [name])
    if role not in ROLES:
        raise BadInput(f"{where} ({name}): role {role!r:.60} is none of {', '.join(ROLES)}")
    if not isinstance(modality, str) and (modality is not None or role != "ignore"):
        raise BadInput(f"{where} ({name}): no modality: say text, image, audio, number, category … or `role: ignore`")
    if not isinstance(columns, list) or not columns or not all(isinstance(c, NAME) for c in columns):
        raise BadInput(f"{where} ({name}): columns must be a list of column names, got {columns!r:.60}")
    if other := [option for option in row if not isinstance(option, str)]:
        raise BadInput(f"{where} ({name}): {other[0]!r:.60} is no name of an option")
    return Field(name, modality, role, tuple(str(c) for c in columns), row)


def _long(row: Any, where: str) -> Long | None:
    if row is None:
        return None
    known = list(Long.__dataclass_fields__)
    if not isinstance(row, dict) or not row.keys() <= set(known) or not isinstance(row.get("time"), str):
        raise BadInput(f"{where}: long has {', '.join(known)}, and `time` names a column; got {row!r:.200}")
    if not isinstance(row.get("series"), str | None):
        raise BadInput(f"{where}: long series must be the name of a column or null, got {row['series']!r:.60}")
    for name in ("horizon", "read"):
        if row.get(name) is not None and (type(row[name]) is not int or row[name] < 1):
            raise BadInput(f"{where}: long {name} must be a positive integer or null, got {row[name]!r:.60}")
    return Long(**row)


def _split(row: Any, where: str) -> Split:
    known = [name for name in Split.__dataclass_fields__ if name != "unsaid"]
    if not isinstance(row, dict) or not row.keys() <= set(known):
        raise BadInput(f"{where}: split has {', '.join(known)}, got {row!r:.200}")
    row = dict(row)
    for name in ("column", "group", "time"):
        if not isinstance(row.get(name), str | None):
            raise BadInput(f"{where}: split {name} must be the name of a column or null, got {row[name]!r:.60}")
    if type(row.get("seed", 0)) is not int or not 0 <= row.get("seed", 0) < 2**63:
        raise BadInput(f"{where}: split seed must be an integer from 0, got {row['seed']!r:.60}")
    fractions = row.pop("fractions", list(Split.fractions))
    shares = isinstance(fractions, list) and len(fractions) == 3 and all(isinstance(x, int | float) for x in fractions)
    if not shares or not min(fractions) >= 0 or not abs(sum(fractions) - 1) < 1e-6:
        raise BadInput(f"{where}: split fractions must be three shares of sum 1, got {fractions!r:.60}")
    a, b, c = (float(x) for x in fractions)
    return Split(fractions=(a, b, c), unsaid="column" not in row, **row)
