"""The command `predict`. Not concerned with how an answer is found: see `predict.py`."""

import sys
from pathlib import Path

from perceivers.commands.computing import computing
from perceivers.commands.options import STDIN, Json, Kernels, Model, Precision
from perceivers.commands.output import report_failed
from perceivers.terminal import say


def predict(
    model: Model,
    /,
    *inputs: str,
    out: Path | None = None,
    proba: bool = False,
    kernels: Kernels = "auto",
    precision: Precision = "float32",
    as_json: Json = False,
) -> int:
    """Answer for INPUTS with a MODEL: a table, a folder, files, values, JSON rows, or - for stdin.

    A row that cannot be read keeps its place, with `error` and no answer; the exit code is then 1.

    Parameters
    ----------
    inputs
        A table in any form that train takes, files, texts, rows such as '{"age": 31}', or - for CSV or JSON lines.
    out
        Write a table here (csv, tsv, parquet, arrow or jsonl) instead of printing it.
    proba
        Add a column for each class.
    """
    from perceivers import load
    from perceivers.data import sinks
    from perceivers.predict import read_stdin

    loaded = load(model)
    if out is not None:
        loaded.check_out(out)
    table = read_stdin(sys.stdin.buffer) if inputs == (STDIN,) else loaded.written(inputs)
    with computing(loaded, kernels, precision, table):
        if out is None:
            frame, failed = loaded.predict_table(table, proba=proba)
            sys.stdout.write(sinks.to_bytes(frame, "jsonl" if as_json else "csv").decode())
        else:
            written, failed = loaded.predict_to(table, out, proba=proba)
            say(written)
    return report_failed(failed)
