"""The command `explain`. Not concerned with how answers are explained: see `explain.py`."""

import sys
from dataclasses import replace
from pathlib import Path

from perceivers.commands.computing import computing
from perceivers.commands.options import STDIN, Json, Kernels, Model
from perceivers.commands.output import report_failed
from perceivers.terminal import counted, printable, say


def explain(
    model: Model, /, *inputs: str, out: Path | None = None, kernels: Kernels = "auto", as_json: Json = False
) -> int:
    """Say what the answers of a MODEL to INPUTS rest on: shares of the fields, and where it looks.

    Parameters
    ----------
    inputs
        As for predict: a table, files, texts, rows such as '{"age": 31}', or - for CSV or JSON lines.
    out
        Write here instead of printing: a picture (png, svg) or page (html) of the first 12 rows, or json of all.
    """
    from perceivers import load
    from perceivers.predict import read_stdin
    from perceivers.report import explained

    write = None if out is None else explained.writer(out)
    loaded = load(model)
    table = loaded.arrange(read_stdin(sys.stdin.buffer) if inputs == (STDIN,) else loaded.written(inputs))
    given = len(table.frame)
    if out is not None and out.suffix.lower() != ".json":  # more would not be drawn
        table = replace(table, frame=table.frame.head(explained.MOST_DRAWN))
    with computing(loaded, kernels):
        explanations, failed = loaded.explain_table(table)
    methods = loaded.methods()
    if out is not None and write is not None:
        write(explanations, methods, out)
        say(f"{len({e.row for e in explanations}):,} of {counted(given, 'row')}: {out}")
    elif as_json:
        print(explained.to_json(explanations, methods))
    else:
        print("\n".join(printable(line) for line in explained.to_lines(explanations, methods)))
    return report_failed(failed)
