"""The command `evaluate`. Not concerned with how a metric is measured: see `evaluate.py`."""

from perceivers.commands.computing import computing
from perceivers.commands.options import Json, Kernels, Model
from perceivers.commands.output import dumps, metrics_lines, report_failed
from perceivers.terminal import say


def evaluate(model: Model, data: str, /, *, kernels: Kernels = "auto", as_json: Json = False) -> int:
    """Measure a trained MODEL on DATA, with 95 % intervals. On the data it was trained on: their test rows alone.

    Parameters
    ----------
    data
        Rows with their targets, in any form that train takes.
    """
    from perceivers import load
    from perceivers.evaluate import metrics_dict

    loaded = load(model)
    with computing(loaded, kernels):
        evaluations, failed, notes = loaded.evaluations(data)
    metrics = metrics_dict(evaluations)
    print(dumps(metrics) if as_json else metrics_lines(metrics))
    for note in notes:
        say(f"note: {note}")
    return report_failed(failed)
