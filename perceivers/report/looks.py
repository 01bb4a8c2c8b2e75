"""What a model looks at, and what its answers rest on: explanations in words, bars and drawings.

Not concerned with how they are found (`perceivers/explain.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup

from perceivers.explain import Average, Explanation, FieldExplanation
from perceivers.modalities import modality
from perceivers.modalities.shaded import Plain
from perceivers.report import verdict
from perceivers.report.summary import Summary, TargetResult

MOST_FIELDS, GLANCED = 12, 3
MOST_VALUES = 4  # of a series
MOST_LETTERS = 60  # of a file's name


@dataclass(frozen=True)
class FieldLine:
    """A field: its share of the answer and its attention, in words and in % of a bar's width."""

    name: str
    share: str
    share_width: float
    attention: str
    attention_width: float
    interval: str = ""  # of the share


@dataclass(frozen=True)
class Looked:
    """One answer explained: its fields, those with the largest share first; drawings of what has an inside."""

    name: str
    answer: str
    truth: str
    right: bool | None
    lines: list[tuple[FieldLine, str, Markup]]  # with the change of the answer, and the cell
    drawings: list[tuple[str, Markup]]
    more: int


def looks(summary: Summary, result: TargetResult, shown: Sequence[tuple[int, str, bool | None]]) -> dict[str, Any]:
    """Shares and attention averaged over rows, and a few answers: `shown` has (place in the test, truth, right)."""
    lines = [] if result.average is None else _lines(result.average)
    examples = [
        looked(explained, summary.row_name(int(result.rows[i])), truth, right)
        for i, truth, right in dict.fromkeys(shown)  # of few rows the same may be drawn and worst
        if (explained := result.explain(int(result.rows[i]))) is not None
    ]
    drawn = [e for e in examples if e.drawings]
    return {
        "n": 0 if result.average is None else result.average.n,
        "one": len(lines) == 1,
        "lines": lines[:MOST_FIELDS],
        "more": max(0, len(lines) - MOST_FIELDS),
        "examples": examples,
        "drawings": [*drawn[:2], *drawn[-1:]] if len(drawn) > GLANCED else drawn,
        "method": sentences(result.method),
        "linear": result.method.get("linear", ""),
    }


def _lines(average: Average) -> list[FieldLine]:
    """The largest share first."""
    return [
        replace(
            field_line(average.fields[i].name, float(average.share[i]), float(average.attention[i])),
            interval=_ends(float(average.low[i]), float(average.high[i])),
        )
        for i in np.argsort(-np.nan_to_num(average.share), kind="stable")
    ]


def field_line(name: str, share: float | None, attention: float) -> FieldLine:
    """A share that is not defined (None or NaN) is a dash."""
    known = share is not None and not math.isnan(share)
    shown = (_percent(share), _width(share)) if share is not None and known else ("–", 0.0)
    return FieldLine(name, *shown, _percent(attention), _width(attention))


def looked(e: Explanation, name: str, truth: str = "", right: bool | None = None) -> Looked:
    """One explanation as it is shown."""
    fields = sorted(e.fields, key=lambda f: -(f.share or 0.0))
    shaded = {f.field.name: f.shaded() for f in fields[:MOST_FIELDS]}
    return Looked(
        name,
        answer_text(e),
        truth,
        right,
        [
            (
                field_line(f.field.name, f.share, f.attention),
                change_text(e, f),
                Markup(shaded[f.field.name].html()) if isinstance(shaded[f.field.name], Plain) else Markup(""),
            )
            for f in fields[:MOST_FIELDS]
        ],
        [(name, Markup(one.html())) for name, one in shaded.items() if not isinstance(one, Plain)],
        max(0, len(fields) - MOST_FIELDS),
    )


def sentences(method: dict[str, str]) -> list[str]:
    """The formulas, each with a capital."""
    return [line[0].upper() + line[1:] for line in method.values()]


def answer_text(e: Explanation) -> str:
    """The answer as a person writes it."""
    values = [e.answer[name] for name in modality(e.target).answered(e.target)]
    if isinstance(values[0], list):
        values = [*np.ravel(values[0]).tolist()[:MOST_VALUES], "…"]
    return ", ".join(verdict.written(x) if isinstance(x, float) else str(x) for x in values)


def sure_text(e: Explanation) -> str:
    """`98 % sure`, where the answer has a probability."""
    sure = e.answer.get(f"{e.target.name}_probability")
    return "" if sure is None else f"{_percent(sure)} sure"


def row_name(e: Explanation) -> str:
    """`row 3`, and the files that its cells name; of a long name the end."""
    return ", ".join([f"row {e.row + 1}", *dict.fromkeys(_end(f.file) for f in e.fields if f.file)])


def change_means(e: Explanation) -> str:
    """What `change_text` says of this answer, in words."""
    if modality(e.target).evidence_is_log:
        return "× 2: the field makes the answer twice as probable, × 0.5: half as probable"
    return f"+2: the field adds 2 to {modality(e.target).evidence_name}, −2: it takes 2 from it"


def change_text(e: Explanation, field: FieldExplanation) -> str:
    """What the field does to the answer: `× 3.2` to its probability, `+12` to its value."""
    if field.change is None:
        return ""
    if modality(e.target).evidence_is_log:
        return f"× {math.exp(min(50.0, field.change[0])):.3g}"
    shown = ", ".join(f"{'+' if x >= 0 else '−'}{verdict.written(abs(x))}" for x in field.change[:MOST_VALUES])
    return f"{shown} …" if len(field.change) > MOST_VALUES else shown


def _end(name: str) -> str:
    return name if len(name) <= MOST_LETTERS else f"…{name[1 - MOST_LETTERS :]}"


def _percent(x: float) -> str:
    return f"{100 * x:z.0f} %"


def _ends(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{100 * low:z.0f} to {100 * high:z.0f}"


def _width(x: float) -> float:
    return round(100 * min(1.0, max(0.0, x)), 1)
