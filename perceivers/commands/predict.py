"""The command `predict`. Not concerned with how an answer is found: see `predict.py`."""

import sys
from pathlib import Path

from perceivers.commands.options import STDIN, Json, Model
from perceivers.commands.output import report_failed
from perceivers.terminal import say


def predict(
    model: Model,
    /,
    *inputs: str,
    out: Path | None = None,
    proba: bool = False,
    as_json: Json = False,
) -> int:
    """Answer for INPUTS with a trained MODEL: a table, a folder, files, values, JSON rows, or - for stdin.

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
    from perceivers.predict import inputs_as_table, read_stdin

    if out is not None:
        sinks.check_out(out)
    trained = load(model)
    table = read_stdin(sys.stdin.buffer) if inputs == (STDIN,) else inputs_as_table(trained.model, inputs)
    frame, failed = trained.predict_table(table, proba=proba)
    if out is None:
        sys.stdout.write(sinks.to_bytes(frame, "jsonl" if as_json else "csv").decode())
    else:
        sinks.write_table(frame, out)
        say(f"{len(frame):,} rows: {out}")
    return report_failed(failed)
