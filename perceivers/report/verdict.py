"""Metrics in words: how numbers are written, and whether a model is better than its baselines.

Not concerned with pages or pictures (`page.py`, `figures.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from perceivers.data.schema import Field
from perceivers.modalities.base import Metrics
from perceivers.modalities.metrics import LOWER_IS_BETTER
from perceivers.modalities.number import unit_of

NAMES = {
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "f1": "F1 (macro)",
    "ece": "calibration error",
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "mse_raw": "mean squared error, own units",
    "bits_per_byte": "bits per byte",
    "r2": "R²",
    "mean_iou": "mean IoU",
}
SHARES = frozenset({"accuracy", "auroc", "f1", "mean_iou", "ece", "precision", "recall"})  # between 0 and 1
FEWEST_DIFFERENT = 6  # rows with another score: fewer, all on one side, come about by chance (sign test, 5 %)
FEW = 100  # test rows below which an interval is called wide


@dataclass(frozen=True)
class Bar:
    """A model's value of the headline metric, in % of the scale's width, and in words."""

    name: str
    value: float
    low: float
    high: float
    text: str
    interval: str


def metric_names(metrics: Metrics) -> list[str]:
    """The metrics that have a value with an interval, in their order."""
    return [name for name, found in metrics.items() if isinstance(found, dict) and "value" in found]


def headline(metrics: Metrics) -> str:
    """The metric that is named first to people: the first that is defined."""
    names = metric_names(metrics)
    return next((name for name in names if metrics[name]["value"] is not None), names[0])


def written(x: float | None) -> str:
    """A number with four digits, thousands apart; – where there is none."""
    if x is None:
        return "–"
    return f"{x:,.0f}" if 1_000 <= abs(x) < 1e9 else f"{x:z.4g}"


def value_text(name: str, x: float | None, field: Field) -> str:
    """A metric's value for a person: accuracy in %, errors in the field's unit."""
    if x is None:
        return "–"
    if name == "accuracy":
        return f"{100 * x:.1f} %"
    if name in SHARES or name == "r2":
        return f"{x:z.3f}"
    unit = unit_of(field)
    if unit is None:
        return written(x)
    return f"{written(x)} {unit}²" if name == "mse" else f"{written(x)} {unit}"


def interval_text(name: str, found: Metrics) -> str:
    """`95.6 to 98.9`, without unit; empty where there is no interval."""
    if found["low"] is None:
        return ""
    plain = Field("", None, "ignore", ())
    low, high = (value_text(name, found[end], plain).removesuffix(" %") for end in ("low", "high"))
    return f"{low} to {high}"


def headline_sentence(field: Field, metrics: Metrics) -> str:
    """What the model reaches on the test rows, with its interval and n."""
    name, n = headline(metrics), metrics["n"]
    interval = interval_text(name, metrics[name])
    around = f"95 % interval {interval}, " if interval else ""
    more = {"mae": ("r2", "R² is"), "mse": ("mae", "In its own units it is off by")}.get(name)
    beside = ""
    if more is not None and more[0] in metrics and metrics[more[0]]["value"] is not None:
        average = " on average" if name == "mse" else ""
        beside = f" {more[1]} {value_text(more[0], metrics[more[0]]['value'], field)}{average}."
    few = " With so few test rows the interval is wide." if n < FEW else ""
    return f"The model {_reaches(name, metrics, field)} ({around}n\u00a0=\u00a0{n:,}).{beside}{few}"


def _reaches(name: str, metrics: Metrics, field: Field) -> str:
    value = value_text(name, metrics[name]["value"], field)
    if name == "accuracy":
        if "points" in metrics:
            return f"is right at {value} of the points"
        all_labels = " in all its labels" if field.options.get("labels") == "many" else ""
        return f"is right{all_labels} in {value} of the test rows"
    if name == "mae":
        return f"is off by {value} on average"
    if name == "mse":
        return f"has a mean squared error of {value} on standardised values"
    return f"reaches {NAMES.get(name, name)} {value}"


CONSTANTS = ("majority class", "mean")  # the baselines that do not look at the inputs


def verdict(metrics: Metrics, baselines: Mapping[str, Metrics]) -> str:
    """Whether the model is better than the best baseline: row by row where that is known (`paired`), else by the
    intervals of the headline metric.
    """
    name = headline(metrics)
    rivals = {rival: found[name] for rival, found in baselines.items() if found[name]["value"] is not None}
    ours = metrics[name]
    if not rivals or ours["value"] is None:
        return "There is no baseline to compare with."
    sign = -1 if name in LOWER_IS_BETTER else 1
    constant = next((name for name in CONSTANTS if name in rivals), None)
    if constant is not None and sign * ours["value"] <= sign * rivals[constant]["value"]:
        reached = value_text(name, rivals[constant]["value"], Field("", None, "ignore", ()))
        return f"No better than the {constant} ({reached}), which looks at nothing: train longer, or with more data."
    pairs = {rival: found["paired"] for rival, found in baselines.items() if "paired" in found}
    if pairs:
        sign = -1 if next(iter(pairs.values()))["metric"] in LOWER_IS_BETTER else 1
        best = min(pairs, key=lambda rival: sign * pairs[rival]["value"])
    else:
        best = max(rivals, key=lambda rival: sign * rivals[rival]["value"])
    theirs = baselines[best][name]
    versus = f"the best simple baseline, {best} ({value_text(name, theirs['value'], Field('', None, 'ignore', ()))})"
    if pairs:
        return _by_rows(pairs[best], versus, metrics.get("unit"))
    return _by_intervals(sign, ours, theirs, versus)


def _by_rows(found: Metrics, versus: str, unit: str | None) -> str:
    """By the interval of the mean difference of the rows' scores."""
    name, few = found["metric"], found["different"] < FEWEST_DIFFERENT
    if found["low"] is None:
        return f"Too few test rows to say whether it is better than {versus}."
    sign = -1 if name in LOWER_IS_BETTER else 1
    low, value, high = (_signed(name, found[end]) for end in ("low", "value", "high"))
    points = " percentage points" if name == "accuracy" else f" in {NAMES.get(name, name)}"
    if unit and name == "mae":
        points = f" {unit}{points}"
    numbers = f"difference {value}{points}, 95 % interval {low} to {high}, paired over the same test rows"
    if few:
        return f"Too few test rows tell it from {versus}, to say which is better: {numbers}."
    if found["low"] <= 0 <= found["high"]:
        return f"Not clearly different from {versus}: {numbers}."
    if sign * found["value"] > 0:
        return f"Better than {versus}: {numbers}."
    return f"Worse than {versus}: {numbers}. Use that, or train longer or with more data."


def _signed(name: str, x: float) -> str:
    """A difference with its sign; of shares in percentage points."""
    text = f"{100 * x:+z.1f}" if name == "accuracy" else f"{x:+z.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _by_intervals(sign: int, ours: Metrics, theirs: Metrics, versus: str) -> str:
    """By whether the two intervals overlap, each over its own rows."""
    if None in (ours["low"], theirs["low"]):
        return f"Too few test rows to say whether it is better than {versus}."
    if sign * ours["value"] > sign * theirs["value"] and _apart(ours, theirs):
        return f"Clearly better than {versus}."
    if sign * ours["value"] < sign * theirs["value"] and _apart(ours, theirs):
        return f"Clearly worse than {versus}: use that, or train longer or with more data."
    return f"Not clearly different from {versus}: the intervals overlap."


def _apart(a: Metrics, b: Metrics) -> bool:
    return a["low"] > b["high"] or a["high"] < b["low"]


def bars(field: Field, metrics: Metrics, baselines: Mapping[str, Metrics]) -> list[Bar]:
    """The bar of this model, then the baselines'; from 0 to 1 for shares, else from 0 to the farthest end."""
    name = headline(metrics)
    rows = {"this model": metrics[name], **{rival: found[name] for rival, found in baselines.items()}}
    rows = {model: found for model, found in rows.items() if found["value"] is not None}
    ends = [found[key] for found in rows.values() for key in ("value", "high") if found[key] is not None]
    scale = 1.0 if name in SHARES else max([0.0, *ends]) or 1.0

    def place(x: float) -> float:
        return round(100 * min(1.0, max(0.0, x / scale)), 2)

    return [
        Bar(
            model,
            place(found["value"]),
            place(found["value"] if found["low"] is None else found["low"]),
            place(found["value"] if found["high"] is None else found["high"]),
            value_text(name, found["value"], field),
            interval_text(name, found),
        )
        for model, found in rows.items()
    ]
