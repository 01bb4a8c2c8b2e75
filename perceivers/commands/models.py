"""The command `models`. Not concerned with the models: see `published/`."""

from perceivers.commands.options import Json
from perceivers.commands.output import dumps


def models(*, as_json: Json = False) -> int:
    """List DeepMind's six published models: size, inputs, outputs and licence."""
    from perceivers import published

    rows = published.models()
    if as_json:
        print(dumps(rows))
        return 0
    for row in rows:
        print(f"{row['name']}  {row['parameters']:,} parameters, {row['bytes'] / 1e6:,.0f} MB, {row['licence']}")
        print(f"    {row['inputs']} → {row['outputs']}")
    return 0
