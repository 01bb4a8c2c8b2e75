"""Arguments that several commands share, described once. Not concerned with what a command does with them."""

from typing import Annotated, Literal

from cyclopts import Parameter

STDIN = "/dev/stdin"  # what a lone hyphen becomes

Data = Annotated[
    str,
    Parameter(
        help="A folder of classes, a CSV, TSV, Parquet, Arrow, JSONL or .ts file, a folder with one, or sample:NAME."
    ),
]
Model = Annotated[
    str, Parameter(help="A run folder, or a published model: a name (deepmind/…), a Hub folder, an original file.")
]
Targets = Annotated[list[str] | None, Parameter(name="target", help="A column to predict; may be repeated.")]
Group = Annotated[
    str | None, Parameter(help="Rows of a group stay on one side of the split, unless a column split decides.")
]
Time = Annotated[str | None, Parameter(help="The column to split by time; of a long table the time of each step.")]
Series = Annotated[
    str | None, Parameter(help="A long table, a row a step: the column that tells series apart. Each is then one row.")
]
Horizon = Annotated[int | None, Parameter(help="A long table: forecast so many steps of the target.")]
Json = Annotated[bool, Parameter(name="json", help="Print JSON.")]
Kernels = Annotated[
    Literal["auto", "plain"],
    Parameter(help="auto: the fastest products and attentions that a short trial finds here; plain: torch's own."),
]
Precision = Annotated[
    Literal["auto", "float32", "bf16"],
    Parameter(help="Of the model's products; auto: bf16 where this machine multiplies it faster by a third."),
]
