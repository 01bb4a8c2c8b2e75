"""The command `train`. Not concerned with how a model is trained: see `training/train.py`."""

import json
import sys
from pathlib import Path
from time import monotonic
from typing import Annotated, Literal

from cyclopts import Parameter

from perceivers.commands.options import Data, Group, Horizon, Series, Targets, Time
from perceivers.commands.output import metrics_lines
from perceivers.errors import BadInput
from perceivers.training.config import Architecture, Config, Training


def train(
    data: Data,
    /,
    *,
    targets: Targets = None,
    out: Path | None = None,
    size: Literal["tiny", "small", "base"] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    group: Group = None,
    time: Time = None,
    series: Series = None,
    horizon: Horizon = None,
    schema: Path | None = None,
    start: Annotated[str | None, Parameter("--from")] = None,
    config: Path | None = None,
    architecture: Architecture = Architecture(),  # noqa: B008  (frozen)
    training: Training = Training(),  # noqa: B008  (frozen)
) -> int:
    """Train a model on DATA, test it on rows held out, and write a run folder with a report.

    Parameters
    ----------
    out
        The run folder; runs/NAME by default. Started again with the same command, an unfinished run goes on.
    size
        The Perceiver's size; chosen from the data by default.
    minutes
        Wall time of the whole command, evaluation and report included; 10 by default.
    steps
        An exact number of steps instead of minutes.
    schema
        A schema that inspect --save wrote, perhaps edited.
    start
        What to start from: a run folder, or a published model (deepmind/..., a folder, a file). Its latents, encoder
        and latent stack are taken over, and what fits of the inputs.
    config
        A YAML file of the options below; options on the command line win.
    """
    began = monotonic()  # loading torch counts as well
    if minutes is not None and steps is not None:
        raise BadInput("--minutes and --steps: give one of them; steps are exact, minutes are a budget")
    from perceivers.data.schema import Schema
    from perceivers.training.config import overlay, read_config

    given = Config(size=size, minutes=minutes, steps=steps, architecture=architecture, training=training)
    resolved = overlay(read_config(config), given) if config else given
    read = Schema.read(schema) if schema else None
    from perceivers.api import default_out  # with torch, which takes seconds: what is wrong above is said before
    from perceivers.training.train import train as run

    folder = run(
        data,
        out=out or default_out(data),
        targets=targets or (),
        config=resolved,
        schema=read,
        group=group,
        time_column=time,
        series=series,
        horizon=horizon,
        start=start,
        command="perceivers " + " ".join(sys.argv[1:]),
        began=began,
    )
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(metrics_lines(metrics))
    return 0
