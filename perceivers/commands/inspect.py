"""The command `inspect`. Not concerned with how a schema is inferred: see `data/infer.py`."""

from pathlib import Path

from perceivers.commands.options import Data, Group, Horizon, Series, Targets, Time
from perceivers.errors import BadInput
from perceivers.terminal import say


def inspect(
    data: Data,
    /,
    *,
    targets: Targets = None,
    group: Group = None,
    time: Time = None,
    series: Series = None,
    horizon: Horizon = None,
    save: Path | None = None,
) -> int:
    """Show what is in DATA and how it would be read, with reasons.

    Parameters
    ----------
    save
        Write the schema here, to be edited and given to train by --schema.
    """
    from perceivers import api
    from perceivers.data import infer, sources
    from perceivers.files import check_place, write_atomic
    from perceivers.recipe import SMALL_ROWS

    if save is not None:
        check_place(save)
        if save.exists():
            raise BadInput(f"{save}: is there already, and may have been edited: give another name, or remove it")
    table = sources.read(data)
    schema = api.inspect(table, targets, group=group, time=time, series=series, horizon=horizon)
    print(infer.describe(table, schema))
    if schema.split.column is None and len(table.frame) * sum(schema.split.fractions[:2]) < SMALL_ROWS:
        say(f"note: under {SMALL_ROWS} rows are too few to stop early by: validation rows are learned from")
    if save is not None:
        write_atomic(save, schema.to_yaml())
        say(f"schema: {save}")
    return 0
