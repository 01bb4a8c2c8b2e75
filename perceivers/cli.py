"""The command line. Thin: it parses, calls, prints, and turns errors into one line and an exit code.

Exit codes: 0 done; 1 it began and failed, or some rows could not be read; 2 nothing began; 130 Ctrl-C, 143 SIGTERM.
Not concerned with how anything is done: every command calls one function.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

from cyclopts import App, CycloptsError, Parameter

from perceivers import __version__
from perceivers.errors import BadInput, Stopped, Unreadable
from perceivers.training.config import Architecture, Config, Training

STDIN = "/dev/stdin"

app = App(
    name="perceivers",
    help="One model for any data: train, test and use a Perceiver IO on tables, text and pictures.",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative_iterable=()),
)


@app.command
def inspect(
    data: str,
    /,
    *,
    target: list[str] | None = None,
    group: str | None = None,
    time: str | None = None,
    save: Path | None = None,
) -> int:
    """Show what is in DATA and how it would be read, with reasons.

    Parameters
    ----------
    data
        A folder of classes, a CSV, TSV, Parquet, Arrow or JSONL file, a folder with one, or sample:NAME.
    target
        A column to predict; may be repeated.
    group
        Rows of a group stay on one side of the split.
    time
        The column to split by time.
    save
        Write the schema here, to be edited and given to train by --schema.
    """
    from perceivers.data import infer, sources
    from perceivers.files import write_atomic

    table = sources.read(data)
    schema = infer.infer(table, target or (), group=group, time=time)
    print(infer.describe(table, schema))
    if save is not None:
        write_atomic(save, schema.to_yaml())
        _say(f"schema: {save}")
    return 0


@app.command
def train(
    data: str,
    /,
    *,
    target: list[str] | None = None,
    out: Path | None = None,
    size: Literal["tiny", "small", "base"] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    group: str | None = None,
    time: str | None = None,
    schema: Path | None = None,
    config: Path | None = None,
    architecture: Architecture = Architecture(),  # noqa: B008  (frozen)
    training: Training = Training(),  # noqa: B008  (frozen)
) -> int:
    """Train a model on DATA, test it on rows held out, and write a run folder with a report.

    Parameters
    ----------
    data
        A folder of classes, a CSV, TSV, Parquet, Arrow or JSONL file, a folder with one, or sample:NAME.
    target
        A column to predict; may be repeated.
    out
        The run folder; runs/NAME by default. Started again with the same command, an unfinished run goes on.
    size
        The Perceiver's size; chosen from the data by default.
    minutes
        Wall time of the whole command, evaluation and report included; 10 by default.
    steps
        An exact number of steps instead of minutes.
    group
        Rows of a group stay on one side of the split.
    time
        The column to split by time.
    schema
        A schema that inspect --save wrote, perhaps edited.
    config
        A YAML file of the options below; options on the command line win.
    """
    from perceivers.api import default_out
    from perceivers.data.schema import Schema
    from perceivers.training.config import overlay, read_config
    from perceivers.training.train import train as run

    if minutes is not None and steps is not None:
        raise BadInput("--minutes and --steps: give one of them; steps are exact, minutes are a budget")
    given = Config(size=size, minutes=minutes, steps=steps, architecture=architecture, training=training)
    folder = run(
        data,
        out=out or default_out(data),
        targets=target or (),
        config=overlay(read_config(config), given) if config else given,
        schema=Schema.read(schema) if schema else None,
        group=group,
        time_column=time,
        command="perceivers " + " ".join(sys.argv[1:]),
    )
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(_metrics_lines(metrics))
    return 0


@app.command
def evaluate(model: str, data: str, /, *, json: bool = False) -> int:
    """Measure a trained MODEL on DATA, with 95 % intervals. On the data it was trained on: their test rows alone.

    Parameters
    ----------
    model
        A run folder.
    data
        Rows with their targets, in any form that train takes.
    json
        Print JSON, as in metrics.json.
    """
    from perceivers import load
    from perceivers.evaluate import metrics_dict

    evaluations, failed = load(model).evaluations(data)
    metrics = metrics_dict(evaluations)
    print(_dumps(metrics) if json else _metrics_lines(metrics))
    return _report_failed(failed)


@app.command
def predict(
    model: str,
    /,
    *inputs: str,
    out: Path | None = None,
    proba: bool = False,
    json: bool = False,
) -> int:
    """Answer for INPUTS with a trained MODEL: a table, a folder, files, values, JSON rows, or - for stdin.

    Parameters
    ----------
    model
        A run folder.
    inputs
        A table in any form that train takes, files, texts, rows such as '{"age": 31}', or - for CSV or JSON lines.
    out
        Write a table here (csv, tsv, parquet, arrow or jsonl) instead of printing it.
    proba
        Add a column for each class.
    json
        Print JSON lines.
    """
    from perceivers import load
    from perceivers.data import sinks
    from perceivers.predict import inputs_as_table, read_stdin

    if out is not None:
        sinks.kind_of(out)
    trained = load(model)
    table = read_stdin(sys.stdin.buffer) if inputs == (STDIN,) else inputs_as_table(trained.model, inputs)
    frame, failed = trained.predict_table(table, proba=proba)
    if out is None:
        sys.stdout.write(sinks.to_bytes(frame, "jsonl" if json else "csv").decode())
    else:
        sinks.write_table(frame, out)
        _say(f"{len(frame):,} rows: {out}")
    return _report_failed(failed)


@app.command
def models(*, json: bool = False) -> int:
    """List DeepMind's six published models: size, inputs, outputs and licence.

    Parameters
    ----------
    json
        Print JSON.
    """
    from perceivers import published

    rows = published.models()
    if json:
        print(_dumps(rows))
        return 0
    for row in rows:
        print(f"{row['name']}  {row['parameters']:,} parameters, {row['bytes'] / 1e6:,.0f} MB, {row['licence']}")
        print(f"    {row['inputs']} → {row['outputs']}")
    return 0


@app.command
def export(model: str, /, *, out: Path, format: Literal["hub"] = "hub") -> int:
    """Write a published MODEL as a folder that the library transformers loads.

    Parameters
    ----------
    model
        A published model: a Hub folder, an original .pickle or .pystate file, or a name (deepmind/…).
    out
        The folder to write.
    format
        hub: config.json and model.safetensors, as on the Hub.
    """
    from perceivers import published

    folder = published.export_hub(published.load(model), out)
    _say(f"{format} folder: {folder}")
    return 0


def _metrics_lines(metrics: dict[str, Any]) -> str:
    """The metrics of each target as aligned text."""
    lines = []
    for target, found in metrics.items():
        lines.append(f"{target}  (n = {found['n']:,})")
        for name, metric in found.items():
            if isinstance(metric, dict) and metric.get("value") is not None and "low" in metric:
                interval = "" if metric["low"] is None else f"  95 %: {metric['low']:.4g} to {metric['high']:.4g}"
                lines.append(f"  {name:<14}{metric['value']:<10.4g}{interval}")
    return "\n".join(lines)


def _dumps(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


def _report_failed(failed: dict[int, str]) -> int:
    for message in list(failed.values())[:5]:
        _say(f"not read: {message}")
    if failed:
        _say(f"{len(failed):,} rows could not be read")
    return 1 if failed else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """The entry point of the command `perceivers`."""
    arguments = [STDIN if a == "-" else a for a in sys.argv[1:]]  # a lone hyphen would be taken for an option
    debug = "--debug" in arguments
    try:
        code = app(
            [a for a in arguments if a != "--debug"],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        code = _fail(str(error), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        code = _fail("stopped", 130)
    except (BadInput, Unreadable) as error:
        if debug:
            raise
        code = _fail(str(error), 2)
    except Stopped as error:
        code = _fail(str(error), 128 + error.signal)
    except Exception as error:
        if debug:
            raise
        code = _fail(f"{type(error).__name__}: {error} (--debug shows where)", 1)
    sys.exit(code or 0)


def _fail(message: str, code: int) -> int:
    _say(f"perceivers: {' '.join(message.split())}")
    return code


if __name__ == "__main__":
    main()
