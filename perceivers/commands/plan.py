"""The command `plan`. Not concerned with how a cost is found: see `plan/`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from perceivers.commands.options import Group, Horizon, Json, Kernels, Precision, Series, Targets, Time
from perceivers.commands.output import dumps
from perceivers.errors import BadInput
from perceivers.terminal import printable
from perceivers.training.config import Architecture, Config, Training

NOTHING: dict[str, Any] = {"targets": (), "inputs": ()}  # where an option is not given; else None


def plan(
    what: str,
    /,
    *inputs: str,
    targets: Targets = None,
    size: Literal["tiny", "small", "base"] | None = None,
    group: Group = None,
    time: Time = None,
    series: Series = None,
    horizon: Horizon = None,
    schema: Path | None = None,
    start: Annotated[str | None, Parameter("--from")] = None,
    config: Path | None = None,
    precision: Precision | None = None,
    kernels: Kernels | None = None,
    check: bool = False,
    as_json: Json = False,
    architecture: Architecture = Architecture(),  # noqa: B008  (frozen)
    training: Training = Training(),  # noqa: B008  (frozen)
) -> int:
    """Say what a training step on DATA, or a prediction of a MODEL, costs here: memory, FLOPs, time, and the kernels.

    Nothing is trained: weights have no values, and each operation is timed alone, a step on fewer rows.

    Parameters
    ----------
    what
        DATA, as for train, or a MODEL, as for predict. A published name (deepmind/…) needs no weights.
    inputs
        Rows for a run folder, as for predict.
    size
        As for train.
    schema
        As for train.
    start
        As for train.
    config
        As for train.
    check
        Run it for real as well, in a process of its own, and print what was measured.
    """
    from perceivers.plan import page, prediction
    from perceivers.training.config import overlay, read_config

    given = Config(size=size, architecture=architecture, training=training)
    options = {
        "targets": targets or (),
        "config": overlay(read_config(config), given) if config else given,
        "schema": schema,
        "group": group,
        "time": time,
        "series": series,
        "horizon": horizon,
        "start": start,
    }
    if prediction.is_model(what):
        _refuse(what, "is a model: of it a prediction is planned", options, nothing={**NOTHING, "config": Config()})
        found, measured = _prediction(what, inputs, precision or "float32", kernels == "plain", check)
    else:
        about_models = {"precision": precision, "kernels": kernels, "inputs": inputs}
        _refuse(what, "is taken for data: of them a training step is planned", about_models, nothing=NOTHING)
        found, measured = _step({"data": what, **options}, check)
    if as_json:
        content = found.as_json()
        print(dumps(content if measured is None else {**content, "measured": measured.as_json(found)}))
    else:
        print("\n".join(printable(line) for line in page.lines(found, measured)))
    return 0


def _refuse(what: str, said: str, options: Mapping[str, Any], nothing: Mapping[str, Any]) -> None:
    """Raises BadInput where an option is given that does not go with what is planned."""
    for name, value in options.items():
        if value != nothing.get(name):
            raise BadInput(f"{what} {said}, and {name} goes with the other: leave it out")


def _prediction(place: str, inputs: Sequence[str], precision: str, plain: bool, check: bool) -> tuple[Any, Any]:
    from perceivers.plan import check as checks
    from perceivers.plan import prediction

    found = prediction.plan(prediction.asked(place, inputs, weights=False), precision, plain)
    return found, checks.apart(checks.answer, place, inputs, plain, found) if check else None


def _step(options: Mapping[str, Any], check: bool) -> tuple[Any, Any]:
    from perceivers.plan import check as checks
    from perceivers.plan import training

    found = training.plan(training.asked(**options))
    return found, checks.apart(checks.step, options, found) if check else None
